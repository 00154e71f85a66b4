//! Policies around a port: what is retried, counted and made to fail on purpose needs no line in the port itself.
//! `cargo run -p minions-examples --example layers`

use std::sync::Arc;
use std::time::Duration;

use minions_core::Result;
use minions_core::env::CallCx;
use minions_core::layers::{Deadline, Fault, FaultPlan, Faults, Layers, Metrics, Retry};
use minions_core::memory::InMemoryHost;
use minions_core::storage::{Storage, VolumeConfig, VolumeSource};
use minions_core::types::{ByteSize, VmId, VolumeId};

#[tokio::main]
async fn main() -> Result<()> {
    println!("{}", count().await?);
    Ok(())
}

async fn count() -> Result<String> {
    let metrics = Arc::new(Metrics::default());
    // The first two attempts fail before anything happens. One that may have happened is never simply repeated: its
    // error goes to the caller, who looks before acting.
    let plan = FaultPlan::at(0, Fault::ErrorBefore).and(1, Fault::ErrorBefore);
    let layers = Layers::new()
        .with_shared(metrics.clone())
        .with(Deadline::after(Duration::from_secs(5)))
        .with(Retry::default())
        .with(Faults::new(plan.clone()));
    let host = InMemoryHost::new();
    let storage = layers.storage(Arc::new(host.storage()));

    let volume =
        VolumeConfig { id: VolumeId::data(VmId::from_bits(1)), size: ByteSize::gib(1), source: VolumeSource::Empty };
    storage.ensure_volume(&CallCx::new("example", Duration::from_secs(5)), &volume).await?;

    let calls = metrics.snapshot().values().map(|op| op.calls).sum::<u64>();
    Ok(format!("{calls} call, {} attempts, {} volume", plan.calls().len(), host.census().volumes.len()))
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_call_that_fails_twice_is_one_call_with_three_attempts() {
        assert_eq!(super::count().await.unwrap(), "1 call, 3 attempts, 1 volume");
    }
}
