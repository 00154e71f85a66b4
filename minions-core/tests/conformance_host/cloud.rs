//! What only Cloud Hypervisor does, and what stands around its monitors.

use super::*;

#[tokio::test]
async fn ctl_1_1_a_monitor_stands_behind_every_fence_that_this_host_has_means_for() {
    let host = Host::new(Kind::Cloud).await;
    let means = Means::of_host();
    let config = host.vm(VmId::from_bits(8), 1, Cid::FIRST);
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let fences = host.hypervisor.observe(&cx(), config.id).await.unwrap().expect("it runs").fences;
    let want = Fences {
        own_user: means.walls,
        no_capabilities: means.walls,
        no_new_privileges: true,
        system_calls: host.real(),
        files: means.walls || means.has_landlock(),
        resources: means.limiter != Limiter::Nobody,
    };
    assert_eq!(fences, want);
    if !means.walls {
        skip("ctl_1_1_a_monitor_stands_behind_every_fence_that_this_host_has_means_for", "not root: no walls");
    } else {
        let pids = lab::processes(host.folder.path(), &format!("{}/api.", config.id));
        let [pid] = pids[..] else { panic!("one process for one VM: {pids:?}") };
        let of = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let status = of("status");
        for line in ["Uid:\t200000\t200000\t200000\t200000", "Gid:\t200000\t200000\t200000\t200000", "Groups:\t \n"] {
            assert!(status.contains(line), "{line:?} is not in {status}");
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
        }
        assert!(of("limits").lines().any(|line| line.starts_with("Max core file size        0                    0")));
        assert_eq!(of("oom_score_adj").trim(), "500");
        let seen = |path: &Path| Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap()).exists();
        assert!(seen(&config.disks[0].path) && seen(&config.boot.kernel), "its own files");
        for hidden in ["/etc/shadow", "/proc/self", "/sys/class", "/root", "/tmp/.X11-unix"] {
            assert!(!seen(Path::new(hidden)), "{hidden} can be seen");
        }
        let other = host.vm(VmId::from_bits(9), 1, Cid::new(4).unwrap());
        assert!(!seen(&other.disks[0].path), "another VM's disk can be seen");
    }
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
}

#[tokio::test]
async fn a_guest_is_halted_written_down_and_goes_on_in_another_monitor() {
    let host = Host::new(Kind::Cloud).await;
    let phase = async |id| host.hypervisor.observe(&cx(), id).await.unwrap().map(|status| status.phase);
    let mut config = host.vm(VmId::from_bits(6), 1, Cid::FIRST);
    let folder = host.folder.path().join("written-down");
    std::fs::create_dir(&folder).unwrap();
    let early = host.hypervisor.ensure_paused(&cx(), config.id).await.expect_err("nothing runs");
    assert_eq!(early.kind(), minions_core::ErrorKind::Conflict);
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let early = host.hypervisor.ensure_captured(&cx(), config.id, &folder).await.expect_err("it runs");
    assert_eq!(early.kind(), minions_core::ErrorKind::Conflict);
    for _ in 0..2 {
        host.hypervisor.ensure_paused(&cx(), config.id).await.unwrap();
        assert_eq!(phase(config.id).await, Some(VmmPhase::Paused));
    }
    for _ in 0..2 {
        host.hypervisor.ensure_captured(&cx(), config.id, &folder).await.unwrap();
    }
    assert!(folder.join("config.json").is_file());
    // It goes on here as if nothing had been.
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    host.hypervisor.ensure_disks(&cx(), &config).await.unwrap();
    assert_eq!(phase(config.id).await, Some(VmmPhase::Running));
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    (config.epoch, config.restore) = (2, Some(folder));
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    assert_eq!(phase(config.id).await, Some(VmmPhase::Running));
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
}

