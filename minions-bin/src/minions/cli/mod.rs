//! What may be typed.

mod disk;
#[cfg(test)]
mod documented;
mod image;
mod inside;
mod kernel;
mod life;
mod people;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use minions_core::http::parse_duration;
use minions_core::service::VmRef;
use minions_core::types::{ByteSize, Ipv4Cidr, NewVmName, OperationId, VmId};

pub use disk::{DeleteDisk, Disk};
pub use image::{Bake, Debian, Image, Making, Recipe};
pub use inside::{Console, Copy, Exec, Forward, Logs};
pub use kernel::Kernel;
pub use life::{
    Act, Create, Destroy, Expose, List, One, Rebase, Rename, Resize, Share, Stop, Wait, WaitFor, Waiting, With,
};
pub use people::{Audit, Key, Quota, Scope, Token, User};
pub use service::{Config, Context, Doctor, Events, Host, Init, Place, Serve, Tls};

/// Instant VMs on hosts you own.
#[derive(Debug, Parser)]
#[command(name = "minions", version, arg_required_else_help = true, infer_long_args = false, max_term_width = 100)]
#[command(after_help = "Examples:
  minions serve --dir /srv/minions          start a service that keeps everything in one folder
  export MINIONS_DIR=/srv/minions           say where it is, once
  minions create web                        make a VM and wait until it answers
  minions exec web -- uname -a              run something in it
  minions destroy web                       and away with it

A SIZE is a whole number with KiB, MiB, GiB or TiB; a TIME one with ms, s, m or h.

Exit codes: 0 done · 1 our bug · 2 bad usage · 3 who are you? · 4 not there · 5 conflict
6 not allowed · 7 no capacity · 8 unavailable or too late · 78 bad configuration
exec: the program's own, 255 when exec itself fails")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Print JSON: one object, or one a line for streams; errors too, on stderr
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Print nothing but data and errors
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// The service: unix:///path/to/minions.sock or http://127.0.0.1:PORT [env: MINIONS_SERVER]
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    pub server: Option<String>,
    /// The service's folder, with minions.sock in it [env: MINIONS_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub dir: Option<PathBuf>,
    /// A service that you gave a name with `minions context add` [env: MINIONS_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Everywhere")]
    pub context: Option<String>,
    /// The file with your token, for servers on TCP [env: MINIONS_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a VM, start it, and wait until it answers
    #[command(after_help = create_help())]
    Create(Create),
    /// List VMs
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  minions list\n  minions list --json | jq -r '.vms[].name'"
    )]
    List(List),
    /// Show everything about a VM
    #[command(after_help = "Examples:\n  minions inspect web\n  minions inspect web --json | jq .state")]
    Inspect(One),
    /// Start a stopped VM
    #[command(after_help = "Examples:\n  minions start web")]
    Start(Act),
    /// Stop a VM; its disks are kept
    #[command(after_help = "Examples:\n  minions stop web\n  minions stop web --grace 5s\n  minions stop web --force")]
    Stop(Stop),
    /// Stop a VM and start it again
    #[command(after_help = "Examples:\n  minions restart web")]
    Restart(Act),
    /// Destroy a VM and its disks, or leave its data disk
    #[command(visible_aliases = ["delete", "rm"], after_help = "On a terminal it asks first. Without one, and with --json, it needs --yes.\n\nExamples:\n  minions destroy web\n  minions rm web --yes\n  minions destroy web --keep-data           then: minions create new --data-from ID")]
    Destroy(Destroy),
    /// Give a VM another name
    #[command(after_help = "Examples:\n  minions rename web shop")]
    Rename(Rename),
    /// Say which port of a VM its web name leads to
    #[command(
        after_help = "Examples:\n  minions expose web --port 8080\n  minions expose web --auto                 whatever listens"
    )]
    Expose(Expose),
    /// Say who may reach a VM's web name
    #[command(
        after_help = "Its owner always may. Whoever it is shared with sees the VM, and neither changes nor enters it.\n\nExamples:\n  minions share web public\n  minions share web private\n  minions share web user bob\n  minions share web user bob --remove"
    )]
    Share(Share),
    /// Give a VM another size, or larger disks
    #[command(
        after_help = "Processors and memory hold from the next start on. Disks grow while the VM runs.\n\nExamples:\n  minions resize web --cpus 4 --memory 8GiB && minions restart web\n  minions resize web --data-disk 100GiB"
    )]
    Resize(Resize),
    /// Give a VM a new root disk from an image; its data disk is kept
    #[command(
        after_help = "What is on the root disk is gone; /data stays. A VM that runs is started anew.\nOn a terminal it asks first. Without one, and with --json, it needs --yes.\n\nExamples:\n  minions rebase web                        the newest of the same image\n  minions rebase web --image debian --yes"
    )]
    Rebase(Rebase),
    /// Wait until a VM is in a state, or until an operation has ended
    #[command(
        after_help = "Examples:\n  minions create web --no-wait && minions wait web\n  minions wait web --for stopped --timeout 1m\n  minions wait --operation $(minions resize web --cpus 4 --no-wait)"
    )]
    Wait(Wait),

    /// Run a program in a VM; its exit code is yours
    #[command(after_help = "Examples:
  minions exec web -- uname -a
  minions exec web                          a shell, on a terminal
  minions exec web -- sh -c 'echo $HOME; exit 3'
  tar c . | minions exec web -- tar x -C /srv

