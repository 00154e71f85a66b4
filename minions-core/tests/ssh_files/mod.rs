//! `sftp` and `scp` of both kinds, through the OpenSSH client.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use minions_core::api::v1;
use minions_core::service::VmAction;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::edge::owner;
use super::{Gate, LARGE, LIMIT, Settings, ends, have, text};

impl Gate {
    fn client(&self, program: &str, key: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.dir.path().join("known_hosts").display()));
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentityAgent=none", "-i"]).arg(key);
        command.arg("-P").arg(self.address.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn sftp(&self, key: &Path, batch: &str) -> Output {
        let file = self.dir.path().join("batch");
        std::fs::write(&file, batch).unwrap();
        let output = self.client("sftp", key).arg("-b").arg(file).arg("web@127.0.0.1").output();
        tokio::time::timeout(LIMIT, output).await.expect("it ends").unwrap()
    }

    async fn scp(&self, key: &Path, words: &[&str]) -> Output {
        let output = self.client("scp", key).args(words).output();
        tokio::time::timeout(LIMIT, output).await.expect("it ends").unwrap()
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[2]
        })
        .collect()
}

async fn web() -> Option<(Gate, PathBuf, PathBuf)> {
    if !have("sftp") || !have("scp") {
        return None;
    }
    let gate = Gate::start_with(Settings::default()).await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    let local = gate.dir.path().join("local");
    std::fs::create_dir(&local).unwrap();
    Some((gate, me, local))
}

#[tokio::test]
async fn sftp_does_with_files_what_it_does_anywhere() {
    let Some((gate, me, local)) = web().await else { return };
    let content = noise(1, 700_001);
    std::fs::write(local.join("data"), &content).unwrap();
    std::fs::write(local.join("a b"), "spaces").unwrap();
    std::fs::write(local.join("part"), &content[..100_000]).unwrap();
    std::fs::write(local.join("part up"), &content[..200_000]).unwrap();
    let at = local.display();
    let batch = format!(
        "pwd\nput {at}/data data1\nmkdir dir\nput \"{at}/a b\" \"dir/a b\"\nput {at}/data dir/-x\nrename data1 dir/renamed\n\
         chmod 600 dir/renamed\nsymlink dir/renamed link\nget dir/renamed {at}/back\nget link {at}/linked\n\
         get \"dir/a b\" \"{at}/b a\"\nreget dir/renamed {at}/part\nls -l dir\nput \"{at}/part up\" dir/up\n\
         reput {at}/data dir/up\nget dir/up {at}/up\nrm link\nrm dir/up\nrm dir/-x\nmkdir empty\nrmdir empty\nls -1 dir\n"
    );
    let output = gate.sftp(&me, &batch).await;
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("Remote working directory: /root\n"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("-rw-------") && line.contains("700001")), "{said}");
    for name in ["back", "linked", "part", "up"] {
        assert!(std::fs::read(local.join(name)).unwrap() == content, "{name}");
    }
    assert_eq!(std::fs::read(local.join("b a")).unwrap(), b"spaces");
    assert_eq!(text(&gate.run(&me, "web", &["ls /root/dir"]).await.stdout), "a b\nrenamed\n");
    let seen = gate.run(&me, "web", &["cat '/root/dir/a b'"]).await;
    assert_eq!(text(&seen.stdout), "spaces", "a command sees the same files");
    for wrong in
        ["get nothing", "rm nothing", "rmdir dir", "cd dir/renamed", "put /etc/hostname no/such/place", "mkdir dir"]
    {
        let output = gate.sftp(&me, &format!("lcd {at}\n{wrong}\n")).await;
        assert!(!output.status.success() && !output.stderr.is_empty(), "{wrong}: {output:?}");
    }
}

