//! What was written means this.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::file::{At, ConfigProblem, ConfigProblems, Reading, Section};
use super::network::{self, NetworkSettings};
use super::qemu::{self, QemuSettings};
use super::storage::{self, StorageSettings};
use crate::types::{ByteSize, Vcpus};

/// What runs the VMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The best that preflight proves; never the in-memory host.
    #[default]
    Auto,
    /// Simulated, gone with the daemon.
    Memory,
    /// Real VMs, in emulation where there is no other way.
    Qemu,
    /// Real VMs, on the processor only, with tap interfaces.
    CloudHypervisor,
}

impl Backend {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Memory => "memory",
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }
}

impl FromStr for Backend {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "memory" => Ok(Self::Memory),
            "qemu" => Ok(Self::Qemu),
            "cloud-hypervisor" => Ok(Self::CloudHypervisor),
            _ => Err("expected auto, memory, qemu or cloud-hypervisor".to_owned()),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that an operator may set, checked, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where everything lies; `None` where only the command line can say it.
    pub dir: Option<PathBuf>,
    /// What runs the VMs.
    pub backend: Backend,
    /// The API's UNIX socket; `minions.sock` in `dir` where absent.
    pub socket: Option<PathBuf>,
    /// The API's TCP address. Clients need a token there.
    pub listen: Option<SocketAddr>,
    /// Who may come in by token. Only its owner can read the file.
    pub token_file: Option<PathBuf>,
    /// Whether `listen` may be beyond loopback, because something in front of it encrypts.
    pub allow_plaintext: bool,
    /// Where the probes and metrics are shown without authentication; loopback only.
    pub metrics_listen: Option<SocketAddr>,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most streams into guests at a time.
    pub max_streams: usize,
    /// How long requests under way have when the daemon ends.
    pub drain: Duration,
    /// What an owner may have in all: VMs, disk, memory.
    pub quota_vms: Option<u64>,
    /// See `quota_vms`.
    pub quota_disk: Option<ByteSize>,
    /// See `quota_vms`.
    pub quota_memory: Option<ByteSize>,
    /// What a VM gets where nobody says anything.
    pub default_image: Option<String>,
    /// See `default_image`.
    pub default_cpus: Option<Vcpus>,
    /// See `default_image`.
    pub default_memory: Option<ByteSize>,
    /// See `default_image`.
    pub default_disk: Option<ByteSize>,
    /// See `default_image`.
    pub default_data_disk: Option<ByteSize>,
    /// How guests reach the world.
    pub network: NetworkSettings,
    /// Where disks lie.
    pub storage: StorageSettings,
    /// What QEMU runs with.
    pub qemu: QemuSettings,
    /// How long events are kept.
    pub keep_events: Option<Duration>,
    /// How many events are kept.
    pub keep_events_most: Option<u64>,
    /// How long operations that ended are kept.
    pub keep_operations: Option<Duration>,
    /// How many operations that ended are kept beyond those whose keys are.
    pub keep_operations_most: Option<u64>,
    /// How long idempotency keys are kept after their operation ended.
    pub keep_keys: Option<Duration>,
    /// What is logged, such as `info` or `minions_core=debug`.
    pub log_filter: String,
    /// How it looks.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: None,
            backend: Backend::Auto,
            socket: None,
            listen: None,
            token_file: None,
            allow_plaintext: false,
            metrics_listen: None,
            max_connections: 1024,
            max_streams: 1024,
            drain: Duration::from_secs(30),
            quota_vms: None,
            quota_disk: None,
            quota_memory: None,
            default_image: None,
            default_cpus: None,
            default_memory: None,
            default_disk: None,
            default_data_disk: None,
            network: NetworkSettings::default(),
            storage: StorageSettings::default(),
            qemu: QemuSettings::default(),
            keep_events: None,
            keep_events_most: None,
            keep_operations: None,
            keep_operations_most: None,
            keep_keys: None,
            log_filter: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

/// Reads a file and says what it means, or everything that is wrong with it.
pub fn check(path: &Path) -> Result<Config, ConfigProblems> {
    let about_file = |message: String| {
        ConfigProblems(vec![ConfigProblem { file: path.to_owned(), line: 1, key: String::new(), message }])
    };
    let bytes = read_small(path).map_err(|error| about_file(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| about_file("is not UTF-8 text".to_owned()))?;
    check_text(path, &text, &check_secret)
}

/// Most bytes of a file that people write by hand.
const MAX_FILE: u64 = 1 << 20;

/// A regular file that is not endless.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(..=MAX_FILE) => Ok(bytes),
        _ => Err(io::Error::other("it is larger than 1 MiB")),
    }
}

