//! The real daemon is killed, ended and crowded: VMs do not notice, and what was acknowledged holds.
//!
//! Programs in the place of QEMU make a drill a matter of milliseconds; the ignored ones take the real QEMU.
//! `MINIONS_SEED` replays, `MINIONS_KILLS` says how often to kill.
#![cfg(feature = "minions")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, and reads its settings from the environment")]

mod census;
#[allow(dead_code, reason = "the tests of real guests take more of it")]
mod daemon;
mod full;
mod kills;
mod monitors;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use daemon::{Daemon, Programs, Site, is_state, me};
use minions_core::api::v1;
use minions_core::service::ControlPlane;
use minions_core::types::{VmId, VmState};
use rustix::process::Signal;
use tokio::time::Instant;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// How soon what happened must be known (RP-4).
const SOON: Duration = Duration::from_secs(5);

/// The drill, and what it took.
async fn kills(name: &str, programs: Programs, kills: u64, most: usize, longest: Duration) {
    let (seed, kills) = (setting("MINIONS_SEED", 1), setting("MINIONS_KILLS", kills));
    let began = Instant::now();
    let requests = kills::kill_and_settle(programs, seed, kills, most, longest).await;
    println!(
        "drill {name} MINIONS_SEED={seed} kills={kills} requests={requests} seconds={}",
        began.elapsed().as_secs()
    );
}

/// How long a stand-in for a guest is let live at most: a create takes a tenth of it.
const QUICK: Duration = Duration::from_millis(250);

#[tokio::test]
async fn rp_1_kill_9_at_random_moments_loses_nothing_and_leaves_nothing() {
    let Some(programs) = Programs::stub("rp_1") else { return };
    kills("stub", programs, 40, 6, QUICK).await;
}

