//! The one stream of events: what a dashboard, a proxy's routes and a bill are made of. A reader keeps its place, and
//! loses nothing however slow it is. `cargo run -p minions-examples --example events`

use std::time::Duration;

use minions_core::Result;
use minions_core::api::v1::{DestroyVm, EventBody, StopVm};
use minions_core::memory::InMemoryHost;
use minions_core::service::{Caller, ControlPlane, ServiceConfig, VmAction};
use minions_core::types::EventSeq;
use minions_examples::{done, small, start};

#[tokio::main]
async fn main() -> Result<()> {
    for line in story().await? {
        println!("{line}");
    }
    Ok(())
}

async fn story() -> Result<Vec<String>> {
    let host = InMemoryHost::new();
    let plane = start(&host, ServiceConfig::default()).await?;
    let ada = Caller::tenant("ada");

    let reader = tokio::spawn({
        let (plane, ada) = (plane.clone(), ada.clone());
        async move {
            let (mut place, mut told) = (EventSeq(0), Vec::new());
            loop {
                let page = plane.events(&ada, place, 100, Duration::from_secs(20)).await?;
                place = page.next;
                for event in page.events {
                    let what = match &event.body {
                        EventBody::Accepted { verb, .. } => format!("{} accepted", verb.as_str()),
                        EventBody::Ended { verb, .. } => format!("{} ended", verb.as_str()),
                        EventBody::State { state, .. } => format!("is {state}"),
                        EventBody::Deleted => "is gone".to_owned(),
                    };
                    told.push(format!("{}: {what}", event.name));
                    if event.body == EventBody::Deleted {
                        return Ok::<_, minions_core::Error>(told);
                    }
                }
            }
        }
    });

    let created = plane.create(&ada, &small("web")?, None).await?;
    done(&*plane, &ada, created).await?;
    for action in [VmAction::Stop(StopVm::default()), VmAction::Destroy(DestroyVm::default())] {
        let operation = plane.act(&ada, &"web".parse()?, &action, None).await?;
        done(&*plane, &ada, operation).await?;
    }
    reader.await.map_err(|error| minions_core::Error::internal("the reader ended").with_source(error))?
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_story_of_a_vm_is_told_in_order() {
        let story = super::story().await.unwrap();
        let place = |line: &str| {
            story.iter().position(|told| told == line).unwrap_or_else(|| panic!("{line} is missing in {story:#?}"))
        };
        let places = ["create accepted", "create ended", "stop accepted", "stop ended", "destroy accepted", "is gone"]
            .map(|line| place(&format!("web: {line}")));
        assert!(places.is_sorted(), "{story:#?}");
    }
}
