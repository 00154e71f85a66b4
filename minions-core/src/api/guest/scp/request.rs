//! What is asked.

use crate::error::{Error, Result};

const MAX_PATHS: usize = 64;
const MAX_PATH: usize = 4_096;
/// All of them together, so that the call fits its frame however they are spelled.
const MAX_BYTES: usize = 8_192;

/// Which side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScpMode {
    /// Files leave the guest.
    Source,
    /// Files come into the guest.
    Sink,
}

/// One run of `scp`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScpRequest {
    /// Which side.
    pub mode: ScpMode,
    /// Directories too.
    #[serde(default)]
    pub recursive: bool,
    /// With their times, and their permission bits whole.
    #[serde(default)]
    pub preserve: bool,
    /// The target must be a directory.
    #[serde(default)]
    pub directory: bool,
    /// What is sent, or the one place where it goes. What does not begin with `/` begins at root's home.
    pub paths: Vec<String>,
}

impl ScpRequest {
    /// Refuses what no agent could do.
    pub fn check(&self) -> Result<()> {
        let count = self.paths.len();
        if count == 0 || count > MAX_PATHS || self.mode == ScpMode::Sink && count != 1 {
            return Err(Error::invalid("paths", "a copy has 1 to 64 sources, and one target"));
        }
        let bytes: usize = self.paths.iter().map(String::len).sum();
        if bytes > MAX_BYTES || self.paths.iter().any(|path| path.len() > MAX_PATH || path.contains('\0')) {
            return Err(Error::invalid("paths", "a path has at most 4096 bytes, and no zero byte"));
        }
        Ok(())
    }
}
