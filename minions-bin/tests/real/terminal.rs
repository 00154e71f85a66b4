//! A person at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::daemon::Site;

/// How long a screen may take to show what was waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with a program in it: what it wrote so far, and somebody who types.
struct Terminal {
    master: File,
    child: Child,
    screen: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Terminal {
    /// A command line of this site, at a terminal of its own.
    fn open(site: &Site, rows: u16, words: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let master = File::from(master);
        size(&master, rows);
        let command = site.command(words);
        // A session of its own, whose terminal this is: the kernel then tells it of the window's size.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).env("TERM", "xterm");
        session.stdin(Stdio::from(slave.try_clone().unwrap()));
        session.stdout(Stdio::from(slave.try_clone().unwrap())).stderr(Stdio::from(slave));
        let child = session.spawn().unwrap();
        let screen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        std::thread::spawn({
            let (mut master, screen) = (master.try_clone().unwrap(), screen.clone());
            move || {
                let mut piece = [0; 4096];
                // The last program gone is an error on a terminal.
                while let Ok(count @ 1..) = master.read(&mut piece) {
                    screen.0.lock().unwrap().extend_from_slice(&piece[..count]);
                    screen.1.notify_all();
                }
            }
        });
        Self { master, child, screen }
    }

    /// Waits until something new is written that holds these words; returns all that was new.
    fn shows(&self, from: usize, words: &str) -> String {
        let began = Instant::now();
        let mut written = self.screen.0.lock().unwrap();
        loop {
            let new = String::from_utf8_lossy(&written[from..]).into_owned();
            if new.contains(words) {
                return new;
            }
            let left = PATIENCE.checked_sub(began.elapsed());
            let left = left.unwrap_or_else(|| panic!("{words:?} is not shown, but {new:?}"));
            written = self.screen.1.wait_timeout(written, left).unwrap().0;
        }
    }

    fn written(&self) -> usize {
        self.screen.0.lock().unwrap().len()
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn ends(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

fn size(terminal: &File, rows: u16) {
    let window = Winsize { ws_row: rows, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, window).unwrap();
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn vi_on_a_terminal_fills_its_window_and_follows_it_when_it_is_resized() {
    let Some((site, daemon)) = crate::service("vi").await else { return };
    site.create("web").await;
    let mut terminal = Terminal::open(&site, 24, &["exec", "web", "--", "vi", "/root/note"]);
    // Its status is on the last line of the window.
    terminal.shows(0, "\x1b[24;1H");
    terminal.types("ihello\x1b");
    terminal.shows(0, "hello");
    for rows in [40, 12] {
        let before = terminal.written();
        size(&terminal.master, rows);
        let drawn = terminal.shows(before, &format!("\x1b[{rows};1H"));
        println!("with {rows} rows it draws {drawn:?}");
        assert!(drawn.contains("hello"), "{drawn:?}");
    }
    terminal.types(":wq\r");
    assert_eq!(terminal.ends(), Some(0));
    assert_eq!(site.ok(&["exec", "web", "--", "cat", "/root/note"]), "hello\n");
    daemon.end();
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn ctrl_c_reaches_the_guest_with_a_terminal_and_without_one() {
    let Some((site, daemon)) = crate::service("ctrl-c").await else { return };
    site.create("web").await;
    let waits = "trap 'echo it was heard; exit 7' INT; echo up; while :; do sleep 0.2; done";
    // The key, which the terminal in the guest makes a signal of.
    let mut terminal = Terminal::open(&site, 24, &["exec", "web", "--", "sh", "-c", waits]);
    terminal.shows(0, "up\r\n");
    terminal.types("\x03");
    terminal.shows(0, "it was heard");
    assert_eq!(terminal.ends(), Some(7));
    // Without a terminal in the guest the key is one of the terminal here, and the signal travels.
    let mut terminal = Terminal::open(&site, 24, &["exec", "web", "-T", "--", "sh", "-c", waits]);
    terminal.shows(0, "up\r\n");
    terminal.types("\x03");
    terminal.shows(0, "it was heard");
    assert_eq!(terminal.ends(), Some(7));
    // And whoever does not catch it dies of it.
    let mut terminal = Terminal::open(&site, 24, &["exec", "web", "--", "sh", "-c", "echo up; exec sleep 1000"]);
    terminal.shows(0, "up\r\n");
    terminal.types("\x03");
    assert_eq!(terminal.ends(), Some(130));
    daemon.end();
}
