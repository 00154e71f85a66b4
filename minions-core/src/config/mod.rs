//! The configuration: what was written ([`file`](mod@file)), what the environment says ([`env`](mod@env)), and what it all means
//! ([`checked`]).
//!
//! Everything that is wrong is said at once, each with file, line and key. An unknown key is wrong. Secrets are never in
//! the file itself: it names files that only their owner can read.

pub mod checked;
pub mod env;
pub mod file;
pub mod network;
pub mod qemu;
pub mod storage;

pub use checked::{Backend, Config, LogFormat, check};
pub use env::Environment;
pub use file::{ConfigProblem, ConfigProblems};
pub use network::{NetworkKind, NetworkSettings};
pub use qemu::{QemuSettings, QemuVsock};
pub use storage::{StorageKind, StorageSettings};
