//! Carries a plan out, and becomes the program behind it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::plan::Plan;
use super::view;

/// Where a step failed.
fn step(name: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// Takes the words behind the verb: a plan, `--`, a program and its words. Returns only where it failed, and why. Must be
/// called before this process has a second thread: fences are made for one.
#[must_use]
pub fn enter(words: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut words = words.into_iter();
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("no {what} among the words"));
    let plan = words.next().and_then(|word| serde_json::from_slice::<Plan>(word.as_encoded_bytes()).ok());
    let Some(plan) = plan else { return bad("plan") };
    if words.next().as_deref() != Some("--".as_ref()) {
        return bad("end of the plan");
    }
    let Some(program) = words.next() else { return bad("program") };
    if let Err(error) = fence(&plan) {
        return error;
    }
    become_it(Path::new(&program), words.collect())
}

#[expect(clippy::disallowed_methods, reason = "no process is started: this one becomes another program")]
fn become_it(program: &Path, args: Vec<OsString>) -> io::Error {
    step("start the program")(std::process::Command::new(program).args(args).exec())
}

fn fence(plan: &Plan) -> io::Result<()> {
    if let Some(group) = &plan.group {
        std::fs::write(group.join("cgroup.procs"), b"0").map_err(step("enter the control group"))?;
    }
    if let Some(view) = &plan.view {
        own_mounts().map_err(step("leave the host's mounts"))?;
        // Its folders are for everybody in it: who is in it is one.
        umask(Mode::from_raw_mode(0o022));
        view::make(view, plan.user.unwrap_or(0)).map_err(step("make the view"))?;
    }
    umask(Mode::from_raw_mode(0o077));
    limits(plan).map_err(io::Error::from).map_err(step("set the limits"))?;
    if let Some(user) = plan.user {
        own_user(user).map_err(io::Error::from).map_err(step("become the user"))?;
    }
    set_no_new_privs(true).map_err(io::Error::from).map_err(step("give up gaining rights"))
}

#[expect(unsafe_code, reason = "the binding warns of descriptors that other threads share; there is one thread here")]
fn own_mounts() -> io::Result<()> {
    // SAFETY: only the mount namespace is left, which concerns no descriptor; and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWIPC)? };
    Ok(())
}

fn limits(plan: &Plan) -> rustix::io::Result<()> {
    let of = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Core, of(0))?;
    setrlimit(Resource::Nofile, of(plan.open_files))
}

/// Another user with no group but its own and no capability, for good.
fn own_user(user: u32) -> rustix::io::Result<()> {
    for capability in CapabilitySet::all() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know.
            Err(rustix::io::Errno::INVAL) => {}
            removed => removed?,
        }
    }
    clear_ambient_capability_set()?;
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
