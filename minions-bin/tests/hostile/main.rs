//! What a hostile guest, another user, or a server that lies can do to whoever types: nothing (CTL-2.5, BAD-12, BAD-13).
//!
//! The verbs are those that the program itself says it has, so that a new one is covered the day it is written: until
//! this table says how it is run, the test fails.
#![cfg(feature = "minions")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "a test of a program starts it")]

mod corpus;
mod liar;
mod pending;
mod people;
mod server;
mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

use corpus::{evil, harm};
use terminal::on_a_terminal;

const MINIONS: &str = env!("CARGO_BIN_EXE_minions");

/// How a verb is run against a hostile service.
enum Row {
    /// With these words; whether they show something hostile where all goes well.
    Run(Vec<String>, bool),
    /// It goes on for ever.
    Forward,
}

fn run(words: &[&str], shows: bool) -> Row {
    Row::Run(words.iter().map(|&word| word.to_owned()).collect(), shows)
}

/// How every verb of the program is run. `dir` is a folder with hostile files in it.
fn rows(verb: &str, dir: &Path) -> Vec<Row> {
    let path = |name: &str| dir.join(name).display().to_string();
    let hostile = evil().replace('\0', "");
    match verb {
        "create" => vec![run(&["create", "web", "--timings"], true), run(&["create", "web", "--no-wait"], false)],
        "list" => vec![run(&["list"], true), run(&["list", "--deleted"], true)],
        "inspect" => vec![run(&["inspect", "web"], true)],
        "start" | "restart" | "stop" => vec![run(&[verb, "web", "--timings"], true)],
        "destroy" => vec![run(&["destroy", "web", "--yes", "--timings"], true)],
        "rebase" => vec![
            run(&["rebase", "web", "--yes", "--timings"], true),
            run(&["rebase", "web", "--yes", "--image", &hostile], false),
        ],
        "disk list" => vec![run(&["disk", "list"], false)],
        "disk delete" => vec![
            run(&["disk", "delete", "vm_00000000000000000000000001", "--yes", "--timings"], true),
            run(&["disk", "delete", &hostile], false),
        ],
        "expose" => vec![run(&["expose", "web", "--port", "80", "--timings"], true)],
        "share" => {
            vec![run(&["share", "web", "private", "--timings"], true), run(&["share", "web", "user", &hostile], false)]
        }
        "rename" => vec![run(&["rename", "web", "shop", "--timings"], true), run(&["rename", "web", &hostile], false)],
        "resize" => vec![run(&["resize", "web", "--cpus", "2", "--timings"], true)],
        "wait" => {
            let operation = ["wait", "--operation", "op_00000000000000000000000002"];
            let late = ["wait", "web", "--for", "stopped", "--timeout", "1ms"];
            vec![run(&["wait", "web"], false), run(&late, false), run(&operation, false)]
        }
        // What a program writes may go into a file as it is; onto a terminal it may not, which is another test.
        "exec" => vec![],
        "cp" => vec![
            run(&["cp", "web:/etc/passwd", &path("copy")], false),
            run(&["cp", &path("evil.toml"), "web:/root/"], false),
            run(&["cp", &hostile, "web:/root/"], false),
            run(&["cp", "-", "web:/root/x"], false),
            run(&["cp", "web:/etc/passwd", "-"], false),
        ],
        "port-forward" => vec![Row::Forward],
        "logs" => vec![run(&["logs", "web"], true), run(&["logs", "-f", "web"], true)],
        // As with a program: what the guest prints reaches whoever sits there as it is, which is another test.
        "console" => vec![],
        "image list" => vec![run(&["image", "list"], true)],
        "image build" => vec![run(&["image", "build", "busybox", "--agent", &hostile], false)],
        "image import" => vec![run(&["image", "import", &hostile, "--agent", &path("evil.toml")], false)],
        "bake-agent" => vec![run(&["bake-agent", &hostile, "--agent", &path("evil.toml")], false)],
        "kernel list" => vec![run(&["kernel", "list"], false)],
        "kernel check" => {
            vec![run(&["kernel", "check", &hostile], false), run(&["kernel", "check", &path("evil.toml")], false)]
        }
        "kernel config" => vec![run(&["kernel", "config"], false)],
        "kernel fetch" => vec![],
        "kernel import" => {
            vec![run(&["kernel", "import", &hostile, "--kernel", &hostile, "--modules", &hostile], false)]
        }
        "kernel delete" => vec![run(&["kernel", "delete", &hostile], false)],
        "image delete" => vec![run(&["image", "delete", &hostile], false)],
        "host status" => vec![run(&["host", "status"], true)],
        "token create" => vec![
            run(&["token", "create", &hostile, "--file", &path("tokens")], false),
            run(&["token", "create", "--user", "ada"], true),
            run(&["token", "create", "--user", &hostile], false),
        ],
        "token list" => vec![run(&["token", "list", "--user", "ada"], true)],
        "token delete" => {
            let delete = ["token", "delete", "--user", "ada", "tok_00000000000000000000000001"];
            vec![run(&delete, false), run(&["token", "delete", &hostile], false)]
        }
        "user add" => vec![run(&["user", "add", "ada"], true), run(&["user", "add", &hostile], false)],
        "user list" => vec![run(&["user", "list"], true)],
        "user update" => vec![run(&["user", "update", "ada", "--disable"], true)],
        "user delete" => vec![run(&["user", "delete", "ada", "--yes"], false)],
        "key add" => vec![
            run(&["key", "add", "--user", "ada", &path("key.pub")], true),
            run(&["key", "add", &path("evil.toml")], false),
            run(&["key", "add", &hostile], false),
        ],
        "key list" => vec![run(&["key", "list", "--user", "ada"], true)],
        "key delete" => vec![
            run(&["key", "delete", "--user", "ada", &format!("SHA256:{}", "A".repeat(43))], false),
            run(&["key", "delete", &hostile], false),
        ],
        "quota show" => vec![run(&["quota", "show", "ada"], false), run(&["quota", "show", &hostile], false)],
        "quota set" => vec![run(&["quota", "set", "ada", "--vms", "1"], false)],
        "audit" => vec![run(&["audit"], true)],
        "context list" => vec![run(&["context", "list"], false)],
        "context add" => vec![run(&["context", "add", &hostile, "--server", "http://127.0.0.1:1"], false)],
        "context use" | "context remove" => vec![run(&["context", &verb[8..], &hostile], false)],
        "serve" => vec![run(&["serve", "--backend", "memory", "--config", &path("evil.toml")], false)],
        "init" => vec![
            run(&["init", "--dry-run"], false),
            run(&["init", "--dry-run", "--device", &hostile, "--volume-group", &hostile], false),
        ],
        "doctor" => vec![run(&["doctor"], false)],
        "events" => vec![run(&["events"], true)],
        "config check" | "config show" => {
            vec![run(&["config", &verb[7..], &path("evil.toml")], false), run(&["config", &verb[7..], &hostile], false)]
        }
        "version" => vec![run(&["version"], true)],
        "completion" => vec![run(&["completion", "bash"], false), run(&["completion", &hostile], false)],
        "schema" => vec![run(&["schema"], false)],
        new => panic!("say in this table how `minions {new}` is run against a hostile service"),
    }
}