Several words are a program and its arguments, not a line for a shell. A failure of exec itself exits 255.")]
    Exec(Exec),
    /// Copy files and folders into a VM, or out of it
    #[command(after_help = "Examples:
  minions cp notes.txt web:/root/
  minions cp ./site web:/srv/site
  minions cp web:/var/log ./logs
  date | minions cp - web:/root/now         - is stdin or stdout: the bytes of one file
  minions cp web:/etc/os-release - | grep ID

A folder goes through stdin or stdout as what tar makes of it: minions exec web -- tar c -C /srv . > srv.tar
With --json it prints {\"bytes\":N,\"files\":N}: the files that were copied, and the bytes in them.")]
    Cp(Copy),
    /// Reach a port inside a VM from this machine
    #[command(after_help = "Examples:\n  minions port-forward web 8080:80\n  minions port-forward web 5432")]
    PortForward(Forward),
    /// Show the end of a VM's serial log, and follow it
    #[command(after_help = "Examples:
  minions logs web
  minions logs -f web                       and what comes, until its guest ends or restarts
  minions logs web --bytes 1000000 --raw > boot.log")]
    Logs(Logs),
    /// Sit at a VM's serial line, as at a screen and a keyboard
    #[command(after_help = "Examples:
  minions console web                       Ctrl-] leaves it
  printf '\\nuname -a\\n' | minions console web --timeout 5s

Who answers is the guest's own matter: our images give a shell after Enter (busybox) or at once (debian). It works
without an agent and without a network, and from the first line of a boot on. Several may sit there at a time; all see and
type the same. What the guest prints reaches your terminal as it is, with whatever that does to it. Without a terminal,
stdin is typed to its end, and then it goes on until the guest ends or the timeout.")]
    Console(Console),

    /// Images: what VMs are made from
    #[command(subcommand)]
    Image(Image),
    /// Make an image of a root that boots with its own kernel and init, with the agent as a service in it
    #[command(
        after_help = "What it is made of is a folder or a tar archive with a root in it: a kernel with its initrd in /boot, and
systemd, OpenRC or an inittab. It is only read, and this host mounts nothing of it. Needs root.

Examples:
  sudo -E minions bake-agent ./rootfs --name own
  docker export $(docker create mine) > mine.tar && sudo -E minions bake-agent mine.tar"
    )]
    BakeAgent(Bake),
    /// Kernels: what images are made with
    #[command(subcommand)]
    Kernel(Kernel),
    /// Data disks that destroyed VMs left
    #[command(subcommand)]
    Disk(Disk),
    /// The machine that VMs run on
    #[command(subcommand)]
    Host(Host),
    /// Users: who has an account
    #[command(subcommand)]
    User(User),
    /// Keys: what users log in with over SSH
    #[command(subcommand)]
    Key(Key),
    /// Quotas: what users may have in all
    #[command(subcommand)]
    Quota(Quota),
    /// Show who did what, and who was refused
    #[command(
        after_help = "Each entry's hash is made over the one before: see --json.\n\nExamples:\n  minions audit\n  minions audit --after 1000 --json"
    )]
    Audit(Audit),
    /// Tokens: who may come in over TCP
    #[command(subcommand)]
    Token(Token),
    /// Contexts: services that you know by name
    #[command(subcommand)]
    Context(Context),

    /// Run the service
    #[command(after_help = "Examples:
  minions serve --dir /srv/minions
  minions serve --dir /tmp/demo --backend memory      simulated VMs, for a look around
  minions serve --config /etc/minions/minions.toml")]
    Serve(Serve),
    /// Make this machine ready for the service
    #[command(
        after_help = "It shows what it will do, each step with its reason and the way back, and asks. Disks are used only where they are named,
and only blank ones. A second run does what is missing. What the configuration says goes before the defaults.

