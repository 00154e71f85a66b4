//! The lvm2 commands: which words each has, and what runs them.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::wire::FIELDS;
use crate::host::command::{CommandError, Tool};
use crate::types::{ByteSize, HostId, ImageId, VolumeId};

/// On every logical volume of ours.
pub(super) const OURS: &str = "minions";
/// On an image that is not whole yet.
pub(super) const MAKING: &str = "minions.making";
/// On a volume that was set aside.
pub(super) const ASIDE: &str = "minions.quarantined";
/// Before the image that a root began as.
const IMAGE: &str = "minions.image=";
/// Before the id that a volume was made for.
const MADE_FOR: &str = "minions.id=";
/// Before the id of the host whose a pool is.
const HOST: &str = "minions.host=";

/// The tag that says what a root began as.
pub(super) fn image_tag(id: ImageId) -> String {
    format!("{IMAGE}{id}")
}

/// The tag that says whose a pool is.
pub(super) fn host_tag(id: HostId) -> String {
    format!("{HOST}{id}")
}

/// The tags of a pool that say whose it is: one, or none of a pool that nobody has taken yet.
pub(super) fn host_tags(tags: &[String]) -> impl Iterator<Item = &str> {
    tags.iter().map(String::as_str).filter(|tag| tag.starts_with(HOST))
}

/// What the tags of a volume say that it began as.
pub(super) fn image_of(tags: &[String]) -> Option<ImageId> {
    tags.iter().find_map(|tag| tag.strip_prefix(IMAGE))?.parse().ok()
}

/// One call of lvm2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Its name in the folder of lvm2's programs.
    pub program: &'static str,
    /// Its words.
    pub words: Vec<String>,
}

/// Runs lvm2.
#[async_trait]
pub(super) trait Runner: Debug + Send + Sync + 'static {
    /// To its end; its standard output.
    async fn run(&self, command: &Command) -> Result<Vec<u8>, CommandError>;
}

/// The real one: absolute paths, no shell, no environment, a deadline and a cap.
#[derive(Debug)]
pub(super) struct Programs {
    pub dir: PathBuf,
    pub limit: Duration,
}

/// Far longer than any call takes: lvm2 that is killed may leave devices suspended, with all who use them hanging.
pub(super) const LIMIT: Duration = Duration::from_mins(3);
/// Room for a report of some 20,000 volumes.
const CAP: usize = 16 << 20;

#[async_trait]
impl Runner for Programs {
    async fn run(&self, command: &Command) -> Result<Vec<u8>, CommandError> {
        let tool = Tool::new(&self.dir.join(command.program)).args(&command.words).limit(self.limit).cap(CAP);
        Ok(tool.run().await?.stdout)
    }
}

/// Where everything is: a volume group, and a pool in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub vg: String,
    pub pool: String,
}

impl Command {
    fn new<S: Into<String>>(program: &'static str, words: impl IntoIterator<Item = S>) -> Self {
        Self { program, words: words.into_iter().map(Into::into).collect() }
    }

    /// A command that changes the group. Archives of the group's metadata would grow with each, and make each slower;
    /// its last backup is kept.
    fn change<S: Into<String>>(program: &'static str, words: impl IntoIterator<Item = S>) -> Self {
        let always = ["--yes", "--config", "backup/archive=0"].map(String::from);
        Self::new(program, always.into_iter().chain(words.into_iter().map(Into::into)))
    }

    /// The same with operands, which never are options.
    pub fn on<S: Into<String>>(mut self, operands: impl IntoIterator<Item = S>) -> Self {
        self.words.push("--".to_owned());
        self.words.extend(operands.into_iter().map(Into::into));
        self
    }
}

impl Place {
    fn lv(&self, name: &str) -> String {
        format!("{}/{name}", self.vg)
    }

    /// Everything in the group.
    pub fn report(&self) -> Command {
        let words = ["--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "--options", FIELDS];
        Command::new("lvs", words).on([self.vg.clone()])
    }

    /// A new thin volume of zeros. It is not activated when the host boots, and is now.
    pub fn make(&self, name: &str, size: ByteSize, tags: &[String]) -> Command {
        let size = format!("{}b", size.get());
        let words = [
            "--type",
            "thin",
            "--thinpool",
            &self.pool,
            "--virtualsize",
            &size,
            "--wipesignatures",
            "n",
            "--name",
            name,
        ];
        self.create(&words, tags).on([self.vg.clone()])
    }

    /// A thin snapshot of an image.
    pub fn snapshot(&self, image: &str, name: &str, tags: &[String]) -> Command {
        self.create(&["--snapshot", "--name", name], tags).on([self.lv(image)])
    }

    fn create(&self, words: &[&str], tags: &[String]) -> Command {
        let mut all: Vec<String> = words.iter().map(ToString::to_string).collect();
        for tag in tags {
            all.extend(["--addtag".to_owned(), tag.clone()]);
        }
        let active = ["--setactivationskip", "y", "--activate", "y", "--ignoreactivationskip"];
        all.extend(active.map(String::from));
        Command::change("lvcreate", all)
    }

    /// Grows a volume, also while it is in use. What is inside is not looked at.
    pub fn extend(&self, name: &str, size: ByteSize) -> Command {
        let size = format!("{}b", size.get());
        Command::change("lvextend", ["--size", &size]).on([self.lv(name)])
    }

    /// Makes devices of volumes.
    pub fn activate<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Command {
        let names: Vec<String> = names.into_iter().map(|name| self.lv(name)).collect();
        Command::change("lvchange", ["--activate", "y", "--ignoreactivationskip"]).on(names)
    }

    /// Takes a volume's device away.
    pub fn deactivate(&self, name: &str) -> Command {
        Command::change("lvchange", ["--activate", "n"]).on([self.lv(name)])
    }

    /// An image that is whole now: nobody can write it, nothing activates it by the way. One step.
    pub fn publish(&self, name: &str) -> Command {
        let words = ["--permission", "r", "--setactivationskip", "y", "--deltag", MAKING];
        Command::change("lvchange", words).on([self.lv(name)])
    }

    /// Adds a label.
    pub fn tag(&self, name: &str, tag: &str) -> Command {
        Command::change("lvchange", ["--addtag", tag]).on([self.lv(name)])
    }

    /// Gives a volume another name, in one step.
    pub fn rename(&self, from: &str, to: &str) -> Command {
        Command::change::<String>("lvrename", []).on([self.vg.as_str(), from, to])
    }

    /// Removes a volume.
    pub fn remove(&self, name: &str) -> Command {
        Command::change::<String>("lvremove", []).on([self.lv(name)])
    }
}

/// The tags of a new volume.
pub(super) fn volume_tags(id: VolumeId, image: Option<ImageId>) -> Vec<String> {
    let mut tags = vec![OURS.to_owned(), format!("{MADE_FOR}{id}")];
    tags.extend(image.map(image_tag));
    tags
}

/// The tags of an image that is being made.
pub(super) fn image_tags() -> Vec<String> {
    vec![OURS.to_owned(), MAKING.to_owned()]
}
