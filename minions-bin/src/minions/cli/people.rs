//! Words about people.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use minions_core::types::{ByteSize, KeyPrint, TokenId, TokenScope, UserName};

use super::{duration, size};

#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a user
    #[command(
        after_help = "The name is never given to anybody else.\n\nExamples:\n  minions user add ada\n  minions user add ops --admin"
    )]
    Add {
        /// 1 to 64 letters, digits and -_.@
        name: UserName,
        /// Sees and changes everything
        #[arg(long)]
        admin: bool,
    },
    /// List users
    #[command(alias = "ls", after_help = "Examples:\n  minions user list")]
    List,
    /// Let a user in no more or again, or change what they may do
    #[command(
        after_help = "What a disabled user has under way ends; their VMs go on.\n\nExamples:\n  minions user update ada --disable\n  minions user update ada --admin"
    )]
    Update {
        /// Who
        name: UserName,
        /// Let in no more
        #[arg(long, conflicts_with = "enable", required_unless_present_any = ["enable", "admin", "tenant"])]
        disable: bool,
        /// Let in again
        #[arg(long)]
        enable: bool,
        /// Sees and changes everything
        #[arg(long, conflicts_with = "tenant")]
        admin: bool,
        /// Sees only their own
        #[arg(long)]
        tenant: bool,
    },
    /// Delete a user, with every key and token
    #[command(
        alias = "rm",
        after_help = "A user who owns VMs or kept disks stays until these are gone.\nOn a terminal it asks first. Without one, and with --json, it needs --yes.\n\nExamples:\n  minions user delete ada --yes"
    )]
    Delete {
        /// Who
        name: UserName,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Add a public key that its user logs in with
    #[command(after_help = "Examples:\n  minions key add ~/.ssh/id_ed25519.pub\n  minions key add --user ada ada.pub")]
    Add {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
        /// What to call it; its comment where absent
        #[arg(long)]
        label: Option<String>,
        /// The public key, a file that ends in .pub
        file: PathBuf,
    },
    /// List keys
    #[command(alias = "ls", after_help = "Examples:\n  minions key list\n  minions key list --user ada")]
    List {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
    },
    /// Take a key back
    #[command(
        alias = "rm",
        after_help = "Examples:\n  minions key delete SHA256:uNiVztksCsDhcc0u9e8BrSJ7ld6Vg5YmPQ3L6LJKhGk"
    )]
    Delete {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
        /// Which, as the list shows it
        fingerprint: KeyPrint,
    },
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, and print it once
    #[command(after_help = "With --file it needs no service: the token's hash goes into a file that one reads.

Examples:
  minions token create --label ci > ci.token
  minions token create --user ada --scope read --expires 12h
  minions token create alice --file /etc/minions/tokens > alice.token
  kill -HUP $(cat /srv/minions/minions.pid)      makes the service read the file again")]
    Create {
        /// Whose it is; yours where absent
        #[arg(long, conflicts_with = "file")]
        user: Option<UserName>,
        /// What to call it
        #[arg(long, conflicts_with = "file")]
        label: Option<String>,
        /// How much of what its user may it may do
        #[arg(long, value_enum, default_value = "full")]
        scope: Scope,
        /// For how long, such as 12h; until it is taken back where absent
        #[arg(long, value_parser = duration, conflicts_with = "file")]
        expires: Option<Duration>,
        /// With --file: whose it is
        #[arg(requires = "file")]
        owner: Option<String>,
        /// With --file: sees and changes everything
        #[arg(long, requires = "file")]
        admin: bool,
        /// The token file that the service's configuration names
        #[arg(long, requires = "owner")]
        file: Option<PathBuf>,
    },
    /// List tokens
    #[command(alias = "ls", after_help = "Examples:\n  minions token list\n  minions token list --user ada")]
    List {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
    },
    /// Take a token back; what it has under way ends
    #[command(alias = "rm", after_help = "Examples:\n  minions token delete tok_00000000000000000000000001")]
    Delete {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
        /// Which, as the list shows it
        id: TokenId,
    },
}

/// How much a token may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scope {
    /// Look
    Read,
    /// Look, and enter VMs
    Enter,
    /// All that its user may
    Full,
}

impl Scope {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Enter => "enter",
            Self::Full => "full",
        }
    }
}

impl From<Scope> for TokenScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Read,
            Scope::Enter => Self::Enter,
            Scope::Full => Self::Full,
        }
    }
}

impl From<TokenScope> for Scope {
    fn from(scope: TokenScope) -> Self {
        match scope {
            TokenScope::Read => Self::Read,
            TokenScope::Enter => Self::Enter,
            TokenScope::Full => Self::Full,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Quota {
    /// Show what a user may have in all
    #[command(after_help = "Examples:\n  minions quota show\n  minions quota show ada")]
    Show {
        /// Whose; yours where absent
        user: Option<UserName>,
    },
    /// Say what a user may have in all, stopped VMs counted too
    #[command(
        after_help = "What is there already stays.\n\nExamples:\n  minions quota set ada --vms 5 --disk 200GiB --memory 16GiB"
    )]
    Set {
        /// Whose
        user: UserName,
        /// VMs
        #[arg(long, required_unless_present_any = ["disk", "memory"])]
        vms: Option<u64>,
        /// Disks of all VMs together
        #[arg(long, value_name = "SIZE", value_parser = size)]
        disk: Option<ByteSize>,
        /// Memory of all VMs together
        #[arg(long, value_name = "SIZE", value_parser = size)]
        memory: Option<ByteSize>,
    },
}

#[derive(Debug, Args)]
pub struct Audit {
    /// Begin after this place
    #[arg(long, default_value_t = 0)]
    pub after: u64,
}
