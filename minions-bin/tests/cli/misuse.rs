//! What clumsy people type, what clumsy operators configure, and what clumsy supervisors send.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::MINIONS;
use super::service::{Service, ended, folder, on_qemu, ready, refused, serve};

#[test]
fn bad_12_every_failure_has_its_exit_code_and_its_kind() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    for (args, code, kind) in [
        (&["inspect", "nobody"][..], 4, "not_found"),
        (&["create", "web"], 5, "already_exists"),
        (&["create", "big", "--memory", "1024TiB"], 7, "exhausted"),
        (&["create", "odd", "--image", "nonsense"], 2, "invalid_argument"),
        (&["image", "delete", "nonsense"], 4, "not_found"),
        (&["bake-agent", "/nonexistent/root"], 4, "not_found"),
        (&["kernel", "check", "/etc/passwd"], 2, "invalid_argument"),
        (&["kernel", "check", "/dev/zero"], 2, "invalid_argument"),
        (&["kernel", "import", "../x", "--kernel", "/etc/passwd", "--modules", "/"], 2, "invalid_argument"),
        (&["kernel", "import", "x", "--kernel", "/etc/passwd", "--modules", "/"], 2, "invalid_argument"),
        (&["kernel", "delete", "nonsense"], 4, "not_found"),
        (&["wait", "web", "--for", "stopped", "--timeout", "10ms"], 8, "deadline_exceeded"),
        (&["create"], 2, "invalid_argument"),
        (&["create", "WWW"], 2, "invalid_argument"),
        (&["create", "www"], 2, "invalid_argument"),
        (&["--server", "unix:///nonexistent.sock", "--dir", "/", "list"], 2, "invalid_argument"),
        (&["--server", "https://example.com", "list"], 2, "unsupported"),
        (&["config", "check", "/nonexistent.toml"], 78, "invalid_argument"),
    ] {
        let output = service.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{args:?}: {output:?}"));
        assert_eq!(error["error"]["kind"], kind, "{args:?}");
        assert_eq!(error["error"]["exit_code"], code, "{args:?}");
        // For people it is one line that ends where it should.
        let output = service.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    }
    let output = service.command(&["--server", "unix:///nonexistent.sock", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&output.stderr).contains("minions serve"), "{output:?}");
}

