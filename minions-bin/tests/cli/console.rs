//! The serial line: `console`, and logs that are followed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;

use super::service::{Service, signal_to};

/// What is shown, read text by text.
pub struct Screen<R> {
    from: R,
    /// What was read behind the last text.
    left: Vec<u8>,
}

impl<R: Read> Screen<R> {
    pub fn of(from: R) -> Self {
        Self { from, left: Vec::new() }
    }

    /// Reads until a text has come.
    pub fn until(&mut self, text: &str) {
        let mut piece = [0; 4096];
        loop {
            if let Some(at) = self.left.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.left.drain(..at + text.len());
                return;
            }
            let count = self.from.read(&mut piece).unwrap();
            assert_ne!(count, 0, "the end, and no {text:?} in {:?}", String::from_utf8_lossy(&self.left));
            self.left.extend_from_slice(&piece[..count]);
        }
    }
}

fn piped(service: &Service, args: &[&str]) -> Child {
    let mut command = service.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_shell_answers_at_the_console_and_what_it_says_can_be_followed() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    let (mut lines, mut objects) =
        (piped(&service, &["logs", "-f", "web"]), piped(&service, &["logs", "-f", "web", "--json"]));
    let mut console = piped(&service, &["console", "web", "--bytes", "1048576"]);
    let mut keys = console.stdin.take().unwrap();
    let mut screen = Screen::of(console.stdout.take().unwrap());
    screen.until("press Enter for a shell");
    keys.write_all(b"\n").unwrap();
    screen.until("# ");
    keys.write_all(b"echo con\"sole\"-works\n").unwrap();
    screen.until("console-works");
    // Both who follow are told the same, each in their way.
    let follows = |child: &mut Child| BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(follows(&mut lines).any(|line| line.contains("console-works")));
    let mut told = follows(&mut objects).map(|line| serde_json::from_str::<Value>(&line).unwrap());
    assert!(told.any(|object| object["line"].as_str().unwrap().contains("console-works")));
    // The shell ends, and another one begins.
    keys.write_all(b"exit\n").unwrap();
    screen.until("press Enter for a shell");
    keys.write_all(b"\n").unwrap();
    screen.until("# ");
    // Who has no more to type goes on to read, until told to go.
    drop(keys);
    signal_to(&console, "INT");
    assert_eq!(console.wait().unwrap().code(), Some(130));
    drop(told);
    // Nobody reads what is followed there any more: that is no failure, and is seen with the next line.
    signal_to(&lines, "INT");
    assert_eq!(lines.wait().unwrap().code(), Some(0));
    let mut last = piped(&service, &["logs", "-f", "web"]);
    let mut screen = Screen::of(last.stdout.take().unwrap());
    screen.until("console-works");
    service.ok(&["stop", "web", "--force"]);
    screen.from.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(last.wait().unwrap().code(), Some(0), "it ends with its guest");
    assert_eq!(objects.wait().unwrap().code(), Some(0));
    for verb in [&["console", "web"][..], &["logs", "-f", "web"]] {
        let refused = service.run(verb);
        assert_eq!(refused.status.code(), Some(6), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("minions start web"), "{refused:?}");
    }
}

#[test]
fn a_console_on_a_terminal_is_left_with_its_escape_and_the_terminal_is_as_before() {
    let service = Service::start();
    service.ok(&["create", "web"]);
    for way in ["escape", "signal", "stop"] {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let before = tcgetattr(&slave).unwrap().local_modes;
        assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON));
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut child = service.command(&["console", "web"]).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut keys = File::from(master);
        let mut screen = Screen::of(keys.try_clone().unwrap());
        screen.until("Ctrl-]");
        screen.until("press Enter for a shell");
        assert!(!tcgetattr(&slave).unwrap().local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON));
        // Ctrl-C is the guest's.
        keys.write_all(b"\r").unwrap();
        screen.until("# ");
        keys.write_all(b"half a line\x03").unwrap();
        screen.until("^C");
        keys.write_all(b"exit\r").unwrap();
        screen.until("press Enter for a shell");
        let code = match way {
            "escape" => {
                keys.write_all(b"\x1d").unwrap();
                child.wait().unwrap().code()
            }
            "signal" => {
                signal_to(&child, "TERM");
                child.wait().unwrap().code()
            }
            _ => {
                service.ok(&["stop", "web", "--force"]);
                child.wait().unwrap().code()
            }
        };
        assert_eq!(code, Some(if way == "signal" { 143 } else { 0 }), "{way}");
        assert_eq!(tcgetattr(&slave).unwrap().local_modes, before, "{way}");
    }
}
