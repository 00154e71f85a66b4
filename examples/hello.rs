//! A VM on a simulated host: created, entered, destroyed. `cargo run -p minions-examples --example hello`

use minions_core::Result;
use minions_core::api::v1;
use minions_core::memory::InMemoryHost;
use minions_core::service::{Caller, ControlPlane, ServiceConfig, VmAction};
use minions_examples::{done, run, small, start};

#[tokio::main]
async fn main() -> Result<()> {
    print!("{}", hello().await?);
    Ok(())
}

async fn hello() -> Result<String> {
    let host = InMemoryHost::new();
    let plane = start(&host, ServiceConfig::default()).await?;
    let ada = Caller::tenant("ada");

    let created = plane.create(&ada, &small("hello")?, None).await?;
    done(&*plane, &ada, created).await?;
    let printed = run(&*plane, &ada, "hello", &["uname", "-a"]).await?;

    let destroy = VmAction::Destroy(v1::DestroyVm::default());
    let destroyed = plane.act(&ada, &"hello".parse()?, &destroy, None).await?;
    done(&*plane, &ada, destroyed).await?;
    assert!(host.census().is_empty(), "nothing is left on the host");
    Ok(printed)
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_guest_answers_and_nothing_is_left() {
        let printed = super::hello().await.unwrap();
        assert!(printed.contains("hello") && printed.contains("simulated"), "{printed}");
    }
}
