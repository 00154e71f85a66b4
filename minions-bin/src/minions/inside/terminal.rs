//! The caller's own terminal.

use std::io;

use minions_core::api::guest::TtySize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that passes every key on; as it was before when dropped.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes stdin's terminal pass every key on.
    pub fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// How large stdout's terminal is.
pub fn size() -> Option<TtySize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    // A terminal that does not know says 0.
    (size.ws_row > 0 && size.ws_col > 0).then_some(TtySize { rows: size.ws_row, cols: size.ws_col })
}
