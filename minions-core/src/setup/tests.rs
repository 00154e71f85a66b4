//! Plans for hosts of all kinds, carried out on a model of the host and on files.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::ErrorKind;
use crate::host::command::Tool;
use crate::storage::lvm::{LvmConfig, UDEV_FILES, udev_rule};
use crate::types::ByteSize;

use super::found::{Folder, Service};
use super::unit::UNIT;
use super::wish::MARK;
use super::*;

fn wish() -> Wish {
    Wish {
        dir: "/var/lib/minions".into(),
        config: "/etc/minions/minions.toml".into(),
        program: "/usr/local/bin/minions".into(),
        monitor: Monitor::Any,
        cloud_hypervisor: "/usr/local/bin/cloud-hypervisor".into(),
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        vsock_helper: "/usr/local/bin/vhost-device-vsock".into(),
        lvm: Some(LvmConfig::new(Path::new("/var/lib/minions/lvm"))),
        devices: vec!["/dev/vdb".into()],
        bridge: Some("/usr/sbin/nft".into()),
        persist: true,
        start: true,
    }
}

/// A fresh host with all programs and one blank disk.
fn fresh(wish: &Wish) -> Found {
    let programs = [&wish.cloud_hypervisor, &wish.qemu, &wish.vsock_helper].into_iter().chain(&wish.bridge).cloned();
    let mut found = Found {
        root: true,
        kernel: (6, 1),
        kvm: true,
        processor: Some("kvm_amd"),
        systemd: true,
        programs: programs.chain(["modprobe".into(), "lvm".into()]).collect(),
        folders: BTreeMap::new(),
        files: BTreeMap::new(),
        modules: BTreeMap::new(),
        sysctls: [("net.ipv4.ip_forward", "0".to_owned())].into(),
        devices: BTreeMap::new(),
        candidates: Vec::new(),
        pool: Pool::Ready,
        service: Service::default(),
    };
    found.modules = wish.modules(&found).into_iter().map(|(name, _)| (name, Module::Loadable)).collect();
    if wish.lvm.is_some() {
        found.devices = wish.devices.iter().map(|path| (path.clone(), Device::Blank(ByteSize::gib(16)))).collect();
        found.pool = match wish.devices.is_empty() {
            true => Pool::Lacks { commands: vec!["lvcreate minions".to_owned()], group: false },
            false => Pool::Lacks {
                commands: vec!["vgcreate minions /dev/vdb".to_owned(), "lvcreate".to_owned()],
                group: true,
            },
        };
    }
    found
}

/// What a step makes of a host.
fn done(found: &mut Found, step: &Step) {
    match step {
        Step::Folder { path, mode, .. } | Step::Mode { path, mode, .. } => {
            found.folders.insert(path.clone(), Folder { mode: Some(*mode), owner: 0 });
        }
        Step::Module { name, .. } => {
            found.modules.insert(name, Module::Loaded);
            found.kvm |= found.processor == Some(name);
        }
        Step::Sysctl { key, value, .. } => drop(found.sysctls.insert(key, (*value).to_owned())),
        Step::File { path, text, .. } => {
            found.service.stale |= path == Path::new(UNIT);
            found.files.insert(path.clone(), text.clone());
        }
        Step::Pool { .. } => {
            found.pool = Pool::Ready;
            found.devices.clear();
        }
        Step::Reload => found.service.stale = false,
        Step::Enable => {
            // systemd reads what it enables.
            assert!(found.files.contains_key(Path::new(UNIT)), "nothing to enable");
            found.service.enabled = true;
        }
        Step::Start => {
            assert!(!found.service.stale, "an old unit would be started");
            assert_eq!(found.pool, Pool::Ready, "a service without its pool would be started");
            found.service.active = true;
        }
    }
}

