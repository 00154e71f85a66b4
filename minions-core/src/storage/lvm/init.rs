//! Finds or makes the group and the pool. Shows what it would do before it does it.

use std::fmt;
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::command::{Command, LIMIT, Place, Programs, Runner};
use super::error::LvmError;
use super::pool;
use super::wire::{Report, ReportError};
use super::{LvmConfig, is_name};
use crate::error::Result;
use crate::types::ByteSize;

/// One command that makes or mends a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStep(Command);

impl fmt::Display for PoolStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.program, self.0.words.join(" "))
    }
}

#[derive(Deserialize)]
struct Groups {
    report: Vec<GroupSection>,
}

#[derive(Deserialize)]
struct GroupSection {
    vg: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    vg_name: String,
    vg_free: String,
}

/// The commands that are missing until there is a pool that zeroes what it gives out, tells an error when it is full and
/// passes discards down; none where all is well. `devices` are whole disks or partitions, used only where there is no such
/// group yet: lvm2 refuses those that hold anything.
///
/// # Errors
/// `InvalidArgument` for names that LVM does not know and for devices that are missing; `Unavailable` where lvm2 is.
pub async fn plan_pool(config: &LvmConfig, devices: &[PathBuf]) -> Result<Vec<PoolStep>> {
    let runner = Programs { dir: config.programs.clone(), limit: LIMIT };
    Ok(plan(&runner, config, devices).await?)
}

/// Runs what [`plan_pool`] tells, and tells what it ran. Running it again does nothing.
///
/// # Errors
/// See [`plan_pool`]; what was done until then stays, and the same call goes on.
pub async fn ensure_pool(config: &LvmConfig, devices: &[PathBuf]) -> Result<Vec<PoolStep>> {
    let runner = Programs { dir: config.programs.clone(), limit: LIMIT };
    let steps = plan(&runner, config, devices).await?;
    for step in &steps {
        run(&runner, &step.0).await?;
    }
    Ok(steps)
}

/// Whether the volume group is there, whoever has made it.
///
/// # Errors
/// `InvalidArgument` for a name that LVM does not know; `Unavailable` where lvm2 is.
pub async fn has_group(config: &LvmConfig) -> Result<bool> {
    if !is_name(&config.vg) {
        return Err(LvmError::Name { field: "storage.vg", name: config.vg.clone() }.into());
    }
    let runner = Programs { dir: config.programs.clone(), limit: LIMIT };
    let groups = run(&runner, &list()).await?;
    Ok(free(&groups, &config.vg)?.is_some())
}

/// Files of udev that [`udev_rule`] belongs into: behind the rules that name LVM's devices, before those that look into them.
/// Distributions number them in two ways; both files do no harm.
pub const UDEV_FILES: [&str; 2] = ["/etc/udev/rules.d/12-minions.rules", "/etc/udev/rules.d/57-minions.rules"];

/// The rule by which the host's udev leaves our volumes alone: otherwise it looks for filesystems in them, which guests
/// have written, whenever one is activated or closed.
#[must_use]
pub fn udev_rule(vg: &str) -> String {
    format!(
        "# Made by minions: the host never looks into the disks of guests.\n\
         ENV{{DM_VG_NAME}}==\"{vg}\", ENV{{DM_LV_NAME}}==\"vm_*|img_*\", \
         ENV{{DM_UDEV_DISABLE_DISK_RULES_FLAG}}=\"1\", ENV{{DM_UDEV_DISABLE_OTHER_RULES_FLAG}}=\"1\"\n"
    )
}

async fn run(runner: &dyn Runner, command: &Command) -> Result<Vec<u8>, LvmError> {
    runner.run(command).await.map_err(|error| LvmError::Command(Arc::new(error)))
}

async fn plan(runner: &dyn Runner, config: &LvmConfig, devices: &[PathBuf]) -> Result<Vec<PoolStep>, LvmError> {
    for (field, name) in [("storage.vg", &config.vg), ("storage.pool", &config.pool)] {
        if !is_name(name) {
            return Err(LvmError::Name { field, name: name.clone() });
        }
    }
    let place = Place { vg: config.vg.clone(), pool: config.pool.clone() };
    let groups = run(runner, &list()).await?;
    let steps = match free(&groups, &place.vg)? {
        None => {
            let devices = devices.to_vec();
            let listed: Vec<String> = devices.iter().map(|device| device.display().to_string()).collect();
            let total =
                tokio::task::spawn_blocking(move || measure(&devices)).await.map_err(|_| LvmError::Stopped)??;
            let group = words("vgcreate", &[]).on(std::iter::once(place.vg.clone()).chain(listed));
            vec![group, make(&place, total)]
        }
        Some(free) => {
            let said = run(runner, &place.report()).await?;
            let report = Report::parse(&said).map_err(LvmError::Report)?;
            match report.volume(&place.pool) {
                None => vec![make(&place, free)],
                Some(_) => mend(&report, &place)?,
            }
        }
    };
    Ok(steps.into_iter().map(PoolStep).collect())
}

