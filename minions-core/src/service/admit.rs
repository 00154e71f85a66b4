//! Which request is admitted for which VM. A pure table: its whole matrix is a golden file and the documentation's.

use crate::error::{Error, ErrorKind};
use crate::store::VmRow;
use crate::types::{Goal, OperationVerb, StopHow};

/// A VM, as far as admission cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// It shall run.
    Running,
    /// It shall be stopped.
    Stopped,
    /// It was given up; its disks are there.
    Failed,
    /// It was given up, and its disks are lost with their host.
    Lost,
    /// It is being destroyed.
    Deleting,
    /// It is a tombstone.
    Gone,
    /// It is a tombstone that keeps its data disk.
    Kept,
}

impl Record {
    /// Every row of the table.
    pub const ALL: [Record; 7] =
        [Self::Running, Self::Stopped, Self::Failed, Self::Lost, Self::Deleting, Self::Gone, Self::Kept];

    /// What a row is.
    #[must_use]
    pub fn of(row: &VmRow) -> Self {
        match (&row.goal, &row.failure) {
            _ if row.deleted.is_some() && row.kept => Self::Kept,
            _ if row.deleted.is_some() => Self::Gone,
            (Goal::Absent { .. }, _) => Self::Deleting,
            (_, Some(reason)) if reason.code == "host_lost" => Self::Lost,
            (_, Some(_)) => Self::Failed,
            (Goal::Running { .. }, None) => Self::Running,
            (Goal::Stopped { .. }, None) => Self::Stopped,
        }
    }
}

/// What an admitted request changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Nothing: what is asked for is the goal already. The operation ends when the goal is met.
    Join,
    /// Another goal, or the same one anew.
    Goal,
    /// The spec or the name.
    Record,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// It is being destroyed.
    Deleting,
    /// It is gone.
    Gone,
    /// It is stopped, and the request is for one that runs.
    NotRunning,
    /// Its disks are lost.
    Lost,
    /// It left no data disk.
    NoDisk,
}

impl Denied {
    /// The error that a caller gets.
    #[must_use]
    pub fn error(self) -> Error {
        let (kind, reason, message) = match self {
            Self::Deleting => (ErrorKind::Denied, "wrong_state", "the VM is being destroyed"),
            Self::Gone => (ErrorKind::NotFound, "gone", "there is no such VM; see `minions list`"),
            Self::NotRunning => (ErrorKind::Denied, "not_running", "the VM is not running; start it first"),
            Self::NoDisk => (ErrorKind::NotFound, "disk_unknown", "there is no such disk; see `minions disk list`"),
            Self::Lost => (ErrorKind::Denied, "host_lost", "the VM's host is lost, and its disks with it; destroy it"),
        };
        Error::new(kind, message).with_reason(reason)
    }
}

/// The table.
pub fn admit(verb: OperationVerb, record: Record) -> Result<Intent, Denied> {
    use OperationVerb as V;
    use Record as R;
    match (verb, record) {
        (V::DeleteDisk, R::Kept) => Ok(Intent::Goal),
        (V::DeleteDisk, _) => Err(Denied::NoDisk),
        (_, R::Gone | R::Kept) => Err(Denied::Gone),
        (V::Destroy, R::Deleting) => Ok(Intent::Join),
        (V::Destroy, _) => Ok(Intent::Goal),
        (_, R::Deleting) => Err(Denied::Deleting),
        (V::Rename | V::Expose | V::Share, _) => Ok(Intent::Record),
        (_, R::Lost) => Err(Denied::Lost),
        (V::Create, _) => Ok(Intent::Join),
        (V::Start, R::Running) | (V::Stop, R::Stopped) => Ok(Intent::Join),
        (V::Start, R::Stopped | R::Failed) | (V::Stop, R::Running | R::Failed) => Ok(Intent::Goal),
        (V::Restart, R::Running | R::Failed) => Ok(Intent::Goal),
        (V::Restart, R::Stopped) => Err(Denied::NotRunning),
        (V::Rebase, R::Running | R::Stopped | R::Failed) => Ok(Intent::Goal),
        (V::Resize, R::Running | R::Stopped | R::Failed) => Ok(Intent::Record),
    }
}

/// Whether a stop that is under way is made harder by another.
#[must_use]
pub fn hardens(current: &Goal, asked: StopHow) -> bool {
    matches!((current, asked), (Goal::Stopped { how: StopHow::Graceful { .. } }, StopHow::Force))
}
