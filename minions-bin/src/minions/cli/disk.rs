//! Words about data disks that outlive their VMs.

use clap::{Args, Subcommand};
use minions_core::types::VmId;

use super::life::Waiting;
use super::vm_id;

#[derive(Debug, Subcommand)]
pub enum Disk {
    /// List the data disks that destroyed VMs left
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  minions disk list\n  minions disk list --json | jq -r '.disks[].id'"
    )]
    List,
    /// Delete a data disk that a destroyed VM left
    #[command(
        visible_alias = "rm",
        after_help = "On a terminal it asks first. Without one, and with --json, it needs --yes.\n\nExamples:\n  minions disk delete vm_00000000000000000000000001"
    )]
    Delete(DeleteDisk),
}

#[derive(Debug, Args)]
pub struct DeleteDisk {
    /// Its id, as the list says it: that of the VM which it was made for
    #[arg(value_name = "ID", value_parser = vm_id)]
    pub id: VmId,
    /// Do not ask; needed where there is no terminal to ask on, and with --json
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}