/// Every verb that the program says it has, with those below it.
fn verbs(above: &[&str]) -> Vec<String> {
    let help = Command::new(MINIONS).args(above).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    let section = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = section
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    if names.is_empty() {
        return vec![above.join(" ")];
    }
    names.iter().flat_map(|name| verbs(&[above, &[name]].concat())).collect()
}

/// A hostile service, and a folder with hostile files.
struct Lab {
    dir: tempfile::TempDir,
    hostile: std::sync::Arc<server::Hostile>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mn").tempdir_in("/tmp").unwrap();
        let evil = evil().replace(['\0', '\n'], "");
        let quoted = evil.replace('\\', "\\\\").replace('"', "\\\"");
        let toml = format!("[daemon]\nbackend = \"auto\"\n\n[{}]\n\"{quoted}\" = 1\n", "log");
        std::fs::write(dir.path().join("evil.toml"), toml).unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
        std::fs::write(dir.path().join("key.pub"), key).unwrap();
        let contexts = dir.path().join("minions/contexts.toml");
        std::fs::create_dir(contexts.parent().unwrap()).unwrap();
        std::fs::write(contexts, format!("[contexts.\"{quoted}\"]\nserver = \"{quoted}\"\n")).unwrap();
        let hostile = server::serve(&dir.path().join("minions.sock"));
        Self { dir, hostile }
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(MINIONS);
        command.args(words).env("MINIONS_DIR", self.dir.path()).env_remove("MINIONS_SERVER").env("NO_COLOR", "1");
        command.env("XDG_CONFIG_HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    fn output(&self, words: &[String]) -> Output {
        self.command(words).output().unwrap()
    }
}

