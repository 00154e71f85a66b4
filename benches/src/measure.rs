//! Clocks, counters of the kernel, and what is made of them.

use std::path::PathBuf;
use std::time::Instant;

use crate::Result;

/// Microseconds since then.
pub fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// The value below which this share of the samples lies.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the samples")]
    let at = (last as f64 * share).round() as usize;
    samples.get(at.min(last)).copied().unwrap_or(f64::NAN)
}

/// The one in the middle.
pub fn median(samples: &mut [f64]) -> f64 {
    percentile(samples, 0.5)
}

/// The slope of a line through the logarithms: 0 is flat, 1 is linear.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let over: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let under: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    over / under
}

/// What the kernel knows of a process.
#[derive(Clone, Debug)]
pub struct Process(PathBuf);

impl Process {
    pub fn of(pid: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{pid}")))
    }

    pub fn own() -> Self {
        Self::of(std::process::id())
    }

    /// CPU time in microseconds, of all its threads, those that have ended too. In steps of 10 ms.
    pub fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(self.0.join("stat"))?;
        let after = stat.rsplit_once(')').ok_or("a stat without a name")?.1;
        let ticks: f64 =
            after.split_ascii_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
        Ok(ticks * 1e4)
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(self.0.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.split_ascii_whitespace().next().unwrap_or_default().parse()?;
        Ok(kib * 1024.0)
    }

    /// How often its threads were put on a processor after they had waited for something.
    pub fn wakeups(&self) -> Result<f64> {
        let mut total = 0.0;
        for task in std::fs::read_dir(self.0.join("task"))?.flatten() {
            let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            total += line.and_then(|count| count.trim().parse::<f64>().ok()).unwrap_or(0.0);
        }
        Ok(total)
    }
}

/// A process and all that come from it.
pub fn family(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let mut at = 0;
    while let Some(one) = all.get(at).copied() {
        at += 1;
        for task in std::fs::read_dir(format!("/proc/{one}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    all
}

/// CPU time in microseconds of a process and all that came from it, of those that have ended too.
pub fn family_cpu(process: u32) -> f64 {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map(|(_, after)| after.to_owned()).unwrap_or_default();
        after.split_ascii_whitespace().skip(11).take(4).filter_map(|word| word.parse::<f64>().ok()).sum::<f64>()
    };
    family(process).into_iter().map(of).sum::<f64>() * 1e4
}

/// Memory in KiB of a process and all that come from it, what they share divided among those who share it.
pub fn family_memory(process: u32) -> f64 {
    let of = |pid: u32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:").map(str::to_owned)).unwrap_or_default();
        line.split_ascii_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0)
    };
    family(process).into_iter().map(of).sum()
}

/// The same of one process alone: those that come from it do other work.
pub fn own_cpu(process: u32) -> f64 {
    Process::of(process).cpu().unwrap_or(0.0)
}