#[tokio::test]
async fn rp_4_a_guest_that_starts_itself_anew_ends_its_monitor() {
    let host = Host::new(Kind::Cloud).await;
    if host.real() {
        return skip("rp_4_a_guest_that_starts_itself_anew_ends_its_monitor", "the stand-in is told when to");
    }
    let mut config = host.vm(VmId::from_bits(9), 1, Cid::FIRST);
    config.cmdline = "stub.reboot_ms=50".to_owned();
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    host.hypervisor.wait_exit(&cx(), config.id).await.unwrap();
    let phase = host.hypervisor.observe(&cx(), config.id).await.unwrap().map(|status| status.phase);
    assert_eq!(phase, Some(VmmPhase::Exited));
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(lab::processes(host.folder.path(), "api."), Vec::<i32>::new());
}

#[tokio::test]
async fn a_tap_interface_that_is_not_there_is_not_found_and_starts_nothing() {
    let host = Host::new(Kind::Cloud).await;
    let mut config = host.vm(VmId::from_bits(7), 1, Cid::FIRST);
    let mac = MacAddr::local(7);
    let ip = "10.213.0.20".parse().unwrap();
    let net = GuestNet { ip, prefix: 16, gateway: "10.213.0.2".parse().unwrap(), dns: Vec::new(), mac };
    config.nic = Some(NicAttachment { backend: NicBackend::Tap(names::tap(config.id)), mac, net });
    host.hypervisor.ensure_process(&cx(), &config).await.unwrap();
    let error = host.hypervisor.ensure_running(&cx(), &config).await.expect_err("there is no such interface");
    assert_eq!(error.kind(), minions_core::ErrorKind::NotFound, "{}", error.chain());
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
}