/// What a tree holds: paths, kinds, permission bits, times where asked, and content.
fn tree(root: &Path, times: bool) -> Vec<(String, u32, i64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let content = if metadata.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let mtime = if times { metadata.mtime() } else { 0 };
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        all.push((name, metadata.permissions().mode(), mtime, content));
        if metadata.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn scp_of_both_kinds_carries_trees_both_ways() {
    let Some((gate, me, local)) = web().await else { return };
    let from = local.join("from");
    std::fs::create_dir_all(from.join("deep/er/empty")).unwrap();
    for (name, length) in [("deep/er/-x", 10), ("a b", 0), ("deep/large", 1_000_003), ("q'u\"o$te", 77), ("é", 1)] {
        std::fs::write(from.join(name), noise(9, length)).unwrap();
    }
    std::fs::set_permissions(from.join("a b"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(from.join("deep/large"), PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::set_permissions(from.join("deep/er"), PermissionsExt::from_mode(0o700)).unwrap();
    for path in ["a b", "deep/large", "deep/er/-x", "q'u\"o$te", "é", "deep/er/empty", "deep/er", "deep", ""] {
        let when = UNIX_EPOCH + Duration::from_secs(1_600_000_000 + path.len() as u64);
        std::fs::File::open(from.join(path)).unwrap().set_modified(when).unwrap();
    }
    for kind in ["-s", "-O"] {
        let (up, down) = (format!("web@127.0.0.1:/root/up{kind}"), local.join(format!("down{kind}")));
        let output = gate.scp(&me, &[kind, "-r", "-p", from.to_str().unwrap(), &up]).await;
        assert!(output.status.success(), "{kind}: {output:?}");
        let output = gate.scp(&me, &[kind, "-r", "-p", &up, down.to_str().unwrap()]).await;
        assert!(output.status.success(), "{kind}: {output:?}");
        assert!(tree(&from, true) == tree(&down, true), "{kind}");
        // Into what is there, without times.
        let output = gate.scp(&me, &[kind, "-r", from.to_str().unwrap(), &up]).await;
        assert!(output.status.success(), "{kind}: {output:?}");
        let down = local.join(format!("again{kind}"));
        let output = gate.scp(&me, &[kind, "-r", &format!("{up}/from"), down.to_str().unwrap()]).await;
        assert!(output.status.success(), "{kind}: {output:?}");
        assert_eq!(tree(&from, false).len(), tree(&down, false).len(), "{kind}");
    }
}

#[tokio::test]
async fn scp_takes_odd_names_and_says_what_it_could_not_do() {
    let Some((gate, me, local)) = web().await else { return };
    let file = local.join("file");
    std::fs::write(&file, "content").unwrap();
    let file = file.to_str().unwrap();
    let back = local.join("back");
    // The old protocol's paths go through a shell, so that they are quoted as for one; a newline it cannot name.
    for (kind, path) in [("-s", "/root/-a b\nc"), ("-O", "/root/-a\\ b"), ("-s", "-x"), ("-O", "-x"), ("-O", "~/y")] {
        let remote = format!("web@127.0.0.1:{path}");
        let output = gate.scp(&me, &[kind, file, &remote]).await;
        assert!(output.status.success(), "{kind} {path}: {output:?}");
        std::fs::remove_file(&back).ok();
        let output = gate.scp(&me, &[kind, &remote, back.to_str().unwrap()]).await;
        assert!(output.status.success(), "{kind} {path}: {output:?}");
        assert_eq!(std::fs::read(&back).unwrap(), b"content");
    }
    for kind in ["-s", "-O"] {
        for words in [
            ["web@127.0.0.1:/nothing", "/tmp/nowhere"],
            ["web@127.0.0.1:/root", "/tmp/nowhere"],
            [file, "web@127.0.0.1:/no/such/place"],
            [file, "web@127.0.0.1:/root/-x/below"],
        ] {
            let output = gate.scp(&me, &[kind, words[0], words[1]]).await;
            let said = text(&output.stderr);
            assert!(!output.status.success() && said.contains("scp:"), "{kind} {words:?}: {output:?}");
        }
    }
    // A link on the way out is followed by neither.
    symlink(file, local.join("link")).unwrap();
    let output = gate.scp(&me, &["-O", local.join("link").to_str().unwrap(), "web@127.0.0.1:/root/plain"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&gate.run(&me, "web", &["cat /root/plain"]).await.stdout), "content");
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_large_file_goes_up_and_down_with_flat_memory() {
    const SIZE: u64 = 64 << 20;
    const ALONE: &str = "MINIONS_TEST_ALONE";
    // In a process of its own: the peak of this one is that of all tests beside.
    if std::env::var_os(ALONE).is_none() {
        let name = "ssh_files::a_large_file_goes_up_and_down_with_flat_memory";
        let mut alone = tokio::process::Command::new(std::env::current_exe().unwrap());
        let ended = alone.args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().await.unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&ended.stderr));
        return;
    }
    let Some((gate, me, local)) = web().await else { return };
    let file = local.join("large");
    // Of one byte: the simulated disk keeps nothing else for free.
    std::fs::File::create(&file).unwrap().set_len(SIZE).unwrap();
    let file = file.to_str().unwrap();
    let before = peak();
    for kind in ["-s", "-O"] {
        let (remote, back) = (format!("web@127.0.0.1:/large{kind}"), local.join(format!("back{kind}")));
        assert!(gate.scp(&me, &[kind, file, &remote]).await.status.success());
        assert!(gate.scp(&me, &[kind, &remote, back.to_str().unwrap()]).await.status.success());
        assert_eq!(std::fs::metadata(&back).unwrap().len(), SIZE);
    }
    let more = peak() - before;
    eprintln!("{} KiB more at most for {} MiB both ways", more >> 10, SIZE >> 20);
    assert!(more < 24 << 20, "{} MiB more", more >> 20);
}

fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body: Vec<u8> = [&[kind][..], &parts.concat()].concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

#[tokio::test]
async fn a_reader_of_sftp_that_stalls_holds_up_no_other_channel() {
    let Some((gate, me, _)) = web().await else { return };
    let socket = gate.dir.path().join("mux");
    let control = format!("ControlPath={}", socket.display());
    let mut master = gate.ssh(&me, "web").args(["-M", "-N", "-o", &control, "127.0.0.1"]).spawn().unwrap();
    while !socket.exists() {
        assert!(master.try_wait().unwrap().is_none(), "the master ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut upload = gate.ssh(&me, "web");
    let mut upload = upload.args(["-o", &control, "127.0.0.1", "cat > /large"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = upload.stdin.take().unwrap();
    tokio::time::timeout(LIMIT, stdin.write_all(&vec![b'x'; LARGE])).await.unwrap().unwrap();
    drop(stdin);
    assert!(ends(&mut upload).await.success());
    let mut stalled = gate.ssh(&me, "web");
    let mut stalled = stalled.args(["-o", &control, "-s", "127.0.0.1", "sftp"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = stalled.stdin.take().unwrap();
    let path = [&6u32.to_be_bytes()[..], b"/large"].concat();
    let mut asked = packet(1, &[&[0, 0, 0, 3]]);
    asked.extend(packet(3, &[&[0, 0, 0, 1], &path, &1u32.to_be_bytes(), &0u32.to_be_bytes()]));
    let piece: usize = 128 << 10;
    for number in 0..LARGE / piece {
        let offset = (number * piece) as u64;
        let length = u32::try_from(piece).unwrap().to_be_bytes();
        asked.extend(packet(5, &[&[0, 0, 0, 2], &[0, 0, 0, 4, 0, 0, 0, 0], &offset.to_be_bytes(), &length]));
    }
    stdin.write_all(&asked).await.unwrap();
    let mut rest = stalled.stdout.take().unwrap();
    let mut first = [0; 1];
    tokio::time::timeout(LIMIT, rest.read_exact(&mut first)).await.unwrap().unwrap();
    for number in 0..5 {
        let mut command = gate.ssh(&me, "web");
        let output = command.args(["-o", &control, "127.0.0.1", "echo"]).arg(number.to_string()).output();
        let output = tokio::time::timeout(LIMIT, output).await.expect("it is not held up").unwrap();
        assert_eq!(text(&output.stdout), format!("{number}\n"));
    }
    drop(stdin);
    let mut all = Vec::new();
    tokio::time::timeout(LIMIT, rest.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(all.iter().filter(|byte| **byte == b'x').count() >= LARGE, "{} bytes came in the end", all.len());
    assert!(ends(&mut stalled).await.success());
    master.kill().await.unwrap();
}

#[tokio::test]
async fn ctl_5_3_files_are_for_those_who_may_enter_and_a_stopped_vm_says_so() {
    let Some((gate, me, local)) = web().await else { return };
    let other = gate.user("stranger").await;
    let share = v1::ShareVm { add: vec!["stranger".to_owned()], ..v1::ShareVm::default() };
    gate.act("web", VmAction::Share(share)).await;
    let back = local.join("back");
    for kind in ["-s", "-O"] {
        let words = [kind, "web@127.0.0.1:/etc/hostname", back.to_str().unwrap()];
        let output = gate.scp(&other, &words).await;
        assert!(
            !output.status.success() && text(&output.stderr).contains("Permission denied (publickey)"),
            "{output:?}"
        );
    }
    gate.act("web", VmAction::Stop(v1::StopVm::default())).await;
    let output = gate.sftp(&me, "pwd\n").await;
    assert!(text(&output.stderr).contains("not running; start it first") && !output.status.success(), "{output:?}");
    let output = gate.scp(&me, &["-O", "web@127.0.0.1:/etc/hostname", back.to_str().unwrap()]).await;
    assert!(text(&output.stderr).contains("not running; start it first") && !output.status.success(), "{output:?}");
}
