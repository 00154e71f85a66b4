//! The guest of both stand-ins: our agent, and what its kernel's command line asks of it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use minions_core::agent::{Door, Machine, ReadyDoor, ServeOptions, serve};
use minions_core::guest::{AGENT_PORT, READY_PORT};
use minions_core::host::{files, lock};
use minions_core::types::names;
use serde_json::json;
use tokio::sync::watch;

use crate::helper::guest_port;

/// What the kernel's command line asks of the guest.
pub struct Script {
    ready: Duration,
    crash: Option<Duration>,
    pub reboot: Option<Duration>,
    mute: bool,
    pub deaf: bool,
}

impl Script {
    pub fn read(cmdline: &str) -> Self {
        let word = |name: &str| cmdline.split(' ').find_map(|word| word.strip_prefix(name));
        let millis = |name| word(name).and_then(|value| value.parse().ok()).map(Duration::from_millis);
        Self {
            ready: millis("stub.ready_ms=").unwrap_or_default(),
            crash: millis("stub.crash_ms="),
            reboot: millis("stub.reboot_ms="),
            mute: word("stub.mute").is_some(),
            deaf: word("stub.deaf").is_some(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Prepared,
    Running,
    Shutdown,
}

/// The disks, opened and locked.
pub fn lock_disks(paths: &[String]) -> Result<Vec<File>, String> {
    let mut disks = Vec::new();
    for path in paths {
        let disk =
            files::open_write_existing(Path::new(path)).map_err(|error| format!("could not open '{path}': {error}"))?;
        if !lock::try_lock(&disk).map_err(|error| error.to_string())? {
            return Err(format!("failed to get \"write\" lock: is another process using the image [{path}]?"));
        }
        disks.push(disk);
    }
    Ok(disks)
}

/// The content of `minions/secret` in the archive behind the image's initrd.
pub fn secret(initrd: &[u8]) -> Option<String> {
    let name = b"minions/secret\0";
    let at = initrd.windows(name.len()).rposition(|window| window == name)?;
    let start = (at + name.len()).next_multiple_of(4);
    String::from_utf8(initrd.get(start..start + 64)?.to_vec()).ok()
}

/// The guest's life; returns when it has powered itself off.
pub async fn guest(dir: &Path, secret: &str, mut phase: watch::Receiver<Phase>, script: &Script) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    phase.wait_for(|phase| *phase == Phase::Running).await.map_err(|error| error.to_string())?;
    if let Some(after) = script.crash {
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            std::process::exit(70);
        });
    }
    tokio::time::sleep(script.ready).await;
    if script.mute {
        std::future::pending::<()>().await;
    }
    let (secret_path, report_path) = (dir.join("guest_secret"), dir.join("guest_report"));
    files::replace_volatile(&secret_path, secret.as_bytes(), 0o600).map_err(told)?;
    let marks = json!([{"name": "guest-kernel", "micros": script.ready.as_micros() as u64}]);
    let report = json!({"marks": marks, "kernel": "", "root": "/dev/vda"});
    files::replace_volatile(&report_path, report.to_string().as_bytes(), 0o600).map_err(told)?;
    let options = ServeOptions {
        secret: secret_path,
        listen: Door::Unix(guest_port(dir, AGENT_PORT)),
        ready: Some(ReadyDoor::Unix(dir.join(names::vsock_port(READY_PORT)))),
        report: Some(report_path),
        machine: Machine::Borrowed,
    };
    serve(options).await.map_err(|error| error.chain())
}