/// The meaning of a text that was read from `path`. `secret` says what is wrong with a file that holds secrets.
pub fn check_text(
    path: &Path,
    text: &str,
    secret: &dyn Fn(&Path) -> Result<(), String>,
) -> Result<Config, ConfigProblems> {
    let (mut reading, table) = Reading::parse(path, text);
    let to = &mut reading;
    let mut root = Section::root(table);
    let mut config = Config::default();

    let mut daemon = root.section(to, "daemon");
    config.dir = daemon.parsed(to, "dir", absolute).map(|dir| dir.value);
    set(&mut config.backend, daemon.parsed(to, "backend", str::parse));
    let drain = daemon.whole(to, "drain_seconds");
    set(&mut config.drain, between(to, drain, 0, 600).map(|seconds| seconds.map(Duration::from_secs)));
    daemon.finish(to);

    let api = root.section(to, "api");
    check_api(to, api, &mut config, secret);

    let mut quota = root.section(to, "quota");
    config.quota_vms = quota.whole(to, "vms").map(|vms| vms.value);
    config.quota_disk = quota.parsed(to, "disk", size).map(|size| size.value);
    config.quota_memory = quota.parsed(to, "memory", size).map(|size| size.value);
    quota.finish(to);

    let mut defaults = root.section(to, "defaults");
    config.default_image = defaults.string(to, "image").map(|image| image.value);
    let cpus = defaults.whole(to, "cpus");
    config.default_cpus = between(to, cpus, 1, 1024).and_then(|cpus| u32::try_from(cpus.value).ok()).map(Vcpus);
    config.default_memory = defaults.parsed(to, "memory", size).map(|size| size.value);
    config.default_disk = defaults.parsed(to, "disk", size).map(|size| size.value);
    config.default_data_disk = defaults.parsed(to, "data_disk", size).map(|size| size.value);
    defaults.finish(to);

    let network = root.section(to, "network");
    config.network = network::check(to, network);

    let storage = root.section(to, "storage");
    config.storage = storage::check(to, storage);

    let qemu = root.section(to, "qemu");
    config.qemu = qemu::check(to, qemu);

    let keep = root.section(to, "keep");
    check_keep(to, keep, &mut config);

    let mut log = root.section(to, "log");
    set(&mut config.log_filter, log.string(to, "filter"));
    let format = log.parsed(to, "format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json".to_owned()),
    });
    set(&mut config.log_format, format);
    log.finish(to);

    root.finish(to);
    reading.finish().map(|()| config)
}

fn check_api(
    to: &mut Reading<'_>,
    mut api: Section<'_>,
    config: &mut Config,
    secret: &dyn Fn(&Path) -> Result<(), String>,
) {
    config.socket = api.parsed(to, "socket", absolute).map(|socket| socket.value);
    let listen = api.parsed(to, "listen", address);
    let token_file = api.parsed(to, "token_file", absolute);
    if let Some(file) = &token_file
        && let Err(message) = secret(&file.value)
    {
        to.problem(file.at, file.key.clone(), message);
    }
    set(&mut config.allow_plaintext, api.bool(to, "allow_plaintext"));
    if let Some(listen) = &listen {
        if token_file.is_none() {
            let message = "needs api.token_file: clients on TCP prove themselves with a token";
            to.problem(listen.at, listen.key.clone(), message);
        }
        if !listen.value.ip().is_loopback() && !config.allow_plaintext {
            let message = "is not a loopback address, and tokens would cross the network unencrypted; use 127.0.0.1, or \
                           set api.allow_plaintext = true where something in front of it encrypts";
            to.problem(listen.at, listen.key.clone(), message);
        }
    }
    config.listen = listen.map(|listen| listen.value);
    config.token_file = token_file.map(|file| file.value);
    let metrics = api.parsed(to, "metrics_listen", address);
    if let Some(metrics) = &metrics
        && !metrics.value.ip().is_loopback()
    {
        to.problem(metrics.at, metrics.key.clone(), "must be a loopback address: nobody is asked who they are there");
    }
    config.metrics_listen = metrics.map(|metrics| metrics.value);
    for (key, target) in [("max_connections", &mut config.max_connections), ("max_streams", &mut config.max_streams)] {
        let number = api.whole(to, key);
        set(target, between(to, number, 1, 100_000).map(|number| number.map(|it| usize::try_from(it).unwrap_or(1))));
    }
    api.finish(to);
}

