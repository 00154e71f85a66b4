//! What a host has. Looks, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::host::command::Tool;
use crate::host::files;
use crate::host::lookup;
use crate::storage::lvm::{has_group, plan_pool};
use crate::types::ByteSize;

use super::device::{self, Device};
use super::error::SetupError;
use super::unit::{SERVICE, UNIT};
use super::wish::Wish;

/// A module of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// It is in the kernel.
    Loaded,
    /// It can be loaded.
    Loadable,
    /// This kernel has none.
    Missing,
}

/// The thin pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pool {
    /// It is as it shall be, or none is wished.
    Ready,
    /// These commands are missing; `group`: whether the first makes the volume group, on the wished disks.
    Lacks {
        /// In the form in which they would be typed.
        commands: Vec<String>,
        /// Whether there is no group yet.
        group: bool,
    },
    /// There is no group, and no disk is named for it.
    NoGroup,
    /// It cannot be told.
    Unknown(String),
}

/// The service as systemd knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its unit is another than the one that systemd has read.
    pub stale: bool,
    /// It is started at every boot.
    pub enabled: bool,
    /// It runs, or is about to.
    pub active: bool,
}

/// A folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its mode; `None` where it is something else than a folder.
    pub mode: Option<u32>,
    /// Who owns it.
    pub owner: u32,
}

/// What a host has, of all that is wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether we may do everything.
    pub root: bool,
    /// The kernel's version.
    pub kernel: (u32, u32),
    /// Whether `/dev/kvm` is there.
    pub kvm: bool,
    /// The module by which the processor runs guests, where it says that it can.
    pub processor: Option<&'static str>,
    /// Whether systemd runs this host.
    pub systemd: bool,
    /// Programs, by the paths in the wish, and `modprobe` and `lvm` by their names.
    pub programs: BTreeSet<PathBuf>,
    /// Folders that are there.
    pub folders: BTreeMap<PathBuf, Folder>,
    /// Texts of files that are there.
    pub files: BTreeMap<PathBuf, String>,
    /// Modules.
    pub modules: BTreeMap<&'static str, Module>,
    /// Settings of the kernel.
    pub sysctls: BTreeMap<&'static str, String>,
    /// The disks that are named.
    pub devices: BTreeMap<PathBuf, Device>,
    /// Disks that could be named, where one is missing.
    pub candidates: Vec<(PathBuf, ByteSize)>,
    /// The pool.
    pub pool: Pool,
    /// The service.
    pub service: Service,
}

impl Found {
    /// Whether guests can run on the processor, once its module is loaded.
    pub(super) fn runs_on_processor(&self) -> bool {
        let loadable = |name| matches!(self.modules.get(name), None | Some(Module::Loadable));
        self.kvm || self.processor.is_some_and(loadable)
    }
}

/// What asking a program may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Looks at all that is wished.
///
/// # Errors
/// Where a file or folder that matters cannot be read.
pub async fn look(wish: &Wish) -> Result<Found> {
    let wished = wish.clone();
    let mut found = crate::host::blocking(move || Ok(still(&wished)?)).await?;
    found.service = service(found.systemd).await;
    if wish.lvm.is_some() && found.root {
        pool(wish, &mut found).await?;
    }
    Ok(found)
}

