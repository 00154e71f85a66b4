//! Other roles of this program, played by processes of their own.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};

use crate::Result;

/// A process that ends when it is dropped, or when this one ends: its stdin is closed then.
#[derive(Debug)]
pub struct Child {
    process: Process,
    _stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// This program, with these words.
    pub fn start(words: &[&str]) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().ok_or("no stdout")?;
        let stdin = process.stdin.take();
        Ok(Self { process, _stdin: stdin, lines: BufReader::new(stdout).lines() })
    }

    /// Waits until it says this word; what follows the word on that line.
    pub async fn says(&mut self, word: &str) -> Result<String> {
        while let Some(line) = self.lines.next_line().await? {
            if let Some(rest) = line.strip_prefix(word) {
                return Ok(rest.trim().to_owned());
            }
        }
        Err(format!("a child ended before it said {word:?}").into())
    }

    pub fn pid(&self) -> Result<u32> {
        self.process.id().ok_or_else(|| "a child has ended".into())
    }

    /// As `kill -9` does, and waits until it is gone.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await?;
        Ok(())
    }
}

/// Ends the calling process once its parent has gone.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        let mut nothing = String::new();
        while std::io::stdin().read_line(&mut nothing).is_ok_and(|count| count > 0) {}
        std::process::exit(0);
    });
}

pub fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| format!("{} is no text", path.display()).into())
}
