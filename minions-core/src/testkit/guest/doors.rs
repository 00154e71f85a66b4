//! Cases about doors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scene::{GuestScene, Stage};
use crate::env::CallCx;
use crate::error::ErrorKind;
use crate::guest::{AGENT_PORT, DoorState};
use crate::testkit::cx;
use crate::types::Cid;

pub async fn nothing_is_known_of_a_door_that_never_was(make: &impl AsyncFn(PathBuf) -> GuestScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let (guest, id) = (&stage.scene.guest, stage.env.vm_id());
    assert_eq!(guest.observe(&cx(), id).await.unwrap(), DoorState::Absent);
    assert_eq!(guest.list(&cx()).await.unwrap(), []);
    guest.ensure_absent(&cx(), id).await.unwrap();
    let connect = guest.connect(&cx(), id, AGENT_PORT).await.map(|_| ()).expect_err("there is no door");
    let accept = guest.accept(&cx(), id).await.map(|_| ()).expect_err("there is no door");
    assert_eq!((connect.kind(), accept.kind()), (ErrorKind::NotFound, ErrorKind::NotFound));
    let before = guest.capabilities();
    assert!(before.max_connections > 0);
}

pub async fn a_door_opened_twice_is_open_once(make: &impl AsyncFn(PathBuf) -> GuestScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let (guest, id) = (&stage.scene.guest, stage.env.vm_id());
    for _ in 0..2 {
        guest.ensure_open(&cx(), id, Cid::FIRST).await.unwrap();
        assert_eq!(guest.observe(&cx(), id).await.unwrap(), DoorState::Open);
        assert_eq!(guest.list(&cx()).await.unwrap(), [id]);
    }
    for _ in 0..2 {
        guest.ensure_absent(&cx(), id).await.unwrap();
        assert_eq!(guest.observe(&cx(), id).await.unwrap(), DoorState::Absent);
        assert_eq!(guest.list(&cx()).await.unwrap(), []);
    }
}

pub async fn an_accept_ends_with_its_deadline(make: &impl AsyncFn(PathBuf) -> GuestScene, folder: &Path) {
    let stage = Stage::new(make, folder).await;
    let (guest, id) = (&stage.scene.guest, stage.env.vm_id());
    guest.ensure_open(&cx(), id, Cid::FIRST).await.unwrap();
    let soon = CallCx::new("conformance", Duration::from_millis(20));
    let error = guest.accept(&soon, id).await.map(|_| ()).expect_err("nobody dials");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{}", error.chain());
    guest.ensure_absent(&cx(), id).await.unwrap();
}
