//! In the place of QEMU: locks the disks, answers QMP, and has the agent as its guest.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minions_core::agent::{Door, Machine, ReadyDoor, ServeOptions, serve};
use minions_core::guest::{AGENT_PORT, READY_PORT};
use minions_core::host::{files, lock};
use minions_core::types::names;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::after;
use crate::helper::guest_port;

/// What the kernel's command line asks of the guest.
struct Script {
    ready: Duration,
    crash: Option<Duration>,
    mute: bool,
    deaf: bool,
}

impl Script {
    fn read(cmdline: &str) -> Self {
        let word = |name: &str| cmdline.split(' ').find_map(|word| word.strip_prefix(name));
        let millis = |name| word(name).and_then(|value| value.parse().ok()).map(Duration::from_millis);
        Self {
            ready: millis("stub.ready_ms=").unwrap_or_default(),
            crash: millis("stub.crash_ms="),
            mute: word("stub.mute").is_some(),
            deaf: word("stub.deaf").is_some(),
        }
    }
}

pub async fn run(words: &[String]) -> Result<(), String> {
    let qmp = after(words, "-qmp").and_then(|value| value.strip_prefix("unix:")).ok_or("no -qmp")?;
    let qmp = PathBuf::from(qmp.split(",server").next().unwrap_or_default().replace(",,", ","));
    let dir = qmp.parent().ok_or("the control socket is in no folder")?.to_owned();
    let script = Script::read(after(words, "-append").unwrap_or_default());
    let initrd = after(words, "-initrd").ok_or("no -initrd")?;
    let bytes = std::fs::read(initrd).map_err(|error| format!("could not load initrd: {error}"))?;
    let secret = secret(&bytes).ok_or("the initrd has no secret behind it")?;
    // Held for life, as the real one holds its locks.
    let _disks = disks(words)?;
    let listener = UnixListener::bind(&qmp).map_err(|error| error.to_string())?;
    let (run, running) = watch::channel(false);
    let mut control = tokio::spawn(control(listener, run, script.deaf));
    tokio::select! {
        ended = &mut control => return ended.map_err(|error| error.to_string()),
        ended = guest(&dir, &secret, running, &script) => ended?,
    }
    Ok(())
}

/// The disks, opened and locked.
fn disks(words: &[String]) -> Result<Vec<File>, String> {
    let mut disks = Vec::new();
    for pair in words.windows(2).filter(|pair| pair[0] == "-blockdev") {
        let Some((_, path)) = pair[1].split_once("file.filename=") else { continue };
        let disk = files::open_write_existing(Path::new(&path.replace(",,", ",")))
            .map_err(|error| format!("could not open '{path}': {error}"))?;
        if !lock::try_lock(&disk).map_err(|error| error.to_string())? {
            return Err(format!("failed to get \"write\" lock: is another process using the image [{path}]?"));
        }
        disks.push(disk);
    }
    Ok(disks)
}

/// The content of `minions/secret` in the archive behind the image's initrd.
fn secret(initrd: &[u8]) -> Option<String> {
    let name = b"minions/secret\0";
    let at = initrd.windows(name.len()).rposition(|window| window == name)?;
    let start = (at + name.len()).next_multiple_of(4);
    String::from_utf8(initrd.get(start..start + 64)?.to_vec()).ok()
}

/// Answers one conversation after the other, until it is told to quit or the button is pressed.
async fn control(listener: UnixListener, run: watch::Sender<bool>, deaf: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        if let Some(()) = converse(stream, &run, deaf).await {
            return;
        }
    }
}

async fn converse(stream: UnixStream, run: &watch::Sender<bool>, deaf: bool) -> Option<()> {
    let mut lines = BufReader::new(stream);
    let greeting = json!({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}});
    lines.get_mut().write_all(format!("{greeting}\r\n").as_bytes()).await.ok()?;
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        let command: Value = serde_json::from_str(&line).unwrap_or_default();
        let mut over = false;
        let answer = match command["execute"].as_str() {
            Some("qmp_capabilities") => json!({"return": {}}),
            Some("query-status") => {
                let running = *run.borrow();
                json!({"return": {"running": running, "status": if running { "running" } else { "prelaunch" }}})
            }
            Some("cont") => {
                run.send_replace(true);
                json!({"return": {}})
            }
            Some("system_powerdown") => {
                over = !deaf && *run.borrow();
                json!({"return": {}})
            }
            Some("quit") => {
                over = true;
                json!({"return": {}})
            }
            Some("ringbuf-read") => json!({"return": ""}),
            other => json!({"error": {"class": "CommandNotFound", "desc": format!("the stub has no {other:?}")}}),
        };
        let written = lines.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await;
        if over {
            return Some(());
        }
        written.ok()?;
    }
}

/// The guest's life; returns when it has powered itself off.
async fn guest(dir: &Path, secret: &str, mut running: watch::Receiver<bool>, script: &Script) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    running.wait_for(|running| *running).await.map_err(|error| error.to_string())?;
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
