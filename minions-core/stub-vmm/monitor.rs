//! In the place of QEMU: locks the disks, answers QMP, and has the agent as its guest.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::after;
use crate::guest::{Phase, Script, guest, lock_disks, secret};
use crate::serial::Serial;
use crate::talk::Talk;

pub async fn run(words: &[String]) -> Result<(), String> {
    let sockets = sockets(words);
    let dir = sockets.first().and_then(|socket| socket.parent()).ok_or("no -qmp in a folder")?.to_owned();
    let script = Script::read(after(words, "-append").unwrap_or_default());
    let initrd = after(words, "-initrd").ok_or("no -initrd")?;
    let bytes = std::fs::read(initrd).map_err(|error| format!("could not load initrd: {error}"))?;
    let secret = secret(&bytes).ok_or("the initrd has no secret behind it")?;
    // Held for life, as the real one holds its locks.
    let _disks = lock_disks(&disks(words))?;
    let phase = watch::Sender::new(Phase::Prepared);
    let machine = Arc::new(Machine { phase, serial: Mutex::new(Serial::default()), deaf: script.deaf });
    let mut talks = JoinSet::new();
    for socket in &sockets {
        let listener = UnixListener::bind(socket).map_err(|error| error.to_string())?;
        talks.spawn(control(listener, machine.clone()));
    }
    let mut phase = machine.phase.subscribe();
    tokio::select! {
        // Told to quit.
        _ = talks.join_next() => return Ok(()),
        ended = guest(&dir, &secret, machine.phase.subscribe(), &script) => ended?,
        _ = phase.wait_for(|phase| *phase == Phase::Shutdown) => {}
    }
    machine.enter(Phase::Shutdown);
    if words.iter().any(|word| word == "-no-shutdown") {
        talks.join_next().await;
    }
    Ok(())
}

/// The control sockets that were asked for.
fn sockets(words: &[String]) -> Vec<PathBuf> {
    let values = words.windows(2).filter(|pair| pair[0] == "-qmp").filter_map(|pair| pair[1].strip_prefix("unix:"));
    values.map(|value| value.split(",server").next().unwrap_or_default().replace(",,", ",").into()).collect()
}

struct Machine {
    phase: watch::Sender<Phase>,
    serial: Mutex<Serial>,
    deaf: bool,
}

impl Machine {
    fn enter(&self, phase: Phase) {
        let up = concat!("stub: up\r\n", "minions: press Enter for a shell\r\n");
        let line = if phase == Phase::Running { up } else { "stub: powered off\r\n" };
        let entered = self.phase.send_if_modified(|known| std::mem::replace(known, phase) != phase);
        if entered {
            self.serial().print(line);
        }
    }

    fn serial(&self) -> MutexGuard<'_, Serial> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    fn change_serial(&self, command: &Value, given: Option<OwnedFd>) -> Value {
        let socket = command["arguments"]["backend"]["type"] == "socket";
        let changed = match (socket, given) {
            (false, _) => Ok(Serial::default()),
            (true, Some(file)) => Serial::over(file),
            (true, None) => Err("no file was given".to_owned()),
        };
        match changed {
            Ok(serial) => {
                *self.serial() = serial;
                json!({"return": {}})
            }
            Err(desc) => json!({"error": {"class": "GenericError", "desc": desc}}),
        }
    }
}

/// The paths of the disks.
fn disks(words: &[String]) -> Vec<String> {
    let disks = words.windows(2).filter(|pair| pair[0] == "-blockdev");
    disks.filter_map(|pair| Some(pair[1].split_once("file.filename=")?.1.replace(",,", ","))).collect()
}

/// Answers one conversation after the other, until it is told to quit.
async fn control(listener: UnixListener, machine: Arc<Machine>) {
    while let Ok((stream, _)) = listener.accept().await {
        if let Some(()) = converse(stream, &machine).await {
            return;
        }
    }
}

async fn converse(stream: UnixStream, machine: &Arc<Machine>) -> Option<()> {
    let mut talk = Talk { stream, heard: Vec::new(), given: None };
    talk.say(&json!({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}})).await?;
    let mut phase = machine.phase.subscribe();
    phase.mark_unchanged();
    loop {
        let command = tokio::select! {
            command = talk.next() => command?,
            Ok(()) = phase.changed() => {
                if *phase.borrow_and_update() == Phase::Shutdown {
                    talk.say(&json!({"event": "SHUTDOWN", "data": {"guest": true}})).await?;
                }
                continue;
            }
        };
        let now = *machine.phase.borrow();
        let answer = match command["execute"].as_str() {
            Some("qmp_capabilities" | "getfd") => json!({"return": {}}),
            Some("query-status") => {
                let status = match now {
                    Phase::Prepared => "prelaunch",
                    Phase::Running => "running",
                    Phase::Shutdown => "shutdown",
                };
                json!({"return": {"running": now == Phase::Running, "status": status}})
            }
            Some("cont") => {
                machine.enter(Phase::Running);
                json!({"return": {}})
            }
            // Its guest has no disks to see.
            Some("block_resize") => json!({"return": {}}),
            Some("system_powerdown") => {
                if !machine.deaf && now == Phase::Running {
                    machine.enter(Phase::Shutdown);
                }
                json!({"return": {}})
            }
            Some("quit") => {
                talk.say(&json!({"return": {}})).await;
                return Some(());
            }
            Some("ringbuf-read") => match &mut *machine.serial() {
                Serial::Ring(log) => json!({"return": base64(std::mem::take(log).as_bytes())}),
                Serial::Socket(_) => json!({"error": {"class": "GenericError", "desc": "serial0 is not a ringbuf"}}),
            },
            Some("query-chardev") => {
                let filename = machine.serial().filename();
                json!({"return": [{"label": "serial0", "frontend-open": true, "filename": filename}]})
            }
            Some("chardev-change") => machine.change_serial(&command, talk.given.take()),
            other => json!({"error": {"class": "CommandNotFound", "desc": format!("the stub has no {other:?}")}}),
        };
        talk.say(&answer).await?;
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let held = piece.iter().fold(0, |held, byte| held << 8 | usize::from(*byte)) << (8 * (3 - piece.len()));
        for place in 0..4 {
            let letter = LETTERS[held >> (18 - 6 * place) & 63];
            text.push(if place <= piece.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