/// All but what programs tell.
fn still(wish: &Wish) -> Result<Found, SetupError> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut found = Found {
        root: rustix::process::geteuid().is_root(),
        kernel: version(&release),
        kvm: Path::new("/dev/kvm").exists(),
        processor: processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        systemd: Path::new("/run/systemd/system").is_dir(),
        programs: BTreeSet::new(),
        folders: BTreeMap::new(),
        files: BTreeMap::new(),
        modules: BTreeMap::new(),
        sysctls: BTreeMap::new(),
        devices: BTreeMap::new(),
        candidates: Vec::new(),
        pool: Pool::Ready,
        service: Service::default(),
    };
    let wished = [&wish.cloud_hypervisor, &wish.qemu, &wish.vsock_helper].into_iter().chain(&wish.bridge);
    found.programs.extend(wished.filter(|path| lookup::is_executable(path)).cloned());
    found
        .programs
        .extend(["modprobe", "lvm"].into_iter().filter(|name| lookup::find(name).is_some()).map(PathBuf::from));
    for (path, _, _) in wish.folders() {
        match std::fs::symlink_metadata(path) {
            Ok(meta) => {
                let mode = meta.is_dir().then_some(meta.mode() & 0o7777);
                found.folders.insert(path.to_owned(), Folder { mode, owner: meta.uid() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SetupError::file("look at", path)(error)),
        }
    }
    let kernel = Kernel::of(Path::new("/"), &release);
    found.modules = wish.modules(&found).into_iter().map(|(name, _)| (name, kernel.module(name))).collect();
    for file in wish.files(&found) {
        match std::fs::read(&file.path) {
            Ok(bytes) => drop(found.files.insert(file.path, String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SetupError::file("read", file.path)(error)),
        }
    }
    for (key, _, _) in wish.sysctls() {
        let value = std::fs::read_to_string(sysctl(Path::new("/"), key)).unwrap_or_default();
        found.sysctls.insert(key, value.trim().to_owned());
    }
    Ok(found)
}

/// The file that stands for a setting of the kernel.
pub(super) fn sysctl(root: &Path, key: &str) -> PathBuf {
    root.join("proc/sys").join(key.replace('.', "/"))
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The module for the processor that `/proc/cpuinfo` tells of.
fn processor(info: &str) -> Option<&'static str> {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'))?.1;
    let has = |flag: &str| flags.split_ascii_whitespace().any(|have| have == flag);
    if has("vmx") {
        return Some("kvm_intel");
    }
    has("svm").then_some("kvm_amd")
}

/// The modules of the kernel that runs.
struct Kernel {
    loaded: PathBuf,
    /// Whether it has modules at all: one without has in it what it has.
    modular: bool,
    builtin: String,
    dependencies: String,
}

impl Kernel {
    fn of(root: &Path, release: &str) -> Self {
        let modules = ["lib/modules", "usr/lib/modules"].map(|dir| root.join(dir).join(release));
        let dir = modules.into_iter().find(|dir| dir.is_dir());
        let text = |name: &str| {
            let path = dir.as_ref().map(|dir| dir.join(name));
            path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
        };
        Self {
            loaded: root.join("sys/module"),
            modular: dir.is_some(),
            builtin: text("modules.builtin"),
            dependencies: text("modules.dep"),
        }
    }

    fn module(&self, name: &str) -> Module {
        // File names have hyphens where modules have underscores, now and then.
        let is = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or_default();
            file.split('.').next().is_some_and(|stem| stem.replace('-', "_") == name)
        };
        if !self.modular || self.loaded.join(name).exists() || self.builtin.lines().any(is) {
            return Module::Loaded;
        }
        let known = self.dependencies.lines().filter_map(|line| line.split_once(':')).any(|(path, _)| is(path));
        if known { Module::Loadable } else { Module::Missing }
    }
}

/// What systemd says of the service; nothing where there is no systemd.
async fn service(systemd: bool) -> Service {
    let Some(program) = lookup::find("systemctl").filter(|_| systemd) else { return Service::default() };
    let words = ["show", SERVICE, "--property=UnitFileState,ActiveState,NeedDaemonReload,FragmentPath"];
    match Tool::new(&program).args(words).limit(LIMIT).run().await {
        Ok(output) => judge(&String::from_utf8_lossy(&output.stdout), Path::new(UNIT).exists()),
        Err(error) => {
            tracing::warn!(%error, "systemd does not tell of the service");
            Service::default()
        }
    }
}

/// `there`: whether the unit's file is. One that systemd has not read yet is stale.
fn judge(said: &str, there: bool) -> Service {
    let value = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    Service {
        stale: value("NeedDaemonReload") == "yes" || there && value("FragmentPath") != UNIT,
        enabled: value("UnitFileState") == "enabled",
        active: ["active", "activating", "reloading"].contains(&value("ActiveState")),
    }
}

