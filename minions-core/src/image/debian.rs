//! A Debian that one can live in: what is installed, and what is settled in it afterwards.

use std::path::Path;
use std::time::Duration;

use super::error::ImageError;
use super::tools::{ImageTools, needed};
use super::tree::Tree;
use crate::host::command::Tool;
use crate::host::files;

/// The release.
const SUITE: &str = "bookworm";

/// What a Debian needs to be a guest of ours, and a person to find their way in it. No SSH server: who may enter a VM enters
/// it through its agent.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
    "dbus",
    "udev",
    "libpam-systemd",
    "iproute2",
    "iputils-ping",
    "netbase",
    "e2fsprogs",
    "kmod",
    "procps",
    "psmisc",
    "less",
    "nano",
    "sudo",
    "curl",
    "ca-certificates",
    "tzdata",
];

/// The locale that every Debian has, and that needs no package.
const PLAIN_LOCALE: &str = "C.UTF-8";

/// The first number of a person.
const PERSON: u32 = 1000;

/// What becomes of Debian's own wishes: which timers would wake each VM, and ask mirrors, behind its owner's back.
const NO_TIMERS: &[&str] = &["apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer"];

/// Which Debian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianConfig {
    /// A user of this name may do everything with sudo, without a password. There is none where it is `None`.
    pub user: Option<String>,
    /// What language programs speak; `C.UTF-8` needs nothing, any other brings the package `locales`.
    pub locale: String,
    /// Packages beside ours.
    pub packages: Vec<String>,
    /// The archive as it was then, from snapshot.debian.org: `20261101T000000Z`. The image's own apt uses Debian's mirror all
    /// the same.
    pub snapshot: Option<String>,
    /// Seconds of the epoch: no file shall be newer. The snapshot's time where it is not said; else the times are those of
    /// the build.
    pub newest: Option<u64>,
}

impl Default for DebianConfig {
    fn default() -> Self {
        Self {
            user: Some("debian".to_owned()),
            locale: PLAIN_LOCALE.to_owned(),
            packages: Vec::new(),
            snapshot: None,
            newest: None,
        }
    }
}

impl DebianConfig {
    /// Refuses what could be taken for something else, before anything is made.
    pub(super) fn check(&self) -> Result<(), ImageError> {
        let bad = |field, value: &str, want| Err(ImageError::Word { field, value: value.to_owned(), want });
        let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if let Some(user) = &self.user {
            let good = user.bytes().all(|byte| lower(&byte) || b"-_".contains(&byte));
            if !good || user.len() > 32 || !user.starts_with(|first: char| first.is_ascii_lowercase()) {
                return bad("user", user, "a name has 1 to 32 of a-z, 0-9, - and _ and begins with a letter");
            }
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if self.locale.len() > 32 || !self.locale.contains(".UTF-8") || !self.locale.bytes().all(word) {
            return bad("locale", &self.locale, "such as C.UTF-8 or de_DE.UTF-8; every terminal speaks UTF-8");
        }
        for package in &self.packages {
            let good = package.bytes().all(|byte| lower(&byte) || b"+-.".contains(&byte));
            if !good || !(2..=128).contains(&package.len()) || !lower(&package.as_bytes()[0]) {
                return bad("package", package, "the name of a Debian package");
            }
        }
        match &self.snapshot {
            Some(text) if seconds(text).is_none() => bad("snapshot", text, "a time such as 20261101T000000Z"),
            _ => Ok(()),
        }
    }

    /// What the newest file shall be.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest.or_else(|| seconds(self.snapshot.as_deref()?))
    }
}

/// Where the packages of this Debian are found, line for line.
fn sources(main: &str, security: &str) -> [String; 3] {
    [
        format!("deb {main} {SUITE} main"),
        format!("deb {main} {SUITE}-updates main"),
        format!("deb {security} {SUITE}-security main"),
    ]
}

fn own_sources() -> [String; 3] {
    sources("http://deb.debian.org/debian", "http://security.debian.org/debian-security")
}

