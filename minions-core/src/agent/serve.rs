//! The agent as a process: words in, exit code out.

use std::path::PathBuf;
use std::process::ExitCode;

use super::log::say;
use super::status::micros_since_boot;
use super::{
    AGENT_PORT, Agent, AgentOptions, Announcement, Door, Machine, ReadyDoor, announce, console, init, listen,
    read_secret, service, supervise,
};
use crate::api::guest::Nonce;
use crate::api::guest::handshake::AgentIdentity;
use crate::error::{Error, Result};
use crate::types::{AgentSecret, BootMark};

const USAGE: &str = "\
usage: minions-agent serve [options]      serves this guest's host
       minions-agent supervise [options]  the same, started again whenever it ends
       minions-agent service              the same, in an image that boots with its own kernel and init
       minions-agent version
as process 1 of an initrd it boots the guest

options:
  --secret-file PATH   64 hexadecimal digits, readable by root only   (/run/minions/secret)
  --listen DOOR        vsock:PORT or unix:PATH                        (vsock:1023)
  --ready DOOR         vsock, unix:PATH or none                       (vsock)
  --report PATH        what the boot has measured, as JSON
  --borrowed           this machine is not the agent's: a shutdown ends the agent alone";

/// How an agent is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where the VM's secret lies.
    pub secret: PathBuf,
    /// Where hosts reach it.
    pub listen: Door,
    /// Where it reports that it is up.
    pub ready: Option<ReadyDoor>,
    /// What PID 1 has measured.
    pub report: Option<PathBuf>,
    /// Whose the machine is.
    pub machine: Machine,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            secret: "/run/minions/secret".into(),
            listen: Door::Vsock(AGENT_PORT),
            ready: Some(ReadyDoor::Vsock),
            report: None,
            machine: Machine::Guest,
        }
    }
}

impl ServeOptions {
    /// Reads words such as `--listen unix:/run/agent.sock`.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--borrowed" {
                options.machine = Machine::Borrowed;
                continue;
            }
            let value = words.next().ok_or_else(|| Error::invalid(word.clone(), format!("{word} needs a value")))?;
            let bad = || Error::invalid(word.clone(), format!("{word} cannot be {value}"));
            match word.as_str() {
                "--secret-file" => options.secret = value.into(),
                "--report" => options.report = Some(value.into()),
                "--listen" => {
                    options.listen = match value.split_once(':') {
                        Some(("vsock", port)) => Door::Vsock(port.parse().map_err(|_| bad())?),
                        Some(("unix", path)) => Door::Unix(path.into()),
                        _ => return Err(bad()),
                    };
                }
                "--ready" => {
                    options.ready = match value.split_once(':') {
                        None if value == "vsock" => Some(ReadyDoor::Vsock),
                        None if value == "none" => None,
                        Some(("unix", path)) => Some(ReadyDoor::Unix(path.into())),
                        _ => return Err(bad()),
                    };
                }
                _ => return Err(Error::invalid(word.clone(), format!("there is no option {word}"))),
            }
        }
        Ok(options)
    }
}

/// The whole program: `words` without its name.
#[must_use]
pub fn main(words: Vec<String>) -> ExitCode {
    if rustix::process::getpid().is_init() {
        return init::run();
    }
    let mut words = words.into_iter();
    let done = match words.next().as_deref() {
        Some("serve") => ServeOptions::parse(words).and_then(|options| blocking(serve(options))),
        Some("service") => service::run(),
        Some("supervise") => blocking(supervise(words.collect())),
        // What the first process starts at its console; nobody else has a use for it.
        Some(console::WORD) => console::shell(words.next()),
        Some("version" | "--version") => {
            say(format_args!("{}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        _ => Err(Error::invalid("command", USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{}", error.chain()));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Runs on a runtime of one thread.
pub(super) fn blocking(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("cannot start a runtime").with_source(error))?
        .block_on(work)
}

/// Serves until a host asks for the end. On a machine of its own it does not return then: the machine ends.
pub async fn serve(options: ServeOptions) -> Result<()> {
    let secret = read_secret(&options.secret)?;
    let boot_nonce = boot_nonce(&secret, options.machine)?;
    let agent_version = env!("CARGO_PKG_VERSION").to_owned();
    let identity = AgentIdentity { secret, boot_nonce, agent_version };
    let agent = Agent::new(identity, AgentOptions { machine: options.machine, ..AgentOptions::default() });
    let serving = listen(agent.clone(), options.listen).await?;
    let announcing = async {
        if let Some(door) = &options.ready {
            announce(&agent, door, &report(options.report.as_deref())).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serving => {}
        () = announcing => {}
        _ = agent.ended() => {}
    }
    if options.machine == Machine::Guest {
        // The power goes off, or init ends this process: both are near.
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// The same for every agent of one boot of a guest, and of no other.
fn boot_nonce(secret: &AgentSecret, machine: Machine) -> Result<Nonce> {
    match (machine, std::fs::read("/proc/sys/kernel/random/boot_id")) {
        (Machine::Guest, Ok(boot)) => {
            let mut mac = hmac_sha256::HMAC::new(secret.expose());
            mac.update(b"minions boot");
            mac.update(&boot);
            Ok(Nonce::from_bytes(mac.finalize()))
        }
        _ => Nonce::fresh(),
    }
}

fn report(measured: Option<&std::path::Path>) -> Announcement {
    let text = measured.and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    // An agent that was started by something else than our PID 1 has nothing to tell but itself.
    let mut report: Announcement = serde_json::from_slice(&text).unwrap_or_default();
    let before: u64 = report.marks.iter().map(|mark| mark.micros).sum();
    if before > 0 {
        report.marks.push(BootMark { name: "guest-agent".into(), micros: micros_since_boot().saturating_sub(before) });
    }
    report.kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    report
}