fn check(what: &str, output: &[u8]) {
    if let Some(harm) = harm(output) {
        panic!("{what}: {harm}");
    }
}

#[test]
fn ctl_2_5_no_verb_lets_a_hostile_text_steer_the_terminal() {
    assert!(corpus::SEQUENCES.len() >= 60);
    let lab = Lab::new();
    let verbs = verbs(&[]);
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in &verbs {
        for row in rows(verb, lab.dir.path()) {
            for refuses in [false, true] {
                lab.hostile.refuses.store(refuses, Ordering::Release);
                for json in [false, true] {
                    match &row {
                        Row::Run(words, shows) => attempt(&lab, verb, words, json, *shows && !refuses),
                        Row::Forward if !refuses => forward(&lab, json),
                        Row::Forward => {}
                    }
                }
            }
        }
    }
}

/// Through pipes with every word said, and on a terminal.
fn attempt(lab: &Lab, verb: &str, words: &[String], json: bool, shows: bool) {
    let words: Vec<String> = words.iter().cloned().chain(json.then(|| "--json".to_owned())).collect();
    let output = lab.output(&words);
    let what = format!("{verb}, json {json}, {:?}", output.status);
    check(&what, &output.stdout);
    check(&what, &output.stderr);
    let both = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!both.contains("panicked"), "{what}: {both}");
    assert!(!shows || both.contains("MARK"), "{what} showed nothing hostile, so it proves nothing: {both}");
    // Nothing may pretend to be a line of ours, but in a guest's log, which is a text of many lines.
    let typed = words.iter().any(|word| word.contains("FORGED"));
    assert!(typed || verb == "logs" || !both.lines().any(|line| line == "FORGED"), "{what}: {both}");
    if json {
        for line in both.lines().filter(|line| line.starts_with('{')) {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
        }
    }
    let words: Vec<String> = words.into_iter().chain(["--quiet".to_owned()]).collect();
    let (shown, _) = on_a_terminal(lab.command(&words));
    check(&format!("{what}, on a terminal"), &shown);
}

