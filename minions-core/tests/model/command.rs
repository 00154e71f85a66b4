//! What can happen: what tenants ask for, what goes wrong, and how time passes.

use minions_core::layers::Fault;
use proptest::prelude::*;
use proptest::sample::select;

/// The tenants.
pub const TENANTS: [&str; 3] = ["ada", "bob", "cyd"];
/// The names they fight over.
pub const NAMES: [&str; 4] = ["red", "green", "blue", "gold"];

/// Which VM: by a name, or by the place in the order in which they were created, the destroyed ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Named(usize),
    Nth(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Start,
    Stop {
        force: bool,
    },
    Restart,
    Destroy,
    Rename(usize),
    Resize {
        cpus: u32,
        mib: u64,
    },
    Rebase,
    /// One of its disks becomes so much larger.
    Grow {
        data: bool,
        mib: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Create {
        who: usize,
        name: usize,
    },
    Act {
        who: usize,
        target: Target,
        ask: Ask,
    },
    /// The last request once more, with its key.
    Again,
    /// Someone looks at a VM.
    Look {
        who: usize,
        target: Target,
    },
    /// Waits for the end of what was acknowledged last.
    Await,
    /// Time passes, in milliseconds.
    Pass(u64),
    /// The wall clock jumps a day ahead: names that rested are free.
    NextDay,
    /// Everything comes to rest.
    Rest,
    /// The guest of a VM writes to its disks.
    Write(usize),
    /// The daemon ends here; in the next one, a call goes wrong.
    Crash(Option<(usize, Fault)>),
    /// The host loses its power, and comes back.
    Reboot,
    /// The operator, or bad luck.
    KillMonitor(usize),
    RemovePort(usize),
    RemoveRules(usize),
    RemoveData(usize),
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![5 => (0..NAMES.len()).prop_map(Target::Named), 1 => (0..8usize).prop_map(Target::Nth)]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        4 => Just(Ask::Start),
        4 => any::<bool>().prop_map(|force| Ask::Stop { force }),
        2 => Just(Ask::Restart),
        4 => Just(Ask::Destroy),
        4 => (0..NAMES.len()).prop_map(Ask::Rename),
        1 => (1u32..4, select(vec![256u64, 512])).prop_map(|(cpus, mib)| Ask::Resize { cpus, mib }),
        3 => Just(Ask::Rebase),
        2 => (any::<bool>(), 1u64..64).prop_map(|(data, mib)| Ask::Grow { data, mib }),
    ]
}

fn crash() -> impl Strategy<Value = Option<(usize, Fault)>> {
    let fault = select(vec![
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::CrashWithin,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::StoreUnavailable,
    ]);
    prop_oneof![1 => Just(None), 3 => (0..90usize, fault).prop_map(Some)]
}

/// One of them; what may happen most often comes most often.
pub fn command() -> impl Strategy<Value = Command> {
    let who = || 0..TENANTS.len();
    let vm = || 0..8usize;
    prop_oneof![
        16 => (who(), 0..NAMES.len()).prop_map(|(who, name)| Command::Create { who, name }),
        36 => (who(), target(), ask()).prop_map(|(who, target, ask)| Command::Act { who, target, ask }),
        2 => Just(Command::Again),
        3 => (who(), target()).prop_map(|(who, target)| Command::Look { who, target }),
        8 => Just(Command::Await),
        8 => select(vec![1u64, 3, 10, 100, 600, 5_000, 40_000]).prop_map(Command::Pass),
        2 => Just(Command::NextDay),
        4 => Just(Command::Rest),
        5 => vm().prop_map(Command::Write),
        6 => crash().prop_map(Command::Crash),
        2 => Just(Command::Reboot),
        4 => vm().prop_map(Command::KillMonitor),
        1 => vm().prop_map(Command::RemovePort),
        1 => vm().prop_map(Command::RemoveRules),
        1 => vm().prop_map(Command::RemoveData),
    ]
}
