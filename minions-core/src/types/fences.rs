//! What keeps a monitor apart from its host.

/// What keeps a monitor apart from its host. `false`: it does not stand, or it could not be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each stands or falls by itself")]
pub struct Fences {
    /// It runs as an unprivileged user that is not the daemon's.
    pub own_user: bool,
    /// It has no capability, and cannot gain one.
    pub no_capabilities: bool,
    /// It cannot gain rights by starting a program.
    pub no_new_privileges: bool,
    /// It may make only the system calls that it needs.
    pub system_calls: bool,
    /// It reaches only its own files.
    pub files: bool,
    /// Its memory, processes and processor time are limited.
    pub resources: bool,
}
