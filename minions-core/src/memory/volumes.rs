//! The volumes of a simulated host, which know how much they were promised together.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::model::Volume;
use crate::types::{ByteSize, VolumeId};

/// Volumes by id. Reads go through to the map; what changes a size keeps the sum right, so that nobody adds up all of
/// them to make one more.
#[derive(Default)]
pub(super) struct Volumes {
    map: BTreeMap<VolumeId, Volume>,
    promised: u128,
}

impl Deref for Volumes {
    type Target = BTreeMap<VolumeId, Volume>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl Volumes {
    /// Bytes of all of them.
    pub fn promised(&self) -> u64 {
        u64::try_from(self.promised).unwrap_or(u64::MAX)
    }

    pub fn insert(&mut self, id: VolumeId, volume: Volume) {
        self.promised += u128::from(volume.size.get());
        if let Some(old) = self.map.insert(id, volume) {
            self.promised -= u128::from(old.size.get());
        }
    }

    pub fn remove(&mut self, id: &VolumeId) -> Option<Volume> {
        let volume = self.map.remove(id)?;
        self.promised -= u128::from(volume.size.get());
        Some(volume)
    }

    /// For changes of anything but the size.
    pub fn get_mut(&mut self, id: &VolumeId) -> Option<&mut Volume> {
        self.map.get_mut(id)
    }

    /// Gives a volume another size.
    pub fn resize(&mut self, id: &VolumeId, size: ByteSize) {
        if let Some(volume) = self.map.get_mut(id) {
            self.promised += u128::from(size.get());
            self.promised -= u128::from(volume.size.get());
            volume.size = size;
        }
    }
}
