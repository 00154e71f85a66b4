//! In the place of Cloud Hypervisor: answers its control API, locks the disks, tells its events, and has the agent as its
//! guest.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use crate::after;
use crate::guest::{Phase, Script, guest, lock_disks, secret};
use crate::helper;
use crate::serial::{Ring, listen};

pub async fn run(words: &[String]) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let api = after(words, "--api-socket").and_then(|value| value.strip_prefix("path=")).ok_or("no --api-socket")?;
    let dir = Path::new(api).parent().ok_or("the control socket is in no folder")?.to_owned();
    let tells = after(words, "--event-monitor") == Some("fd=1");
    let listener = UnixListener::bind(api).map_err(told)?;
    std::fs::set_permissions(api, Permissions::from_mode(0o600)).map_err(told)?;
    let (ends, mut ended) = mpsc::channel(1);
    let vmm = Arc::new(Vmm {
        dir,
        tells,
        made: Mutex::default(),
        phase: watch::Sender::new(Phase::Prepared),
        ring: Arc::default(),
        ends,
    });
    vmm.tell("vmm", "starting");
    let serve = async {
        while let Ok((stream, _)) = listener.accept().await {
            let vmm = vmm.clone();
            tokio::spawn(async move { converse(stream, &vmm).await });
        }
    };
    let result = tokio::select! {
        () = serve => Ok(()),
        result = ended.recv() => result.unwrap_or(Ok(())),
    };
    vmm.ring.close().await;
    result
}

struct Vmm {
    dir: PathBuf,
    tells: bool,
    made: Mutex<Made>,
    phase: watch::Sender<Phase>,
    ring: Arc<Ring>,
    ends: mpsc::Sender<Result<(), String>>,
}

#[derive(Default)]
struct Made {
    config: Option<Value>,
    paused: bool,
    disks: Vec<File>,
}

type Answer = Result<Option<Value>, Vec<String>>;