/// All wishes; and hosts of which a part was made before, in order or by hand.
fn all() -> Vec<(Wish, Found)> {
    let mut cases = Vec::new();
    for bits in 0..64_u32 {
        let is = |bit: u32| bits >> bit & 1 == 1;
        let mut wish = wish();
        wish.lvm = wish.lvm.filter(|_| is(0));
        wish.bridge = wish.bridge.filter(|_| is(1));
        (wish.persist, wish.start) = (is(2), is(2) && is(3));
        if is(4) {
            wish.devices.clear();
        }
        wish.monitor = if is(5) { Monitor::Qemu } else { Monitor::Any };
        let blank = fresh(&wish);
        let service = |step: &Step| matches!(step, Step::Reload | Step::Enable | Step::Start);
        let steps: Vec<_> = plan(&wish, &blank).steps.into_iter().filter(|step| !service(step)).collect();
        let count = steps.len();
        let mut made = |chosen: &dyn Fn(usize) -> bool| {
            let mut found = blank.clone();
            let chosen = steps.iter().enumerate().filter(|(at, _)| chosen(*at)).map(|(_, step)| step);
            chosen.for_each(|step| done(&mut found, step));
            cases.push((wish.clone(), found));
        };
        for one in 0..=count {
            made(&|at| at < one);
            made(&|at| at == one);
            made(&|at| at != one);
            (0..one).for_each(|other| made(&|at| at != one && at != other));
        }
    }
    cases
}

#[test]
fn when_a_plan_is_done_nothing_is_to_do_and_one_that_was_broken_off_goes_on() {
    let cases = all();
    assert!(cases.len() > 4_000, "{}", cases.len());
    for (wish, mut found) in cases {
        let whole = plan(&wish, &found);
        assert_eq!(whole.refused, [], "{wish:?}");
        for (at, step) in whole.steps.iter().enumerate() {
            // What is left is the rest of the plan, whenever it is broken off.
            let rest = plan(&wish, &found);
            assert_eq!(rest.steps, whole.steps[at..], "{wish:?}");
            done(&mut found, step);
        }
        assert_eq!(plan(&wish, &found).steps, [], "{wish:?} {found:?}");
    }
}

#[test]
fn a_repair_makes_nothing_new_and_takes_nothing() {
    let steps = plan(&wish(), &fresh(&wish())).steps;
    let kinds = |repair: bool| -> BTreeSet<&str> {
        steps.iter().filter(|step| step.is_repair() == repair).map(|step| step.tell().id).collect()
    };
    assert_eq!(kinds(false), ["enable", "file", "folder", "pool", "start"].into());
    assert_eq!(kinds(true), ["file", "module", "reload", "sysctl"].into());
    let mut found = fresh(&wish());
    found.pool = Pool::Lacks { commands: vec!["lvchange --zero y minions/pool".to_owned()], group: false };
    let steps = plan(&wish(), &found).steps;
    assert!(steps.iter().any(|step| matches!(step, Step::Pool { mends: true, devices, .. } if devices.is_empty())));
}

#[test]
fn bad_28_an_unfit_host_is_refused_with_the_line_to_type() {
    type Change = fn(&mut Wish, &mut Found);
    let unfit = Device::Unfit { why: "something is on it".to_owned(), fix: "blkdiscard".to_owned() };
    let cases: [(&str, Change); 14] = [
        ("root", |_, found| found.root = false),
        ("kernel", |_, found| found.kernel = (5, 15)),
        ("kvm", |wish, found| {
            (wish.monitor, found.kvm, found.processor) = (Monitor::CloudHypervisor, false, None);
        }),
        ("systemd", |_, found| found.systemd = false),
        ("cloud-hypervisor", |wish, found| {
            wish.monitor = Monitor::CloudHypervisor;
            found.programs.remove(&wish.cloud_hypervisor);
        }),
        ("qemu", |wish, found| {
            wish.monitor = Monitor::Qemu;
            found.programs.remove(&wish.vsock_helper);
            (found.kvm, found.processor) = (false, None);
        }),
        ("monitor", |wish, found| {
            found.programs.remove(&wish.cloud_hypervisor);
            found.programs.remove(&wish.qemu);
        }),
        ("network", |wish, _| (wish.monitor, wish.bridge) = (Monitor::CloudHypervisor, None)),
        ("lvm2", |_, found| {
            found.programs.remove(Path::new("lvm"));
            found.pool = Pool::Unknown("lvm2 is not here".to_owned());
        }),
        ("nft", |wish, found| {
            wish.bridge.iter().for_each(|nft| assert!(found.programs.remove(nft)));
        }),
        ("folder", |wish, found| {
            found.folders.insert(wish.dir.clone(), Folder { mode: Some(0o700), owner: 1000 });
        }),
        ("module", |_, found| {
            found.modules.insert("tun", Module::Missing);
        }),
        ("device", |_, found| found.pool = Pool::NoGroup),
        ("path", |wish, _| wish.config = "/etc/min ions/minions.toml".into()),
    ];
    for (id, change) in cases {
        let (mut wish, mut found) = (wish(), fresh(&wish()));
        change(&mut wish, &mut found);
        let refused = plan(&wish, &found).refused;
        assert_eq!(refused.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>(), [id]);
        assert!(refused[0].fix.as_ref().is_some_and(|fix| !fix.is_empty()), "{id}");
    }
    let mut found = fresh(&wish());
    found.devices.insert("/dev/vdb".into(), unfit);
    found.pool = Pool::Unknown("its disks may not be taken".to_owned());
    let plan = plan(&wish(), &found);
    assert_eq!(plan.refused.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>(), ["device"]);
    assert!(!plan.steps.iter().any(|step| matches!(step, Step::Pool { .. })), "{:?}", plan.steps);
}

