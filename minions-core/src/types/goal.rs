//! What shall become of a VM.

use super::time::Millis;

/// Counts the changes of what was asked of one VM; only rises. A node refuses to act on a lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What was asked. Stored; never computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "goal")]
pub enum Goal {
    /// A guest that answers, in a monitor of at least this epoch.
    Running {
        /// Rises with every start and restart. A monitor of a lower epoch is stopped first, which is what a
        /// restart is, and how a new size takes effect.
        epoch: u64,
    },
    /// Disks and leases, no process.
    Stopped {
        /// How the guest is asked.
        how: StopHow,
    },
    /// Nothing but a tombstone.
    Absent {
        /// The data disk stays, for another VM to take over.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keep_data: bool,
    },
}

impl Goal {
    /// Nothing is to be left but a tombstone.
    pub const ABSENT: Goal = Goal::Absent { keep_data: false };

    /// Whether it is to go, with its data disk or without.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// Its word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running { .. } => "running",
            Self::Stopped { .. } => "stopped",
            Self::Absent { .. } => "absent",
        }
    }
}

/// How a running guest is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum StopHow {
    /// Ask the guest, and end the monitor after this long.
    Graceful {
        /// How long the guest has.
        grace_ms: Millis,
    },
    /// End the monitor at once.
    Force,
}

impl StopHow {
    /// What `stop` does unless told otherwise.
    pub const DEFAULT: StopHow = StopHow::Graceful { grace_ms: 30_000 };
}
