//! What people see of a VM. Computed, never stored.

/// Computed from the goal and what was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Accepted; no host has taken it yet.
    Pending,
    /// Its disks and ports are being made for the first time.
    Creating,
    /// Its guest is on the way up.
    Starting,
    /// Its guest answered.
    Running,
    /// Its guest is on the way down.
    Stopping,
    /// No process; disks and leases are kept.
    Stopped,
    /// On the way to a tombstone; its name routes nowhere.
    Deleting,
    /// A tombstone: what is left of it is what is told of it.
    Destroyed,
    /// Given up until someone asks for something else; the reason says why.
    Failed,
}

impl VmState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
            Self::Destroyed => "destroyed",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for VmState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a VM is in its state, where that is not plain: a code for programs and a line for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateReason {
    /// Stable, such as `host_lost`, `vmm_exited`, `no_capacity`.
    pub code: String,
    /// One line.
    pub message: String,
}

impl StateReason {
    /// From its two parts.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}