/// Which groups there are, and what they have left.
fn list() -> Command {
    words("vgs", &["--reportformat", "json", "--units", "b", "--nosuffix", "--options", "vg_name,vg_free"])
}

fn words(program: &'static str, words: &[&str]) -> Command {
    Command { program, words: words.iter().map(ToString::to_string).collect() }
}

/// What a group has left; `None` where there is no such group.
fn free(said: &[u8], vg: &str) -> Result<Option<ByteSize>, LvmError> {
    let form = |text: String| LvmError::Report(ReportError::Form(text));
    let groups: Groups = serde_json::from_slice(said).map_err(|error| form(error.to_string()))?;
    let group = groups.report.iter().flat_map(|section| &section.vg).find(|group| group.vg_name == vg);
    let free = group.map(|group| group.vg_free.parse().map_err(|_| form(format!("free is {:?}", group.vg_free))));
    Ok(free.transpose()?.map(ByteSize::bytes))
}

/// Bytes of all devices.
fn measure(devices: &[PathBuf]) -> Result<ByteSize, LvmError> {
    if devices.is_empty() {
        return Err(LvmError::Setup {
            message: "there is no such volume group, and no device to make it on".to_owned(),
            fix: "minions init --device /dev/…".to_owned(),
        });
    }
    let mut total = 0u64;
    for path in devices {
        let failed = |source| LvmError::Device { what: "measure", path: path.clone(), source };
        let mut device = std::fs::File::open(path).map_err(failed)?;
        total = total.saturating_add(device.seek(SeekFrom::End(0)).map_err(failed)?);
    }
    Ok(ByteSize::bytes(total))
}

/// How large the pieces are in which a pool of this size gives out room, and its metadata: twice what it needs when
/// every piece is given out once, since snapshots need some for each of theirs.
fn shape(total: ByteSize) -> (u64, u64) {
    const MIB: u64 = 1 << 20;
    let mut chunk = 64 << 10;
    while total.get() / chunk > 1 << 25 {
        chunk *= 2;
    }
    let metadata = (total.get() / chunk).saturating_mul(128).clamp(32 * MIB, 8192 * MIB);
    (chunk, metadata.div_ceil(4 * MIB) * 4 * MIB)
}

/// A new pool in nine tenths of what is free: the rest is for its metadata, twice, and for the day when it is full.
fn make(place: &Place, total: ByteSize) -> Command {
    let (chunk, metadata) = shape(total);
    let (chunk, metadata) = (format!("{}k", chunk >> 10), format!("{metadata}b"));
    let options = [
        // lvm2 has no option for it that it would take here.
        ["--config", "activation/error_when_full=1"],
        ["--type", "thin-pool"],
        ["--name", &place.pool],
        ["--extents", "90%FREE"],
        ["--poolmetadatasize", &metadata],
        ["--chunksize", &chunk],
        ["--zero", "y"],
        ["--discards", "passdown"],
    ];
    let all: Vec<&str> = std::iter::once("--yes").chain(options.into_iter().flatten()).collect();
    words("lvcreate", &all).on([place.vg.clone()])
}

/// What a pool that is there still lacks.
fn mend(report: &Report, place: &Place) -> Result<Vec<Command>, LvmError> {
    let pool = pool::find(report, place)?;
    let change = |option: &str, value: &str| {
        words("lvchange", &["--yes", option, value]).on([format!("{}/{}", place.vg, place.pool)])
    };
    let mut steps = Vec::new();
    if !pool.zero {
        steps.push(change("--zero", "y"));
    }
    if pool.when_full != "error" {
        steps.push(change("--errorwhenfull", "y"));
    }
    if pool.discards != "passdown" {
        steps.push(change("--discards", "passdown"));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pools_metadata_has_room_for_snapshots_and_never_more_than_lvm_allows() {
        for (total, chunk, metadata) in [
            (ByteSize::gib(1), 64 << 10, 32 << 20),
            (ByteSize::gib(1024), 64 << 10, 2048 << 20),
            (ByteSize::gib(2048), 64 << 10, 4096 << 20),
            (ByteSize::gib(8192), 256 << 10, 4096 << 20),
        ] {
            assert_eq!(shape(total), (chunk, metadata), "{total}");
        }
    }

    #[test]
    fn bad_27_what_vgs_says_is_read_strictly() {
        let said = br#"{"report":[{"vg":[{"vg_name":"other","vg_free":"1"},{"vg_name":"m","vg_free":"4194304"}]}]}"#;
        assert_eq!(free(said, "m").unwrap(), Some(ByteSize::mib(4)));
        assert_eq!(free(said, "x").unwrap(), None);
        for said in ["", "{}", "[]", r#"{"report":[{"vg":[{"vg_name":"m","vg_free":"4.00m"}]}]}"#] {
            assert!(free(said.as_bytes(), "m").is_err(), "{said}");
        }
    }
}