/// VMs come and go, and what they took is back.
async fn come_and_go(count: u32) {
    const AT_ONCE: u32 = 4;
    let host = Arc::new(Host::new(Kind::Cloud).await);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = None;
    for round in 0..count / AT_ONCE {
        let mut lives = tokio::task::JoinSet::new();
        for place in 0..AT_ONCE {
            let host = host.clone();
            lives.spawn(async move {
                let number = round * AT_ONCE + place;
                let config = host.vm(VmId::from_bits(u128::from(number) + 1), 1, Cid::new(3 + place).unwrap());
                host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
                let how = if number.is_multiple_of(2) { StopHow::Force } else { StopHow::DEFAULT };
                host.hypervisor.ensure_absent(&cx(), config.id, &how).await.unwrap();
                std::fs::remove_file(&config.disks[0].path).unwrap();
            });
        }
        while let Some(life) = lives.join_next().await {
            life.unwrap();
        }
        before.get_or_insert_with(open);
    }
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
    assert_eq!(lab::processes(host.folder.path(), "api."), Vec::<i32>::new());
    assert_eq!(files::names(&host.folder.path().join("r")).unwrap(), Vec::<String>::new());
    let (before, after) = (before.unwrap_or_default(), open());
    assert!(after <= before + 8, "{before} files were open after the first VMs, and {after} are now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rp_8_vms_of_cloud_hypervisor_come_and_go_and_nothing_is_left() {
    come_and_go(40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a thousand VMs: a minute"]
async fn rp_8_a_thousand_vms_of_cloud_hypervisor_come_and_go_and_nothing_is_left() {
    come_and_go(1000).await;
}

#[tokio::test]
async fn bad_27_a_monitor_that_ends_at_its_start_is_told_with_its_words_and_leaves_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new(Kind::Cloud).await;
    let Config::Cloud(mut config) = host.config.clone() else { unreachable!("it is Cloud Hypervisor's") };
    let program = host.folder.path().join("fails");
    std::fs::write(
        &program,
        "#!/bin/sh\n[ $1 = --version ] && exec echo cloud-hypervisor v53.0.0\necho no room >&2; exit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Without its shell before its eyes it would fail otherwise.
    (config.program, config.jail) = (program, None);
    let hypervisor = Config::Cloud(config).open().await;
    let vm = host.vm(VmId::from_bits(1), 1, Cid::FIRST);
    let error = hypervisor.ensure_running(&cx(), &vm).await.expect_err("it ends");
    assert_eq!(error.kind(), minions_core::ErrorKind::Unavailable);
    assert!(error.chain().contains("no room"), "{}", error.chain());
    hypervisor.ensure_absent(&cx(), vm.id, &StopHow::Force).await.unwrap();
    assert_eq!(hypervisor.list(&cx()).await.unwrap(), []);
}

#[tokio::test]
async fn a_monitor_that_was_started_before_its_disks_were_made_sees_them_all_the_same() {
    let host = Host::new(Kind::Cloud).await;
    let mut config = host.vm(VmId::from_bits(1), 1, Cid::FIRST);
    let (disk, later) = (config.disks[0].path.clone(), host.folder.path().join("later"));
    std::fs::rename(&disk, &later).unwrap();
    host.hypervisor.ensure_process(&cx(), &config).await.unwrap();
    let early = host.hypervisor.ensure_running(&cx(), &config).await.expect_err("its disk is not there");
    assert_eq!(early.kind(), minions_core::ErrorKind::NotFound, "{}", early.chain());
    config.epoch = 2;
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    host.hypervisor.ensure_process(&cx(), &config).await.unwrap();
    std::fs::rename(&later, &disk).unwrap();
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
}

#[tokio::test]
async fn a_monitor_that_sees_another_disk_than_there_is_now_never_boots_from_it() {
    let name = "a_monitor_that_sees_another_disk_than_there_is_now_never_boots_from_it";
    if !Means::of_host().walls {
        return skip(name, "not root: a monitor sees what the host sees");
    }
    let host = Host::new(Kind::Cloud).await;
    let config = host.vm(VmId::from_bits(21), 1, Cid::FIRST);
    host.hypervisor.ensure_process(&cx(), &config).await.unwrap();
    let pids = || lab::processes(host.folder.path(), &format!("{}/api.", config.id));
    let before = pids();
    host.hypervisor.ensure_process(&cx(), &config).await.unwrap();
    assert_eq!(pids(), before, "nothing has changed");
    // The same name, another disk.
    let (disk, new) = (&config.disks[0].path, host.folder.path().join("new"));
    std::fs::copy(disk, &new).unwrap();
    std::fs::rename(&new, disk).unwrap();
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    assert_ne!(pids(), before, "it had the old one before its eyes");
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}

#[tokio::test]
async fn ctl_1_5_whatever_a_monitor_leaves_in_its_folder_goes_with_it() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let host = Host::new(Kind::Cloud).await;
    let config = host.vm(VmId::from_bits(22), 1, Cid::FIRST);
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let folder = host.folder.path().join("r").join(config.id.to_string());
    std::fs::create_dir_all(folder.join("v_7/deep")).unwrap();
    std::fs::write(folder.join("v_5"), b"kept for later").unwrap();
    std::fs::write(folder.join(OsStr::from_bytes(b"no\xfftext")), b"").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.ends_with("v_1024")), "{left:?}");
    assert_eq!(host.hypervisor.list(&cx()).await.unwrap(), []);
    assert!(Path::new("/etc/hostname").exists());
}

#[tokio::test]
async fn a_console_that_leads_elsewhere_is_not_followed() {
    let host = Host::new(Kind::Cloud).await;
    let config = host.vm(VmId::from_bits(23), 1, Cid::FIRST);
    host.hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let serial = host.folder.path().join("r").join(config.id.to_string()).join("serial");
    let trap = host.folder.path().join("trap");
    let listener = tokio::net::UnixListener::bind(&trap).unwrap();
    std::fs::remove_file(&serial).unwrap();
    let taps = [("a link", true), ("a socket of somebody else's", false)];
    for (what, link) in taps {
        if link {
            std::os::unix::fs::symlink(&trap, &serial).unwrap();
        } else {
            std::fs::remove_file(&serial).unwrap();
            std::fs::rename(&trap, &serial).unwrap();
        }
        // The daemon that comes after this one looks for the line of a guest that runs.
        let next = host.config.clone().open().await;
        next.observe(&cx(), config.id).await.unwrap();
        assert!(next.console(&cx(), config.id, 0).await.is_err(), "{what}");
        if let Ok(Ok((mut stream, _))) = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await {
            // Reached, but nothing is said to it.
            let mut said = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said).await.unwrap();
            assert!(!link && said.is_empty(), "{what}: {said:?}");
        }
    }
    host.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
}
