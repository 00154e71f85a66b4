//! Who runs on which processor: what is measured on the first, all that is done to it on the second.

use std::process::Command;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Result;
use crate::measure::family;

/// What is measured.
pub const MEASURED: usize = 0;
/// Load, backends and guests.
pub const OTHERS: usize = 1;

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}

/// The calling thread, and those that it starts from now on. Where there is no second processor nothing changes.
pub fn this_thread(processor: usize) {
    if let Err(error) = sched_setaffinity(None, &only(processor)) {
        eprintln!("not on processor {processor}: {error}");
    }
}

/// Every thread of the processes that this one has started.
pub fn children_of(process: u32, processor: usize) -> Result<()> {
    for child in family(process).into_iter().filter(|child| *child != process) {
        for task in std::fs::read_dir(format!("/proc/{child}/task"))?.flatten() {
            let number = task.file_name().to_string_lossy().parse::<i32>()?;
            if let Some(thread) = Pid::from_raw(number) {
                // One that has just ended needs no processor.
                let _ = sched_setaffinity(Some(thread), &only(processor));
            }
        }
    }
    Ok(())
}

/// A program that is measured.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]);
    command
}

/// Runs something on a thread of its own beside what is measured, with a runtime of its own.
pub async fn beside<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let (told, done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        this_thread(OTHERS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(work()),
            Err(error) => Err(error.into()),
        };
        // Nobody waits any more.
        let _ = told.send(result);
    });
    done.await.map_err(|_| "the load broke off")?
}