#[test]
fn the_kernels_vsock_is_loaded_for_qemu_where_it_can_be_and_needed_where_nothing_else_would_do() {
    type Change = fn(&mut Wish, &mut Found);
    let without_helper: Change = |wish, found| assert!(found.programs.remove(&wish.vsock_helper));
    let without_module: Change = |_, found| assert!(found.modules.insert("vhost_vsock", Module::Missing).is_some());
    let plan_of = |change: Change| {
        let mut wish = Wish { monitor: Monitor::Qemu, ..wish() };
        let mut found = fresh(&wish);
        change(&mut wish, &mut found);
        // What the kernel lacks stays so; what is asked for beyond is looked for.
        for (name, _) in wish.modules(&found) {
            found.modules.entry(name).or_insert(Module::Loadable);
        }
        let plan = plan(&wish, &found);
        let loads = plan.steps.iter().any(|step| matches!(step, Step::Module { name: "vhost_vsock", .. }));
        let refused = plan.refused.iter().map(|finding| finding.id.clone()).collect::<Vec<_>>().join(" ");
        (loads, refused)
    };
    assert_eq!(plan_of(|_, _| {}), (true, String::new()));
    assert_eq!(plan_of(without_helper), (true, String::new()));
    assert_eq!(plan_of(without_module), (false, String::new()));
    let neither = plan_of(|wish, found| {
        found.programs.remove(&wish.vsock_helper);
        found.modules.insert("vhost_vsock", Module::Missing);
    });
    assert_eq!(neither, (false, "module".to_owned()));
    let emulated = plan_of(|_, found| (found.kvm, found.processor) = (false, None));
    assert_eq!(emulated, (false, String::new()), "the helper carries it in emulation");
    assert!(!plan_of(|wish, _| wish.monitor = Monitor::CloudHypervisor).0);
}

#[test]
fn a_file_of_somebody_else_and_the_operators_own_configuration_are_left_alone() {
    let mut found = fresh(&wish());
    let written = |found: &Found| -> Vec<PathBuf> {
        let steps = plan(&wish(), found).steps.into_iter();
        steps.filter_map(|step| if let Step::File { path, .. } = step { Some(path) } else { None }).collect()
    };
    assert!(written(&found).contains(&UNIT.into()));
    found.files.insert(UNIT.into(), "[Service]\n".to_owned());
    found.files.insert(wish().config, "[storage]\nkind = \"file\"\n".to_owned());
    found.files.insert(UDEV_FILES[0].into(), udev_rule("other"));
    let now = written(&found);
    assert!(!now.contains(&UNIT.into()) && !now.contains(&wish().config), "{now:?}");
    assert!(now.contains(&UDEV_FILES[0].into()), "ours, of another time, is brought up to date");
    assert_eq!(plan(&wish(), &found).notes.iter().map(|note| note.id.as_str()).collect::<Vec<_>>(), ["file"]);
}

