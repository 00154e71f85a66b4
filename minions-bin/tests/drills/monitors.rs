//! What can become of a monitor (RP-4), and what may become of all others meanwhile: nothing.

use std::process::{Output, Stdio};
use std::time::Duration;

use minions_core::api::v1;
use minions_core::service::{ControlPlane, VmAction, VmRef};
use minions_core::types::{VmId, VmState};
use rustix::process::{Pid, Signal};
use tokio::time::Instant;

use crate::daemon::{Programs, Site, is_state, me};
use crate::{SOON, census, with_vms};

fn send(pid: i32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Runs a command in a VM, off the runtime; `None` where it takes longer than that.
async fn exec(site: &Site, name: &str, within: Duration) -> Option<Output> {
    let mut command = site.command(&["exec", name, "-n", "--", "true"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    match tokio::time::timeout(within, waiting).await {
        Ok(output) => Some(output.unwrap()),
        Err(_) => {
            send(pid, Signal::KILL);
            None
        }
    }
}

async fn runs(site: &Site, name: &str) {
    let ran = exec(site, name, 6 * SOON).await.unwrap_or_else(|| panic!("{name} does not answer: {}", site.log()));
    assert!(ran.status.success(), "{name}: {}: {}", String::from_utf8_lossy(&ran.stderr), site.log());
}

fn stop() -> VmAction {
    VmAction::Stop(v1::StopVm { force: false, grace_ms: Some(1_000) })
}

async fn one_that_stands_still_is_alone_with_it(programs: Programs) {
    let (site, daemon, vms) = with_vms(programs, &["a", "b"]).await;
    let frozen = census::of(&site.dir(), vms[0]);
    frozen.iter().for_each(|process| send(process.pid, Signal::STOP));
    // Whoever asks it hears within the deadlines of a call that it does not answer, and is not kept for ever.
    let began = Instant::now();
    let asked = exec(&site, "a", 12 * SOON).await.unwrap_or_else(|| panic!("no end: {}", site.log()));
    assert!(!asked.status.success(), "a guest that stands still answered");
    println!("drill: a VM that stands still is told after {:?}", began.elapsed());
    // Nobody else waits for it: neither those who are there, nor who comes, nor who goes.
    let began = Instant::now();
    let stuck = site.plane.act(&me(), &VmRef::Id(vms[0]), &stop(), None).await.unwrap();
    runs(&site, "b").await;
    let next = site.create("c").await;
    let gone = site.act(next, &VmAction::Destroy(v1::DestroyVm::default()), None).await;
    site.succeeds(gone.id).await;
    println!("drill: others beside it are made, entered and destroyed in {:?}", began.elapsed());
    // What it was asked for happens all the same: it is ended.
    site.succeeds(stuck.id).await;
    assert_eq!(census::of(&site.dir(), vms[0]), [], "{}", site.log());
    let started = site.act(vms[0], &VmAction::Start(v1::StartVm {}), None).await;
    site.succeeds(started.id).await;
    runs(&site, "a").await;
    // And a destroy needs nothing of it either.
    census::of(&site.dir(), vms[0]).iter().for_each(|process| send(process.pid, Signal::STOP));
    let gone = site.act(vms[0], &VmAction::Destroy(v1::DestroyVm::default()), None).await;
    site.succeeds(gone.id).await;
    assert_eq!(census::of(&site.dir(), vms[0]), []);
    runs(&site, "b").await;
    daemon.end();
}

#[tokio::test]
async fn rp_4_a_monitor_that_stands_still_holds_up_nobody_else_and_can_be_ended() {
    let Some(programs) = Programs::stub("rp_4") else { return };
    one_that_stands_still_is_alone_with_it(programs).await;
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn rp_4_a_real_monitor_that_stands_still_holds_up_nobody_else_and_can_be_ended() {
    let Some(programs) = Programs::real("rp_4") else { return };
    one_that_stands_still_is_alone_with_it(programs).await;
}

#[tokio::test]
async fn rp_4_a_monitor_that_stood_still_for_a_while_goes_on_as_the_same_one() {
    let Some(programs) = Programs::stub("rp_4") else { return };
    let (site, daemon, vms) = with_vms(programs, &["a"]).await;
    let before = census::of(&site.dir(), vms[0]);
    before.iter().for_each(|process| send(process.pid, Signal::STOP));
    assert!(exec(&site, "a", Duration::from_secs(1)).await.is_none_or(|asked| !asked.status.success()));
    before.iter().for_each(|process| send(process.pid, Signal::CONT));
    runs(&site, "a").await;
    assert_eq!(census::of(&site.dir(), vms[0]), before, "it was not started again");
    daemon.end();
}

/// Whoever dies ten times in a minute is not started an eleventh time.
async fn dies_again_and_again(site: &Site, vm: VmId) -> v1::Vm {
    let mut last = minions_core::types::EventSeq(0);
    let until = Instant::now() + 18 * SOON;
    loop {
        let is = site.plane.vm(&me(), &VmRef::Id(vm)).await.unwrap();
        if is.state == VmState::Failed {
            return is;
        }
        assert!(Instant::now() < until, "{is:?}: {}", site.log());
        last = site.plane.events(&me(), last, 200, Duration::from_secs(1)).await.unwrap().next;
    }
}

#[tokio::test]
async fn rp_4_ten_deaths_in_a_minute_are_a_failed_vm_with_a_reason_that_can_be_started_again() {
    let Some(programs) = Programs::stub("rp_4") else { return };
    let (site, daemon, vms) = with_vms(programs, &["a", "b"]).await;
    let bystander = census::of(&site.dir(), vms[1]);
    let mut deaths = 0;
    let mut last = site.plane.last_event(&me()).await.unwrap();
    // Each time it is back, as a guest that reboots in a loop or a kernel that panics at once.
    while let Some(monitor) = census::monitor(&site.dir(), vms[0]) {
        send(monitor.pid, Signal::KILL);
        deaths += 1;
        assert!(deaths <= 10, "it is started for the {deaths}th time: {}", site.log());
        let next = site
            .event(last, 6 * SOON, |body| is_state(body, VmState::Starting) || is_state(body, VmState::Failed))
            .await;
        last = next.seq;
        if is_state(&next.body, VmState::Failed) {
            break;
        }
        last = site.event(last, 6 * SOON, |body| is_state(body, VmState::Running)).await.seq;
    }
    let failed = dies_again_and_again(&site, vms[0]).await;
    assert_eq!((deaths, failed.reason.map(|reason| reason.code).as_deref()), (10, Some("crash_loop")));
    assert_eq!(census::of(&site.dir(), vms[0]), [], "nothing of it is left running");
    assert_eq!(census::of(&site.dir(), vms[1]), bystander, "INV-11");
    let started = site.act(vms[0], &VmAction::Start(v1::StartVm {}), None).await;
    site.succeeds(started.id).await;
    runs(&site, "a").await;
    daemon.end();
}

/// How a guest ends itself.
async fn a_guest_that_ends_itself_is_back(test: &str, how: &str) {
    let Some(programs) = Programs::real(test) else { return };
    let (site, daemon, vms) = with_vms(programs, &["a"]).await;
    let (before, last) = (census::monitor(&site.dir(), vms[0]).unwrap(), site.plane.last_event(&me()).await.unwrap());
    // Its answer never comes: the guest ends under it.
    let mut command = site.command(&["exec", "a", "-n", "--", "sh", "-c", how]);
    let mut asked = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let told = site.event(last, 2 * SOON, |body| is_state(body, VmState::Starting)).await;
    println!("drill: {how}: told after {:?}", began.elapsed());
    site.event(told.seq, 24 * SOON, |body| is_state(body, VmState::Running)).await;
    asked.kill().unwrap();
    asked.wait().unwrap();
    assert_ne!(census::monitor(&site.dir(), vms[0]).unwrap().pid, before.pid);
    runs(&site, "a").await;
    daemon.end();
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn rp_4_a_real_guest_that_panics_is_told_and_started_again() {
    a_guest_that_ends_itself_is_back("rp_4", "echo c > /proc/sysrq-trigger").await;
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn rp_4_a_real_guest_that_reboots_is_told_and_started_again() {
    a_guest_that_ends_itself_is_back("rp_4", "reboot -f").await;
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn ctl_1_1_a_real_monitor_has_no_privilege_of_the_daemons() {
    let Some(programs) = Programs::real("ctl_1_1") else { return };
    let (site, daemon, vms) = with_vms(programs, &["a", "b"]).await;
    let root = rustix::process::geteuid().is_root();
    let mut users = Vec::new();
    for vm in vms {
        let monitor = census::monitor(&site.dir(), vm).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", monitor.pid)).unwrap();
        let of = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {status}"));
            line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((of("NoNewPrivs:"), of("Seccomp:")), (vec!["1".to_owned()], vec!["2".to_owned()]), "{status}");
        assert_eq!(of("CapEff:"), ["0000000000000000"], "{status}");
        let (users_of, groups) = (of("Uid:"), of("Gid:"));
        assert!(users_of.iter().all(|user| *user == users_of[0]) && groups.iter().all(|group| *group == groups[0]));
        if root {
            assert_eq!(of("CapPrm:"), ["0000000000000000"], "{status}");
            assert_eq!(users_of[0], groups[0]);
            assert!(of("Groups:").is_empty() || of("Groups:") == groups[..1], "{status}");
            users.push(users_of[0].clone());
        }
    }
    if root {
        assert!(users[0] != users[1] && users.iter().all(|user| user != "0"), "{users:?}");
    } else {
        println!("SKIP ctl_1_1: users of VMs need root");
    }
    daemon.end();
}

/// The memory of a group of processes, where this host lets us bound it.
struct Memory(std::path::PathBuf);

impl Memory {
    /// `None` where it does not.
    fn new(test: &str) -> Option<Self> {
        let name = format!("minions-drill-{}", std::process::id());
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = std::path::Path::new(root).join(&name);
            if std::fs::create_dir(&group).is_ok() {
                if std::fs::write(group.join(limit), "16777216").is_ok() {
                    return Some(Self(group));
                }
                let _ = std::fs::remove_dir(&group);
            }
        }
        println!("SKIP {test}: no cgroup whose memory we may bound");
        None
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn rp_4_a_real_monitor_that_the_kernel_ends_for_want_of_memory_is_told_and_started_again() {
    let Some(programs) = Programs::real("rp_4") else { return };
    let Some(memory) = Memory::new("rp_4") else { return };
    let (site, daemon, vms) = with_vms(programs, &["a"]).await;
    let (before, last) = (census::monitor(&site.dir(), vms[0]).unwrap(), site.plane.last_event(&me()).await.unwrap());
    std::fs::write(memory.0.join("cgroup.procs"), before.pid.to_string()).unwrap();
    // What the guest takes from now on is the monitor's.
    let mut command =
        site.command(&["exec", "a", "-n", "--", "sh", "-c", "head -c 100000000 /dev/zero | tail | wc -c"]);
    let mut asked = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let told = site.event(last, 12 * SOON, |body| is_state(body, VmState::Starting)).await;
    site.event(told.seq, 24 * SOON, |body| is_state(body, VmState::Running)).await;
    asked.kill().unwrap();
    asked.wait().unwrap();
    assert_ne!(census::monitor(&site.dir(), vms[0]).unwrap().pid, before.pid);
    runs(&site, "a").await;
    daemon.end();
}
