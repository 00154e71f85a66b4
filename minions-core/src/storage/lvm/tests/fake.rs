//! A stand-in for lvm2: knows the words that we use and no others, and keeps volumes as files.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use crate::host::command::CommandError;
use crate::host::{files, lock};
use crate::storage::lvm::command::{Command, Runner};

pub(super) const EXTENT: u64 = 4 << 20;

/// One logical volume.
#[derive(Clone, Debug)]
pub(super) struct Lv {
    pub size: u64,
    pub tags: Vec<String>,
    pub kind: &'static str,
    pub active: bool,
    pub read_only: bool,
    pub skip: bool,
    /// Its bytes.
    file: PathBuf,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The call fails and did nothing.
    Before,
    /// The call fails, and did its work.
    After,
}

#[derive(Debug)]
pub(super) struct World {
    pub lvs: BTreeMap<String, Lv>,
    /// Every call.
    pub log: Vec<Command>,
    pub data: &'static str,
    pub metadata: &'static str,
    /// What `data` becomes with each report from now on, until there are no more.
    pub next_data: VecDeque<&'static str>,
    pub zero: bool,
    pub when_full: &'static str,
    pub health: &'static str,
    /// A tag that somebody else puts on the pool just before the first change.
    pub between: Option<&'static str>,
    /// At which call, counted from now on, what goes wrong.
    pub fault: Option<(usize, Fault)>,
    made: u32,
}

#[derive(Debug)]
pub(super) struct FakeLvm {
    dir: PathBuf,
    world: Mutex<World>,
    pub takes: Duration,
}

impl FakeLvm {
    /// A group `vg` with the pool `pool`, in a folder.
    pub fn new(dir: &Path) -> Self {
        for name in ["backing", "dev/vg"] {
            files::make_dir(&dir.join(name)).unwrap();
        }
        let world = World {
            lvs: BTreeMap::new(),
            log: Vec::new(),
            data: "1.50",
            metadata: "10.25",
            next_data: VecDeque::new(),
            zero: true,
            when_full: "error",
            health: "",
            between: None,
            fault: None,
            made: 0,
        };
        let fake = Self { dir: dir.to_owned(), world: Mutex::new(world), takes: Duration::ZERO };
        fake.add("pool", "thin-pool", 1 << 30, &[]);
        fake
    }

