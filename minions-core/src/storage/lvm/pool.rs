//! How full the pool is, and what that allows.

use super::command::{Place, host_tag, host_tags};
use super::error::LvmError;
use super::wire::{Fill, LogicalVolume, Report};
use crate::storage::{StorageFill, StorageUsage};
use crate::types::{ByteSize, HostId};

/// From here on, nothing new is made: who is there already shall have room to write.
pub(super) const MOST_DATA: Fill = Fill::percent(80);
/// From here on, nothing new is made: a pool whose metadata is full can be lost.
pub(super) const MOST_METADATA: Fill = Fill::percent(70);
/// From here on, people are warned.
pub(super) const MUCH_DATA: Fill = Fill::percent(70);
/// From here on, people are warned.
pub(super) const MUCH_METADATA: Fill = Fill::percent(50);

/// The kind of a pool.
pub(super) const POOL: &str = "thin-pool";

/// The pool.
pub(super) fn find<'a>(report: &'a Report, place: &Place) -> Result<&'a LogicalVolume, LvmError> {
    let pool = report.volume(&place.pool).filter(|volume| volume.kind == POOL);
    pool.ok_or_else(|| LvmError::Setup {
        message: format!("there is no thin pool {}/{}", place.vg, place.pool),
        fix: "minions init".to_owned(),
    })
}

/// Whether something new may be made that holds nothing yet.
pub(super) fn admit(report: &Report, place: &Place) -> Result<(), LvmError> {
    admit_bytes(report, place, ByteSize::default())
}

/// Whether something new may be made, and so many bytes be written to it.
pub(super) fn admit_bytes(report: &Report, place: &Place, bytes: ByteSize) -> Result<(), LvmError> {
    let pool = find(report, place)?;
    let name = format!("{}/{}", place.vg, place.pool);
    let fills = [
        ("data", pool.data, MOST_DATA, format!("lvextend --size +10g {name}")),
        ("metadata", pool.metadata, MOST_METADATA, format!("lvextend --poolmetadatasize +256m {name}")),
    ];
    for (what, fill, most, fix) in fills {
        let Some(fill) = fill else {
            return Err(LvmError::Setup {
                message: format!("nobody knows how full the {what} of the pool {name} is"),
                fix: format!("lvchange --activate y {name}"),
            });
        };
        if fill >= most {
            return Err(LvmError::PoolFull { what, pool: name, fill, most, fix });
        }
        let used = fill.of(pool.size).get();
        if what == "data" && used.saturating_add(bytes.get()) > most.of(pool.size).get() {
            return Err(LvmError::NoRoom { bytes, pool: name, fill, most, fix });
        }
    }
    if pool.check_needed || !pool.health.is_empty() {
        let ails = if pool.health.is_empty() { "needs a check" } else { &pool.health };
        return Err(LvmError::Setup {
            message: format!("the pool {name} is not well: {ails}"),
            fix: format!("lvconvert --repair {name}"),
        });
    }
    Ok(())
}

/// How full it is.
pub(super) fn usage(report: &Report, place: &Place) -> Result<StorageUsage, LvmError> {
    let pool = find(report, place)?;
    let part = |fill: Option<Fill>, size: ByteSize| fill.map_or(ByteSize::default(), |fill| fill.of(size));
    Ok(StorageUsage {
        total: pool.size,
        used: part(pool.data, pool.size),
        metadata: Some(StorageFill { total: pool.metadata_size, used: part(pool.metadata, pool.metadata_size) }),
    })
}

/// Whether it is safe to work with: it zeroes what it gives out.
pub(super) fn check(pool: &LogicalVolume, place: &Place) -> Result<(), LvmError> {
    let name = format!("{}/{}", place.vg, place.pool);
    if !pool.zero {
        return Err(LvmError::Setup {
            message: format!("the pool {name} does not zero what it gives out: guests would read what others wrote"),
            fix: format!("lvchange --zero y {name}"),
        });
    }
    if pool.when_full != "error" {
        let fix = format!("lvchange --errorwhenfull y {name}");
        tracing::warn!(fix, "the pool lets whoever writes hang when it is full, instead of telling an error");
    }
    Ok(())
}

/// Refuses a pool that bears the tag of a service other than ours: each would take the other's volumes for strays. Tells
/// whether it bears ours.
pub(super) fn owned(pool: &LogicalVolume, place: &Place, host: Option<HostId>) -> Result<bool, LvmError> {
    let ours = host.map(host_tag);
    match host_tags(&pool.tags).find(|tag| Some(*tag) != ours.as_deref()) {
        None => Ok(host_tags(&pool.tags).next().is_some()),
        Some(tag) => {
            let pool = format!("{}/{}", place.vg, place.pool);
            let fix =
                format!("use another storage.pool, or, where that service is gone for good: {}", release(&pool, tag));
            Err(LvmError::OtherHost { tag: tag.to_owned(), pool, fix })
        }
    }
}

/// The line that takes a service's tag off its pool.
pub(super) fn release(pool: &str, tag: &str) -> String {
    format!("lvchange --deltag {tag} {pool}")
}
