//! Runs a program to its end: absolute path, fixed words, no shell, no inherited environment, a deadline and a cap.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::error::{Effect, Error, ErrorKind};

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not there, or may not be run.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("{program} failed with {status}: {stderr}")]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its exit code or signal.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// It took too long, and was ended with all its children.
    #[error("{program} did not end within {limit:?}")]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// The deadline.
        limit: Duration,
    },
    /// It said more than it may, and was ended with all its children.
    #[error("{program} wrote more than {cap} bytes")]
    TooMuch {
        /// The program.
        program: PathBuf,
        /// The cap.
        cap: usize,
    },
    /// It said something else than agreed.
    #[error("{program} answered something unexpected: {answer}")]
    Garbage {
        /// The program.
        program: PathBuf,
        /// The beginning of what it said.
        answer: String,
    },
    /// Talking to it failed.
    #[error("lost {program}")]
    Lost {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        let (kind, effect) = match &error {
            CommandError::Start { .. } => (ErrorKind::Unavailable, Effect::None),
            CommandError::TimedOut { .. } => (ErrorKind::DeadlineExceeded, Effect::Unknown),
            CommandError::Failed { .. }
            | CommandError::TooMuch { .. }
            | CommandError::Garbage { .. }
            | CommandError::Lost { .. } => (ErrorKind::Unavailable, Effect::Unknown),
        };
        Self::new(kind, "a program of the host did not do its work").with_effect(effect).with_source(error)
    }
}

/// What a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// On its standard output.
    pub stdout: Vec<u8>,
    /// On its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The output as text.
    pub fn text(&self, program: &Path) -> Result<&str, CommandError> {
        std::str::from_utf8(&self.stdout).map_err(|_| CommandError::Garbage {
            program: program.to_owned(),
            answer: tail(&self.stdout[..self.stdout.len().min(80)]),
        })
    }
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: PathBuf,
    limit: Duration,
    cap: usize,
}

impl Tool {
    /// By its absolute path. One minute, 1 MiB of output.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: PathBuf::from("/"),
            limit: Duration::from_mins(1),
            cap: 1 << 20,
        }
    }

    /// One more word.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.args.push(word.as_ref().to_owned());
        self
    }

    /// More words.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// One variable of its environment, which has only `LC_ALL` and `PATH` otherwise.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder it works in; `/` unless said.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = dir.to_owned();
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How much it may say on each of its outputs.
    #[must_use]
    pub fn cap(mut self, bytes: usize) -> Self {
        self.cap = bytes;
        self
    }

    /// Runs it without input.
    pub async fn run(&self) -> Result<Output, CommandError> {
        self.run_with(&[]).await
    }

    /// Runs it with these bytes as its input. When this future is dropped or the deadline passes, the program and all
    /// its children are ended.
    pub async fn run_with(&self, input: &[u8]) -> Result<Output, CommandError> {
        let mut group = Group::start(self)?;
        match tokio::time::timeout(self.limit, self.talk(&mut group.child, input)).await {
            Ok(result) => {
                let (output, status) = result?;
                group.ended = true;
                match status.success() {
                    true => Ok(output),
                    false => Err(CommandError::Failed {
                        program: self.program.clone(),
                        status: status.to_string(),
                        stderr: tail(&output.stderr),
                    }),
                }
            }
            Err(_) => Err(CommandError::TimedOut { program: self.program.clone(), limit: self.limit }),
        }
    }

    /// Runs it without input until it says this on its standard output, and ends it; `false` where it came to its end and
    /// did not.
    pub async fn says(&self, text: &str) -> Result<bool, CommandError> {
        let mut group = Group::start(self)?;
        let lost = |source| CommandError::Lost { program: self.program.clone(), source };
        let listen = async {
            let (mut said, mut piece) = (Vec::new(), [0; 4096]);
            let Some(mut stdout) = group.child.stdout.take() else { return Ok(false) };
            loop {
                let count = stdout.read(&mut piece).await.map_err(lost)?;
                said.extend_from_slice(&piece[..count]);
                if said.windows(text.len().max(1)).any(|part| part == text.as_bytes()) {
                    return Ok(true);
                }
                if count == 0 {
                    return Ok(false);
                }
                if said.len() > self.cap {
                    return Err(CommandError::TooMuch { program: self.program.clone(), cap: self.cap });
                }
            }
        };
        let late = |_| CommandError::TimedOut { program: self.program.clone(), limit: self.limit };
        tokio::time::timeout(self.limit, listen).await.map_err(late)?
    }

    async fn talk(&self, child: &mut Child, input: &[u8]) -> Result<(Output, std::process::ExitStatus), CommandError> {
        let lost = |source| CommandError::Lost { program: self.program.clone(), source };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                match stdin.write_all(input).await {
                    // A program need not read all that it is given.
                    Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(lost(error)),
                    _ => {}
                }
            }
            Ok(())
        };
        let ((), stdout, stderr) = tokio::try_join!(feed, self.read(stdout), self.read(stderr))?;
        // Only after both pipes have ended: until it is waited for, its process group cannot pass to strangers.
        let status = child.wait().await.map_err(lost)?;
        Ok((Output { stdout, stderr }, status))
    }

    async fn read(&self, pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, CommandError> {
        let mut bytes = Vec::new();
        let Some(pipe) = pipe else { return Ok(bytes) };
        let most = u64::try_from(self.cap).unwrap_or(u64::MAX).saturating_add(1);
        let read = pipe.take(most).read_to_end(&mut bytes).await;
        read.map_err(|source| CommandError::Lost { program: self.program.clone(), source })?;
        if bytes.len() > self.cap {
            return Err(CommandError::TooMuch { program: self.program.clone(), cap: self.cap });
        }
        Ok(bytes)
    }
}