impl Vmm {
    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, source: &str, event: &str) {
        if self.tells {
            let event =
                json!({"timestamp": {"secs": 0, "nanos": 0}, "source": source, "event": event, "properties": null});
            // A full pipe loses events, as with the real one.
            let _ = write!(std::io::stdout(), "{event:#}\n\n").and_then(|()| std::io::stdout().flush());
        }
    }

    async fn answer(self: &Arc<Self>, method: &str, call: &str, body: &[u8]) -> Answer {
        let refused = |what: &str, why: &str| Err(vec!["Error from API".to_owned(), what.to_owned(), why.to_owned()]);
        match (method, call) {
            ("GET", "vmm.ping") => {
                Ok(Some(json!({"build_version": "v53.0.0", "version": "53.0.0", "pid": 1, "features": []})))
            }
            ("GET", "vm.info") => match self.told() {
                Some(told) => Ok(Some(told)),
                None => refused("The VM info is not available", "VM is not created"),
            },
            ("PUT", "vm.create") => self.create(body),
            ("PUT", "vm.boot") => match self.boot() {
                Ok(()) => Ok(None),
                Err(why) => refused("The VM could not boot", &why),
            },
            ("PUT", "vm.pause" | "vm.resume") if *self.phase.borrow() == Phase::Running => {
                self.made().paused = call == "vm.pause";
                Ok(None)
            }
            ("PUT", "vm.snapshot" | "vm.restore") => match self.written_down(call, body) {
                Ok(()) => Ok(None),
                Err(why) => refused(call, &why),
            },
            ("PUT", "vm.resize-disk") if *self.phase.borrow() == Phase::Running => Ok(None),
            ("PUT", "vm.power-button") if *self.phase.borrow() == Phase::Running => {
                let deaf = self.script().deaf;
                if !deaf {
                    self.phase.send_replace(Phase::Shutdown);
                }
                Ok(None)
            }
            ("PUT", "vmm.shutdown") => {
                let _ = self.ends.send(Ok(())).await;
                Ok(None)
            }
            ("PUT", _) => refused(call, "VM is not running"),
            _ => Err(vec!["Not Found".to_owned()]),
        }
    }

    fn told(&self) -> Option<Value> {
        let made = self.made();
        let state = match *self.phase.borrow() {
            Phase::Prepared => "Created",
            _ if made.paused => "Paused",
            Phase::Running => "Running",
            Phase::Shutdown => "Shutdown",
        };
        Some(json!({"config": made.config.as_ref()?, "state": state}))
    }

    fn create(&self, body: &[u8]) -> Answer {
        let fail = |why: String| vec!["Error from API".to_owned(), "The VM could not be created".to_owned(), why];
        let config: Value = serde_json::from_slice(body).map_err(|error| fail(error.to_string()))?;
        let mut made = self.made();
        if made.config.is_some() {
            return Err(fail("VM is already created".to_owned()));
        }
        if let Some(serial) = config["serial"]["socket"].as_str() {
            let listener = UnixListener::bind(serial).map_err(|error| fail(error.to_string()))?;
            tokio::spawn(listen(listener, self.ring.clone()));
        }
        made.config = Some(config);
        Ok(None)
    }

    /// The VM's configuration is all that there is of this one's memory.
    fn written_down(self: &Arc<Self>, call: &str, body: &[u8]) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let folder = |name: &str| body[name].as_str().and_then(|url| url.strip_prefix("file://")).map(PathBuf::from);
        if call == "vm.snapshot" {
            let made = self.made();
            let config = made.config.as_ref().filter(|_| made.paused).ok_or("VM is not paused")?;
            let file = folder("destination_url").ok_or("no destination")?.join("config.json");
            return std::fs::write(file, config.to_string()).map_err(told);
        }
        let config = std::fs::read(folder("source_url").ok_or("no source")?.join("config.json")).map_err(told)?;
        self.create(&config).map_err(|causes| causes.join(": "))?;
        self.boot()?;
        self.made().paused = true;
        Ok(())
    }

    fn script(&self) -> Script {
        let made = self.made();
        let config = made.config.as_ref();
        Script::read(config.and_then(|config| config["payload"]["cmdline"].as_str()).unwrap_or_default())
    }

    fn boot(self: &Arc<Self>) -> Result<(), String> {
        let script = self.script();
        let mut made = self.made();
        let config = made.config.clone().ok_or("VM config is missing")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if config["landlock_enable"] != true || config["console"]["mode"] != "Off" {
            return Err("the stub wants Landlock, and no second console".to_owned());
        }
        let paths = config["disks"].as_array().into_iter().flatten().map(|disk| match disk["image_type"].as_str() {
            Some("Raw") => text(&disk["path"]).ok_or_else(|| "a disk without a path".to_owned()),
            _ => Err("a disk that may be parsed".to_owned()),
        });
        made.disks = lock_disks(&paths.collect::<Result<Vec<_>, _>>()?)?;
        drop(made);
        let told = |what: String| move |error: std::io::Error| format!("{what}: {error}");
        let kernel = text(&config["payload"]["kernel"]).ok_or("no kernel")?;
        std::fs::metadata(&kernel).map_err(told(kernel.clone()))?;
        let initrd = text(&config["payload"]["initramfs"]).ok_or("no initramfs")?;
        let secret =
            secret(&std::fs::read(&initrd).map_err(told(initrd.clone()))?).ok_or("the initrd has no secret")?;
        let door = text(&config["vsock"]["socket"]).ok_or("no vsock")?;
        let door = UnixListener::bind(&door).map_err(told(door.clone()))?;
        tokio::spawn(helper::lead(door, self.dir.clone()));
        self.tell("vm", "booting");
        self.phase.send_replace(Phase::Running);
        self.ring.print("stub: up\r\nminions: press Enter for a shell\r\n");
        self.tell("vm", "booted");
        tokio::spawn(self.clone().live(secret, script));
        Ok(())
    }

    /// The guest's life.
    async fn live(self: Arc<Self>, secret: String, script: Script) {
        let mut phase = self.phase.subscribe();
        if let Some(after) = script.reboot {
            let vmm = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                vmm.tell("vm", "rebooting");
            });
        }
        let result = tokio::select! {
            ended = guest(&self.dir, &secret, self.phase.subscribe(), &script) => ended,
            _ = phase.wait_for(|phase| *phase == Phase::Shutdown) => Ok(()),
        };
        self.ring.print("stub: powered off\r\n");
        let _ = self.ends.send(result).await;
    }
}

/// Answers one question after the other.
async fn converse(stream: UnixStream, vmm: &Arc<Vmm>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|count| *count > 0)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok().filter(|count| *count > 0)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let answer = vmm.answer(&method, path.strip_prefix("/api/v1/").unwrap_or(&path), &body).await;
        let (status, body) = match answer {
            Ok(Some(body)) => ("200", body.to_string()),
            Ok(None) => ("204", String::new()),
            Err(causes) => (if causes.len() == 1 { "404" } else { "500" }, json!(causes).to_string()),
        };
        let length = if status == "204" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 {status} \r\nServer: stub\r\nConnection: keep-alive\r\n{length}\r\n");
        stream.get_mut().write_all((head + &body).as_bytes()).await.ok()?;
    }
}
