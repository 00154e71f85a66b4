//! Planted mistakes, one at a time, for the tests that prove that mistakes are caught. Without the feature `testkit` no
//! mistake can be planted, and asking for one costs nothing.

/// A mistake that someone could make in the engine or in the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A VM is called running when its monitor is, before its guest has proven itself.
    AckBeforeReady,
    /// The row becomes a tombstone while disks are left.
    BuryBeforeDisks,
    /// A VM is called stopped while its monitor lives.
    StoppedBeforeKill,
    /// A disk that was lost is made anew, empty.
    RemakeLostDisk,
    /// That the disks were made is not written down.
    ForgetProvisioned,
    /// A door of an earlier process is taken for one that this process listens at.
    TrustStaleDoor,
    /// A restart is done when any monitor runs.
    IgnoreEpoch,
    /// Nobody waits for the end of a monitor.
    NoExitWatch,
    /// A started daemon does not take up the rows of its journal.
    NoReconcile,
    /// What a failed stage has left is taken for done.
    TrustTheStep,
    /// A network port that is not pinned is taken for one that is.
    TrustBrokenPort,
    /// A create that failed for good is not unwound.
    NoUnwinding,
    /// What the host did not take is not said again.
    PushOnce,
    /// What could not be written down is skipped.
    SkipReport,
    /// An operation has succeeded when the host has taken it on.
    SuccessOnAccept,
    /// The caller's key is not kept.
    NoIdempotency,
    /// The data disk goes with a VM that was to leave it.
    DropKeptData,
}

impl Mutant {
    /// Every mistake.
    pub const ALL: [Mutant; 17] = [
        Self::AckBeforeReady,
        Self::BuryBeforeDisks,
        Self::StoppedBeforeKill,
        Self::RemakeLostDisk,
        Self::ForgetProvisioned,
        Self::TrustStaleDoor,
        Self::IgnoreEpoch,
        Self::NoExitWatch,
        Self::NoReconcile,
        Self::TrustTheStep,
        Self::TrustBrokenPort,
        Self::NoUnwinding,
        Self::PushOnce,
        Self::SkipReport,
        Self::SuccessOnAccept,
        Self::NoIdempotency,
        Self::DropKeptData,
    ];
}

#[cfg(feature = "testkit")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Plants a mistake on this thread, or takes it out again. Only for runtimes of one thread.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    pub(crate) fn planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }
}

#[cfg(not(feature = "testkit"))]
mod switch {
    use super::Mutant;

    pub(crate) const fn planted(_: Mutant) -> bool {
        false
    }
}

#[cfg(feature = "testkit")]
pub use switch::plant;
pub(crate) use switch::planted;
