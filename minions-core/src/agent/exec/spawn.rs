//! Starts a program, on pipes or on a terminal.

use std::io::ErrorKind as Io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::stream::{Sink, Source};
use super::user::{self, User};
use crate::agent::error::about;
use crate::api::guest::{ExecRequest, Tty};
use crate::error::{Error, ErrorKind, Result};

pub(in crate::agent) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that runs.
pub(super) struct Running {
    pub child: Child,
    pub group: Pid,
    pub stdin: Sink,
    pub stdout: Source,
    pub stderr: Option<Source>,
}

pub(super) fn spawn(request: &ExecRequest) -> Result<Running> {
    let user = user::find(request.user.as_deref().unwrap_or("0"))?;
    let plan = Plan::new(request, &user)?;
    match &request.tty {
        Some(tty) => plan.on_terminal(request, tty, &user),
        None => plan.on_pipes(request, &user),
    }
}

/// What both ways of starting share.
struct Plan {
    cwd: String,
    env: Vec<(String, String)>,
    /// Only where it differs from the agent's own.
    switch: Option<(u32, u32)>,
}

impl Plan {
    fn new(request: &ExecRequest, user: &User) -> Result<Self> {
        let is_directory = |path: &str| std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let cwd = match &request.cwd {
            Some(cwd) if is_directory(cwd) => cwd.clone(),
            Some(cwd) => return Err(Error::invalid("cwd", format!("the guest has no directory {cwd}"))),
            None if is_directory(&user.home) => user.home.clone(),
            None => "/".to_owned(),
        };
        let mut env: Vec<(String, String)> = [
            ("PATH", PATH),
            ("HOME", &user.home),
            ("USER", &user.name),
            ("LOGNAME", &user.name),
            ("SHELL", &user.shell),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if let Some(tty) = &request.tty {
            env.push(("TERM".to_owned(), tty.term.clone().unwrap_or_else(|| "xterm".to_owned())));
        }
        env.extend(request.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let switch =
            (own != (user.uid, user.gid) && (own.0 == 0 || request.user.is_some())).then_some((user.uid, user.gid));
        Ok(Self { cwd, env, switch })
    }

    /// Where a bare name leads by the program's own `PATH`, as far as that is plain; else the system looks, and says what
    /// is wrong.
    fn program(&self, name: &str) -> Option<PathBuf> {
        let (_, path) = self.env.iter().rev().find(|(name, _)| name == "PATH")?;
        let folders: Vec<&Path> = path.split(':').map(Path::new).collect();
        if name.is_empty() || name.contains('/') || !folders.iter().all(|folder| folder.is_absolute()) {
            return None;
        }
        // The first of this name, if it may be run.
        let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists())?;
        (found.is_file() && rustix::fs::access(&found, rustix::fs::Access::EXEC_OK).is_ok()).then_some(found)
    }

    #[expect(clippy::disallowed_methods, reason = "running programs for the host is what the agent is for")]
    fn on_pipes(self, request: &ExecRequest, user: &User) -> Result<Running> {
        let broken = |error: rustix::io::Errno| about("cannot make a pipe", error.into());
        // By its path, a program is started without a copy of the agent in between.
        let program = self.program(&request.argv[0]);
        let mut command = tokio::process::Command::new(program.as_deref().unwrap_or(Path::new(&request.argv[0])));
        command
            .arg0(&request.argv[0])
            .args(&request.argv[1..])
            .env_clear()
            .envs(self.env)
            .current_dir(self.cwd)
            .process_group(0);
        if let Some((uid, gid)) = self.switch {
            command.uid(uid).gid(gid);
        }
        let stdin = if request.stdin {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(broken)?;
            command.stdin(Stdio::from(theirs));
            Sink::Pipe(pipe::Sender::from_owned_fd(ours).map_err(|error| about("cannot make a pipe", error))?)
        } else {
            command.stdin(Stdio::null());
            Sink::Closed
        };
        let source = || {
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(broken)?;
            if self.switch.is_some() {
                // So that the user can open /dev/stdout again.
                let _ = rustix::fs::fchown(&theirs, Some(uid(user.uid)), Some(gid(user.gid)));
            }
            let same = ours.try_clone().map_err(|error| about("cannot make a pipe", error))?;
            let io = pipe::Receiver::from_owned_fd(ours).map_err(|error| about("cannot make a pipe", error))?;
            Ok::<_, Error>((Source::new(io, same), Stdio::from(theirs)))
        };
        let (stdout, theirs) = source()?;
        command.stdout(theirs);
        let (stderr, theirs) = source()?;
        command.stderr(theirs);
        let child = command.spawn().map_err(|error| not_started(request, error))?;
        // The command still holds the program's ends of the pipes.
        drop(command);
        running(child, stdin, stdout, Some(stderr))
    }

    fn on_terminal(self, request: &ExecRequest, tty: &Tty, user: &User) -> Result<Running> {
        let broken = |error: pty_process::Error| about("cannot make a terminal", std::io::Error::other(error));
        let (pty, pts) = pty_process::open().map_err(broken)?;
        pty.resize(pty_process::Size::new(tty.size.rows, tty.size.cols)).map_err(broken)?;
        if self.switch.is_some() {
            // The kernel gave it to root; programs open it again by its name.
            rustix::fs::fchown(pts.as_fd(), Some(uid(user.uid)), None)
                .map_err(|error| about("cannot hand over a terminal", error.into()))?;
        }
        let mut command = pty_process::Command::new(&request.argv[0])
            .args(&request.argv[1..])
            .env_clear()
            .envs(self.env)
            .current_dir(self.cwd);
        if let Some((uid, gid)) = self.switch {
            command = command.uid(uid).gid(gid);
        }
        let same = pty.as_fd().try_clone_to_owned().map_err(|error| about("cannot make a terminal", error))?;
        let child = command.spawn(pts).map_err(|error| match error {
            pty_process::Error::Io(error) => not_started(request, error),
            pty_process::Error::Rustix(error) => not_started(request, error.into()),
            error => broken(error),
        })?;
        let (read, write) = pty.into_split();
        running(child, Sink::Terminal(write), Source::new(read, same), None)
    }
}

fn uid(raw: u32) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(raw)
}

fn gid(raw: u32) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(raw)
}

fn running(child: Child, stdin: Sink, stdout: Source, stderr: Option<Source>) -> Result<Running> {
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .ok_or_else(|| Error::internal("a program started without a process id"))?;
    // The agent is protected from the kernel's memory killer; what it runs is not to be.
    let _ = std::fs::write(format!("/proc/{group}/oom_score_adj"), "0");
    Ok(Running { child, group, stdin, stdout, stderr })
}

fn not_started(request: &ExecRequest, error: std::io::Error) -> Error {
    let program = &request.argv[0];
    match error.kind() {
        Io::NotFound => Error::not_found(format!("the guest has no program {program}")),
        Io::PermissionDenied => Error::new(ErrorKind::Denied, format!("{program} may not be run")).with_source(error),
        _ => about(format_args!("cannot run {program}"), error),
    }
}
