//! A service of your own around the control plane: accounts come from you, the library keeps them apart and within their
//! quotas. `cargo run -p minions-examples --example embedded`

use minions_core::memory::InMemoryHost;
use minions_core::service::Quota;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig, VmRef};
use minions_core::{Error, Result};
use minions_examples::{done, small, start};

#[tokio::main]
async fn main() -> Result<()> {
    for line in tell().await? {
        println!("{line}");
    }
    Ok(())
}

/// What your own front door does: it knows who is calling, and asks.
async fn create(plane: &LocalControlPlane, account: &str, name: &str) -> Result<()> {
    let caller = Caller::tenant(account);
    let operation = plane.create(&caller, &small(name)?, None).await?;
    done(plane, &caller, operation).await.map(drop)
}

async fn tell() -> Result<Vec<String>> {
    let host = InMemoryHost::new();
    let quota = Quota { vms: 1, ..Quota::default() };
    let plane = start(&host, ServiceConfig { quota, ..ServiceConfig::default() }).await?;
    let outcome = |what: &str, result: Result<(), Error>| match result {
        Ok(()) => format!("{what}: done"),
        Err(error) => format!("{what}: {} ({})", error.kind(), error.reason().unwrap_or("-")),
    };

    let web: VmRef = "web".parse()?;
    Ok(vec![
        outcome("ada creates web", create(&plane, "ada", "web").await),
        outcome("ada creates another", create(&plane, "ada", "more").await),
        outcome("bob creates web too", create(&plane, "bob", "web").await),
        outcome("bob looks at ada's", plane.vm(&Caller::tenant("bob"), &web).await.map(drop)),
        outcome("ada looks at hers", plane.vm(&Caller::tenant("ada"), &web).await.map(drop)),
    ])
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn tenants_are_kept_apart_and_within_their_quotas() {
        let told = super::tell().await.unwrap();
        let outcomes: Vec<&str> = told.iter().filter_map(|line| line.split(": ").nth(1)).collect();
        let begins = ["done", "exhausted (quota)", "already_exists (name_taken)", "not_found", "done"];
        assert_eq!(outcomes.len(), begins.len());
        for (outcome, begin) in outcomes.iter().zip(begins) {
            assert!(outcome.starts_with(begin), "{told:#?}");
        }
    }
}
