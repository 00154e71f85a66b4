//! `minions logs`.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::io::AsyncReadExt;

use super::console::broke;
use crate::cli::Logs;
use crate::client::Client;
use crate::output::{Failure, Outcome, Output};

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// The longest line that is shown as one.
const LINE: usize = 64 << 10;

pub async fn run(client: &Client, output: &Output, args: &Logs) -> Outcome {
    if args.follow {
        return tokio::select! {
            ended = follow(client, output, args) => ended,
            stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| ExitCode::SUCCESS)?),
        };
    }
    let max = usize::try_from(args.bytes).unwrap_or(usize::MAX);
    let log = client.plane.console_log(&client.caller, &args.one.vm, max).await?;
    if output.json {
        output.object(&serde_json::json!({ "log": String::from_utf8_lossy(&log) }))?;
    } else if args.raw {
        raw(&log)?;
    } else {
        // Serial lines end in a carriage return and a newline.
        let text = String::from_utf8_lossy(&log).replace("\r\n", "\n");
        output.text(text.trim_end_matches('\n'))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut to = io::stdout().lock();
    to.write_all(bytes)?;
    Ok(to.flush()?)
}

/// Until the guest ends.
async fn follow(client: &Client, output: &Output, args: &Logs) -> Outcome {
    let tail = usize::try_from(args.bytes).unwrap_or(usize::MAX);
    let mut console = client.plane.console(&client.caller, &args.one.vm, tail).await?;
    let show = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        match output.json {
            true => output.object(&serde_json::json!({ "line": text })),
            false => output.lines([text]),
        }
    };
    let mut lines = Lines::default();
    let mut piece = vec![0; PIECE];
    loop {
        let count = console.read(&mut piece).await.map_err(broke)?;
        if count == 0 {
            break;
        }
        if args.raw && !output.json {
            raw(&piece[..count])?;
        } else {
            lines.push(&piece[..count]).iter().try_for_each(|line| show(line))?;
        }
    }
    if !lines.0.is_empty() {
        show(&lines.0)?;
    }
    output.note(&format!("the guest of {} has ended", args.one.vm));
    Ok(ExitCode::SUCCESS)
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The lines that have ended with these bytes. One that does not end is cut.
    fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut ended = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.0.push(*byte);
            }
            if *byte == b'\n' || self.0.len() >= LINE {
                ended.push(std::mem::take(&mut self.0));
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_one_without_an_end_is_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a\r\nb"), [b"a\r".to_vec()]);
        assert_eq!(lines.push(b"c\n\n"), [b"bc".to_vec(), Vec::new()]);
        let cut = lines.push(&vec![b'x'; 3 * LINE + 5]);
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [LINE; 3]);
        assert_eq!(lines.0.len(), 5);
    }
}
