//! What the guest says when it is up, and what it hears back.

use super::clamp::{Clamp, clamp_line, clamp_list};
use crate::types::{BootMark, UnixMillis};

/// The agent's first words on the ready port, after the hello.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReadyReport {
    /// Moments of the boot, in microseconds since the guest's kernel began.
    #[serde(default)]
    pub marks: Vec<BootMark>,
    /// The guest's kernel.
    #[serde(default)]
    pub kernel: String,
    /// What the root file system is mounted from, such as `/dev/vda`.
    #[serde(default)]
    pub root: String,
}

/// The host heard it. Only after this does the agent stop dialling.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReadyAck {
    /// The host's wall clock.
    #[serde(default)]
    pub wall: UnixMillis,
    /// The name the guest shall have, where it shall change.
    #[serde(default)]
    pub hostname: Option<String>,
}

impl Clamp for ReadyReport {
    /// At most 32 marks of at most a day each; names of at most 32 characters.
    fn clamp(mut self) -> Self {
        const DAY: u64 = 86_400_000_000;
        clamp_list(&mut self.marks, 32);
        for mark in &mut self.marks {
            mark.micros = mark.micros.min(DAY);
            mark.name = super::terminal::sanitize_line(&mark.name, 32).into();
        }
        clamp_line(&mut self.kernel);
        clamp_line(&mut self.root);
        self
    }
}
