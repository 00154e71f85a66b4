//! Verbs about what is inside a VM.

pub mod archive;
pub mod console;
pub mod copy;
pub mod exec;
pub mod forward;
pub mod logs;
pub mod path;
pub mod pipe;
pub mod signals;
pub mod terminal;

use std::time::Duration;

use tokio::time::Instant;

/// How long the guest may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// The moment after which an answer is too late.
fn soon() -> Instant {
    Instant::now() + ANSWER
}
