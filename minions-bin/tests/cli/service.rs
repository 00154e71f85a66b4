//! A daemon for one test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::MINIONS;

/// A daemon in a folder of its own. Ends with the test.
pub struct Service {
    pub child: Child,
    pub dir: tempfile::TempDir,
    /// What it said when it was ready.
    pub told: String,
}

pub fn on_qemu() -> bool {
    std::env::var("MINIONS_TEST_BACKEND").is_ok_and(|backend| backend == "qemu")
}

pub fn folder() -> tempfile::TempDir {
    // Short, since sockets lie in it.
    let dir = tempfile::Builder::new().prefix("mn").tempdir_in("/tmp").unwrap();
    if on_qemu() {
        let bin = std::env::var("MINIONS_TEST_BIN").expect("MINIONS_TEST_BIN names a folder with minions-agent");
        std::os::unix::fs::symlink(bin, dir.path().join("bin")).unwrap();
    }
    dir
}

pub fn serve(dir: &Path, more: &[&str]) -> Child {
    let backend = if on_qemu() { "qemu" } else { "memory" };
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new(MINIONS);
    command.args(["serve", "--backend", backend, "--dir"]).arg(dir).args(more);
    command.env_remove("MINIONS_DIR").stdout(Stdio::piped()).stderr(log).spawn().unwrap()
}

/// How long a service that must not start may take to say so.
const REFUSAL: Duration = Duration::from_secs(30);

/// What a program says that must end by itself: one that does not, such as a service that started after all, is ended, and
/// fails the test.
pub fn refused(command: &mut Command) -> Output {
    ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// See [`refused`].
pub fn ended(child: Child) -> Output {
    let id = child.id().to_string();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = is_done.recv_timeout(REFUSAL) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
        late
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(!watchdog.join().unwrap(), "it went on and on, and was ended after {REFUSAL:?}: {output:?}");
    output
}

/// Waits for the line that says that it is ready.
pub fn ready(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

impl Service {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(more: &[&str]) -> Self {
        let dir = folder();
        let mut child = serve(dir.path(), more);
        let line = ready(&mut child);
        assert!(line.starts_with("ready: unix://"), "{line}{}", fs::read_to_string(dir.path().join("log")).unwrap());
        let service = Self { child, dir, told: line };
        if on_qemu() {
            service.build_image();
        }
        service
    }

    pub fn build_image(&self) {
        let mut words: Vec<String> = ["image", "build", "busybox"].map(str::to_owned).to_vec();
        if let Ok(package) = std::env::var("MINIONS_TEST_KERNEL") {
            let file = fs::read_dir(format!("{package}/boot")).unwrap().map(|entry| entry.unwrap().file_name());
            let kernel =
                file.map(|name| name.into_string().unwrap()).find(|name| name.starts_with("vmlinuz-")).unwrap();
            let version = kernel.trim_start_matches("vmlinuz-");
            words.extend(["--kernel".to_owned(), format!("{package}/boot/{kernel}")]);
            words.extend(["--modules".to_owned(), format!("{package}/lib/modules/{version}")]);
        }
        self.ok(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(MINIONS);
        command.args(args).env("MINIONS_DIR", self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Must end well; returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    pub fn code(&self, args: &[&str]) -> i32 {
        self.run(args).status.code().unwrap()
    }

    pub fn with_stdin(&self, args: &[&str], stdin: Vec<u8>) -> Output {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || to.write_all(&stdin));
        let output = child.wait_with_output().unwrap();
        let _ = feeding.join().unwrap();
        output
    }

    pub fn signal(&self, signal: &str) {
        signal_to(&self.child, signal);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if on_qemu() {
            // A daemon that a test has ended cannot be asked any more; its test has failed already.
            let list: Value = serde_json::from_slice(&self.run(&["list", "--json"]).stdout).unwrap_or_default();
            for vm in list["vms"].as_array().into_iter().flatten() {
                self.run(&["destroy", "--yes", vm["name"].as_str().unwrap_or_default()]);
            }
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

pub fn signal_to(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
