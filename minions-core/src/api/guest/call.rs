//! What a host may ask of an agent.

use super::exec::ExecRequest;
use super::files::{ListRequest, ReadFile, WriteFile};
use super::scp::ScpRequest;
use crate::error::{Error, Result};

/// Bytes of the longest path that a kernel takes.
const MAX_PATH: usize = 4096;

/// One call. One connection carries exactly one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum GuestCall {
    /// Is the agent alive? The cheapest call.
    Health,
    /// Processors, memory, disks, network, load, listening ports.
    Status,
    /// Runs a program.
    Exec(ExecRequest),
    /// Sends a file's content.
    ReadFile(ReadFile),
    /// Replaces a file whole, or not at all.
    WriteFile(WriteFile),
    /// What a path is, without following a last symbolic link.
    Stat {
        /// Absolute.
        path: String,
    },
    /// What a directory holds.
    List(ListRequest),
    /// Unpacks a tar stream below a directory, which is made where it is missing. No entry leaves it.
    TarIn {
        /// Absolute.
        dest: String,
    },
    /// Sends a file or a directory as a tar stream. Names begin with the path's last part.
    TarOut {
        /// Absolute.
        path: String,
    },
    /// A TCP connection to the guest's 127.0.0.1.
    Forward {
        /// Not 0.
        port: u16,
    },
    /// A session of SFTP, version 3: its packets are the bytes of the stream.
    Sftp,
    /// One run of the `scp` of old: its protocol is the bytes of the stream.
    Scp(ScpRequest),
    /// The guest's interfaces, routes and resolvers.
    Network,
    /// Grows a file system to the size of its disk, while it is mounted.
    GrowFilesystem {
        /// Which.
        target: FsTarget,
    },
    /// Ends the guest.
    Shutdown {
        /// How.
        how: PowerHow,
    },
}

impl GuestCall {
    /// Whether an owner may send it through the API. The others are for the host alone.
    #[must_use]
    pub const fn for_tenant(&self) -> bool {
        match self {
            Self::Health
            | Self::Status
            | Self::Exec(_)
            | Self::ReadFile(_)
            | Self::WriteFile(_)
            | Self::Stat { .. }
            | Self::List(_)
            | Self::TarIn { .. }
            | Self::TarOut { .. }
            | Self::Forward { .. }
            | Self::Sftp
            | Self::Scp(_)
            | Self::Network => true,
            Self::GrowFilesystem { .. } | Self::Shutdown { .. } => false,
        }
    }

    /// Refuses what no agent could do, so that none is asked.
    pub fn check(&self) -> Result<()> {
        let path = |path: &str| match path.starts_with('/') && path.len() <= MAX_PATH && !path.contains('\0') {
            true => Ok(()),
            false => {
                Err(Error::invalid("path", "a path in a guest is absolute, at most 4096 bytes, without a zero byte"))
            }
        };
        match self {
            Self::Exec(request) => request.check(),
            Self::ReadFile(request) => path(&request.path),
            Self::WriteFile(request) => path(&request.path),
            Self::List(request) => path(&request.path),
            Self::Stat { path: asked } | Self::TarIn { dest: asked } | Self::TarOut { path: asked } => path(asked),
            Self::Scp(request) => request.check(),
            Self::Forward { port: 0 } => Err(Error::invalid("port", "a port is 1 to 65535")),
            Self::Forward { .. }
            | Self::Sftp
            | Self::Health
            | Self::Status
            | Self::Network
            | Self::GrowFilesystem { .. }
            | Self::Shutdown { .. } => Ok(()),
        }
    }

    /// Its word, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Status => "status",
            Self::Exec(_) => "exec",
            Self::ReadFile(_) => "read_file",
            Self::WriteFile(_) => "write_file",
            Self::Stat { .. } => "stat",
            Self::List(_) => "list",
            Self::TarIn { .. } => "tar_in",
            Self::TarOut { .. } => "tar_out",
            Self::Forward { .. } => "forward",
            Self::Sftp => "sftp",
            Self::Scp(_) => "scp",
            Self::Network => "network",
            Self::GrowFilesystem { .. } => "grow_filesystem",
            Self::Shutdown { .. } => "shutdown",
        }
    }
}

/// A file system of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsTarget {
    /// The one at `/`.
    Root,
    /// The one at `/data`.
    Data,
}

/// How a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerHow {
    /// Through its init, where it has one; else at once after its file systems are synced.
    Orderly,
    /// At once, after its file systems are synced.
    Now,
}
