//! The machine itself, as `doctor` judges it: what it has, and what it lets one guest learn of another.

use std::path::PathBuf;

use super::files;
use super::preflight::Finding;
use crate::types::ByteSize;

/// A machine, by the files in which its kernel tells of it.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

/// What a host with a guest or two needs.
const LEAST_MEMORY: ByteSize = ByteSize::gib(2);

impl Machine {
    /// Everything that there is to say of it. `uids`: the first of the users that monitors run as, and how many they are.
    #[must_use]
    pub fn findings(&self, uids: (u32, u32)) -> Vec<Finding> {
        vec![
            self.processors(),
            self.memory(),
            clock(is_synchronised()),
            self.swap(),
            self.merging(),
            self.threads(),
            self.leaks(),
            self.users(uids),
        ]
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    fn processors(&self) -> Finding {
        let info = self.text("proc/cpuinfo");
        let count = info.lines().filter(|line| line.starts_with("processor")).count();
        let flags =
            info.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':')).map_or("", |(_, flags)| flags);
        let runs = flags.split_ascii_whitespace().find(|flag| ["vmx", "svm"].contains(flag));
        match runs {
            Some(flag) => Finding::ok("processors", format!("{count} that run guests ({flag})")),
            None => Finding::warn(
                "processors",
                format!("{count} that do not say that they run guests (neither vmx nor svm)"),
                "turn on virtualization in the firmware, or nested virtualization in the host around this one",
            ),
        }
    }

    fn memory(&self) -> Finding {
        let info = self.text("proc/meminfo");
        let of = |key: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| ByteSize::bytes(kib << 10))
        };
        let (Some(total), Some(free)) = (of("MemTotal"), of("MemAvailable")) else {
            return Finding::warn("memory", "the kernel does not tell how much there is", "mount /proc");
        };
        let mib = |size: ByteSize| ByteSize::mib(size.get() >> 20);
        let message = format!("{} of {} free", mib(free), mib(total));
        match total >= LEAST_MEMORY {
            true => Finding::ok("memory", message),
            false => Finding::warn("memory", message, format!("at least {LEAST_MEMORY} are advised")),
        }
    }

    /// What is swapped out to a disk in plain stays there.
    fn swap(&self) -> Finding {
        let swaps = self.text("proc/swaps");
        let plain = |name: &&str| {
            let device = name.rsplit('/').next().unwrap_or_default();
            let kind = self.text(&format!("sys/class/block/{device}/dm/uuid"));
            !device.starts_with("zram") && !kind.starts_with("CRYPT-")
        };
        let plain: Vec<&str> =
            swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).filter(plain).collect();
        match plain.join(", ").as_str() {
            "" => Finding::ok("swap", "the memory of guests never gets to a disk in plain"),
            disks => Finding::warn(
                "swap",
                format!("the memory of guests may be swapped to {disks}, in plain"),
                "swapoff --all, and take it out of /etc/fstab; or encrypt it",
            ),
        }
    }

    fn merging(&self) -> Finding {
        match self.text("sys/kernel/mm/ksm/run").trim() {
            "1" => Finding::warn(
                "ksm",
                "the kernel merges equal pages: a guest can learn what others hold by the time that writing takes",
                "echo 2 > /sys/kernel/mm/ksm/run",
            ),
            _ => Finding::ok("ksm", "equal pages are not merged"),
        }
    }

    /// Stated, not judged: to turn it off costs much, and whether it must be is the operator's matter.
    fn threads(&self) -> Finding {
        Finding::ok(
            "smt",
            match self.text("sys/devices/system/cpu/smt/active").trim() {
                "1" => "on: two guests may share a core and its caches; echo off > /sys/devices/system/cpu/smt/control",
                "0" => "off: no two guests share a core at a time",
                _ => "the kernel does not tell",
            },
        )
    }

    fn leaks(&self) -> Finding {
        let dir = "sys/devices/system/cpu/vulnerabilities";
        let mut open: Vec<String> = files::names(&self.root.join(dir)).unwrap_or_default();
        open.retain(|name| self.text(&format!("{dir}/{name}")).starts_with("Vulnerable"));
        open.sort();
        if open.is_empty() {
            return Finding::ok("vulnerabilities", "the kernel knows of none that is open");
        }
        Finding::warn(
            "vulnerabilities",
            format!("open: {}", open.join(", ")),
            "apt-get install intel-microcode amd64-microcode, and boot without mitigations=off",
        )
    }

    /// Whether the users of VMs are nobody else.
    fn users(&self, (first, count): (u32, u32)) -> Finding {
        let last = first.saturating_add(count.saturating_sub(1));
        let mut others = Vec::new();
        for (file, field) in [("etc/passwd", 2), ("etc/group", 2), ("etc/subuid", 1), ("etc/subgid", 1)] {
            for line in self.text(file).lines() {
                let fields: Vec<&str> = line.split(':').collect();
                let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
                let Some(from) = number(field) else { continue };
                let length = if field == 1 { number(2).unwrap_or(1) } else { 1 };
                if from <= last && from.saturating_add(length.saturating_sub(1)) >= first {
                    others.push(format!("{} in /{file}", fields[0]));
                }
            }
        }
        match others.is_empty() {
            true => Finding::ok("uids", format!("{first} to {last} are the VMs' own")),
            // Whoever is one of them may end that VM, and speak in its name.
            false => Finding::fail(
                "uids",
                format!("of the VMs' own users, {first} to {last}, some are others': {}", others.join(", ")),
                format!("give those other numbers than {first} to {last}"),
            ),
        }
    }
}

