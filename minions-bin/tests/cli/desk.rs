//! `ssh minions@host`: the verbs, through the OpenSSH client.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::console::Screen;
use super::service::Service;

/// Loud, and no failure: what a machine lacks it cannot show.
fn have(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(program).exists());
    if !found {
        eprintln!("SKIP there is no {program} here");
    }
    found
}

const FRONT: &[&str] = &["--ssh", "127.0.0.1:0", "--https", "127.0.0.1:0", "--domain", "box.test"];

struct Door {
    service: Service,
    port: String,
}

impl Door {
    fn start() -> Option<Self> {
        (have("ssh") && have("ssh-keygen")).then(|| {
            let service = Service::start_with(FRONT);
            let place = service.told.split_whitespace().find(|word| word.starts_with("ssh://")).unwrap().to_owned();
            let port = place.rsplit(':').next().unwrap().to_owned();
            let key = std::fs::read_to_string(service.dir.path().join("state/ssh_host_ed25519_key.pub")).unwrap();
            std::fs::write(service.path("known_hosts"), format!("[127.0.0.1]:{port} {key}")).unwrap();
            Self { service, port }
        })
    }

    fn key(&self, name: &str) -> PathBuf {
        let file = self.service.dir.path().join(name);
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
        assert!(made.unwrap().success());
        file
    }

    fn user(&self, name: &str) -> PathBuf {
        let key = self.key(name);
        self.service.ok(&["user", "add", name]);
        self.service.ok(&["key", "add", "--user", name, &format!("{}.pub", key.display())]);
        key
    }

