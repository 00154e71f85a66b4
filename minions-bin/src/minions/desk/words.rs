//! What may be typed after `ssh minions@host`: those verbs that need nothing of the host that the service runs on. No
//! argument here names a file.

use clap::{Args, Parser, Subcommand};
use minions_core::types::{KeyPrint, UserName};

use crate::cli::{
    Act, Audit, Create, Destroy, Disk, Events, Expose, List, One, Quota, Rebase, Rename, Resize, Scope, Share, Stop,
    User, Wait,
};

/// Your VMs, from wherever you have ssh.
#[derive(Debug, Parser)]
#[command(name = "ssh minions@HOST", no_binary_name = true, arg_required_else_help = true, infer_long_args = false)]
#[command(disable_version_flag = true, max_term_width = 100, color = clap::ColorChoice::Never)]
#[command(
    after_help = "Into a VM: ssh NAME@HOST. A prompt: ssh minions@HOST. In a script: ssh minions@HOST list --json

A SIZE is a whole number with KiB, MiB, GiB or TiB; a TIME one with ms, s, m or h.

Exit codes: 0 done · 1 our bug · 2 bad usage · 4 not there · 5 conflict · 6 not allowed
7 no capacity · 8 unavailable or too late"
)]
pub struct Desk {
    /// Print JSON: one object, or one a line for streams; errors too, on stderr
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Print nothing but data and errors
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a VM, start it, and wait until it answers
    Create(Create),
    /// List VMs
    #[command(visible_alias = "ls")]
    List(List),
    /// Show everything about a VM
    Inspect(One),
    /// Start a stopped VM
    Start(Act),
    /// Stop a VM; its disks are kept
    Stop(Stop),
    /// Stop a VM and start it again
    Restart(Act),
    /// Destroy a VM and its disks, or leave its data disk
    #[command(visible_aliases = ["delete", "rm"])]
    Destroy(Destroy),
    /// Give a VM another name
    Rename(Rename),
    /// Say which port of a VM its web name leads to
    Expose(Expose),
    /// Say who may reach a VM's web name
    Share(Share),
    /// Give a VM another size, or larger disks
    Resize(Resize),
    /// Give a VM a new root disk from an image; its data disk is kept
    Rebase(Rebase),
    /// Wait until a VM is in a state, or until an operation has ended
    Wait(Wait),
    /// Data disks that destroyed VMs left
    #[command(subcommand)]
    Disk(Disk),
    /// List the images that VMs are made from
    Images,
    /// Show what happens
    Events(Events),
    /// Keys: what you log in with over SSH
    #[command(subcommand)]
    Key(Key),
    /// Tokens: who may come in over the API
    #[command(subcommand)]
    Token(Token),
    /// Print an address that logs a browser in as you, once
    Login,
    /// Say who you are
    Whoami,
    /// Users: who has an account; for admins
    #[command(subcommand)]
    User(User),
    /// Quotas: what users may have in all
    #[command(subcommand)]
    Quota(Quota),
    /// Show who did what, and who was refused; for admins
    Audit(Audit),
}

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Add a public key that its user logs in with
    Add(AddKey),
    /// List keys
    #[command(alias = "ls")]
    List {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
    },
    /// Take a key back
    #[command(alias = "rm")]
    Delete {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
        /// Which, as the list shows it
        fingerprint: KeyPrint,
    },
}

#[derive(Debug, Args)]
pub struct AddKey {
    /// Whose; yours where absent
    #[arg(long)]
    pub user: Option<UserName>,
    /// What to call it; its comment where absent
    #[arg(long)]
    pub label: Option<String>,
    /// The public key itself; stdin where absent
    #[arg(value_name = "KEY")]
    pub key: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, and print it once
    Create {
        /// Whose it is; yours where absent
        #[arg(long)]
        user: Option<UserName>,
        /// What to call it
        #[arg(long)]
        label: Option<String>,
        /// How much of what its user may it may do
        #[arg(long, value_enum, default_value = "full")]
        scope: Scope,
        /// For how long, such as 12h; until it is taken back where absent
        #[arg(long, value_parser = crate::cli::duration)]
        expires: Option<std::time::Duration>,
    },
    /// List tokens
    #[command(alias = "ls")]
    List {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
    },
    /// Take a token back; what it has under way ends
    #[command(alias = "rm")]
    Delete {
        /// Whose; yours where absent
        #[arg(long)]
        user: Option<UserName>,
        /// Which, as the list shows it
        id: minions_core::types::TokenId,
    },
}
