//! The program on a terminal.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Runs a program whose stdout and stderr are a terminal; what it showed, and its exit code. What stdin is stays.
pub fn on_a_terminal(mut command: Command) -> (Vec<u8>, Option<i32>) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
    // As it is written: a terminal would add a carriage return to each new line.
    let mut settings = tcgetattr(&slave).unwrap();
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings).unwrap();
    let mut child = command.stdout(Stdio::from(slave.try_clone().unwrap())).stderr(Stdio::from(slave)).spawn().unwrap();
    // The command keeps its ends open; the terminal ends when nobody has it any more.
    drop(command);
    let mut shown = Vec::new();
    let mut master = File::from(master);
    let mut piece = [0; 4096];
    // A terminal whose other end is closed is an error to read.
    while let Ok(count @ 1..) = master.read(&mut piece) {
        shown.extend_from_slice(&piece[..count]);
    }
    (shown, child.wait().unwrap().code())
}
