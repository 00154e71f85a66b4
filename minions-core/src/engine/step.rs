//! The steps a plan is made of. Each is exactly one call of one port, and may be repeated.

use crate::types::{DiskRole, StopHow, VolumeId};

/// One call of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `Storage::ensure_volume`: makes, finishes or grows it.
    MakeVolume(DiskRole),
    /// `Storage::ensure_volume_absent`.
    RemoveVolume(VolumeId),
    /// `Network::ensure_port`.
    MakePort,
    /// `Network::ensure_absent`.
    RemovePort,
    /// `GuestChannel::ensure_open`.
    OpenDoor,
    /// `GuestChannel::ensure_absent`.
    RemoveDoor,
    /// `Journal::provisioned`.
    NoteProvisioned,
    /// `Hypervisor::ensure_disks`: the guest sees how large its disks are now.
    ShowDisks,
    /// `GuestChannel::connect`, and a request to make a filesystem as large as its disk.
    GrowGuest(DiskRole),
    /// `Hypervisor::ensure_process`.
    PrepareVmm,
    /// `Hypervisor::ensure_running`.
    StartVmm,
    /// `GuestChannel::accept`, and the guest's proof.
    AwaitReady,
    /// `GuestChannel::connect`, and the guest's proof: it may run since before this engine.
    Probe,
    /// `GuestChannel::connect`, and a request to shut down.
    AskGuest,
    /// `Hypervisor::wait_exit`, as long as the guest has been granted.
    AwaitExit {
        /// How long, in milliseconds.
        grace_ms: u64,
    },
    /// `Hypervisor::ensure_absent`.
    EndVmm(StopHow),
}

impl Step {
    /// Its name in timings, traces and errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MakeVolume(DiskRole::Root) => "root_disk",
            Self::MakeVolume(DiskRole::Data) => "data_disk",
            Self::RemoveVolume(_) => "remove_disk",
            Self::MakePort => "network_port",
            Self::RemovePort => "remove_port",
            Self::OpenDoor => "guest_door",
            Self::RemoveDoor => "remove_door",
            Self::NoteProvisioned => "note_provisioned",
            Self::ShowDisks => "show_disks",
            Self::GrowGuest(_) => "grow_guest",
            Self::PrepareVmm => "vmm_process",
            Self::StartVmm => "vmm_start",
            Self::AwaitReady => "guest_ready",
            Self::Probe => "guest_probe",
            Self::AskGuest => "ask_guest",
            Self::AwaitExit { .. } => "await_exit",
            Self::EndVmm(_) => "end_vmm",
        }
    }

    /// Whether it only waits for something that may never come: such a step takes no place among the working ones, and a
    /// newer goal interrupts it.
    #[must_use]
    pub const fn is_wait(&self) -> bool {
        matches!(self, Self::AwaitReady | Self::Probe | Self::AskGuest | Self::AwaitExit { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BootMark;

    #[test]
    fn every_step_is_a_phase_to_whoever_reads_the_timings() {
        use DiskRole::{Data, Root};
        let vm = crate::types::VmId::from_bits(1);
        let steps = [
            [Step::MakeVolume(Root), Step::MakeVolume(Data), Step::RemoveVolume(VolumeId::root(vm)), Step::MakePort],
            [Step::RemovePort, Step::OpenDoor, Step::RemoveDoor, Step::NoteProvisioned],
            [Step::PrepareVmm, Step::StartVmm, Step::AwaitReady, Step::Probe],
            [Step::AskGuest, Step::AwaitExit { grace_ms: 0 }, Step::EndVmm(StopHow::Force), Step::ShowDisks],
            [Step::GrowGuest(Root), Step::RemoveVolume(VolumeId::data(vm)), Step::MakePort, Step::RemovePort],
        ];
        for step in steps.iter().flatten() {
            assert!(BootMark { name: step.name().into(), micros: 0 }.is_phase(), "{}", step.name());
        }
        assert!(!BootMark { name: "kernel".into(), micros: 0 }.is_phase());
    }
}
