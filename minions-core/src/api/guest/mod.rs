//! The protocol between a host and the agent in a guest.
//!
//! One connection per call. Both sides first prove that they know the VM's secret ([`handshake`]), then the host sends
//! one [`GuestCall`] as a control frame; what follows are frames of that call until one side closes. End of stream is a
//! frame of its own, because half-close does not exist on every transport. An agent that does not know a call answers with
//! [`Reply::Failed`] of the kind `Unsupported`.
//!
//! | call | host → agent after it | agent → host |
//! | --- | --- | --- |
//! | health, status, stat, network, grow | nothing | one [`Reply`] |
//! | exec | `Data`/`End` on channel 0 (stdin) within [`STDIN_WINDOW`], [`ExecControl`] | [`ExecEvent`]s, `Data`/`End` on 0 (stdout) and 1 (stderr) |
//! | read file, tar out | nothing | [`Reply`], then `Data` on 0, then `End` on 0; a [`Reply::Failed`] instead of `End` when it breaks |
//! | write file, tar in | `Data` on 0, then `End` on 0 | [`Reply::Done`], or [`Reply::Failed`] at any moment |
//! | list | nothing | [`Reply::Entries`] until one says `last` |
//! | forward | `Data`/`End` on 0 | [`Reply::Accepted`], then `Data`/`End` on 0 |
//! | sftp, scp | `Data`/`End` on 0 | [`Reply::Accepted`], then `Data` on 0, then `End` on 0; a [`Reply::Failed`] instead of `End` when it breaks |
//! | shutdown | nothing | [`Reply::Accepted`], then it happens |

mod call;
mod clamp;
mod exec;
mod files;
mod frame;
pub mod handshake;
mod hello;
mod json;
mod pump;
mod ready;
mod reply;
mod scp;
mod sftp;
mod status;
mod stream;
mod terminal;
#[cfg(test)]
mod terminal_tests;
mod untrusted;

#[cfg(test)]
mod tests;

pub use call::{FsTarget, GuestCall, PowerHow};
pub use clamp::Clamp;
pub use exec::{ExecControl, ExecEvent, ExecRequest, STDIN_WINDOW, Signal, Tty, TtySize};
pub use files::{FileEntry, FileInfo, FileKind, ListRequest, ReadFile, WriteFile};
#[cfg(feature = "proxy")]
pub(crate) use frame::encode_data;
pub use frame::{CHANNEL_MAIN, CHANNEL_STDERR, Frame, FrameDecoder, FrameError, MAX_CONTROL, MAX_DATA, MAX_FRAME};
pub use hello::{Hello, Nonce, PROTOCOL_VERSIONS, Proof, Purpose};
pub use json::MAX_DEPTH;
pub use pump::pump;
pub use ready::{ReadyAck, ReadyReport};
pub use reply::{Reply, WireError};
pub use scp::{ScpMode, ScpRequest, serve_scp};
pub use sftp::{FileAttrs, GuestFiles, MAX_HANDLES, MAX_PACKET, OpenHow, serve_sftp};
pub use status::{CpuStatus, DiskStatus, Health, Interface, Listener, Load, MemoryStatus, NetworkStatus, Status};
pub use stream::{FrameReader, FrameWriter};
pub use terminal::{TerminalFilter, sanitize_line, sanitize_terminal};
pub use untrusted::Untrusted;
