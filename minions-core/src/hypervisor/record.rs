//! What a guest says on its serial line, on its way to the log: never more than a budget.
//!
//! A guest may print for ever, and each write to the log is work of the host outside of the guest's limits. So what is heard
//! is written at once while there is a budget for it, and waits for more of its kind when there is none: [`RATE`] of it a
//! second for long, and [`BURST`] at once. Of a guest that prints faster the newest [`PIECE`] is kept, behind a line that
//! says how much was left out. Those who are attached hear all of it.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::log;
use crate::types::VmId;

/// Most bytes that wait.
const PIECE: usize = 64 << 10;

/// Bytes a second.
const RATE: u64 = 256 << 10;

/// Bytes at once, of one that was silent: a boot that says all it can.
const BURST: u64 = 1 << 20;

/// Bytes that the least of writes counts as: small ones are work, too.
const LEAST: u64 = 4 << 10;

/// One guest's.
#[derive(Debug)]
pub(super) struct Record {
    vm: VmId,
    path: PathBuf,
    held: VecDeque<u8>,
    left_out: u64,
    budget: u64,
    counted: Instant,
}

impl Record {
    pub fn new(vm: VmId, path: PathBuf) -> Self {
        let now = Instant::now();
        Self { vm, path, held: VecDeque::new(), left_out: 0, budget: BURST, counted: now }
    }

    /// Takes what was heard, and writes it where it need not wait.
    pub async fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            let excess = (self.held.len() + piece.len()).saturating_sub(PIECE);
            self.held.drain(..excess);
            self.left_out += u64::try_from(excess).unwrap_or(u64::MAX);
            self.held.extend(piece);
            if self.when() <= Instant::now() {
                self.write().await;
            }
        }
    }

    /// Until what waits may be written; for ever where nothing waits.
    pub async fn due(&self) {
        if self.held.is_empty() {
            return pending().await;
        }
        sleep_until(self.when()).await;
    }

    /// Writes what waits, now. What cannot be written is lost to the log.
    pub async fn write(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let now = Instant::now();
        self.budget = self.budget_at(now).saturating_sub(self.cost());
        self.counted = now;
        let mut said = Vec::new();
        if self.left_out > 0 {
            said.extend(format!("\r\n[{} bytes are left out: said too fast]\r\n", self.left_out).into_bytes());
        }
        said.extend(std::mem::take(&mut self.held));
        self.left_out = 0;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || log::append(&path, &said)).await;
        if let Err(error) = written.map_err(io::Error::other).flatten() {
            tracing::warn!(vm = %self.vm, %error, "a serial log cannot be kept");
        }
    }

    fn cost(&self) -> u64 {
        u64::try_from(self.held.len()).unwrap_or(u64::MAX).max(LEAST)
    }

    /// When there is a budget for what waits.
    fn when(&self) -> Instant {
        let want = self.cost().saturating_sub(self.budget);
        self.counted + Duration::from_micros(want.saturating_mul(1_000_000) / RATE)
    }

    fn budget_at(&self, now: Instant) -> u64 {
        let passed = u64::try_from(now.duration_since(self.counted).as_micros()).unwrap_or(u64::MAX);
        BURST.min(self.budget.saturating_add(passed.saturating_mul(RATE) / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        (dir, Record::new(VmId::from_bits(1), path))
    }

    fn logged(record: &Record) -> Vec<u8> {
        log::tail(&record.path, 1 << 30).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_2_6_what_is_said_slowly_is_written_at_once_and_nothing_is_left_out() {
        let (_dir, mut record) = record();
        let mut said = String::new();
        for number in 0..1000u32 {
            let line = format!("{number}\n");
            record.take(line.as_bytes()).await;
            said.push_str(&line);
            assert!(record.held.is_empty());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(String::from_utf8(logged(&record)).unwrap(), said);
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_2_6_a_guest_that_prints_for_ever_is_written_at_a_rate_newest_last_and_told() {
        let (_dir, mut record) = record();
        let begin = Instant::now();
        let (mut said, mut written, mut last) = (0, 0, 0);
        for round in 0..60_000u32 {
            // 4 KiB each millisecond.
            let piece = [u8::try_from(round % 251).unwrap(); 4096];
            said += piece.len();
            record.take(&piece).await;
            assert!(record.held.len() <= PIECE);
            let size = usize::try_from(std::fs::metadata(&record.path).map_or(0, |meta| meta.len())).unwrap();
            written += size.saturating_sub(last) + if size < last { size } else { 0 };
            last = size;
            tokio::select! {
                biased;
                () = record.due() => record.write().await,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap();
        assert!(seconds >= 50, "{seconds}");
        let most = (1 << 20) + (seconds + 2) * (256 << 10) + (1 << 20);
        assert!(written <= most && written > most / 2, "{written} of {said} in {seconds} s, at most {most}");
        record.write().await;
        let log = logged(&record);
        assert_eq!(log.last(), Some(&u8::try_from(59_999 % 251).unwrap()), "the newest is there");
        assert!(String::from_utf8_lossy(&log).contains(" bytes are left out: said too fast]"));
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_2_6_small_writes_have_a_rate_too() {
        let (_dir, mut record) = record();
        let mut writes = 0;
        for _ in 0..10_000 {
            record.take(b"a").await;
            writes += u32::from(record.held.is_empty());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!((256..=256 + 11 * 64).contains(&writes), "{writes} in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_2_6_a_burst_is_written_whole() {
        let (_dir, mut record) = record();
        let piece: Vec<u8> = (0..PIECE).map(|at| u8::try_from(at % 256).unwrap()).collect();
        let before = Instant::now();
        for _ in 0..10 {
            record.take(&piece).await;
        }
        record.write().await;
        assert_eq!(logged(&record).len(), 10 * PIECE);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