    /// The folder that stands for `/dev`.
    pub fn devices(&self) -> PathBuf {
        self.dir.join("dev")
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Puts a logical volume there, as somebody else would.
    pub fn add(&self, name: &str, kind: &'static str, size: u64, tags: &[&str]) {
        let mut world = self.world();
        world.made += 1;
        let file = self.dir.join("backing").join(world.made.to_string());
        std::fs::File::create(&file).unwrap().set_len(if kind == "thin" { size } else { 0 }).unwrap();
        let tags = tags.iter().map(ToString::to_string).collect();
        let lv = Lv { size, tags, kind, active: true, read_only: false, skip: false, file };
        world.lvs.insert(name.to_owned(), lv);
        self.links(&world);
    }

    /// What a host's boot leaves: nothing is active.
    pub fn reboot(&self) {
        let mut world = self.world();
        world.lvs.values_mut().for_each(|lv| lv.active = false);
        self.links(&world);
    }

    /// Forgets what was called, and tells it.
    pub fn take_log(&self) -> Vec<Command> {
        std::mem::take(&mut self.world().log)
    }

    /// The devices are those of the active volumes.
    fn links(&self, world: &World) {
        let vg = self.dir.join("dev/vg");
        for name in files::names(&vg).unwrap() {
            std::fs::remove_file(vg.join(name)).unwrap();
        }
        for (name, lv) in world.lvs.iter().filter(|(_, lv)| lv.active) {
            std::os::unix::fs::symlink(&lv.file, vg.join(name)).unwrap();
        }
    }

    fn act(&self, world: &mut World, command: &Command) -> Result<String, String> {
        let words = Words::parse(command);
        let lv_of = |operand: &str| operand.strip_prefix("vg/").map(str::to_owned).ok_or("which group?".to_owned());
        match command.program {
            "lvs" => {
                world.data = world.next_data.pop_front().unwrap_or(world.data);
                return report(world);
            }
            "lvcreate" => {
                let name = words.value("--name")?;
                if world.lvs.contains_key(name) {
                    return Err(format!("Logical Volume \"{name}\" already exists in volume group \"vg\""));
                }
                world.made += 1;
                let file = self.dir.join("backing").join(world.made.to_string());
                let size = if words.has("--snapshot") {
                    let origin = lv_of(words.operands[0])?;
                    let origin = world.lvs.get(&origin).filter(|lv| lv.kind == "thin").ok_or("no such origin")?;
                    std::fs::copy(&origin.file, &file).unwrap();
                    origin.size
                } else {
                    assert_eq!((words.value("--thinpool")?, words.operands[0]), ("pool", "vg"));
                    let size = bytes(words.value("--virtualsize")?)?;
                    std::fs::File::create(&file).unwrap().set_len(size).unwrap();
                    size
                };
                let mut permissions = std::fs::metadata(&file).unwrap().permissions();
                std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
                std::fs::set_permissions(&file, permissions).unwrap();
                let tags = words.values("--addtag").map(str::to_owned).collect();
                let skip = words.value("--setactivationskip")? == "y";
                let active = words.value("--activate")? == "y" && (!skip || words.has("--ignoreactivationskip"));
                let lv = Lv { size, tags, kind: "thin", active, read_only: false, skip, file };
                world.lvs.insert(name.to_owned(), lv);
            }
            "lvextend" => {
                let (name, size) = (lv_of(words.operands[0])?, bytes(words.value("--size")?)?);
                let lv = world.lvs.get_mut(&name).ok_or("Failed to find logical volume")?;
                if size <= lv.size {
                    return Err("New size given is not larger than existing size".to_owned());
                }
                std::fs::OpenOptions::new().write(true).open(&lv.file).unwrap().set_len(size).unwrap();
                lv.size = size;
            }
            "lvchange" => {
                let theirs = world.between.take().map(str::to_owned);
                world.lvs.get_mut("pool").ok_or("no pool")?.tags.extend(theirs);
                for operand in &words.operands {
                    let lv = world.lvs.get_mut(&lv_of(operand)?).ok_or("Failed to find logical volume")?;
                    match words.value("--activate") {
                        Ok("y") => lv.active |= !lv.skip || words.has("--ignoreactivationskip"),
                        Ok(_) if is_open(lv) => return Err("Logical volume contains a filesystem in use".to_owned()),
                        Ok(_) => lv.active = false,
                        Err(_) => {}
                    }
                    lv.tags.extend(words.values("--addtag").map(str::to_owned));
                    lv.tags.retain(|tag| !words.values("--deltag").any(|gone| gone == tag));
                    lv.read_only |= words.value("--permission") == Ok("r");
                    lv.skip |= words.value("--setactivationskip") == Ok("y");
                }
            }
            "lvrename" => {
                let [vg, from, to] = words.operands[..] else { return Err("three operands".to_owned()) };
                if vg != "vg" || world.lvs.contains_key(to) {
                    return Err(format!("Logical Volume \"{to}\" already exists"));
                }
                let lv = world.lvs.remove(from).ok_or("Existing logical volume not found")?;
                world.lvs.insert(to.to_owned(), lv);
            }
            "lvremove" => {
                let name = lv_of(words.operands[0])?;
                match world.lvs.get(&name) {
                    Some(lv) if is_open(lv) => return Err(format!("Logical volume vg/{name} in use.")),
                    Some(lv) => std::fs::remove_file(&lv.file).unwrap(),
                    None => return Err("Failed to find logical volume".to_owned()),
                }
                world.lvs.remove(&name);
            }
            other => panic!("{other} is no program of lvm2 that we use"),
        }
        self.links(world);
        Ok(String::new())
    }
}

fn is_open(lv: &Lv) -> bool {
    lv.kind == "thin" && {
        let file = files::open_write_existing(&lv.file).unwrap();
        lock::is_open_elsewhere(&file).unwrap() == Some(true)
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes: u64 = text.strip_suffix('b').and_then(|text| text.parse().ok()).ok_or("which size?")?;
    Ok(bytes.div_ceil(EXTENT) * EXTENT)
}

/// The words of a command, sorted.
struct Words<'a> {
    options: Vec<(&'a str, &'a str)>,
    operands: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn parse(command: &'a Command) -> Self {
        let alone = ["--yes", "--snapshot", "--ignoreactivationskip", "--nosuffix", "--binary"];
        let mut words = command.words.iter().map(String::as_str);
        let mut options = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "--" => break,
                word if alone.contains(&word) => options.push((word, "")),
                word => {
                    assert!(word.starts_with("--"), "{word} of {command:?}");
                    options.push((word, words.next().expect("a value")));
                }
            }
        }
        Self { options, operands: words.collect() }
    }

    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> + '_ {
        self.options.iter().filter(move |(option, _)| *option == name).map(|(_, value)| *value)
    }

    fn value(&self, name: &'a str) -> Result<&'a str, String> {
        self.values(name).next().ok_or_else(|| format!("no {name}"))
    }

    fn has(&self, name: &'a str) -> bool {
        self.values(name).next().is_some()
    }
}

