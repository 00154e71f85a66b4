//! A daemon as a process: what `minions serve` is made of, on a host for measuring.

use std::path::Path;
use std::time::Instant;

use minions_core::env::Env;

use crate::Result;
use crate::child::{Child, end_with_parent, text};
use crate::host::{Kind, Service, parts};
use crate::measure::micros;
use crate::seed;

/// Runs until its parent ends it. Says `parts` once its host is there, `ready` when it serves, `idle` when every VM was
/// looked at, with the microseconds since `parts`.
pub async fn run(kind: Kind, dir: &Path) -> Result<()> {
    end_with_parent();
    let env = Env::system();
    let parts = parts(kind, dir, &env).await?;
    if kind == Kind::Memory {
        // A simulated host ends with its daemon; it gets its disks back before the clock runs.
        seed::volumes(dir, &parts.storage).await?;
    }
    println!("parts");
    let begin = Instant::now();
    let service = Service::start(kind, dir, parts, &env).await?;
    println!("ready {}", micros(begin));
    service.node.engine().idle().await;
    println!("idle {}", micros(begin));
    std::future::pending().await
}

/// Holds the disks of the known VMs in a simulated host, and nothing else: what the daemon's memory is compared with.
pub async fn model_only(dir: &Path) -> Result<()> {
    end_with_parent();
    let parts = parts(Kind::Memory, dir, &Env::system()).await?;
    seed::volumes(dir, &parts.storage).await?;
    println!("ready 0");
    std::future::pending().await
}

pub fn start(kind: Kind, dir: &Path) -> Result<Child> {
    Child::start(&["daemon", kind.name(), text(dir)?])
}
