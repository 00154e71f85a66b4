//! Whether this host can keep volumes in LVM. Looks, and changes nothing.

use std::path::Path;
use std::time::Duration;

use super::command::{Command, Place, Programs, Runner};
use super::error::LvmError;
use super::init::{UDEV_FILES, udev_rule};
use super::pool::{self, MOST_DATA, MOST_METADATA, MUCH_DATA, MUCH_METADATA};
use super::wire::{Fill, LogicalVolume, Report};
use super::{LvmConfig, is_name, volume};
use crate::host::command::{CommandError, Tool};
use crate::host::lookup::is_executable;
use crate::host::preflight::Finding;
use crate::types::HostId;

/// The oldest lvm2 that was tried.
const OLDEST: (u32, u32) = (2, 3);
const PACKAGES: &str = "apt-get install lvm2 thin-provisioning-tools";
/// What of lvm2 is driven.
const PROGRAMS: [&str; 6] = ["lvs", "lvcreate", "lvextend", "lvchange", "lvrename", "lvremove"];
/// What lvm2 itself needs to watch and to check a pool, and we to make one.
const MORE: [&str; 5] = ["vgs", "vgcreate", "lvmconfig", "dmeventd", "thin_check"];

/// What asks lvm2 may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Looks at programs, their version, the group, the pool, how full it is and who watches it. What fails keeps a service from
/// starting; a pool that is full or ill does not, since its VMs run on.
pub async fn preflight(config: &LvmConfig) -> Vec<Finding> {
    let mut findings = vec![programs(&config.programs)];
    match version(&config.programs).await {
        finding if finding.status == crate::host::preflight::FindingStatus::Fail => {
            findings.push(finding);
            return findings;
        }
        finding => findings.push(finding),
    }
    if !is_name(&config.vg) || !is_name(&config.pool) {
        let message = format!("{:?}/{:?} are no names of LVM's", config.vg, config.pool);
        findings.push(Finding::fail("lvm_pool", message, "set storage.vg and storage.pool"));
        return findings;
    }
    let place = Place { vg: config.vg.clone(), pool: config.pool.clone() };
    let runner = Programs { dir: config.programs.clone(), limit: LIMIT };
    let report = match runner.run(&place.report()).await {
        Ok(said) => Report::parse(&said).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match report {
        Ok(report) => findings.extend(judge(&report, &place, config.host)),
        Err(message) => findings.push(Finding::fail("lvm_group", message, "minions init")),
    }
    findings.push(watched(&runner, &place).await);
    findings.push(looks(&place.vg, Path::new("/")).await);
    findings
}

fn programs(dir: &Path) -> Finding {
    let missing = |names: &[&'static str]| {
        let missing = names.iter().copied().filter(|name| !is_executable(&dir.join(name)));
        missing.collect::<Vec<_>>().join(", ")
    };
    match (missing(&PROGRAMS).as_str(), missing(&MORE).as_str()) {
        ("", "") => Finding::ok("lvm_programs", format!("lvm2 is in {}", dir.display())),
        ("", more) => Finding::warn("lvm_programs", format!("no {more} in {}", dir.display()), PACKAGES),
        (some, _) => Finding::fail("lvm_programs", format!("no {some} in {}", dir.display()), PACKAGES),
    }
}

/// The version in a line such as `LVM version: 2.03.16(2) (2022-05-18)`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("LVM version:"))?;
    let mut numbers = line.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

async fn version(dir: &Path) -> Finding {
    let program = dir.join("lvs");
    let said = Tool::new(&program).arg("--version").limit(LIMIT).cap(64 << 10).run().await;
    let said = said.and_then(|output| Ok(output.text(&program)?.to_owned()));
    match said.map(|text| version_in(&text)) {
        Ok(Some(have)) if have >= OLDEST => Finding::ok("lvm_version", format!("lvm2 {}.{:02}", have.0, have.1)),
        Ok(Some(have)) => {
            let message = format!("lvm2 {}.{:02} is older than {}.{:02}", have.0, have.1, OLDEST.0, OLDEST.1);
            Finding::fail("lvm_version", message, "upgrade lvm2")
        }
        Ok(None) => Finding::fail("lvm_version", format!("{} does not tell its version", program.display()), PACKAGES),
        Err(CommandError::Start { .. }) => {
            Finding::fail("lvm_version", format!("cannot run {}", program.display()), PACKAGES)
        }
        Err(error) => Finding::fail("lvm_version", error.to_string(), "lvs --version"),
    }
}

/// What a report says of the pool.
fn judge(report: &Report, place: &Place, host: Option<HostId>) -> Vec<Finding> {
    let name = format!("{}/{}", place.vg, place.pool);
    let Ok(pool) = pool::find(report, place) else {
        return vec![Finding::fail("lvm_pool", format!("there is no thin pool {name}"), "minions init")];
    };
    let mut findings = vec![owner(pool, place, host)];
    findings.extend([safe(pool, &name), when_full(pool, &name), discards(pool, &name), health(pool, &name)]);
    let more_data = format!("lvextend --size +10g {name}");
    let more_metadata = format!("lvextend --poolmetadatasize +256m {name}");
    findings.push(fill("lvm_data", "data", pool.data, (MUCH_DATA, MOST_DATA), &more_data));
    findings.push(fill("lvm_metadata", "metadata", pool.metadata, (MUCH_METADATA, MOST_METADATA), &more_metadata));
    let strays: Vec<&str> = volume::strays(report).collect();
    if !strays.is_empty() {
        let message = format!("volumes with our tag that nobody knows: {}", strays.join(", "));
        let fix = format!("lvchange --deltag minions {}/{}", place.vg, strays[0]);
        findings.push(Finding::warn("lvm_strays", message, fix));
    }
    findings
}

fn owner(pool: &LogicalVolume, place: &Place, host: Option<HostId>) -> Finding {
    match pool::owned(pool, place, host) {
        Ok(true) => Finding::ok("lvm_owner", "the pool is this service's"),
        Ok(false) => Finding::ok("lvm_owner", "the pool is nobody's yet; the service that starts first takes it"),
        Err(LvmError::OtherHost { pool, tag, fix }) => {
            Finding::fail("lvm_owner", format!("{pool} is another service's, it bears the tag {tag}"), fix)
        }
        Err(error) => Finding::fail("lvm_owner", error.to_string(), "lvs --options +lv_tags"),
    }
}

fn safe(pool: &LogicalVolume, name: &str) -> Finding {
    match pool.zero {
        true => Finding::ok("lvm_zeroing", format!("{name} zeroes what it gives out")),
        false => Finding::fail(
            "lvm_zeroing",
            format!("{name} does not zero what it gives out: guests would read what others wrote"),
            format!("lvchange --zero y {name}"),
        ),
    }
}

fn when_full(pool: &LogicalVolume, name: &str) -> Finding {
    match pool.when_full.as_str() {
        "error" => Finding::ok("lvm_when_full", format!("{name} tells an error when it is full")),
        other => Finding::warn(
            "lvm_when_full",
            format!("{name} makes whoever writes wait when it is full ({other:?}), for a minute and then for ever"),
            format!("lvchange --errorwhenfull y {name}"),
        ),
    }
}

fn discards(pool: &LogicalVolume, name: &str) -> Finding {
    match pool.discards.as_str() {
        "passdown" => Finding::ok("lvm_discards", format!("{name} passes discards down")),
        other => Finding::warn(
            "lvm_discards",
            format!("discards of {name} are {other:?}: what guests delete stays on the disk below"),
            format!("lvchange --discards passdown {name}"),
        ),
    }
}

fn health(pool: &LogicalVolume, name: &str) -> Finding {
    let repair = format!("lvconvert --repair {name}");
    match (pool.check_needed, pool.health.as_str()) {
        (false, "") => Finding::ok("lvm_health", format!("{name} is well")),
        (false, "out_of_data") => Finding::warn(
            "lvm_health",
            format!("{name} is full: guests cannot write"),
            format!("lvextend --size +10g {name}"),
        ),
        (true, _) => Finding::warn("lvm_health", format!("the metadata of {name} needs a check"), repair),
        (false, ails) => Finding::warn("lvm_health", format!("{name} is not well: {ails}"), repair),
    }
}

fn fill(id: &str, what: &str, fill: Option<Fill>, (much, most): (Fill, Fill), fix: &str) -> Finding {
    match fill {
        None => {
            Finding::warn(id, format!("nobody knows how full the pool's {what} is: it is not active"), "minions serve")
        }
        Some(fill) if fill >= most => {
            Finding::warn(id, format!("the pool's {what} is {fill} full: nothing new is made above {most}"), fix)
        }
        Some(fill) if fill >= much => Finding::warn(id, format!("the pool's {what} is {fill} full"), fix),
        Some(fill) => Finding::ok(id, format!("the pool's {what} is {fill} full")),
    }
}

/// Whether the host's udev looks into the disks of guests.
async fn looks(vg: &str, root: &Path) -> Finding {
    let files = UDEV_FILES.map(|file| root.join(file.trim_start_matches('/')));
    let rule = udev_rule(vg);
    let there = tokio::task::spawn_blocking(move || {
        files.iter().all(|file| std::fs::read_to_string(file).is_ok_and(|text| text == rule))
    });
    match there.await {
        Ok(true) => Finding::ok("lvm_udev", "the host does not look into the disks of guests"),
        _ => Finding::warn("lvm_udev", "the host's udev looks into the disks of guests", "minions init"),
    }
}

/// Whether lvm2 extends the pool by itself before it is full.
async fn watched(runner: &Programs, place: &Place) -> Finding {
    const KEY: &str = "thin_pool_autoextend_threshold";
    let fix = format!(
        "set activation/{KEY} = 70 in /etc/lvm/lvm.conf, then lvchange --monitor y {}/{}",
        place.vg, place.pool
    );
    let ask = Command {
        program: "lvmconfig",
        words: ["--typeconfig", "full", &format!("activation/{KEY}")].map(str::to_owned).to_vec(),
    };
    let said = match runner.run(&ask).await {
        Ok(said) => String::from_utf8_lossy(&said).into_owned(),
        Err(error) => return Finding::warn("lvm_autoextend", error.to_string(), fix),
    };
    match said.trim().strip_prefix(KEY).and_then(|rest| rest.strip_prefix('=')).map(str::parse::<u32>) {
        Some(Ok(percent @ 50..100)) => {
            Finding::ok("lvm_autoextend", format!("the pool grows by itself at {percent} %"))
        }
        Some(Ok(percent)) => {
            Finding::warn("lvm_autoextend", format!("the pool does not grow by itself (threshold {percent} %)"), fix)
        }
        _ => Finding::warn("lvm_autoextend", format!("nobody knows whether the pool grows by itself: {said:?}"), fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::preflight::FindingStatus;

    #[test]
    fn bad_27_versions_are_read_or_refused() {
        assert_eq!(version_in("  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1.02\n"), Some((2, 3)));
        assert_eq!(version_in("  LVM version:     2.02.98(2)"), Some((2, 2)));
        for text in ["", "LVM-Version: 2.03.16(2)", "LVM version: two", "\u{0}"] {
            assert_eq!(version_in(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn ctl_1_4_a_host_that_looks_into_guests_disks_is_told_so() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(looks("vg", root.path()).await.status, FindingStatus::Warn);
        std::fs::create_dir_all(root.path().join("etc/udev/rules.d")).unwrap();
        for (number, file) in UDEV_FILES.iter().enumerate() {
            assert_eq!(looks("vg", root.path()).await.status, FindingStatus::Warn, "after {number}");
            std::fs::write(root.path().join(&file[1..]), udev_rule("vg")).unwrap();
        }
        assert_eq!(looks("vg", root.path()).await.status, FindingStatus::Ok);
        assert_eq!(looks("other", root.path()).await.status, FindingStatus::Warn);
    }

    #[test]
    fn bad_28_every_finding_that_is_not_well_has_a_line_to_type() {
        let well = LogicalVolume {
            name: "pool".to_owned(),
            size: crate::types::ByteSize::gib(8),
            tags: Vec::new(),
            pool: String::new(),
            kind: "thin-pool".to_owned(),
            active: true,
            open: false,
            read_only: false,
            health: String::new(),
            check_needed: false,
            data: Some(Fill::percent(10)),
            metadata: Some(Fill::percent(10)),
            metadata_size: crate::types::ByteSize::mib(16),
            zero: true,
            when_full: "error".to_owned(),
            discards: "passdown".to_owned(),
            monitored: true,
        };
        let place = Place { vg: "vg".to_owned(), pool: "pool".to_owned() };
        let look = |change: &dyn Fn(&mut LogicalVolume)| {
            let mut pool = well.clone();
            change(&mut pool);
            let host = Some(HostId::from_bits(1));
            let findings = judge(&Report { volumes: vec![pool], ..Report::default() }, &place, host);
            findings.into_iter().filter(|finding| finding.status != FindingStatus::Ok).collect::<Vec<_>>()
        };
        assert_eq!(look(&|_| {}), []);
        type Change = fn(&mut LogicalVolume);
        let cases: [(&str, FindingStatus, Change); 11] = [
            ("lvm_owner", FindingStatus::Fail, |pool| pool.tags = vec!["minions.host=host_x".to_owned()]),
            ("lvm_zeroing", FindingStatus::Fail, |pool| pool.zero = false),
            ("lvm_when_full", FindingStatus::Warn, |pool| pool.when_full = "queue".to_owned()),
            ("lvm_discards", FindingStatus::Warn, |pool| pool.discards = "ignore".to_owned()),
            ("lvm_health", FindingStatus::Warn, |pool| pool.check_needed = true),
            ("lvm_health", FindingStatus::Warn, |pool| pool.health = "metadata_read_only".to_owned()),
            ("lvm_data", FindingStatus::Warn, |pool| pool.data = Some(Fill::percent(70))),
            ("lvm_data", FindingStatus::Warn, |pool| pool.data = Some(Fill::percent(80))),
            ("lvm_metadata", FindingStatus::Warn, |pool| pool.metadata = Some(Fill::percent(50))),
            ("lvm_metadata", FindingStatus::Warn, |pool| pool.metadata = Some(Fill::percent(70))),
            ("lvm_pool", FindingStatus::Fail, |pool| pool.kind = "linear".to_owned()),
        ];
        for (id, status, change) in cases {
            let found = look(&change);
            assert_eq!(found.iter().map(|it| (it.id.as_str(), it.status)).collect::<Vec<_>>(), [(id, status)]);
            assert!(found[0].fix.is_some(), "{id}");
        }
    }
}
