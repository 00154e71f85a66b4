//! One call of a port, as policies see it.

use crate::types::VmId;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// Only looks.
    Read,
    /// May change something.
    Change,
    /// Waits for something to happen; how long is the caller's choice.
    Wait,
}

/// One call of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The port and its method, such as `storage.ensure_volume`.
    pub op: &'static str,
    /// What it is for.
    pub kind: CallKind,
    /// About which VM, where it is about one.
    pub vm: Option<VmId>,
    /// 1 for the first try.
    pub attempt: u32,
}

impl Call {
    /// A first attempt.
    #[must_use]
    pub fn new(op: &'static str, kind: CallKind, vm: Option<VmId>) -> Self {
        Self { op, kind, vm, attempt: 1 }
    }

    /// The port, such as `storage`.
    #[must_use]
    pub fn port(&self) -> &'static str {
        self.op.split_once('.').map_or(self.op, |(port, _)| port)
    }
}
