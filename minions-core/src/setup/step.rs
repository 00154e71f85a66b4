//! One thing that is done to a host.

use std::path::PathBuf;

use super::unit::SERVICE;

/// One thing that is done to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A folder is made.
    Folder {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What for.
        why: &'static str,
    },
    /// A folder's mode is changed.
    Mode {
        /// Which.
        path: PathBuf,
        /// To what.
        mode: u32,
        /// From what.
        was: u32,
    },
    /// A module of the kernel is loaded.
    Module {
        /// Which.
        name: &'static str,
        /// What for.
        why: &'static str,
    },
    /// A setting of the kernel is made.
    Sysctl {
        /// Which.
        key: &'static str,
        /// To what.
        value: &'static str,
        /// From what.
        was: String,
        /// What for.
        why: &'static str,
    },
    /// A file is written.
    File {
        /// Which.
        path: PathBuf,
        /// What stands in it then.
        text: String,
        /// What for.
        why: &'static str,
        /// Whether it is there already, in an older form.
        replaces: bool,
        /// Whether it is the operator's own once it is there.
        theirs: bool,
    },
    /// The thin pool is made, or what it lacks.
    Pool {
        /// The commands.
        commands: Vec<String>,
        /// The disks that it takes, where it takes any.
        devices: Vec<PathBuf>,
        /// The volume group and the pool.
        name: (String, String),
        /// Whether only the settings of a pool that is there are changed.
        mends: bool,
    },
    /// systemd reads its units again.
    Reload,
    /// The service is started at every boot.
    Enable,
    /// The service is started.
    Start,
}

/// A step in words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Told {
    /// A stable name of its kind.
    pub id: &'static str,
    /// What will be done.
    pub what: String,
    /// What it is good for.
    pub why: String,
    /// The lines that do the same by hand.
    pub how: Vec<String>,
    /// The line that takes it back.
    pub undo: String,
}

impl Step {
    /// In words.
    #[must_use]
    pub fn tell(&self) -> Told {
        let told = |id, what: String, why: &str, how: Vec<String>, undo: String| Told {
            id,
            what,
            why: why.to_owned(),
            how,
            undo,
        };
        match self {
            Self::Folder { path, mode, why } => {
                let path = path.display();
                let how = format!("install -d -m {mode:04o} {path}");
                told("folder", format!("make the folder {path}"), why, vec![how], format!("rmdir {path}"))
            }
            Self::Mode { path, mode, was } => {
                let path = path.display();
                let change = |mode: u32| format!("chmod {mode:04o} {path}");
                let what = format!("keep others from writing to {path}");
                told("mode", what, "whoever writes there has the service", vec![change(*mode)], change(*was))
            }
            Self::Module { name, why } => {
                let (how, undo) = (format!("modprobe {name}"), format!("modprobe -r {name}"));
                told("module", format!("load the kernel's module {name}"), why, vec![how], undo)
            }
            Self::Sysctl { key, value, was, why } => {
                let set = |value: &str| format!("sysctl -w {key}={value}");
                told("sysctl", format!("set {key} to {value}"), why, vec![set(value)], set(was))
            }
            Self::File { path, text, why, replaces, .. } => {
                let verb = if *replaces { "write anew" } else { "write" };
                let lines = text.lines().map(|line| format!("  {line}"));
                let how = std::iter::once(format!("{}:", path.display())).chain(lines).collect();
                told("file", format!("{verb} {}", path.display()), why, how, format!("rm {}", path.display()))
            }
            Self::Pool { commands, devices, name: (vg, pool), mends } => {
                let (what, undo) = match (mends, devices.is_empty()) {
                    (true, _) => (format!("mend the thin pool {vg}/{pool}"), "lvchange with the old value".to_owned()),
                    (false, true) => (format!("make the thin pool {vg}/{pool}"), format!("lvremove {vg}/{pool}")),
                    (false, false) => {
                        let on: Vec<_> = devices.iter().map(|path| path.display().to_string()).collect();
                        let on = on.join(" ");
                        (
                            format!("make the volume group {vg} on {on}, and the thin pool {vg}/{pool} in it"),
                            format!("vgremove {vg} && pvremove {on}"),
                        )
                    }
                };
                told("pool", what, "images and disks are thin volumes in it", commands.clone(), undo)
            }
            Self::Reload => {
                let how = "systemctl daemon-reload".to_owned();
                let why = "a unit has changed";
                told(
                    "reload",
                    "let systemd read its units again".to_owned(),
                    why,
                    vec![how],
                    "none is needed".to_owned(),
                )
            }
            Self::Enable => {
                let (how, undo) = (format!("systemctl enable {SERVICE}"), format!("systemctl disable {SERVICE}"));
                told("enable", "start the service at every boot".to_owned(), "so it was asked", vec![how], undo)
            }
            Self::Start => {
                let (how, undo) = (format!("systemctl start {SERVICE}"), format!("systemctl stop {SERVICE}"));
                told("start", "start the service".to_owned(), "so it was asked", vec![how], undo)
            }
        }
    }

    /// Whether it only makes right again what was right once: nothing new is made, nothing is taken, nothing started.
    #[must_use]
    pub fn is_repair(&self) -> bool {
        match self {
            Self::Mode { .. } | Self::Module { .. } | Self::Sysctl { .. } | Self::Reload => true,
            Self::File { theirs, .. } => !theirs,
            Self::Pool { mends, .. } => *mends,
            Self::Folder { .. } | Self::Enable | Self::Start => false,
        }
    }
}
