//! Times and what took how long.

use std::borrow::Cow;

/// Milliseconds.
pub type Millis = u64;

/// Wall-clock time, for display and records only: milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// One thing that happened inside a step, and when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BootMark {
    /// What, such as `kernel` or `spawn`.
    pub name: Cow<'static, str>,
    /// How long it took, in microseconds.
    pub micros: u64,
}

impl BootMark {
    /// What a host does for a VM, each a phase by itself. Whatever stands behind one, up to the next, is a part of it.
    pub const PHASES: &'static [&'static str] = &[
        "root_disk",
        "data_disk",
        "network_port",
        "guest_door",
        "note_provisioned",
        "vmm_process",
        "vmm_start",
        "guest_ready",
        "guest_probe",
        "ask_guest",
        "await_exit",
        "end_vmm",
        "remove_port",
        "remove_door",
        "remove_disk",
        "show_disks",
        "grow_guest",
    ];

    /// Whether it is a phase, and not a part of the one before it.
    #[must_use]
    pub fn is_phase(&self) -> bool {
        Self::PHASES.contains(&&*self.name)
    }
}

/// What a port call brings back: the marks of what took how long inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StepReport {
    /// In the order in which they happened.
    pub marks: Vec<BootMark>,
}

impl StepReport {
    /// Nothing worth a mark happened.
    #[must_use]
    pub const fn empty() -> Self {
        Self { marks: Vec::new() }
    }

    /// Adds a mark.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, micros: u64) -> Self {
        self.marks.push(BootMark { name: name.into(), micros });
        self
    }
}