#[tokio::test]
#[ignore = "slow: 300 times"]
async fn rp_1_kill_9_at_300_random_moments_loses_nothing_and_leaves_nothing() {
    let Some(programs) = Programs::stub("rp_1") else { return };
    kills("stub", programs, 300, 6, QUICK).await;
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn rp_1_kill_9_at_random_moments_of_real_guests_loses_nothing_and_leaves_nothing() {
    let Some(programs) = Programs::real("rp_1") else { return };
    kills("real", programs, 10, 2, Duration::from_secs(6)).await;
}

/// A site with VMs that run.
async fn with_vms(programs: Programs, names: &[&str]) -> (Site, Daemon, Vec<VmId>) {
    let mut site = Site::new(programs);
    let daemon = site.start();
    site.image().await;
    let mut vms = Vec::new();
    for name in names {
        vms.push(site.create(name).await);
    }
    (site, daemon, vms)
}

async fn they_stay_and_are_taken_up_again(programs: Programs, within: Duration) {
    let names = ["a", "b", "c"];
    let (mut site, daemon, vms) = with_vms(programs, &names).await;
    let before: Vec<_> = vms.iter().map(|vm| census::of(&site.dir(), *vm)).collect();
    assert!(before.iter().all(|own| own.len() == 2), "{before:?}");
    daemon.kill();
    let while_dead: Vec<_> = vms.iter().map(|vm| census::of(&site.dir(), *vm)).collect();
    assert_eq!(while_dead, before, "they do not notice");
    let began = Instant::now();
    let daemon = site.start();
    for name in names {
        let ran = site.command(&["exec", name, "-n", "--", "true"]).output().unwrap();
        assert!(ran.status.success(), "{}: {}", String::from_utf8_lossy(&ran.stderr), site.log());
    }
    let took = began.elapsed();
    println!("drill: three VMs are taken up again and entered after {took:?}");
    assert!(took < within, "it took {took:?}");
    let after: Vec<_> = vms.iter().map(|vm| census::of(&site.dir(), *vm)).collect();
    assert_eq!(after, before, "INV-11: the same processes");
    daemon.end();
}

#[tokio::test]
async fn rp_3_vms_outlive_kill_9_of_the_daemon_and_are_entered_within_5_seconds() {
    let Some(programs) = Programs::stub("rp_3") else { return };
    they_stay_and_are_taken_up_again(programs, SOON).await;
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn rp_3_real_vms_outlive_kill_9_of_the_daemon() {
    let Some(programs) = Programs::real("rp_3") else { return };
    they_stay_and_are_taken_up_again(programs, SOON).await;
}

async fn the_death_of_a_monitor_is_told(programs: Programs) {
    let (site, daemon, vms) = with_vms(programs, &["a"]).await;
    let monitor = census::monitor(&site.dir(), vms[0]).unwrap();
    let last = site.plane.last_event(&me()).await.unwrap();
    let (pid, began) = (rustix::process::Pid::from_raw(monitor.pid).unwrap(), Instant::now());
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let told = site.event(last, SOON, |body| is_state(body, VmState::Starting)).await;
    println!("drill: a monitor was killed, and that is told after {:?}", began.elapsed());
    site.event(told.seq, 12 * SOON, |body| is_state(body, VmState::Running)).await;
    assert_ne!(census::monitor(&site.dir(), vms[0]).unwrap().pid, monitor.pid);
    daemon.end();
}

#[tokio::test]
async fn rp_4_the_death_of_a_monitor_is_known_within_5_seconds_and_mended() {
    let Some(programs) = Programs::stub("rp_4") else { return };
    the_death_of_a_monitor_is_told(programs).await;
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn rp_4_the_death_of_a_real_monitor_is_known_within_5_seconds_and_mended() {
    let Some(programs) = Programs::real("rp_4") else { return };
    the_death_of_a_monitor_is_told(programs).await;
}

#[tokio::test]
async fn fk_16_a_client_that_hangs_up_in_the_middle_of_a_create_changes_nothing_about_it() {
    let Some(programs) = Programs::stub("fk_16") else { return };
    let (site, daemon, _) = with_vms(programs, &[]).await;
    let last = site.plane.last_event(&me()).await.unwrap();
    let mut create = site.command(&["create", "a", "--memory", "128MiB", "--disk", "2MiB", "--data-disk", "16MiB"]);
    let mut client = create.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let accepted = site.event(last, 4 * SOON, |body| matches!(body, v1::EventBody::Accepted { .. })).await;
    client.kill().unwrap();
    client.wait().unwrap();
    let v1::EventBody::Accepted { operation, .. } = accepted.body else { panic!("{accepted:?}") };
    site.succeeds(operation).await;
    daemon.end();
}

#[tokio::test]
async fn bad_29_sigterm_lets_requests_finish_and_a_second_one_does_not() {
    let Some(programs) = Programs::stub("bad_29") else { return };
    let (mut site, daemon, vms) = with_vms(programs, &["a"]).await;
    let before = census::of(&site.dir(), vms[0]);
    // Once, in the middle of a create: it is done, by this daemon or the next.
    let operation = site.plane.create(&me(), &site.new_vm("b"), None).await.unwrap();
    daemon.end();
    let daemon = site.start();
    site.succeeds(operation.id).await;
    // A program in a VM keeps the daemon from ending; another signal does not wait for it.
    let mut daemon = daemon;
    let mut exec = site.command(&["exec", "a", "-n", "--", "sh", "-c", "echo up; sleep 60"]);
    let mut client = exec.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let began = Instant::now();
    while daemon.ended().is_none() {
        assert!(began.elapsed() < 2 * SOON, "it does not end: {}", site.log());
        daemon.signal(Signal::TERM);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(census::of(&site.dir(), vms[0]), before, "VMs are untouched");
    // And the folder is free for the next.
    site.start().end();
}

#[tokio::test]
async fn bad_24_a_second_daemon_in_a_folder_is_refused_and_the_first_does_not_notice() {
    let Some(programs) = Programs::stub("bad_24") else { return };
    let (site, daemon, vms) = with_vms(programs, &["a"]).await;
    let before = census::of(&site.dir(), vms[0]);
    let second = site.command(&["serve", "--backend", "qemu"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(5), "{said}");
    assert!(said.contains("another service runs"), "{said}");
    assert_eq!(census::of(&site.dir(), vms[0]), before);
    assert_eq!(site.plane.vm(&me(), &"a".parse().unwrap()).await.unwrap().state, VmState::Running);
    daemon.end();
}

#[tokio::test]
async fn bad_24_a_lock_that_is_held_for_a_moment_longer_than_its_daemon_does_not_keep_the_next_one_out() {
    let Some(programs) = Programs::stub("bad_24") else { return };
    let mut site = Site::new(programs);
    site.start().end();
    let lock = std::fs::File::options().write(true).open(site.dir().join("minions.lock")).unwrap();
    lock.lock().unwrap();
    let mut child = site.spawn();
    // Until it waits, and no longer.
    let waits = format!(" {} ", child.id());
    let began = Instant::now();
    while !std::fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .any(|line| line.contains("->") && line.contains(&waits))
    {
        assert!(child.try_wait().unwrap().is_none() && began.elapsed() < 4 * SOON, "{}", site.log());
        std::thread::yield_now();
    }
    drop(lock);
    site.ready(child).end();
}
