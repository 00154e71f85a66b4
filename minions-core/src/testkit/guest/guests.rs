//! Cases about guests behind doors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scene::{Boot, GuestScene, Stage};
use crate::api::guest::GuestCall;
use crate::error::ErrorKind;
use crate::guest::{AGENT_PORT, GuestChannelExt, client};
use crate::testkit::{cx, skip};
use crate::types::{AgentSecret, Cid, VmId};

/// A guest that was heard.
async fn ready(stage: &Stage, boot: &dyn Boot, cid: Cid) -> (VmId, AgentSecret) {
    let id = stage.env.vm_id();
    stage.scene.guest.ensure_open(&cx(), id, cid).await.unwrap();
    let secret = boot.boot(id, cid).await;
    stage.scene.guest.await_ready(&cx(), id, &secret, &*stage.env.clock).await.unwrap();
    (id, secret)
}

async fn is_healthy(stage: &Stage, id: VmId, secret: &AgentSecret) -> crate::Result<()> {
    let cx = cx();
    let io = stage.scene.guest.open(&cx, id, secret, &GuestCall::Health).await?;
    client::health(io, cx.deadline).await.map(|_| ())
}

async fn close(stage: &Stage, boot: &dyn Boot, id: VmId) {
    boot.end(id).await;
    stage.scene.guest.ensure_absent(&cx(), id).await.unwrap();
}

pub async fn a_guest_that_says_ready_is_heard_through_its_door(
    make: &impl AsyncFn(PathBuf) -> GuestScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let Some(boot) = &stage.scene.boot else {
        return skip("a_guest_that_says_ready_is_heard_through_its_door", "the scene boots no guest");
    };
    let (id, _) = ready(&stage, &**boot, Cid::FIRST).await;
    assert_eq!(stage.scene.guest.list(&cx()).await.unwrap(), [id]);
    close(&stage, &**boot, id).await;
}

pub async fn a_connection_carries_a_call_and_its_answer(make: &impl AsyncFn(PathBuf) -> GuestScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let Some(boot) = &stage.scene.boot else {
        return skip("a_connection_carries_a_call_and_its_answer", "the scene boots no guest");
    };
    let (id, secret) = ready(&stage, &**boot, Cid::FIRST).await;
    for _ in 0..3 {
        is_healthy(&stage, id, &secret).await.unwrap();
    }
    // A connection that is only held delays no other.
    let held = stage.scene.guest.connect(&cx(), id, AGENT_PORT).await.unwrap();
    is_healthy(&stage, id, &secret).await.unwrap();
    drop(held);
    close(&stage, &**boot, id).await;
}

pub async fn nobody_answers_on_a_port_that_nobody_listens_on(
    make: &impl AsyncFn(PathBuf) -> GuestScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let Some(boot) = &stage.scene.boot else {
        return skip("nobody_answers_on_a_port_that_nobody_listens_on", "the scene boots no guest");
    };
    let (id, _) = ready(&stage, &**boot, Cid::FIRST).await;
    let error = stage.scene.guest.connect(&cx(), id, 4711).await.map(|_| ()).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    close(&stage, &**boot, id).await;
}

pub async fn a_guest_is_told_apart_by_its_door_and_its_secret(
    make: &impl AsyncFn(PathBuf) -> GuestScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let Some(boot) = &stage.scene.boot else {
        return skip("a_guest_is_told_apart_by_its_door_and_its_secret", "the scene boots no guest");
    };
    let (one, secret) = ready(&stage, &**boot, Cid::FIRST).await;
    let (other, other_secret) = ready(&stage, &**boot, Cid::new(4).unwrap()).await;
    is_healthy(&stage, one, &secret).await.unwrap();
    is_healthy(&stage, other, &other_secret).await.unwrap();
    let error = is_healthy(&stage, one, &other_secret).await.expect_err("it is the other one's secret");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("agent_untrusted")), "{}", error.chain());
    close(&stage, &**boot, one).await;
    is_healthy(&stage, other, &other_secret).await.unwrap();
    close(&stage, &**boot, other).await;
}

pub async fn a_closed_door_ends_its_connections(make: &impl AsyncFn(PathBuf) -> GuestScene, folder: &Path) {
    use tokio::io::AsyncReadExt;
    let stage = Stage::new(make, folder).await;
    let Some(boot) = &stage.scene.boot else {
        return skip("a_closed_door_ends_its_connections", "the scene boots no guest");
    };
    let (id, _) = ready(&stage, &**boot, Cid::FIRST).await;
    let mut held = stage.scene.guest.connect(&cx(), id, AGENT_PORT).await.unwrap();
    stage.scene.guest.ensure_absent(&cx(), id).await.unwrap();
    // Sooner than an agent gives up on a connection that says nothing.
    let ended = tokio::time::timeout(Duration::from_secs(3), held.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    boot.end(id).await;
}
