//! Services that have names.

use std::process::{Command, Output};

use serde_json::Value;

use super::MINIONS;
use super::service::Service;

#[test]
fn a_service_that_has_a_name_is_found_by_it_from_everywhere() {
    let service = Service::start();
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| -> Output {
        let mut command = Command::new(MINIONS);
        for variable in ["MINIONS_DIR", "MINIONS_SERVER", "MINIONS_CONTEXT", "XDG_CONFIG_HOME"] {
            command.env_remove(variable);
        }
        command.env("HOME", home.path()).current_dir(service.dir.path()).args(args).output().unwrap()
    };
    let ok = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        output
    };
    // A folder is written down as where it is, not as it was typed.
    ok(&["context", "add", "here", "--dir", "."]);
    ok(&["context", "add", "nowhere", "--server", "unix:///nonexistent.sock"]);
    ok(&["list"]);
    assert_eq!(run(&["--context", "nowhere", "list"]).status.code(), Some(8));
    ok(&["context", "use", "nowhere"]);
    assert_eq!(run(&["list"]).status.code(), Some(8));
    let listed: Value = serde_json::from_slice(&ok(&["context", "list", "--json"]).stdout).unwrap();
    assert_eq!(listed["contexts"][0]["server"], format!("unix://{}", service.path("minions.sock")));
    assert_eq!(listed["contexts"][1]["current"], true);
    ok(&["context", "remove", "nowhere"]);
    let text = String::from_utf8(ok(&["context", "list"]).stdout).unwrap();
    assert!(text.contains("here") && !text.contains("nowhere"), "{text}");
    for (args, code) in [
        (&["context", "use", "nowhere"][..], 4),
        (&["context", "add", "bare"], 2),
        (&["context", "add", "../x", "--dir", "."], 2),
        (&["--context", "here", "--dir", ".", "list"], 2),
    ] {
        assert_eq!(run(args).status.code(), Some(code), "{args:?}");
    }
}