/// What lvm2 says of the pool, and the disks that it would be made on.
async fn pool(wish: &Wish, found: &mut Found) -> Result<()> {
    let Some(lvm) = &wish.lvm else { return Ok(()) };
    if !found.programs.contains(Path::new("lvm")) {
        found.pool = Pool::Unknown("lvm2 is not here".to_owned());
        return Ok(());
    }
    let group = match has_group(lvm).await {
        Ok(group) => group,
        Err(error) => {
            found.pool = Pool::Unknown(error.chain());
            return Ok(());
        }
    };
    let devices = if group { Vec::new() } else { wish.devices.clone() };
    let missing = !group && devices.is_empty();
    let (disks, candidates) = crate::host::blocking(move || {
        let disks: BTreeMap<_, _> = devices.into_iter().map(|path| (path.clone(), device::look(&path))).collect();
        Ok((disks, if missing { device::candidates() } else { Vec::new() }))
    })
    .await?;
    let fit = disks.values().all(|device| matches!(device, Device::Blank(_)));
    (found.devices, found.candidates) = (disks, candidates);
    found.pool = match (missing, fit) {
        (true, _) => Pool::NoGroup,
        (false, false) => Pool::Unknown("its disks may not be taken".to_owned()),
        (false, true) => match plan_pool(lvm, &wish.devices).await {
            Ok(steps) if steps.is_empty() => Pool::Ready,
            Ok(steps) => Pool::Lacks { commands: steps.iter().map(ToString::to_string).collect(), group: !group },
            Err(error) => Pool::Unknown(error.chain()),
        },
    };
    Ok(())
}

/// What one file says; nothing where it is not there.
pub(super) fn text(path: &Path) -> io::Result<Option<String>> {
    match files::open_read(path).and_then(io::read_to_string) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_27_versions_processors_and_units_are_read_or_taken_for_nothing() {
        assert_eq!([version("6.1.0-56-cloud-amd64"), version("6.12"), version("junk")], [(6, 1), (6, 12), (0, 0)]);
        assert_eq!(processor("processor : 0\nflags\t\t: fpu svm\n"), Some("kvm_amd"));
        assert_eq!(processor("flags : fpu vmx de\n"), Some("kvm_intel"));
        assert_eq!([processor("flags : fpu svmx\n"), processor("")], [None, None]);
        let said = format!("UnitFileState=enabled\nActiveState=active\nNeedDaemonReload=no\nFragmentPath={UNIT}\n");
        assert_eq!(judge(&said, true), Service { stale: false, enabled: true, active: true });
        let said = "UnitFileState=\nActiveState=inactive\nNeedDaemonReload=no\nFragmentPath=\n";
        assert_eq!(judge(said, true), Service { stale: true, enabled: false, active: false });
        assert_eq!(judge("", false), Service::default());
    }

    #[test]
    fn a_module_is_loaded_built_in_loadable_or_missing() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("lib/modules/6.1");
        std::fs::create_dir_all(root.path().join("sys/module/tun")).unwrap();
        assert_eq!(Kernel::of(root.path(), "6.1").module("bridge"), Module::Loaded, "a kernel without modules");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("modules.builtin"), "kernel/net/bridge/bridge.ko\n").unwrap();
        std::fs::write(
            dir.join("modules.dep"),
            "kernel/drivers/md/dm-thin-pool.ko.xz: kernel/drivers/md/dm-bufio.ko.xz\n",
        )
        .unwrap();
        let kernel = Kernel::of(root.path(), "6.1");
        let names = ["tun", "bridge", "dm_thin_pool", "nf_tables", "dm_bufio"].map(|name| kernel.module(name));
        use Module::{Loadable, Loaded, Missing};
        assert_eq!(names, [Loaded, Loaded, Loadable, Missing, Missing]);
    }
}
