//! Files of a guest.

use super::clamp::{Clamp, clamp_line};
use crate::types::UnixMillis;

/// Which file to send.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReadFile {
    /// Absolute.
    pub path: String,
    /// The first byte to send.
    #[serde(default)]
    pub offset: u64,
    /// The most bytes to send; all where it is not said.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Which file to replace.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WriteFile {
    /// Absolute.
    pub path: String,
    /// Permission bits; those of the file that is replaced, else 0644.
    #[serde(default)]
    pub mode: Option<u32>,
    /// Its owner; root where it is not said.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its group; root where it is not said.
    #[serde(default)]
    pub gid: Option<u32>,
    /// Whether missing directories above it are made.
    #[serde(default)]
    pub parents: bool,
}

/// Which directory to list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ListRequest {
    /// Absolute.
    pub path: String,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a pipe, a socket.
    Other,
}

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its content changed.
    pub modified: UnixMillis,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileEntry {
    /// Its name; what is not UTF-8 was replaced.
    pub name: String,
    /// What it is.
    pub info: FileInfo,
}

impl Clamp for FileInfo {
    fn clamp(mut self) -> Self {
        self.mode &= 0o7777;
        if let Some(target) = &mut self.target {
            clamp_line(target);
        }
        self
    }
}

impl Clamp for FileEntry {
    fn clamp(mut self) -> Self {
        clamp_line(&mut self.name);
        self.info = self.info.clamp();
        self
    }
}
