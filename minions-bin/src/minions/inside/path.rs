//! A path here, or one in a VM.

use std::ffi::OsStr;
use std::path::PathBuf;

use minions_core::error::{Error, Result};
use minions_core::service::VmRef;

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Here.
    Here(PathBuf),
    /// In a VM: an absolute path.
    There(VmRef, String),
    /// Stdin or stdout: the bytes of one file.
    Pipe,
}

impl End {
    /// Reads `VM:/path`, a path, or `-`. What has a slash before its first colon is a path here.
    pub fn parse(text: &OsStr) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Pipe);
        }
        let here = || Ok(Self::Here(PathBuf::from(text)));
        let Some((vm, path)) = text.to_str().and_then(|text| text.split_once(':')) else { return here() };
        if vm.is_empty() || vm.contains('/') || vm.starts_with('.') {
            return here();
        }
        let vm: VmRef = vm.parse().map_err(|error: Error| {
            Error::invalid("path", format!("{vm:?} is no VM; write a path here that holds a colon as ./{vm}:…"))
                .with_source(error)
        })?;
        if !path.starts_with('/') {
            let message = format!("a path in a VM begins with a slash: {vm}:/…/{path}");
            return Err(Error::invalid("path", message));
        }
        if path.contains('\0') {
            return Err(Error::invalid("path", "a path holds no zero byte"));
        }
        Ok(Self::There(vm, path.to_owned()))
    }
}

/// The last part of a path in a VM.
pub fn last_part(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next().filter(|part| !part.is_empty() && *part != "." && *part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(vm: &str, path: &str) -> End {
        End::There(vm.parse().unwrap(), path.to_owned())
    }

    #[test]
    fn a_path_is_here_unless_a_vm_stands_before_it() {
        for (text, want) in [
            ("notes.txt", End::Here("notes.txt".into())),
            ("-", End::Pipe),
            ("./-", End::Here("./-".into())),
            ("-x", End::Here("-x".into())),
            ("./web:/x", End::Here("./web:/x".into())),
            ("/a:b", End::Here("/a:b".into())),
            ("web:/root/x", there("web", "/root/x")),
            ("web:/a:b", there("web", "/a:b")),
        ] {
            assert_eq!(End::parse(OsStr::new(text)).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn bad_12_a_vm_that_cannot_be_and_a_path_without_a_beginning_are_refused() {
        for text in ["Web:/x", "web:", "web:notes", "a--b:/x"] {
            assert!(End::parse(OsStr::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_part_is_what_a_copy_is_called() {
        assert_eq!(last_part("/a/b/"), Some("b"));
        assert_eq!((last_part("/"), last_part("/a/..")), (None, None));
    }
}
