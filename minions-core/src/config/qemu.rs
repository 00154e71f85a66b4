//! The section about QEMU.

use std::str::FromStr;

use super::file::{Reading, Section};

/// What carries the VSOCK of QEMU's guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QemuVsock {
    /// The kernel where it can and guests run on the processor, else the helper.
    #[default]
    Auto,
    /// The kernel, by `/dev/vhost-vsock`.
    Kernel,
    /// The program `vhost-device-vsock`.
    Helper,
}

impl FromStr for QemuVsock {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Kernel),
            "helper" => Ok(Self::Helper),
            _ => Err("expected auto, kernel or helper".to_owned()),
        }
    }
}

/// What an operator says of QEMU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuSettings {
    /// What carries the VSOCK of guests.
    pub vsock: QemuVsock,
}

pub(super) fn check(to: &mut Reading<'_>, mut section: Section<'_>) -> QemuSettings {
    let vsock = section.parsed(to, "vsock", str::parse);
    section.finish(to);
    QemuSettings { vsock: vsock.map(|vsock| vsock.value).unwrap_or_default() }
}