#[test]
fn every_step_says_what_why_how_and_how_back() {
    let mut found = fresh(&wish());
    found.folders.insert(wish().dir, Folder { mode: Some(0o777), owner: 0 });
    let steps = plan(&wish(), &found).steps;
    let kinds: BTreeSet<&str> = steps.iter().map(|step| step.tell().id).collect();
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    for told in steps.iter().map(Step::tell) {
        assert!(![&told.what, &told.why, &told.undo].iter().any(|text| text.is_empty()), "{told:?}");
        assert!(!told.how.is_empty(), "{told:?}");
    }
    assert!(steps.contains(&Step::Mode { path: wish().dir, mode: 0o755, was: 0o777 }), "{steps:?}");
}

#[tokio::test]
async fn steps_are_done_once_and_a_second_time_without_harm() {
    let (root, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = root.path().join("log");
    for name in ["modprobe", "systemctl"] {
        // By a program of its own: a file that this process has open for writing is none that it can run.
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> {}\n", log.display());
        let write = Tool::new(Path::new("/bin/sh")).args(["-c", "cat > \"$0\" && chmod 700 \"$0\""]);
        write.arg(programs.path().join(name)).run_with(script.as_bytes()).await.unwrap();
    }
    std::fs::create_dir_all(root.path().join("proc/sys/net/ipv4")).unwrap();
    let host = Host::at(root.path(), programs.path());
    let wish = Wish { lvm: None, ..wish() };
    let steps = plan(&wish, &fresh(&wish)).steps;
    for _ in 0..2 {
        for step in &steps {
            host.apply(&wish, step).await.unwrap();
        }
        let mode = |path: &str| std::fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            [mode("var/lib/minions"), mode("etc/minions"), mode("etc/minions/minions.toml")],
            [0o700, 0o755, 0o644]
        );
        assert_eq!(std::fs::read_to_string(root.path().join("proc/sys/net/ipv4/ip_forward")).unwrap(), "1");
        for step in &steps {
            if let Step::File { path, text, .. } = step {
                let there = std::fs::read_to_string(root.path().join(path.strip_prefix("/").unwrap())).unwrap();
                assert_eq!(&there, text);
            }
        }
        let said = std::fs::read_to_string(&log).unwrap();
        for line in ["modprobe tun", "systemctl daemon-reload", "systemctl enable --quiet minions.service"] {
            assert!(said.lines().any(|said| said == line), "{line}: {said}");
        }
    }
    // What somebody has put there since the plan was made stays.
    let config = root.path().join("etc/minions/minions.toml");
    for theirs in ["[log]\nfilter = \"debug\"\n".to_owned(), format!("{MARK} init, and changed\n")] {
        std::fs::write(&config, &theirs).unwrap();
        for step in &steps {
            host.apply(&wish, step).await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(&config).unwrap(), theirs);
    }
    std::fs::remove_file(programs.path().join("modprobe")).unwrap();
    let module = steps.iter().find(|step| matches!(step, Step::Module { .. })).unwrap();
    let error = host.apply(&wish, module).await.unwrap_err();
    assert!(error.to_string().contains("apt-get install kmod"), "{error}");
}

#[tokio::test]
async fn a_disk_is_looked_at_again_just_before_it_is_taken() {
    let (root, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = root.path().join("log");
    for (name, says) in [("vgs", r#"{"report":[{"vg":[]}]}"#), ("vgcreate", ""), ("lvcreate", "")] {
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> {}\necho '{says}'\n", log.display());
        let write = Tool::new(Path::new("/bin/sh")).args(["-c", "cat > \"$0\" && chmod 700 \"$0\""]);
        write.arg(programs.path().join(name)).run_with(script.as_bytes()).await.unwrap();
    }
    // What was a blank disk when the plan was made is something else by now.
    let disk = root.path().join("disk");
    std::fs::write(&disk, vec![7; 1 << 20]).unwrap();
    let lvm = LvmConfig { programs: programs.path().to_owned(), ..LvmConfig::new(root.path()) };
    let wish = Wish { lvm: Some(lvm), devices: vec![disk.clone()], ..wish() };
    let steps = plan(&wish, &fresh(&wish)).steps;
    let step = steps.iter().find(|step| matches!(step, Step::Pool { .. })).unwrap();
    let error = Host::at(root.path(), programs.path()).apply(&wish, step).await.expect_err("it is no disk");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Conflict, Some("disk_not_blank")), "{}", error.chain());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.lines().all(|line| line.starts_with("vgs ")), "{said}");
}