#[test]
fn bad_12_words_that_are_no_text_and_closed_pipes_do_not_upset_it() {
    let service = Service::start();
    let output = service.command(&["inspect"]).arg(std::ffi::OsStr::from_bytes(b"w\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    for args in [&["schema"][..], &["list", "--json"], &["completion", "bash"], &["events"]] {
        let mut child = service.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{args:?}: {output:?}");
    }
}

/// Every verb that the program says it has, with those below it.
fn verbs(above: &[&str]) -> Vec<Vec<String>> {
    let help = Command::new(MINIONS).args(above).arg("-h").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    let own: Vec<String> = above.iter().map(|&word| word.to_owned()).collect();
    assert!(help.status.success() && help.stderr.is_empty(), "{above:?}");
    assert!(text.contains("Usage: minions") && text.len() > 100, "{above:?}: {text}");
    assert!(text.lines().all(|line| line.chars().count() <= 140), "{above:?}: {text}");
    let names = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let below = names.filter(|name| *name != "help").flat_map(|name| verbs(&[above, &[name]].concat()));
    std::iter::once(own).chain(below).collect()
}

#[test]
fn bad_12_help_is_there_for_every_verb_in_short_and_at_length() {
    let all = verbs(&[]);
    assert!(all.len() > 25, "{all:?}");
    for verb in all {
        let long = Command::new(MINIONS).args(&verb).arg("--help").env("COLUMNS", "20").output().unwrap();
        let text = String::from_utf8(long.stdout).unwrap();
        assert!(long.status.success() && long.stderr.is_empty(), "{verb:?}");
        // A verb with others below it leads there; all others show how they are used.
        assert!(text.contains("Examples:") || text.contains("Commands:"), "{verb:?}: {text}");
    }
}

#[test]
fn bad_12_words_that_are_empty_huge_or_strange_are_refused_with_a_hint() {
    let service = Service::start();
    let huge = "x".repeat(100_000);
    for word in ["", " ", &huge, "-", "--", "..", "/", "a\nb", "\u{1b}[2J", "$(id)", "%n", "'; DROP TABLE vm;--"] {
        for verb in ["inspect", "start", "stop", "destroy", "logs", "wait", "create"] {
            let output = service.run(&[verb, word]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{verb} {:?}: {said}", &word[..word.len().min(20)]);
            assert!(said.starts_with("error: ") && !said.contains('\u{1b}'), "{verb}: {said}");
        }
    }
    // After two hyphens a name is still a name.
    assert_eq!(service.code(&["inspect", "--", "--json"]), 2);
    assert_eq!(service.code(&["inspect", "--", "nobody"]), 4);
    for args in [
        &["exec", "nobody", "--", ""][..],
        &["cp", "", "web:/x"],
        &["cp", "web:/x", ""],
        &["exec", "nobody", "--env", "x"],
    ] {
        let code = service.code(args);
        assert!([2, 4, 255].contains(&code), "{args:?}: {code}");
    }
    assert_eq!(service.json(&["list", "--json"])["vms"], Value::Array(Vec::new()), "nothing came of any of it");
}

#[test]
fn bad_1_names_that_are_not_given_are_told_before_and_after_someone_tries() {
    let help = Command::new(MINIONS).args(["create", "--help"]).output().unwrap();
    let tried = Command::new(MINIONS).args(["create", "admin"]).output().unwrap();
    let (help, tried) = (String::from_utf8(help.stdout).unwrap(), String::from_utf8(tried.stderr).unwrap());
    for name in minions_core::types::NewVmName::RESERVED {
        assert!(help.contains(name) && tried.contains(name), "{name}: {help}{tried}");
    }
}

#[test]
fn bad_12_what_was_typed_counts_before_what_the_environment_says() {
    let service = Service::start();
    let with = |name: &str, value: &str, args: &[&str]| {
        let output = service.command(args).env_remove("MINIONS_DIR").env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let dir = service.path("");
    assert_eq!(with("MINIONS_DIR", "/nonexistent", &["--dir", &dir, "list"]).0, Some(0));
    assert_eq!(with("MINIONS_SERVER", "http://127.0.0.1:1", &["--dir", &dir, "list"]).0, Some(0));
    let (code, said) = with("MINIONS_DIR", &dir, &["--server", "unix:///nonexistent.sock", "list"]);
    assert!(code == Some(8) && said.contains("/nonexistent.sock"), "{said}");
    for (name, value, word) in
        [("MINIONS_SERVER", "nonsense", "server"), ("MINIONS_TOKEN_FILE", "/nonexistent/token", "token")]
    {
        let (code, said) = with(name, value, &["list"]);
        assert!(code == Some(2) && said.contains(word), "{name}: {said}");
    }
    for name in ["MINIONS_SERVER", "MINIONS_DIR", "MINIONS_TOKEN_FILE", "MINIONS_CONFIG"] {
        let output = service.command(&["list", "--json"]).env(name, std::ffi::OsStr::from_bytes(b"/tmp/\xff")).output();
        let output = output.unwrap();
        let error: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{name}: {output:?}"));
        assert_eq!((output.status.code(), &error["error"]["field"]), (Some(2), &name.into()));
    }
    // An empty variable is none.
    let output = service.command(&["list"]).env("MINIONS_SERVER", "").env("MINIONS_TOKEN_FILE", "").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn bad_12_it_works_without_stdin_stdout_and_stderr_and_tells_when_nothing_can_be_written() {
    let service = Service::start();
    let shell = |line: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line, "sh", MINIONS]).env("MINIONS_DIR", service.dir.path());
        command.stdin(Stdio::null()).output().unwrap()
    };
    for line in [
        r#""$1" list <&-"#,
        r#""$1" list >&-"#,
        r#""$1" list 2>&-"#,
        r#""$1" list <&- >&- 2>&-"#,
        r#""$1" inspect nobody 2>&-; [ $? = 4 ]"#,
        r#""$1" --json inspect nobody <&- >&- 2>&-; [ $? = 4 ]"#,
        r#""$1" nonsense 2>&-; [ $? = 2 ]"#,
    ] {
        let output = shell(line);
        assert!(
            output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("panicked"),
            "{line}: {output:?}"
        );
    }
    let output = shell(r#""$1" schema >/dev/full"#);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the output"), "{output:?}");
}

#[test]
fn bad_14_a_daemon_with_a_bad_configuration_says_file_line_and_key_and_exits_78() {
    let dir = folder();
    let (config, open) = (dir.path().join("m.toml"), dir.path().join("tokens"));
    fs::write(&open, "").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let tokens = format!("[api]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n", open.display());
    let cases: [(&[u8], &str); 9] = [
        (b"[daemon]\ncolour = 1\n", ":2: daemon.colour: unknown key"),
        (b"[daemon]\r\nbackend = 7\r\n", ":2: daemon.backend: expected a string"),
        (b"[daemon]\ndir = \"relative\"\n", ":2: daemon.dir: expected an absolute path"),
        (b"[daemon]\nbackend = \"memory\"\nbackend = \"memory\"\n", ":3: "),
        (b"[api]\nlisten = \"0.0.0.0:0\"\n", ":2: api.listen: "),
        (tokens.as_bytes(), "chmod 600"),
        (b"[log]\nfilter = \"minions=loud\"\n", "log.filter"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[daemon\n", ":1: "),
    ];
    for (text, want) in cases {
        fs::write(&config, text).unwrap();
        let mut command = Command::new(MINIONS);
        command.args(["serve", "--backend", "memory", "--dir"]).arg(dir.path().join("d")).arg("--config").arg(&config);
        let output = refused(&mut command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{want}: {said}");
        assert!(said.contains(want) && !said.contains("panicked"), "{want}: {said}");
        assert!(!dir.path().join("d/state").exists(), "{want}: something was made");
    }
    for odd in [Path::new("/nonexistent/m.toml"), dir.path(), Path::new("/dev/zero")] {
        let output = Command::new(MINIONS).args(["config", "check"]).arg(odd).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let output = refused(Command::new(MINIONS).args(["serve"]).env("MINIONS_CONFIG", odd));
        assert_eq!(output.status.code(), Some(78), "{output:?}");
    }
}

#[test]
fn bad_28_a_folder_too_long_for_sockets_is_refused_at_once() {
    let long = format!("/tmp/{}", "x".repeat(80));
    let output = refused(Command::new(MINIONS).args(["serve", "--backend", "memory", "--dir", &long]));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("shorter folder"));
    assert!(!Path::new(&long).exists());
}

#[test]
fn bad_28_a_folder_whose_path_would_be_read_as_another_is_refused() {
    for odd in [&b"/tmp/mn,x"[..], b"/tmp/mn\xff", b"/tmp/mn\nx", b"/tmp/mn\x1b[2J"] {
        let odd = std::ffi::OsStr::from_bytes(odd);
        let output = refused(Command::new(MINIONS).args(["serve", "--backend", "memory", "--dir"]).arg(odd));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("use another"), "{odd:?}");
        assert!(!Path::new(odd).exists());
    }
}

#[test]
fn bad_28_a_folder_that_others_can_change_is_refused() {
    let dir = folder();
    let own = dir.path().join("d");
    fs::create_dir(&own).unwrap();
    let try_it = || {
        let output = refused(Command::new(MINIONS).args(["serve", "--backend", "memory", "--dir"]).arg(&own));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
        let (code, said) = try_it();
        assert!(code == Some(6) && said.contains("chmod 700"), "{mode:o}: {said}");
    }
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    // Only root can give a folder away.
    if std::os::unix::fs::chown(&own, Some(65_534), None).is_ok() {
        let (code, said) = try_it();
        assert!(code == Some(6) && said.contains("belongs to the user 65534"), "{said}");
    }
    let file = dir.path().join("f");
    fs::write(&file, "").unwrap();
    let output = refused(Command::new(MINIONS).args(["serve", "--backend", "memory", "--dir"]).arg(&file));
    assert_eq!(output.status.code(), Some(8), "{output:?}");
}

#[test]
fn bad_29_a_daemon_that_ends_leaves_nothing_in_the_way_of_the_next() {
    let mut service = Service::start();
    let second = serve(service.dir.path(), &[]);
    assert_eq!(ended(second).status.code(), Some(5), "one service a folder");
    service.signal("TERM");
    assert!(service.child.wait().unwrap().success());
    assert!(!service.dir.path().join("minions.sock").exists());
    service.child = serve(service.dir.path(), &[]);
    assert!(ready(&mut service.child).starts_with("ready:"));
    service.ok(&["list"]);
}

#[test]
fn bad_29_a_bad_configuration_does_not_start_and_does_not_replace_a_good_one() {
    let dir = folder();
    let config = dir.path().join("minions.toml");
    fs::write(&config, "[daemon]\nbackend = \"kvm\"\ncolour = 1\n").unwrap();
    let output = refused(Command::new(MINIONS).args(["serve", "--dir"]).arg(dir.path()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("minions.toml:2: daemon.backend") && said.contains("minions.toml:3: daemon.colour"),
        "{said}"
    );

    let service = Service::start();
    fs::write(service.dir.path().join("minions.toml"), "[nonsense]\n").unwrap();
    service.signal("HUP");
    service.ok(&["list"]);
    // The word about it may come a moment after the signal; the log is read until it is there.
    let told = (0..200).any(|_| {
        let told = service.log().contains("the old one stays");
        if !told {
            std::thread::yield_now();
            service.ok(&["version"]);
        }
        told
    });
    assert!(told, "{}", service.log());
}

#[test]
fn bad_29_a_daemon_whose_words_nobody_reads_goes_on() {
    if on_qemu() {
        return;
    }
    let mut service = Service::start();
    service.signal("TERM");
    service.child.wait().unwrap();
    // Neither its first line nor its log has a reader.
    let mut command = Command::new(MINIONS);
    command.args(["serve", "--backend", "memory", "--dir"]).arg(service.dir.path());
    service.child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((service.child.stdout.take(), service.child.stderr.take()));
    // Its socket is there once it is ready.
    let up = (0..1_000).any(|_| service.run(&["list"]).status.success());
    assert!(up, "it is not there");
    service.signal("PIPE");
    service.signal("HUP");
    service.ok(&["create", "web", "--no-data-disk"]);
    service.ok(&["destroy", "web", "--yes"]);
    service.signal("TERM");
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn bad_22_an_image_whose_name_is_a_path_removes_nothing() {
    let service = Service::start();
    let (kept, agent) = (service.path("kept"), service.path("agent"));
    fs::create_dir_all(&kept).unwrap();
    fs::write(&agent, "x").unwrap();
    for name in ["..", "../kept", "/", &kept, "a/b", "", "-x", "\u{1b}[2J"] {
        let name = format!("--name={name}");
        let args = ["image", "import", &agent, &name, "--agent", &agent, "--work-dir", &kept, "--json"];
        let output = service.run(&args);
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((&error["error"]["kind"], &error["error"]["field"]), (&"invalid_argument".into(), &"name".into()));
        assert!(Path::new(&kept).exists() && Path::new(&service.path("state")).exists(), "{name}");
    }
    for odd in ["/dev/zero", "/dev", "/nonexistent/root.raw"] {
        let output = service.run(&["image", "import", odd, "--name", "x", "--agent", &agent]);
        assert!([Some(2), Some(4)].contains(&output.status.code()), "{odd}: {output:?}");
    }
}