Examples:
  minions init --dry-run                    what would be done?
  minions init --device /dev/vdb            a thin pool on that disk; what is lost at a reboot is lost
  minions init --persist --device /dev/vdb --start
  minions init --volume-group vg0           a thin pool in a volume group that is there
  minions init --storage file --network user --backend qemu"
    )]
    Init(Init),
    /// Look at this machine: can it run VMs, and what is missing?
    #[command(
        after_help = "With --fix it does those steps of `minions init` that repair, and looks again.\n\nExamples:\n  minions doctor\n  minions doctor --fix\n  minions doctor --json | jq -r 'select(.status!=\"ok\").fix'"
    )]
    Doctor(Doctor),
    /// Show what happens
    #[command(
        after_help = "Without -f it prints what is kept and ends; with -f it begins at now, and goes on by itself
when the service was away.

Examples:
  minions events
  minions events -f --json
  minions events -f --after start           what is kept, and then whatever comes
  minions events --after 1200 --json"
    )]
    Events(Events),
    /// The configuration file
    #[command(subcommand)]
    Config(Config),
    /// Print the versions of this program and of the service
    #[command(after_help = "Examples:\n  minions version --json")]
    Version,
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  minions completion bash > /etc/bash_completion.d/minions")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the API's OpenAPI document
    #[command(after_help = "Examples:\n  minions schema > openapi.json")]
    Schema,
}

fn create_help() -> String {
    let mut names = String::new();
    for line in NewVmName::RESERVED.chunks(12) {
        names = format!("{names}\n  {}", line.join(", "));
    }
    format!(
        "Examples:
  minions create web
  minions create db --image debian --cpus 4 --memory 4GiB --data-disk 100GiB
  minions create tmp --no-data-disk --no-wait --json

Names that the service keeps for itself:{names}"
    )
}

pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error: minions_core::Error| error.to_string())
}

fn vm_name(text: &str) -> Result<NewVmName, String> {
    text.parse().map_err(|error: minions_core::Error| error.to_string())
}

fn vm_id(text: &str) -> Result<VmId, String> {
    text.parse().map_err(|error: minions_core::Error| error.to_string())
}

fn range(text: &str) -> Result<Ipv4Cidr, String> {
    text.parse().map_err(|error: minions_core::Error| error.to_string())
}

fn operation(text: &str) -> Result<OperationId, String> {
    text.parse().map_err(|error: minions_core::Error| error.to_string())
}

fn vm_ref(text: &str) -> Result<VmRef, String> {
    if operation(text).is_ok() {
        return Err(format!("that is an operation, not a VM; wait for it with: minions wait --operation {text}"));
    }
    text.parse().map_err(|error: minions_core::Error| error.to_string())
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is no port"));
    match (port(local)?, port(remote)?) {
        (_, 0) => Err("the guest's port is 1 to 65535".to_owned()),
        pair => Ok(pair),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_words_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_examples() {
        fn walk(command: &clap::Command, path: &str) {
            for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
                let path = format!("{path} {}", verb.get_name());
                if verb.has_subcommands() {
                    walk(verb, &path);
                } else {
                    let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Examples:"), "{path}");
                }
            }
        }
        walk(&Cli::command(), "minions");
    }

    #[test]
    fn bad_12_flags_that_fight_and_values_that_cannot_be_are_refused() {
        for line in [
            "wait",
            "wait web --operation op_00000000000000000000000001",
            "wait --operation web",
            "wait op_00000000000000000000000001",
            "events --after later",
            "create",
            "create Web",
            "create --",
            "create web --memory lots",
            "create web --no-wait --wait",
            "create web --data-disk 1GiB --no-data-disk",
            "create web --cpus -1",
            "resize web",
            "create web --data-from web",
            "create web --data-from vm_00000000000000000000000001 --no-data-disk",
            "create web --egress everywhere",
            "create web --egress 10.0.0.1/8",
            "create web --rate fast",
            "disk delete",
            "disk delete web",
            "stop web --force --grace 1s",
            "exec web uname",
            "exec web -t -T -- sh",
            "port-forward web 80:0",
            "port-forward web 70000",
            "logs web --bytes 0",
            "wait web --for ever",
            "create web --timeout soon",
            "init --start",
            "init --backend none",
            "init --storage tape",
            "init --device",
            "doctor --mend",
            "nonsense",
        ] {
            let parsed = Cli::try_parse_from(["minions"].into_iter().chain(line.split(' ')));
            assert_eq!(parsed.expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn words_after_two_hyphens_are_the_guests() {
        let cli = Cli::try_parse_from(["minions", "exec", "web", "--", "ls", "--json", "--", "-t"]).unwrap();
        let Verb::Exec(exec) = cli.verb else { panic!("not exec") };
        assert_eq!(exec.command, ["ls", "--json", "--", "-t"]);
        assert!(!cli.global.json && !exec.tty);
    }
}