/// How long what has happened is kept. Nothing goes so soon that a reader who is away for a while, or a client that
/// repeats a request, would have to reckon with it.
fn check_keep(to: &mut Reading<'_>, mut keep: Section<'_>, config: &mut Config) {
    let hours = |to: &mut Reading<'_>, keep: &mut Section<'_>, key, least| {
        let hours = keep.whole(to, key);
        between(to, hours, least, 10 * 366 * 24).map(|hours| Duration::from_secs(hours.value * 3_600))
    };
    let most = |to: &mut Reading<'_>, keep: &mut Section<'_>, key| {
        let most = keep.whole(to, key);
        between(to, most, 1_000, 1_000_000_000).map(|most| most.value)
    };
    config.keep_events = hours(to, &mut keep, "events_hours", 1);
    config.keep_events_most = most(to, &mut keep, "events_most");
    config.keep_operations = hours(to, &mut keep, "operations_hours", 24);
    config.keep_operations_most = most(to, &mut keep, "operations_most");
    config.keep_keys = hours(to, &mut keep, "keys_hours", 24);
    keep.finish(to);
}

impl<T> At<T> {
    fn map<U>(self, with: impl FnOnce(T) -> U) -> At<U> {
        At { value: with(self.value), at: self.at, key: self.key }
    }
}

fn set<T>(target: &mut T, written: Option<At<T>>) {
    if let Some(written) = written {
        *target = written.value;
    }
}

fn between(to: &mut Reading<'_>, number: Option<At<u64>>, least: u64, most: u64) -> Option<At<u64>> {
    let number = number?;
    if (least..=most).contains(&number.value) {
        return Some(number);
    }
    to.problem(number.at, number.key, format!("expected a number from {least} to {most}"));
    None
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.is_absolute() || text.contains('\0') {
        return Err("expected an absolute path: the daemon's own folder is nobody's".to_owned());
    }
    Ok(path)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address with a port, such as 127.0.0.1:7777".to_owned())
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error: crate::Error| error.to_string())
}

