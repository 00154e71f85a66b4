//! PID 1 of our initrd: from the kernel to the image's own init, with the agent running beside it.
//!
//! What the initrd holds:
//!
//! | path | what |
//! | --- | --- |
//! | `/init` | this program, static |
//! | `/dev/console`, `/dev/null` | character devices 5:1 and 1:3: a program cannot start without its first three files |
//! | `/lib/modules-minions/NN-name.ko` | kernel modules, loaded in the order of their names (`.ko.xz`, `.ko.zst` too) |
//! | `/minions/secret` | the VM's secret, mode 0600, in a segment of its own that the host appends |
//!
//! What the kernel's command line says: [`cmdline`].
//!
//! An image with an initrd of its own (`bake-agent`) has this program in it as `/minions/agent`, which the kernel starts
//! first (`rdinit=/minions/agent`). It leaves the secret for the agent and lets that initrd's `/init` go on (`minions.next=`).

mod blank;
pub mod cmdline;
mod device;
mod disks;
mod files;
mod hand_over;
mod lend;
mod modules;
mod mounts;
mod network;
mod switch;
mod uevent;

use std::path::Path;
use std::process::ExitCode;

use super::error::about;
use super::log::say;
use super::{power, read_secret, status};
use crate::api::guest::ReadyReport;
use crate::error::Result;
use crate::types::{AgentSecret, BootMark};
use cmdline::{BootPlan, InitChoice};

pub(super) use hand_over::WORDS;
pub(super) use lend::LENT;

/// Where the agent finds what a boot has left for it, on a file system in memory.
pub(super) const RUN: &str = "/run/minions";

const SECRET: &str = "/minions/secret";

/// Boots the guest. Returns only where it cannot be booted, after it was powered off in vain.
pub(super) fn run() -> ExitCode {
    if let Err(error) = boot() {
        say(format_args!("cannot boot this guest: {}", error.chain()));
        // The host sees the machine end, and what was said is in its log.
        if let Err(error) = power::now() {
            say(format_args!("{}", error.chain()));
        }
    }
    ExitCode::FAILURE
}

fn boot() -> Result<()> {
    let mut marks = Marks::default();
    marks.add("guest-kernel");
    mounts::early()?;
    let text = std::fs::read_to_string("/proc/cmdline").map_err(|error| about("/proc/cmdline", error))?;
    if let Some(next) = cmdline::next(&text)? {
        return lend::to(&next, marks);
    }
    let plan = BootPlan::parse(&text)?;
    let secret = read_secret(Path::new(SECRET))?;
    // The initrd's content is deleted later as a whole; the secret is not to lie there until then.
    std::fs::remove_file(SECRET).map_err(|error| about(SECRET, error))?;
    modules::load();
    marks.add("guest-modules");
    disks::mount(&plan)?;
    marks.add("guest-disks");
    network::up(&plan);
    files::write(&plan, Path::new(mounts::NEW_ROOT));
    marks.add("guest-network");
    mounts::late()?;
    leave(&secret, &plan, marks, &Path::new(mounts::NEW_ROOT).join("run/minions"))?;
    switch::root()?;
    match (&plan.init, hand_over::find(&plan.init)) {
        (_, Some(init)) => hand_over::to(&init),
        (InitChoice::Path(path), None) => Err(crate::error::Error::not_found(format!("the image has no init {path}"))),
        (InitChoice::Auto | InitChoice::None, None) => hand_over::stay(),
    }
}

/// In an image that has booted by itself: takes over what [`lend`] has left.
pub(super) fn take_over(lent: &Path, plan: &BootPlan) -> Result<()> {
    let secret = read_secret(&lent.join("secret"))?;
    let text = std::fs::read(lent.join("report")).unwrap_or_default();
    let report: ReadyReport = serde_json::from_slice(&text).unwrap_or_default();
    let mut marks = Marks { before: report.marks.iter().map(|mark| mark.micros).sum(), marks: report.marks };
    marks.add("guest-init");
    leave(&secret, plan, marks, Path::new(RUN))?;
    std::fs::remove_dir_all(lent).map_err(|error| about(lent.display(), error))
}

/// In an image that has booted by itself: its data disk, its network, its name. What cannot be had is said, and the agent
/// serves without it.
pub(super) fn join(plan: &BootPlan) {
    if let Err(error) = disks::mount_data(plan, "/data") {
        say(format_args!("the data disk is left alone: {}", error.chain()));
    }
    network::wait(plan);
    network::up(plan);
    files::write(plan, Path::new("/"));
}

/// What took how long.
#[derive(Default)]
struct Marks {
    marks: Vec<BootMark>,
    before: u64,
}

impl Marks {
    fn add(&mut self, name: &'static str) {
        let now = status::micros_since_boot();
        self.marks.push(BootMark { name: name.into(), micros: now.saturating_sub(self.before) });
        self.before = now;
    }
}

/// Leaves for the agent what it needs, on a file system in memory that only root can look into.
fn leave(secret: &AgentSecret, plan: &BootPlan, marks: Marks, folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(|error| about(folder.display(), error))?;
    put(folder, secret, &plan.root, marks)
}

fn put(folder: &Path, secret: &AgentSecret, root: &str, marks: Marks) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let put = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(content)).map_err(|error| about(path.display(), error))
    };
    let report = ReadyReport { marks: marks.marks, kernel: String::new(), root: root.to_owned() };
    put("report", &serde_json::to_vec(&report).unwrap_or_default())?;
    let hex: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    put("secret", hex.as_bytes())
}
