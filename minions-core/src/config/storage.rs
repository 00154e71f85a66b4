//! The section about where disks lie.

use std::str::FromStr;

use super::file::{Reading, Section};

/// What keeps images and volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageKind {
    /// Files in the service's folder: needs no privilege.
    #[default]
    File,
    /// A thin pool of LVM: needs root.
    Lvm,
}

impl StorageKind {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Lvm => "lvm",
        }
    }
}

impl FromStr for StorageKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "file" => Ok(Self::File),
            "lvm" => Ok(Self::Lvm),
            _ => Err("expected file or lvm".to_owned()),
        }
    }
}

/// What an operator says of the storage; `None` where the storage decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// Which storage.
    pub kind: StorageKind,
    /// The volume group of LVM.
    pub vg: Option<String>,
    /// The thin pool in it.
    pub pool: Option<String>,
}

pub(super) fn check(to: &mut Reading<'_>, mut section: Section<'_>) -> StorageSettings {
    let kind = section.parsed(to, "kind", str::parse);
    let vg = section.parsed(to, "vg", name);
    let pool = section.parsed(to, "pool", name);
    section.finish(to);
    StorageSettings {
        kind: kind.map(|kind| kind.value).unwrap_or_default(),
        vg: vg.map(|vg| vg.value),
        pool: pool.map(|pool| pool.value),
    }
}

/// Nothing that could be taken for an option or a path; LVM itself is stricter, and is asked at the start.
fn name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    match text.bytes().all(allowed) && !text.is_empty() && !text.starts_with(['-', '.']) {
        true => Ok(text.to_owned()),
        false => Err("expected letters, digits and _.+-, not beginning with - or .".to_owned()),
    }
}