fn clock(synchronised: Option<bool>) -> Finding {
    const FIX: &str = "apt-get install systemd-timesyncd && timedatectl set-ntp true";
    match synchronised {
        Some(true) => Finding::ok("clock", "synchronised"),
        Some(false) => Finding::warn("clock", "not synchronised: tokens, events and certificates go by it", FIX),
        None => Finding::warn("clock", "the kernel does not tell whether it is synchronised", FIX),
    }
}

/// What the kernel says of its clock.
#[expect(unsafe_code, reason = "no binding of this question in the tree")]
fn is_synchronised() -> Option<bool> {
    // SAFETY: plain numbers, for all of which zero is a value; no mode is set, so nothing is changed.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one timex to where there is one.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then_some(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::preflight::FindingStatus;

    const UIDS: (u32, u32) = (200_000, 65_536);

    /// A machine whose files these are.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = dir.path().to_owned();
        (dir, Machine { root })
    }

    const GOOD: [(&str, &str); 6] = [
        ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu svm\nprocessor\t: 1\nflags\t\t: fpu svm\n"),
        ("proc/meminfo", "MemTotal:        4046888 kB\nMemFree: 1 kB\nMemAvailable:    3000000 kB\n"),
        ("proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 -2\n/dev/dm-3 partition 1 0 -2\n"),
        ("sys/class/block/dm-3/dm/uuid", "CRYPT-PLAIN-swap\n"),
        ("sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n"),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n"),
    ];

    #[test]
    fn ctl_1_6_a_good_machine_is_good() {
        let (_dir, machine) = machine(&GOOD);
        let findings = machine.findings(UIDS);
        let bad: Vec<_> = findings.iter().filter(|it| it.status != FindingStatus::Ok && it.id != "clock").collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert!(findings.iter().any(|it| it.id == "processors" && it.message.starts_with("2 that run guests (svm)")));
    }

    #[test]
    fn ctl_1_6_whatever_lets_guests_learn_of_each_other_or_fails_them_is_told_with_a_way_out() {
        for (id, path, text, word) in [
            ("processors", "proc/cpuinfo", "processor : 0\nflags : fpu\n", "neither"),
            ("memory", "proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 1000 kB\n", "976MiB"),
            ("memory", "proc/meminfo", "", "does not tell"),
            ("swap", "proc/swaps", "Filename Type\n/swapfile file 1 0 -2\n", "/swapfile"),
            ("ksm", "sys/kernel/mm/ksm/run", "1\n", "merges"),
            ("vulnerabilities", "sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable: no microcode\n", "mds"),
            ("uids", "etc/passwd", "vm:x:200007:1::/:/bin/sh\n", "vm in /etc/passwd"),
            ("uids", "etc/subuid", "me:165536:65536\n", "me in /etc/subuid"),
        ] {
            let mut files: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != path).collect();
            files.push((path, text));
            let (_dir, machine) = machine(&files);
            let found = machine.findings(UIDS);
            let bad: Vec<_> = found.iter().filter(|it| it.status != FindingStatus::Ok && it.id != "clock").collect();
            assert_eq!(bad.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [id], "{path}: {bad:?}");
            assert!(bad[0].message.contains(word) && bad[0].fix.is_some(), "{bad:?}");
        }
    }

    #[test]
    fn ctl_1_6_users_beside_those_of_vms_are_in_nobodys_way() {
        let text = "a:100000:65536\nb:265536:65536\nodd\nc:x:y\n";
        let (_dir, machine) = machine(&[("etc/subuid", text), ("etc/subgid", text)]);
        assert_eq!(machine.users(UIDS).status, FindingStatus::Ok);
        let (_dir, machine) = self::machine(&[("etc/subgid", "a:134466:65535\n")]);
        assert_eq!(machine.users(UIDS).status, FindingStatus::Fail, "its last is the VMs' first");
    }

    #[test]
    fn bad_28_a_clock_that_nobody_keeps_right_is_told() {
        assert_eq!(
            [Some(true), Some(false), None].map(|state| clock(state).status).map(|it| it == FindingStatus::Ok),
            [true, false, false]
        );
        // The kernel answers, whatever it says.
        assert!(is_synchronised().is_some());
    }
}
