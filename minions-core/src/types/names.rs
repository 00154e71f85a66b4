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

/// A volume: `vm_….root` or `vm_….data`.
#[must_use]
pub fn volume(id: VolumeId) -> String {
    format!("{}.{}", id.vm, id.role.as_str())
}

/// Reads back what [`volume`] spelled.
#[must_use]
pub fn volume_of(name: &str) -> Option<VolumeId> {
    let (vm, role) = name.split_once('.')?;
    Some(VolumeId { vm: vm.parse().ok()?, role: DiskRole::parse(role)? })
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
        for role in [DiskRole::Root, DiskRole::Data] {
            let id = VolumeId { vm: VmId::from_bits(99), role };
            assert_eq!(volume_of(&volume(id)), Some(id));
        }
        assert_eq!(volume_of("../etc.root"), None);
    }
}