/// `20261101T000000Z` in seconds of the epoch.
fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 || !(date.to_owned() + time).bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str| text.parse::<u64>().ok();
    let (year, month, day) = (number(&date[..4])?, number(&date[4..6])?, number(&date[6..])?);
    let (hour, minute, second) = (number(&time[..2])?, number(&time[2..4])?, number(&time[4..])?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (from_march, year) = ((month + 9) % 12, if month < 3 { year - 1 } else { year });
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Installs one into a folder.
pub(super) async fn install(
    tree: &Path,
    config: &DebianConfig,
    tools: &ImageTools,
    mirror: Option<&str>,
) -> Result<(), ImageError> {
    config.check()?;
    let program = needed(tools.mmdebstrap.as_ref(), "mmdebstrap", "apt-get install mmdebstrap")?;
    if !rustix::process::geteuid().is_root() {
        return Err(ImageError::NotRoot);
    }
    files::dir_absent(tree).map_err(ImageError::io("remove", tree))?;
    let plain = config.locale == PLAIN_LOCALE;
    let mut packages: Vec<&str> = PACKAGES.to_vec();
    packages.extend(config.packages.iter().map(String::as_str));
    packages.extend((!plain).then_some("locales"));
    let mut tool = Tool::new(program)
        .args(["--quiet", "--variant=minbase", "--mode=root"])
        .arg(format!("--include={}", packages.join(",")))
        .limit(Duration::from_mins(30));
    if let Some(newest) = config.newest() {
        tool = tool.env("SOURCE_DATE_EPOCH", newest.to_string());
    }
    if let Some(snapshot) = &config.snapshot {
        let archive = "http://snapshot.debian.org/archive";
        let lines = sources(&format!("{archive}/debian/{snapshot}"), &format!("{archive}/debian-security/{snapshot}"));
        // What an old archive says was true for a week only.
        tool = tool.arg("--aptopt=Acquire::Check-Valid-Until \"false\"").arg(SUITE).arg(tree).args(lines);
    } else {
        tool = tool.arg(SUITE).arg(tree).args(mirror);
    }
    tool.run().await?;
    if !plain {
        let (open, line) = (Tree::open(tree)?, format!("{} UTF-8\n", config.locale));
        open.put("etc/locale.gen", line, 0o644)?;
        let chroot = needed(tools.chroot.as_ref(), "chroot", "apt-get install coreutils")?;
        Tool::new(chroot).arg(tree).arg("/usr/sbin/locale-gen").limit(Duration::from_mins(5)).run().await?;
    }
    let (tree, config) = (tree.to_owned(), config.clone());
    let settled = tokio::task::spawn_blocking(move || settle(&Tree::open(&tree)?, &config)).await;
    settled.map_err(|error| ImageError::io("settle", Path::new("tree"))(std::io::Error::other(error)))?
}

/// Makes a fresh installation a guest: nothing of its builder is left, nothing waits for a person, and it knows its place.
pub(super) fn settle(tree: &Tree, config: &DebianConfig) -> Result<(), ImageError> {
    forget_the_builder(tree)?;
    if config.snapshot.is_some() {
        tree.put("etc/apt/sources.list", own_sources().join("\n") + "\n", 0o644)?;
    }
    // Filled at the first boot; while it is empty, no two guests have the same.
    tree.put("etc/machine-id", "", 0o444)?;
    tree.put("etc/fstab", "# the agent mounted what the kernel's command line names\n", 0o644)?;
    if tree.text("etc/hosts")?.is_none() {
        tree.put("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n", 0o644)?;
    }
    tree.dir("data", 0o755)?;
    seats(tree)?;
    place(tree, &config.locale)?;
    match &config.user {
        Some(user) => person(tree, user),
        None => Ok(()),
    }
}

/// What a build leaves behind, and each guest must make anew or better never have.
fn forget_the_builder(tree: &Tree) -> Result<(), ImageError> {
    for name in [
        "etc/hostname",
        "etc/resolv.conf",
        "etc/.pwd.lock",
        "etc/passwd-",
        "etc/shadow-",
        "etc/group-",
        "etc/gshadow-",
        "etc/subuid-",
        "etc/subgid-",
        "var/lib/dbus/machine-id",
        "var/lib/systemd/random-seed",
        "var/lib/systemd/credential.secret",
        "var/cache/ldconfig/aux-cache",
        "var/cache/debconf/config.dat-old",
        "var/cache/debconf/templates.dat-old",
        "var/lib/dpkg/status-old",
        "var/lib/dpkg/available-old",
        "var/lib/dpkg/diversions-old",
        "var/lib/dpkg/statoverride-old",
        "var/cache/apt/pkgcache.bin",
        "var/cache/apt/srcpkgcache.bin",
        "var/log/alternatives.log",
        "var/log/bootstrap.log",
        "var/log/dpkg.log",
        "var/log/fontconfig.log",
        "root/.bash_history",
        "root/.wget-hsts",
    ] {
        tree.absent(name)?;
    }
    for name in tree.names("etc/ssh")? {
        if name.starts_with("ssh_host_") {
            tree.absent(&format!("etc/ssh/{name}"))?;
        }
    }
    for name in
        ["tmp", "var/tmp", "run", "var/lib/apt/lists", "var/cache/apt/archives", "var/log/apt", "var/log/journal"]
    {
        tree.emptied(name)?;
    }
    // Where apt looks for a lock and for what it has half of.
    for name in ["var/lib/apt/lists/partial", "var/cache/apt/archives/partial"] {
        tree.dir(name, 0o755)?;
    }
    Ok(())
}

/// Who sits where in a Debian: nobody at a screen that no guest has, nor to answer the questions of a first boot; root at
/// the serial line, without a password. Only the host reaches that, and whom it lets sit there may run programs as root anyway.
fn seats(tree: &Tree) -> Result<(), ImageError> {
    tree.dir("etc/systemd/system/serial-getty@.service.d", 0o755)?;
    for unit in ["systemd-firstboot.service", "getty@.service"] {
        tree.link(&format!("etc/systemd/system/{unit}"), "/dev/null")?;
    }
    // The empty line takes back what the unit itself says.
    let login = "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 %I vt220\n";
    tree.put("etc/systemd/system/serial-getty@.service.d/autologin.conf", login, 0o644)
}

/// Where and when it is, in what language, and how much it may write down.
fn place(tree: &Tree, locale: &str) -> Result<(), ImageError> {
    tree.put("etc/timezone", "Etc/UTC\n", 0o644)?;
    tree.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")?;
    tree.dir("etc/default", 0o755)?;
    tree.put("etc/default/locale", format!("LANG={locale}\n"), 0o644)?;
    // Programs that the agent runs come through no login.
    tree.dir("etc/profile.d", 0o755)?;
    tree.put("etc/profile.d/50-minions.sh", format!("export LANG=\"${{LANG:-{locale}}}\"\n"), 0o644)?;
    tree.dir("etc/systemd/journald.conf.d", 0o755)?;
    let journal = "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nSystemKeepFree=256M\nRuntimeMaxUse=16M\n";
    tree.put("etc/systemd/journald.conf.d/50-minions.conf", journal, 0o644)?;
    // The agent has configured eth0 before udev could give it another name.
    tree.dir("etc/systemd/network", 0o755)?;
    tree.link("etc/systemd/network/99-default.link", "/dev/null")?;
    let timers = "etc/systemd/system/timers.target.wants";
    tree.dir(timers, 0o755)?;
    for timer in NO_TIMERS {
        tree.absent(&format!("{timers}/{timer}"))?;
    }
    // What a guest no longer needs is the pool's again.
    tree.link(&format!("{timers}/fstrim.timer"), "/lib/systemd/system/fstrim.timer")?;
    let clock = "etc/systemd/system/sysinit.target.wants";
    tree.dir(clock, 0o755)?;
    tree.link(&format!("{clock}/systemd-timesyncd.service"), "/lib/systemd/system/systemd-timesyncd.service")
}

/// A person who may do everything. Without a password: nobody logs in, who may enter the VM is asked by the host.
fn person(tree: &Tree, name: &str) -> Result<(), ImageError> {
    for (file, line, mode, group) in [
        ("etc/passwd", format!("{name}:x:{PERSON}:{PERSON}::/home/{name}:/bin/bash"), 0o644, 0),
        ("etc/group", format!("{name}:x:{PERSON}:"), 0o644, 0),
        ("etc/shadow", format!("{name}:!:1:0:99999:7:::"), 0o640, SHADOW),
        ("etc/gshadow", format!("{name}:!::"), 0o640, SHADOW),
    ] {
        let text = tree.text(file)?.unwrap_or_default();
        if text.lines().any(|line| line.split(':').next() == Some(name)) {
            let want = "a user or group of this name is Debian's own; choose another";
            return Err(ImageError::Word { field: "user", value: name.to_owned(), want });
        }
        let text = if file.ends_with("group") || file.ends_with("gshadow") { joined(&text, name) } else { text };
        tree.put_for(file, format!("{text}{line}\n"), mode, 0, group)?;
    }
    tree.dir("etc/sudoers.d", 0o750)?;
    tree.put("etc/sudoers.d/50-minions", format!("{name} ALL=(ALL:ALL) NOPASSWD: ALL\n"), 0o440)?;
    let home = format!("home/{name}");
    tree.dir(&home, 0o700)?;
    for file in tree.names("etc/skel")? {
        if let Some(text) = tree.text(&format!("etc/skel/{file}"))? {
            tree.put_for(&format!("{home}/{file}"), text, 0o644, PERSON, PERSON)?;
        }
    }
    tree.give(&home, PERSON, PERSON)
}

/// Debian's group for those files.
const SHADOW: u32 = 42;

/// The groups that such a person is in, with them in it.
fn joined(groups: &str, name: &str) -> String {
    let join = |line: &str| {
        let group = line.split(':').next().unwrap_or_default();
        let comma = if line.ends_with(':') { "" } else { "," };
        if ["sudo", "adm", "systemd-journal"].contains(&group) {
            format!("{line}{comma}{name}\n")
        } else {
            format!("{line}\n")
        }
    };
    groups.lines().map(join).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder with what an installation has that matters here.
    fn fresh() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
        put("etc/group", "root:x:0:\nadm:x:4:\nsudo:x:27:somebody\n");
        put("etc/shadow", "root:*:1::::::\n");
        put("etc/gshadow", "root:*::\nsudo:*::somebody\n");
        put("etc/skel/.bashrc", "# hello\n");
        for left in [
            "etc/hostname",
            "etc/resolv.conf",
            "etc/passwd-",
            "etc/ssh/ssh_host_rsa_key",
            "var/lib/apt/lists/x_Packages",
            "var/lib/apt/lists/partial/y",
            "var/lib/systemd/random-seed",
            "tmp/deep/er/file",
            "var/log/apt/history.log",
            "var/lib/dbus/machine-id",
            "etc/systemd/system/timers.target.wants/apt-daily.timer",
        ] {
            put(left, "of the builder");
        }
        folder
    }

    fn below(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                below(&entry.path(), found)
            } else {
                found.push(std::fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
    }

    #[test]
    fn nothing_of_its_builder_is_left_and_no_two_guests_are_the_same_machine() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP nothing_of_its_builder_is_left_and_no_two_guests_are_the_same_machine: needs root");
            return;
        }
        let folder = fresh();
        // As after a build that was given up.
        settle(&Tree::open(folder.path()).unwrap(), &DebianConfig { user: None, ..DebianConfig::default() }).unwrap();
        settle(&Tree::open(folder.path()).unwrap(), &DebianConfig::default()).unwrap();
        let mut texts = Vec::new();
        below(folder.path(), &mut texts);
        assert!(!texts.iter().any(|text| text.contains("of the builder")), "{texts:?}");
        assert_eq!(std::fs::read_to_string(folder.path().join("etc/machine-id")).unwrap(), "");
        assert!(folder.path().join("tmp").is_dir() && folder.path().join("var/lib/apt/lists/partial").is_dir());
    }

    #[test]
    fn its_person_may_do_everything_without_a_password_and_nobody_else_was_changed() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP its_person_may_do_everything_without_a_password_and_nobody_else_was_changed: needs root");
            return;
        }
        let folder = fresh();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        settle(&Tree::open(folder.path()).unwrap(), &DebianConfig::default()).unwrap();
        assert_eq!(read("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\ndebian:x:1000:1000::/home/debian:/bin/bash\n");
        assert_eq!(read("etc/group"), "root:x:0:\nadm:x:4:debian\nsudo:x:27:somebody,debian\ndebian:x:1000:\n");
        assert_eq!(read("etc/gshadow"), "root:*::\nsudo:*::somebody,debian\ndebian:!::\n");
        assert_eq!(read("etc/shadow"), "root:*:1::::::\ndebian:!:1:0:99999:7:::\n");
        let stat = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(stat("etc/shadow").permissions().mode() & 0o777, 0o640);
        assert_eq!(stat("etc/sudoers.d/50-minions").permissions().mode() & 0o777, 0o440, "sudo refuses any other");
        use std::os::unix::fs::MetadataExt;
        for name in ["home/debian", "home/debian/.bashrc"] {
            assert_eq!((stat(name).uid(), stat(name).gid()), (1000, 1000), "{name}");
        }
        let again = settle(&Tree::open(folder.path()).unwrap(), &DebianConfig::default()).unwrap_err();
        assert!(again.to_string().contains("choose another"), "{again}");
    }

    #[test]
    fn a_debian_lets_root_sit_at_its_serial_line_and_nobody_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        // As after a build that was given up.
        for _ in 0..2 {
            seats(&tree).unwrap();
        }
        let units = folder.path().join("etc/systemd/system");
        assert_eq!(std::fs::read_link(units.join("getty@.service")).unwrap(), Path::new("/dev/null"));
        assert!(!units.join("serial-getty@.service").exists(), "it is the distribution's");
        let login = std::fs::read_to_string(units.join("serial-getty@.service.d/autologin.conf")).unwrap();
        let commands: Vec<_> = login.lines().filter(|line| line.starts_with("ExecStart=")).collect();
        assert_eq!(commands[0], "ExecStart=", "what the unit says itself would come first");
        assert!(commands[1].contains("--autologin root") && commands.len() == 2, "{login}");
    }

    #[test]
    fn bad_22_words_that_could_be_taken_for_something_else_are_refused() {
        let plain = DebianConfig::default();
        plain.check().unwrap();
        let user = |text: &str| DebianConfig { user: Some(text.to_owned()), ..plain.clone() };
        for text in ["", "Root", "a b", "a:0", "-x", "1st", "a\n", &"a".repeat(33)] {
            assert!(matches!(user(text).check(), Err(ImageError::Word { field: "user", .. })), "{text:?}");
        }
        for text in ["", "C", "../x.UTF-8", "de_DE.UTF-8 UTF-8\nx", &format!("{}.UTF-8", "a".repeat(40))] {
            let config = DebianConfig { locale: text.to_owned(), ..plain.clone() };
            assert!(matches!(config.check(), Err(ImageError::Word { field: "locale", .. })), "{text:?}");
        }
        for text in ["", "a", "x y", "a,b", "--yes", "?essential", "Vim"] {
            let config = DebianConfig { packages: vec![text.to_owned()], ..plain.clone() };
            assert!(matches!(config.check(), Err(ImageError::Word { field: "package", .. })), "{text:?}");
        }
        for text in ["", "2026", "20261301T000000Z", "20260101T000000", "2026-01-01T00:00Z", "２0260101T000000Z"] {
            let config = DebianConfig { snapshot: Some(text.to_owned()), ..plain.clone() };
            assert!(matches!(config.check(), Err(ImageError::Word { field: "snapshot", .. })), "{text:?}");
        }
    }

    #[test]
    fn the_time_of_a_snapshot_is_that_of_its_newest_file() {
        assert_eq!(seconds("19700101T000000Z"), Some(0));
        assert_eq!(seconds("20240229T235959Z"), Some(1_709_251_199));
        assert_eq!(seconds("20260101T000000Z"), Some(1_767_225_600));
        let config = DebianConfig { snapshot: Some("20260101T000000Z".to_owned()), ..DebianConfig::default() };
        assert_eq!(config.newest(), Some(1_767_225_600));
        assert_eq!(DebianConfig { newest: Some(5), ..config }.newest(), Some(5));
    }
}