/// A file with secrets is a regular one that nobody but its owner can read.
fn check_secret(path: &Path) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if !meta.is_file() {
        return Err(format!("{} is no regular file", path.display()));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(format!("{path} holds secrets and others may read it (mode {mode:04o}); run: chmod 600 {path}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigProblems> {
        check_text(Path::new("m.toml"), text, &|_| Ok(()))
    }

    fn wrong(text: &str) -> Vec<String> {
        read(text).expect_err(text).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(read("").unwrap(), Config::default());
        assert_eq!(read("\u{feff}# only a mark and a comment\r\n").unwrap(), Config::default());
    }

    #[test]
    fn what_is_written_is_what_it_means_also_with_windows_line_ends() {
        let text = "[daemon]\r\ndir = \"/srv/m\"\r\nbackend = \"memory\"\r\n[api]\r\nlisten = \"127.0.0.1:1\"\r\n\
                    token_file = \"/t\"\r\n[quota]\r\nvms = 5\r\nmemory = \"2GiB\"\r\n[keep]\r\nevents_hours = 2\r\n[log]\r\nformat = \"json\"\r\n";
        let config = read(text).unwrap();
        assert_eq!(config.dir, Some(PathBuf::from("/srv/m")));
        assert_eq!(config.backend, Backend::Memory);
        assert_eq!((config.quota_vms, config.quota_memory), (Some(5), Some(ByteSize::gib(2))));
        assert_eq!(config.keep_events, Some(Duration::from_secs(7_200)));
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn where_disks_lie_is_read_and_a_name_that_could_be_an_option_is_refused() {
        let storage = read("[storage]\nkind = \"lvm\"\nvg = \"fast-1\"\npool = \"thin\"\n").unwrap().storage;
        assert_eq!(storage.kind, super::storage::StorageKind::Lvm);
        assert_eq!((storage.vg.as_deref(), storage.pool.as_deref()), (Some("fast-1"), Some("thin")));
        let text = "[storage]\nkind = \"zfs\"\nvg = \"--yes\"\npool = \"../x\"\ncolour = 1\n";
        assert_eq!(wrong(text).len(), 4, "{:?}", wrong(text));
    }

    #[test]
    fn what_carries_vsock_is_read_and_a_word_that_is_none_is_said() {
        use super::super::qemu::QemuVsock;
        assert_eq!(read("").unwrap().qemu.vsock, QemuVsock::Auto);
        assert_eq!(read("[qemu]\nvsock = \"kernel\"\n").unwrap().qemu.vsock, QemuVsock::Kernel);
        assert_eq!(read("[qemu]\nvsock = \"helper\"\n").unwrap().qemu.vsock, QemuVsock::Helper);
        let problems = wrong("[qemu]\nvsock = \"vhost\"\ncolour = 1\n");
        assert!(problems[0].starts_with("m.toml:2: qemu.vsock: "), "{problems:?}");
        assert!(problems[1].starts_with("m.toml:3: qemu.colour: "), "{problems:?}");
    }

    #[test]
    fn the_network_of_guests_is_read_and_what_is_wrong_in_a_list_is_said() {
        let text = "[network]\nkind = \"bridge\"\nsubnet = \"10.7.0.0/16\"\nbridges = 2\nresolvers = [\"9.9.9.9\"]\nopen = []\n";
        let network = read(text).unwrap().network;
        assert_eq!((network.kind, network.bridges), (super::network::NetworkKind::Bridge, Some(2)));
        assert_eq!((network.resolvers, network.open), (Some(vec![[9, 9, 9, 9].into()]), Some(Vec::new())));
        assert_eq!(network.subnet.map(|subnet| subnet.to_string()).as_deref(), Some("10.7.0.0/16"));
        let text = "[network]\nkind = \"wifi\"\nsubnet = \"10.7.0.1/16\"\nbridges = 0\nresolvers = [\"::1\", \"x\"]\nopen = \"10.0.0.0/8\"\n";
        assert_eq!(wrong(text).len(), 6, "{:?}", wrong(text));
    }

    #[test]
    fn nothing_is_forgotten_sooner_than_a_client_must_reckon_with() {
        let text = "[keep]\nevents_hours = 0\nevents_most = 999\noperations_hours = 23\noperations_most = 1\nkeys_hours = 23\n";
        assert_eq!(wrong(text).len(), 5, "{:?}", wrong(text));
    }

    #[test]
    fn bad_14_everything_wrong_is_said_at_once_with_line_and_key() {
        let text =
            "[daemon]\ndir = \"relative\"\nbackend = \"kvm\"\ncolour = 1\n\n[api]\nmax_streams = \"many\"\n[zoo]\n";
        let problems = wrong(text);
        let starts = [
            "m.toml:2: daemon.dir: ",
            "m.toml:3: daemon.backend: ",
            "m.toml:4: daemon.colour: unknown key",
            "m.toml:7: api.max_streams: ",
            "m.toml:8: zoo: unknown key",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem} / {start}");
        }
    }

    #[test]
    fn bad_14_twice_the_same_key_or_no_toml_at_all_is_refused_with_its_line() {
        assert!(wrong("[daemon]\nbackend = \"auto\"\nbackend = \"qemu\"\n")[0].starts_with("m.toml:3: "));
        assert!(wrong("x = [\n\n")[0].starts_with("m.toml:"));
        assert!(wrong("daemon = 3\n")[0].contains("expected a section"));
        assert!(!wrong("[quota]\nvms = -1\n").is_empty() && !wrong("[quota]\nvms = 1.5\n").is_empty());
    }

    #[test]
    fn bad_14_an_api_for_everyone_or_without_tokens_is_refused() {
        assert!(wrong("[api]\nlisten = \"127.0.0.1:7\"\n")[0].contains("needs api.token_file"));
        assert!(wrong("[api]\nlisten = \"0.0.0.0:7\"\ntoken_file = \"/t\"\n")[0].contains("loopback"));
        assert!(wrong("[api]\nmetrics_listen = \"0.0.0.0:7\"\n")[0].contains("loopback"));
        assert!(read("[api]\nlisten = \"0.0.0.0:7\"\ntoken_file = \"/t\"\nallow_plaintext = true\n").is_ok());
    }

    #[test]
    fn bad_14_a_secret_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("minions-secret-{}", std::process::id()));
        std::fs::write(&path, "x").unwrap();
        for (mode, good) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_secret(&path).is_ok(), good, "{mode:o}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(check_secret(&path).is_err());
    }

    #[test]
    fn bad_14_a_file_without_end_or_that_is_none_is_refused() {
        for path in ["/dev/zero", "/"] {
            let problems = check(Path::new(path)).expect_err(path).to_string();
            assert!(problems.contains("no regular file"), "{problems}");
        }
        let path = std::env::temp_dir().join(format!("minions-large-{}", std::process::id()));
        std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
        assert!(check(&path).expect_err("large").to_string().contains("larger than"));
        std::fs::write(&path, "#".repeat(1 << 20)).unwrap();
        check(&path).expect("as large as allowed");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn bad_14_a_file_that_is_not_there_is_refused() {
        assert!(
            check(Path::new("/nonexistent/minions.toml")).expect_err("absent").to_string().contains("cannot be read")
        );
    }
}