    fn ssh(&self, key: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.service.path("known_hosts")));
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentityAgent=none", "-p", &self.port, "-i"]).arg(key);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, key: &Path, words: &[&str]) -> Output {
        self.ssh(key, &[&["minions@127.0.0.1"], words].concat()).output().unwrap()
    }

    fn ok(&self, key: &Path, words: &[&str]) -> String {
        let output = self.run(key, words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit code, and what was said on stderr.
    fn fails(&self, key: &Path, words: &[&str]) -> (i32, String) {
        let output = self.run(key, words);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn the_verbs_work_over_ssh_for_ones_own_vms_with_the_same_answers_and_codes() {
    let Some(door) = Door::start() else { return };
    let (ada, bob) = (door.user("ada"), door.user("bob"));
    assert_eq!(door.ok(&ada, &["whoami"]), "ada\n");
    door.ok(&ada, &["create", "web", "--no-data-disk"]);
    assert_eq!(door.ok(&ada, &["list", "--quiet"]), "web\n");
    let there: Value = serde_json::from_str(&door.ok(&ada, &["inspect", "web", "--json"])).unwrap();
    assert_eq!(there, door.service.json(&["inspect", "web", "--json"]));
    assert_eq!((&there["owner"], &there["state"]), (&"ada".into(), &"running".into()));
    // What is somebody else's is not there.
    assert_eq!(door.ok(&bob, &["ls", "-q"]), "");
    let (mine, none) = (door.fails(&bob, &["inspect", "web"]), door.fails(&bob, &["inspect", "nothing"]));
    assert_eq!((mine.0, mine.1.replace("web", "NAME")), (4, none.1.replace("nothing", "NAME")));
    assert_eq!(door.fails(&bob, &["user", "list"]).0, door.service.code(&["inspect", "none"]).max(6));
    let output = door.run(&bob, &["stop", "web", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["error"]["exit_code"], output.status.code()), (&4.into(), Some(4)));
    door.ok(&ada, &["stop", "web"]);
    door.ok(&ada, &["minions", "start", "web"]);
    door.ok(&ada, &["expose", "web", "--port", "8080"]);
    door.ok(&ada, &["share", "web", "user", "bob"]);
    door.ok(&bob, &["inspect", "web"]);
    assert_eq!(door.fails(&bob, &["stop", "web"]).0, 6);
    door.ok(&ada, &["rename", "web", "shop"]);
    assert!(door.ok(&ada, &["list"]).lines().nth(1).unwrap().starts_with("shop  running"));
    let events = door.ok(&ada, &["events", "--json"]);
    assert!(events.lines().count() > 5 && events.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    // A key of one's own, and from then on one logs in with it.
    let second = door.key("second");
    let text = std::fs::read_to_string(second.with_extension("pub")).unwrap();
    let mut adding = door.ssh(&ada, &["minions@127.0.0.1", "key", "add", "--label", "'my second'"]);
    let mut adding = adding.stdin(Stdio::piped()).spawn().unwrap();
    adding.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(adding.wait().unwrap().success());
    assert_eq!(door.ok(&second, &["whoami"]), "ada\n");
    assert!(door.ok(&ada, &["key", "list"]).contains("my second"));
    let third = std::fs::read_to_string(door.key("third").with_extension("pub")).unwrap();
    door.ok(&ada, &[&["key", "add"], &third.split_whitespace().collect::<Vec<_>>()[..]].concat());
    let token = door.ok(&ada, &["token", "create", "--scope", "read"]);
    assert!(token.starts_with("minions_") || token.len() > 20, "{token}");
    let (code, told) = door.fails(&ada, &["destroy", "shop"]);
    assert!(code == 2 && told.contains("--yes"), "{told}");
    door.ok(&ada, &["destroy", "shop", "--yes"]);
    assert_eq!(door.ok(&ada, &["list", "--json"]), "{\"vms\":[]}\n");
    assert!(door.ok(&ada, &["help"]).contains("Say who you are"));
    assert!(door.ok(&ada, &["create", "--help"]).contains("--memory"));
}

#[test]
fn nothing_of_the_host_is_read_written_or_run() {
    let Some(door) = Door::start() else { return };
    let ada = door.user("ada");
    let bait = door.service.path("bait");
    for words in [
        &["serve"][..],
        &["init", "--yes"],
        &["doctor"],
        &["context", "list"],
        &["config", "show", "/etc/hostname"],
        &["image", "import", "/etc/hostname"],
        &["cp", "/etc/hostname", "web:/"],
        &["token", "create", "ada", "--file", &bait],
        &["list", "--dir", "/tmp"],
        &["list", "--server", "http://127.0.0.1:1"],
        &["list", "--token-file", "/etc/hostname"],
        &["list", ";", "touch", &bait],
        &["list", &format!("$(touch${{IFS}}{bait})")],
        &["completion", "bash"],
        &["key", "add", "/etc/hostname"],
        &["jail"],
    ] {
        let (code, told) = door.fails(&ada, words);
        assert!(code == 2 && !told.is_empty(), "{words:?}: {code} {told}");
    }
    let (_, told) = door.fails(&ada, &["cp", "a", "b"]);
    assert!(told.contains("scp"), "{told}");
    let output = door.run(&ada, &["nonsense", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&output.stderr).unwrap()["error"]["exit_code"], 2);
    assert!(!Path::new(&bait).exists());
    assert_eq!(door.ok(&ada, &["whoami"]), "ada\n", "the service goes on");
}

#[test]
fn a_prompt_greets_completes_ones_vms_and_asks_before_it_destroys() {
    let Some(door) = Door::start() else { return };
    let ada = door.user("ada");
    door.ok(&ada, &["create", "web"]);
    let mut child = door.ssh(&ada, &["-tt", "minions@127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut screen = Screen::of(child.stdout.take().unwrap());
    screen.until("Hello ada. Your VMs: web (running)\r\n");
    screen.until("minions> ");
    keys.write_all(b"ins\tw\t\r").unwrap();
    screen.until("leads to the port that listens, for its owner\r\n");
    keys.write_all(b"events -f\r").unwrap();
    screen.until("Ctrl-C ends it\r\n");
    keys.write_all(b"\x03").unwrap();
    screen.until("^C\r\n");
    keys.write_all(b"destroy web\r").unwrap();
    screen.until("Destroy web and its disks");
    keys.write_all(b"no\r").unwrap();
    screen.until("nothing was destroyed");
    keys.write_all(b"destroy web\r").unwrap();
    screen.until("[y/N] ");
    keys.write_all(b"y\r").unwrap();
    screen.until("web is gone\r\n");
    keys.write_all(b"exit\r").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_link_to_log_in_is_good_once_and_as_long_as_its_key() {
    let Some(door) = Door::start() else { return };
    if !have("curl") {
        return;
    }
    let ada = door.user("ada");
    let visit = |link: &str| {
        let host = link.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap();
        let mut command = Command::new("curl");
        command.args(["-sS", "-k", "--noproxy", "*", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}"]);
        let output = command.args(["--resolve", &format!("{host}:127.0.0.1"), link]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let link = door.ok(&ada, &["login"]);
    assert!(link.starts_with("https://minions.box.test:"), "{link}");
    assert_eq!((visit(link.trim()), visit(link.trim())), ("200".to_owned(), "403".to_owned()));
    let json: Value = serde_json::from_str(&door.ok(&ada, &["login", "--json"])).unwrap();
    door.service.ok(&["user", "update", "ada", "--disable"]);
    assert_eq!(visit(json["link"].as_str().unwrap()), "403");
}