/// Ends the whole process group unless the program came to its end.
struct Group {
    child: Child,
    pid: Option<Pid>,
    ended: bool,
}

impl Group {
    #[expect(clippy::disallowed_methods, reason = "one of the two places that start processes")]
    fn start(tool: &Tool) -> Result<Self, CommandError> {
        let start = |source| CommandError::Start { program: tool.program.clone(), source };
        if !tool.program.is_absolute() {
            return Err(start(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not an absolute path")));
        }
        let mut command = Command::new(&tool.program);
        command
            .args(&tool.args)
            .current_dir(&tool.dir)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(tool.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0);
        let child = command.spawn().map_err(start)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(Self { child, pid, ended: false })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let (false, Some(pid)) = (self.ended, self.pid) {
            // Gone already is what we want; nothing else can go wrong with a group of our own.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The end of what a program said, for people.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let start = text.char_indices().rev().nth(499).map_or(0, |(at, _)| at);
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tool {
        Tool::new(Path::new("/bin/sh")).args(["-c", script]).limit(Duration::from_secs(20))
    }

    #[tokio::test]
    async fn bad_27_a_program_that_is_absent_is_a_typed_error() {
        let error = Tool::new(Path::new("/nonexistent/tool")).run().await.unwrap_err();
        assert!(matches!(error, CommandError::Start { .. }), "{error:?}");
        assert_eq!(Error::from(error).effect(), Effect::None);
        let error = Tool::new(Path::new("sh")).run().await.unwrap_err();
        assert!(matches!(error, CommandError::Start { .. }), "a bare name is not looked up: {error:?}");
    }

    #[tokio::test]
    async fn bad_27_a_program_that_fails_is_told_with_its_status_and_words() {
        let error = shell("echo why >&2; exit 3").run().await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("why"), "{error}");
        let error = shell("kill -9 $$").run().await.unwrap_err().to_string();
        assert!(error.contains("signal: 9"), "{error}");
    }

    #[tokio::test]
    async fn bad_27_a_program_that_hangs_is_ended_with_its_children() {
        let dir = std::env::temp_dir().join(format!("minions-hang-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let tool = shell("sleep 600 & echo $! > child; wait").dir(&dir).limit(Duration::from_millis(700));
        let error = tool.run().await.unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error:?}");
        let pid: u32 = std::fs::read_to_string(dir.join("child")).unwrap().trim().parse().unwrap();
        if let Some(process) = crate::host::process::Process::open(pid).unwrap() {
            tokio::time::timeout(Duration::from_secs(20), process.exited()).await.expect("the child lives on").unwrap();
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[tokio::test]
    async fn bad_27_a_program_that_never_stops_talking_is_ended_at_its_cap() {
        let error = shell("cat /dev/zero").cap(100_000).run().await.unwrap_err();
        assert!(matches!(error, CommandError::TooMuch { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn bad_27_nothing_of_our_environment_reaches_a_program() {
        let output = Tool::new(Path::new("/usr/bin/env")).run().await.unwrap();
        let text = output.text(Path::new("env")).unwrap();
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "PATH"]);
    }

    #[tokio::test]
    async fn a_program_that_says_what_was_waited_for_is_ended_then() {
        assert!(shell("echo one; echo two; sleep 600").says("one\ntwo").await.unwrap());
        assert!(!shell("echo one").says("two").await.unwrap());
        let late = shell("sleep 600").limit(Duration::from_millis(100)).says("one").await;
        assert!(matches!(late, Err(CommandError::TimedOut { .. })), "{late:?}");
    }

    #[tokio::test]
    async fn what_goes_in_comes_out() {
        let input = vec![b'x'; 300_000];
        let output = Tool::new(Path::new("/bin/cat")).run_with(&input).await.unwrap();
        assert_eq!(output.stdout, input);
    }
}
