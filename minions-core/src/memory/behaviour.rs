//! How a simulated guest behaves.

use std::time::Duration;

use crate::error::ErrorKind;

/// The habits of a guest, good and bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestBehaviour {
    /// From the start of the guest until it says that it is ready.
    pub boot: Duration,
    /// From the power button, or the agent's shutdown, until the monitor ends.
    pub shutdown: Duration,
    /// Whether it says that it is ready at all.
    pub says_ready: bool,
    /// Whether it takes connections and then stays silent.
    pub mute: bool,
    /// Whether it does nothing when asked to end.
    pub ignores_shutdown: bool,
    /// Whether it proves itself with another secret than its own.
    pub wrong_secret: bool,
    /// Whether the start of its guest fails, and with what.
    pub start_fails: Option<ErrorKind>,
    /// Whether its monitor ends by itself after this long.
    pub exits_after: Option<Duration>,
}

impl GuestBehaviour {
    /// How long the first ready takes unless told otherwise.
    pub const BOOT: Duration = Duration::from_millis(10);
}

impl Default for GuestBehaviour {
    fn default() -> Self {
        Self {
            boot: Self::BOOT,
            shutdown: Duration::ZERO,
            says_ready: true,
            mute: false,
            ignores_shutdown: false,
            wrong_secret: false,
            start_fails: None,
            exits_after: None,
        }
    }
}