fn report(world: &World) -> Result<String, String> {
    let mut text = r#"{"report":[{"lv":["#.to_owned();
    for (number, (name, lv)) in world.lvs.iter().enumerate() {
        let pool = lv.kind == "thin-pool";
        let of_pool = |text: &'static str| if pool { text } else { "" };
        let flag = |flag: bool| if flag { "1" } else { "0" };
        let comma = if number == 0 { "" } else { "," };
        let fields = [
            ("lv_name", name.as_str()),
            ("lv_size", &lv.size.to_string()),
            ("lv_tags", &lv.tags.join(",")),
            ("pool_lv", if lv.kind == "thin" { "pool" } else { "" }),
            ("segtype", lv.kind),
            ("lv_active_locally", flag(lv.active)),
            ("lv_device_open", if lv.active { flag(is_open(lv)) } else { "-1" }),
            ("lv_permissions", if lv.read_only { "read-only" } else { "writeable" }),
            ("lv_health_status", of_pool(world.health)),
            ("lv_check_needed", if pool { "0" } else { "-1" }),
            ("data_percent", if lv.active { of_pool(world.data) } else { "" }),
            ("metadata_percent", if lv.active { of_pool(world.metadata) } else { "" }),
            ("lv_metadata_size", of_pool("16777216")),
            ("zero", if pool { flag(world.zero) } else { "-1" }),
            ("lv_when_full", of_pool(world.when_full)),
            ("discards", of_pool("passdown")),
            ("seg_monitor", of_pool("monitored")),
            ("vg_extent_size", "4194304"),
            ("vg_free", "1073741824"),
        ];
        let fields = fields.map(|(key, value)| format!("{}:{}", serde_json::json!(key), serde_json::json!(value)));
        write!(text, "{comma}{{{}}}", fields.join(",")).map_err(|error| error.to_string())?;
    }
    text.push_str("]}]}");
    Ok(text)
}

#[async_trait]
impl Runner for FakeLvm {
    async fn run(&self, command: &Command) -> Result<Vec<u8>, CommandError> {
        tokio::time::sleep(self.takes).await;
        let mut world = self.world();
        world.log.push(command.clone());
        let fault = match &mut world.fault {
            Some((0, fault)) => {
                let fault = *fault;
                world.fault = None;
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let failed = |stderr: String| CommandError::Failed {
            program: command.program.into(),
            status: "exit status: 5".to_owned(),
            stderr,
        };
        if fault == Some(Fault::Before) {
            return Err(failed("planted".to_owned()));
        }
        let done = self.act(&mut world, command).map_err(failed)?;
        match fault {
            Some(_) => Err(failed("planted".to_owned())),
            None => Ok(done.into_bytes()),
        }
    }
}
