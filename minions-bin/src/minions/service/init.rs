//! `minions init`: makes this machine ready for the service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minions_core::config::{Backend, Config, Environment, NetworkKind, StorageKind};
use minions_core::error::{Error, ErrorKind};
use minions_core::setup::{self, Monitor, Plan, Step, UNIT, Wish};

use super::config::{USUAL, find, load};
use super::doctor;
use crate::cli::{Global, Init};
use crate::life::ask;
use crate::output::{Failure, Outcome, Output};
use crate::serve::{folder, lvm};

pub async fn run(output: &Output, global: &Global, args: &Init, environment: &Environment) -> Outcome {
    let wish = wish(global, args, environment)?;
    let plan = setup::plan(&wish, &setup::look(&wish).await?);
    show(output, &plan, !args.dry_run)?;
    if !plan.refused.is_empty() {
        let message = "this machine cannot be made ready yet; nothing was changed";
        return Err(Error::new(ErrorKind::Unavailable, message).with_reason("preflight").into());
    }
    if plan.steps.is_empty() {
        output.note("nothing is to do: this machine is ready");
        return Ok(ExitCode::SUCCESS);
    }
    if args.dry_run {
        output.note("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        ask::possible(output, "this machine shall be changed")?;
        ask::confirm(output, "Do it? [y/N] ".to_owned(), "nothing was changed").await?;
    }
    carry_out(output, &wish, &plan.steps).await?;
    let left = setup::plan(&wish, &setup::look(&wish).await?);
    if let Some(step) = left.steps.first() {
        let message = format!("all was done, and yet it is to do: {}", step.tell().what);
        return Err(Error::new(ErrorKind::Unavailable, message).into());
    }
    output.note(match (args.persist, args.start) {
        (true, true) => "the service runs; next: minions doctor, then minions image build busybox",
        (true, false) => "next: systemctl start minions",
        (false, _) => "next: minions serve; what is gone after a reboot, minions init makes again",
    });
    Ok(ExitCode::SUCCESS)
}

/// Does steps one after the other, and says each.
pub async fn carry_out(output: &Output, wish: &Wish, steps: &[Step]) -> Result<(), Failure> {
    let host = setup::Host::default();
    for (at, step) in steps.iter().enumerate() {
        let told = step.tell();
        output.note(&format!("[{}/{}] {}", at + 1, steps.len(), told.what));
        host.apply(wish, step).await.map_err(|error| {
            let message = format!("could not {}; what was done until then stays, and the same call goes on", told.what);
            Error::new(error.kind(), message).with_effect(error.effect()).with_source(error)
        })?;
    }
    Ok(())
}

/// A plan, for people or as one object.
fn show(output: &Output, plan: &Plan, will: bool) -> Result<(), Failure> {
    if output.json {
        let steps: Vec<_> = plan.steps.iter().map(Step::tell).collect();
        let value =
            serde_json::json!({ "steps": steps, "refused": plan.refused, "notes": plan.notes, "dry_run": !will });
        return output.object(&value);
    }
    for (at, told) in plan.steps.iter().map(Step::tell).enumerate() {
        output.text(&format!("{:2}. {}\n    why:  {}", at + 1, told.what, told.why))?;
        for (line, how) in told.how.iter().enumerate() {
            output.text(&format!("    {}  {how}", if line == 0 { "how:" } else { "    " }))?;
        }
        output.text(&format!("    undo: {}", told.undo))?;
    }
    for finding in plan.notes.iter().chain(&plan.refused) {
        output.text(&doctor::spell(finding))?;
    }
    Ok(())
}

/// What this machine shall have: what the configuration says where there is one, else what was typed, else the usual.
fn wish(global: &Global, args: &Init, environment: &Environment) -> Result<Wish, Failure> {
    // One that the environment names need not be there yet: that is where it is written, then.
    let named = find(None, global.dir.as_deref(), environment);
    let written = named.as_deref().filter(|path| path.exists());
    let mut config = load(written)?;
    match written {
        Some(path) => agree(args, &config, path)?,
        None => {
            config.backend = args.backend.unwrap_or_default();
            config.storage.kind = args.storage.unwrap_or(StorageKind::Lvm);
            config.storage.vg = args.volume_group.clone();
            config.storage.pool = args.pool.clone();
            config.network.kind = args.network.unwrap_or(NetworkKind::Bridge);
        }
    }
    if config.storage.kind == StorageKind::File && !(args.device.is_empty() && args.volume_group.is_none()) {
        return Err(Error::invalid("device", "disks in files need no disk and no volume group of their own").into());
    }
    let mut wish = of(global, environment, &config, named)?;
    (wish.persist, wish.start) = (args.persist, args.start);
    wish.devices.clone_from(&args.device);
    Ok(wish)
}

/// What a configuration asks of the machine; nothing that survives a reboot unless the unit of the service is there. `named`
/// is its file.
pub fn of(
    global: &Global,
    environment: &Environment,
    config: &Config,
    named: Option<PathBuf>,
) -> Result<Wish, Failure> {
    let monitor = match config.backend {
        Backend::Auto => Monitor::Any,
        Backend::Qemu => Monitor::Qemu,
        Backend::CloudHypervisor => Monitor::CloudHypervisor,
        Backend::Memory => return Err(Error::invalid("backend", "simulated VMs need nothing of a machine").into()),
    };
    let folder = folder(global, environment, config)?;
    let unknown = |error| Error::new(ErrorKind::Unavailable, "cannot find this very program").with_source(error);
    let in_folder = global.dir.as_ref().or(environment.dir.as_ref()).map(|_| folder.dir().join("minions.toml"));
    Ok(Wish {
        dir: folder.dir().to_owned(),
        config: named.or(in_folder).unwrap_or_else(|| USUAL.into()),
        program: std::env::current_exe().map_err(unknown)?,
        monitor,
        cloud_hypervisor: folder.cloud_hypervisor(),
        qemu: folder.program("qemu-system-x86_64"),
        vsock_helper: folder.program("vhost-device-vsock"),
        lvm: (config.storage.kind == StorageKind::Lvm).then(|| lvm(&folder, &config.storage)),
        devices: Vec::new(),
        bridge: (config.network.kind == NetworkKind::Bridge).then(|| folder.program("nft")),
        persist: Path::new(UNIT).exists(),
        start: false,
    })
}

/// Refuses words that contradict a configuration that is there: it is its owner's, and is not written again.
fn agree(args: &Init, config: &Config, path: &Path) -> Result<(), Failure> {
    let usual = minions_core::storage::lvm::LvmConfig::new(Path::new("/"));
    let vg = config.storage.vg.clone().unwrap_or(usual.vg);
    let pool = config.storage.pool.clone().unwrap_or(usual.pool);
    let differs = [
        ("daemon.backend", args.backend.map(|asked| asked.as_str().to_owned()), config.backend.as_str().to_owned()),
        ("storage.kind", args.storage.map(|asked| asked.as_str().to_owned()), config.storage.kind.as_str().to_owned()),
        ("network.kind", args.network.map(|asked| asked.as_str().to_owned()), config.network.kind.as_str().to_owned()),
        ("storage.vg", args.volume_group.clone(), vg),
        ("storage.pool", args.pool.clone(), pool),
    ];
    for (key, asked, says) in differs {
        if asked.is_some_and(|asked| asked != says) {
            let message = format!("{} says {key} = \"{says}\"; change it there, or leave the word out", path.display());
            return Err(Error::invalid(key, message).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn wished(line: &str, config: Option<&str>) -> Result<Wish, Failure> {
        let dir = tempfile::Builder::new().prefix("mn").tempdir_in("/tmp").unwrap();
        let file = dir.path().join("minions.toml");
        if let Some(text) = config {
            std::fs::write(&file, text).unwrap();
        }
        let cli = Cli::try_parse_from(["minions", "init"].into_iter().chain(line.split_whitespace())).unwrap();
        let Verb::Init(args) = &cli.verb else { panic!("not init") };
        let environment = Environment { dir: Some(dir.path().to_owned()), ..Environment::default() };
        wish(&cli.global, args, &environment)
    }

    #[test]
    fn without_a_configuration_a_pool_and_a_bridge_are_wished_and_with_one_what_it_says() {
        let wish = wished("--device /dev/vdb --persist", None).unwrap();
        assert_eq!(wish.lvm.as_ref().map(|lvm| (lvm.vg.as_str(), lvm.pool.as_str())), Some(("minions", "pool")));
        assert!(wish.bridge.is_some() && wish.persist && !wish.start && wish.monitor == Monitor::Any);
        assert_eq!(wish.config, wish.dir.join("minions.toml"));
        assert_eq!(wish.folders().len(), 1, "one folder has one mode");
        let wish = wished("--storage file --network user --backend qemu", None).unwrap();
        assert_eq!((wish.lvm, wish.bridge, wish.monitor), (None, None, Monitor::Qemu));
        let text = "[daemon]\nbackend = \"cloud-hypervisor\"\n[network]\nkind = \"bridge\"\n[storage]\nkind = \"lvm\"\nvg = \"fast\"\n";
        let wish = wished("--volume-group fast --pool pool", Some(text)).unwrap();
        assert_eq!((wish.lvm.unwrap().vg.as_str(), wish.monitor), ("fast", Monitor::CloudHypervisor));
    }

    #[test]
    fn a_configuration_that_the_environment_names_is_written_there() {
        let dir = tempfile::Builder::new().prefix("mn").tempdir_in("/tmp").unwrap();
        let config = dir.path().join("own.toml");
        let cli = Cli::try_parse_from(["minions", "init"]).unwrap();
        let Verb::Init(args) = &cli.verb else { panic!("not init") };
        let environment =
            Environment { dir: Some(dir.path().to_owned()), config: Some(config.clone()), ..Environment::default() };
        assert_eq!(wish(&cli.global, args, &environment).unwrap().config, config);
    }

    #[test]
    fn bad_12_words_that_contradict_the_configuration_or_each_other_are_refused() {
        let field = |line, config| match wished(line, config) {
            Err(Failure::Error(error, _)) => error.field().map(str::to_owned),
            _ => None,
        };
        let text = "[network]\nkind = \"bridge\"\n[storage]\nkind = \"lvm\"\n";
        for (line, config, want) in [
            ("--volume-group other", Some(text), "storage.vg"),
            ("--pool other", Some(text), "storage.pool"),
            ("--storage file", Some(text), "storage.kind"),
            ("--network user", Some(text), "network.kind"),
            ("--backend qemu", Some(text), "daemon.backend"),
            ("--storage file --device /dev/vdb", None, "device"),
            ("--backend memory", None, "backend"),
        ] {
            assert_eq!(field(line, config).as_deref(), Some(want), "{line}");
        }
    }

    #[test]
    fn what_is_written_as_configuration_means_what_was_wished() {
        for (line, storage, network) in [
            ("--volume-group fast", StorageKind::Lvm, NetworkKind::Bridge),
            ("--storage file --network user --backend qemu", StorageKind::File, NetworkKind::User),
        ] {
            let wish = wished(line, None).unwrap();
            let text = wish.configuration();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &text).unwrap();
            let config = minions_core::config::check(file.path()).unwrap();
            assert_eq!((config.storage.kind, config.network.kind), (storage, network), "{text}");
            assert_eq!(config.dir.as_deref(), Some(wish.dir.as_path()));
            assert_eq!(config.storage.vg.as_deref(), wish.lvm.as_ref().map(|lvm| lvm.vg.as_str()));
        }
    }
}
