//! The agent as a service of an image that boots with its own kernel and init: does what our process 1 does otherwise, and
//! then keeps the agent alive.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::error::about;
use super::init::cmdline::BootPlan;
use super::init::{self, LENT, RUN};
use super::log::say;
use super::supervise;
use crate::error::{Error, Result};

/// Takes the secret over, sets the guest up where this is its first start since the boot, and supervises the agent.
pub(super) fn run() -> Result<()> {
    let (lent, kept) = (Path::new(LENT), Path::new(RUN).join("secret"));
    if lent.join("secret").exists() {
        set_up(lent)?;
    } else if !kept.exists() {
        let message = "this machine was not started by minions, or without rdinit=/minions/agent on its kernel's line";
        return Err(Error::not_found(format!("{message}: there is no {}", lent.display())));
    }
    told();
    super::serve::blocking(supervise(init::WORDS.iter().map(|word| (*word).to_owned()).collect()))
}

fn set_up(lent: &Path) -> Result<()> {
    let text = std::fs::read_to_string("/proc/cmdline").map_err(|error| about("/proc/cmdline", error))?;
    let plan = BootPlan::parse(&text)?;
    // Taken over before anything can fail: what is lent is seen by nobody else for a moment longer than it must.
    init::take_over(lent, &plan)?;
    init::join(&plan);
    Ok(())
}

/// Tells a systemd that waits for it that the guest has its network and its data.
fn told() {
    #[expect(clippy::disallowed_methods, reason = "how systemd says where it listens")]
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let send = || UnixDatagram::unbound()?.send_to(b"READY=1", &place);
    if let Err(error) = send() {
        say(format_args!("cannot tell systemd: {error}"));
    }
}
