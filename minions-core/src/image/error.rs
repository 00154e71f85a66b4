use std::io;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind};
use crate::host::command::CommandError;
use crate::host::error::kind_of;

#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error("{program} is not on this host; install it: {fix}")]
    Program { program: &'static str, fix: &'static str },
    #[error("the {what} {path} is not a static program: nothing in an initrd could load it")]
    NotStatic { what: &'static str, path: PathBuf },
    #[error("making this image needs root, for the owners of its files: run it with sudo -E")]
    NotRoot,
    #[error("the kernel has no module {0}, neither built in nor beside it")]
    NoModule(String),
    #[error("{0} is compressed or not a kernel module")]
    BadModule(PathBuf),
    #[error("the package index has no {0}; refresh it: apt-get update")]
    NoPackage(String),
    #[error("{0} has no kernel with modules in it")]
    NoKernel(PathBuf),
    #[error(
        "{0} is no raw ext4 filesystem; a disk with partitions, a qcow2 or another filesystem is to be made one first"
    )]
    NotExt4(PathBuf),
    #[error("the {what} {path} {why}")]
    Source { what: &'static str, path: PathBuf, why: &'static str },
    #[error("{field} cannot be {value:?}: {want}")]
    Word { field: &'static str, value: String, want: &'static str },
    #[error("{path} {why}")]
    Kernel { path: PathBuf, why: &'static str },
    #[error(
        "there is no systemd, OpenRC or inittab in it, so nothing would start the agent; with our kernel and initrd it boots as it is: minions image import"
    )]
    NoInit,
    #[error(
        "there is no kernel with its initrd in its boot folder (vmlinuz-X and initrd.img-X or initramfs-X.img); install one in it, or boot it with ours: minions image import"
    )]
    NoBoot,
    #[error("a program of the build failed")]
    Command(#[from] CommandError),
    #[error("cannot {what} {path}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl ImageError {
    pub fn io(what: &'static str, path: &std::path::Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        let text = error.to_string();
        match error {
            ImageError::Program { .. } => Self::new(ErrorKind::Unsupported, text).with_reason("host_misconfigured"),
            ImageError::NotStatic { .. } => Self::invalid("agent", text),
            ImageError::Source { what, .. } => Self::invalid(what, text).with_reason("image_invalid"),
            ImageError::Kernel { .. } => Self::invalid("kernel", text).with_reason("kernel_invalid"),
            ImageError::NoInit | ImageError::NoBoot => Self::invalid("source", text).with_reason("image_invalid"),
            ImageError::Word { field, .. } => Self::invalid(field, text),
            ImageError::NotRoot => Self::new(ErrorKind::Denied, text),
            ImageError::NoModule(_) | ImageError::BadModule(_) | ImageError::NoKernel(_) => {
                Self::invalid("kernel", text)
            }
            ImageError::NotExt4(_) => Self::invalid("file", text),
            ImageError::NoPackage(_) => Self::new(ErrorKind::Unavailable, text),
            ImageError::Command(command) => {
                let inner = Self::from(command);
                Self::new(inner.kind(), text).with_effect(inner.effect()).with_source(inner)
            }
            ImageError::Io { source, .. } => Self::new(kind_of(&source), text).with_source(source),
        }
    }
}