fn forward(lab: &Lab, json: bool) {
    let words = ["port-forward", "web", "0:80"].map(str::to_owned).to_vec();
    let words: Vec<String> = words.into_iter().chain(json.then(|| "--json".to_owned())).collect();
    let mut child = lab.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) =
        (BufReader::new(child.stdout.take().unwrap()), BufReader::new(child.stderr.take().unwrap()));
    let mut said = String::new();
    if json { out.read_line(&mut said) } else { err.read_line(&mut said) }.unwrap();
    let start = said.find("127.0.0.1:").unwrap();
    let address: String = said[start..].chars().take_while(|letter| !matches!(letter, ' ' | '"')).collect();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let _ = stream.write_all(b"x");
    // The guest refuses, and the connection ends.
    let _ = stream.read_to_end(&mut Vec::new());
    if !json {
        err.read_line(&mut said).unwrap();
        assert!(said.contains("MARK"), "{said}");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    err.read_to_end(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    check("port-forward", &[said.as_bytes(), &rest].concat());
}

#[test]
fn ctl_2_5_a_programs_output_reaches_a_file_as_it_is_and_a_terminal_only_when_asked_or_harmless() {
    let lab = Lab::new();
    let words = |more: &[&str]| -> Vec<String> {
        let words = [&["exec", "web", "--no-stdin"], more, &["--", "cat"]].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    let raw = [evil().as_bytes(), b"\xff\xfe\xe2\x80"].concat();
    let output = lab.output(&words(&[]));
    assert_eq!((output.status.code(), &output.stdout, &output.stderr), (Some(9), &raw, &raw), "into files as it is");
    let (shown, code) = on_a_terminal(lab.command(&words(&[])));
    check("exec on a terminal", &shown);
    assert_eq!(code, Some(9));
    assert_eq!(String::from_utf8(shown).unwrap().matches("MARK").count(), 2, "stdout and stderr are shown");
    for asked in [&["--raw"][..], &["--tty"]] {
        let (shown, _) = on_a_terminal(lab.command(&words(asked)));
        assert!(harm(&shown).is_some(), "{asked:?}: who asks gets what the program wrote");
    }
}

#[test]
fn ctl_2_5_a_console_is_as_it_is_and_whoever_refuses_it_steers_no_terminal() {
    let lab = Lab::new();
    let words: Vec<String> = ["console", "web"].map(str::to_owned).to_vec();
    let raw = [evil().as_bytes(), b"\xff\xfe\x9b31m\r\nMARK"].concat();
    let output = lab.output(&words);
    assert_eq!((output.status.code(), &output.stdout), (Some(0), &raw), "{output:?}");
    check("console", &output.stderr);
    lab.hostile.refuses.store(true, Ordering::Release);
    for more in [&[][..], &["--json"]] {
        let words = words.iter().cloned().chain(more.iter().map(|&word| word.to_owned())).collect::<Vec<_>>();
        let output = lab.output(&words);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        check("console, refused", &output.stderr);
        let (shown, code) = on_a_terminal(lab.command(&words));
        check("console, refused, on a terminal", &shown);
        assert_ne!(code, Some(0));
    }
}

#[test]
fn bad_13_no_verb_believes_a_server_that_lies() {
    let dir = tempfile::Builder::new().prefix("mn").tempdir_in("/tmp").unwrap();
    let lies = liar::lies();
    for (what, lie) in lies {
        let server = liar::start(lie);
        for verb in verbs(&[]) {
            for row in rows(&verb, dir.path()) {
                let Row::Run(words, _) = row else { continue };
                // Those that ask no server, or are refused before.
                if [
                    "serve",
                    "init",
                    "doctor",
                    "config check",
                    "config show",
                    "completion",
                    "schema",
                    "token create",
                    "cp",
                ]
                .contains(&verb.as_str())
                    || verb.starts_with("image ") && verb != "image list"
                    || verb.starts_with("context ")
                    || verb.starts_with("kernel ")
                    || verb == "bake-agent"
                    || words.iter().any(|word| word.contains('\u{1b}'))
                {
                    continue;
                }
                let mut command = Command::new(MINIONS);
                command.args(["--server", &server]).args(&words).stdin(Stdio::null()).env("NO_COLOR", "1");
                let output = command.output().unwrap();
                let what = format!("{what}: {verb}: {output:?}");
                check(&what, &[output.stdout.clone(), output.stderr.clone()].concat());
                let text = String::from_utf8(output.stderr).unwrap();
                assert!(!text.contains("panicked"), "{what}");
                // A version is told even where the server's is not, and whatever a server calls a log is one.
                let well = verb == "version" || verb == "logs" && output.status.success();
                assert_eq!(output.status.success(), well, "{what}");
                assert!(text.len() < 5_000, "{what}: {} bytes", text.len());
                assert_eq!(text.lines().count(), usize::from(verb != "logs" || !well), "{what}");
            }
        }
    }
}

#[test]
fn bad_13_a_server_that_always_says_pending_is_not_asked_in_a_tight_loop() {
    for words in [&["stop", "web"][..], &["wait", "web", "--for", "stopped"]] {
        let (url, asked) = pending::start();
        let mut command = Command::new(MINIONS);
        command.args(["--server", &url]).args(words).args(["--timeout", "2s"]).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(8), "{output:?}");
        let asked = asked.load(Ordering::Relaxed);
        assert!((2..60).contains(&asked), "{words:?}: asked {asked} times in two seconds");
    }
}

#[test]
fn who_stops_waiting_with_ctrl_c_is_told_what_goes_on() {
    for (words, told) in [
        (&["create", "web"][..], "wait for it: minions wait web; or take it back: minions destroy web"),
        (&["restart", "web"], "wait for it: minions wait web"),
        (&["stop", "web"], "wait for it: minions wait web --for stopped"),
        (&["resize", "web", "--cpus", "2"], "wait for it: minions wait --operation op_00000000000000000000000001"),
    ] {
        for json in [false, true] {
            let (url, asked) = pending::start();
            let mut command = Command::new(MINIONS);
            command.args(["--server", &url]).args(words).args(json.then_some("--json"));
            let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            // By then it waits, and has been told more than once to go on.
            while asked.load(Ordering::Relaxed) < 4 {
                std::thread::yield_now();
            }
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
            let output = child.wait_with_output().unwrap();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0), "{output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            let want = format!("the {} of web goes on; {told}", words[0]);
            assert!(said.contains(&want) && said.lines().count() == 1, "{said}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&said).is_ok(), json, "{said}");
        }
    }
}
