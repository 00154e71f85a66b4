//! The only place that spells the names of things on a host, always from an id.
//!
//! No name that a person chose is ever part of a path, an interface, a unit or a socket.

use super::id::VmId;
use super::net::IfName;
use super::spec::{DiskRole, VolumeId};

/// What every object of ours on a host begins with.
pub const PREFIX: &str = "mn";

/// The TAP interface of a VM.
#[must_use]
pub fn tap(vm: VmId) -> IfName {
    IfName::from_short(PREFIX, &vm.short())
}

/// A bridge of the host's, by the operator's word for bridges.
#[must_use]
pub fn bridge(word: &str, number: u32) -> IfName {
    IfName::from_short(word, &number.to_string())
}

/// The folder, unit and lock of a VM's processes: its full id.
#[must_use]
pub fn vm_dir(vm: VmId) -> String {
    vm.to_string()
}

/// Reads back what [`vm_dir`] spelled.
#[must_use]
pub fn vm_of_dir(name: &str) -> Option<VmId> {
    name.parse().ok()
}

/// The socket in a [`vm_dir`] on which the host dials into a guest's VSOCK. What the guest dials arrives at
/// [`vsock_port`]. Short, since the path of a socket has room for 107 bytes.
pub const VSOCK: &str = "v";

/// The socket in a [`vm_dir`] at which a port arrives that the guest dials on the host.
#[must_use]
pub fn vsock_port(port: u32) -> String {
    format!("{VSOCK}_{port}")
}

/// Whether a name in a [`vm_dir`] is that of a [`vsock_port`]: those belong to the guest channel.
#[must_use]
pub fn is_vsock_port(name: &str) -> bool {
    name.strip_prefix(VSOCK).and_then(|rest| rest.strip_prefix('_')).is_some_and(|port| port.parse::<u32>().is_ok())
}

/// A volume: `vm_….root` or `vm_….data`, and of a later turn `vm_….root.2`.
#[must_use]
pub fn volume(id: VolumeId) -> String {
    let first = format!("{}.{}", id.vm, id.role.as_str());
    if id.turn == 0 { first } else { format!("{first}.{}", id.turn) }
}

/// Reads back what [`volume`] spelled.
#[must_use]
pub fn volume_of(name: &str) -> Option<VolumeId> {
    let (vm, rest) = name.split_once('.')?;
    let (role, turn) = match rest.split_once('.') {
        Some((role, turn)) => (role, turn.parse().ok()?),
        None => (rest, 0),
    };
    let id = VolumeId { vm: vm.parse().ok()?, role: DiskRole::parse(role)?, turn };
    // One name for each volume: no other spelling of a number is one.
    (volume(id) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_name_fits_an_interface_and_differs_where_ids_differ_at_the_end() {
        let one = tap(VmId::from_bits(1));
        let two = tap(VmId::from_bits(2));
        assert_ne!(one, two);
        assert!(one.as_str().len() <= 15, "{one}");
    }

    #[test]
    fn a_volume_name_reads_back() {
        let vm = VmId::from_bits(99);
        for first in [VolumeId::root(vm), VolumeId::data(vm)] {
            for id in [first, first.at(1), first.at(u32::MAX)] {
                assert_eq!(volume_of(&volume(id)), Some(id));
            }
        }
        let first = volume(VolumeId::root(vm));
        for other in ["../etc.root".to_owned(), format!("{first}.0"), format!("{first}.01"), format!("{first}.")] {
            assert_eq!(volume_of(&other), None, "{other}");
        }
    }
}
