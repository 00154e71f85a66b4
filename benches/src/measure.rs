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
