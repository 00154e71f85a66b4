//! The one stream of events.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{Scene, deleted_event};
use crate::store::fleet::{EventQuery, FleetChange, FleetStore, Owner};
use crate::testkit::cx;
use crate::types::EventSeq;

/// Places follow one another without a gap, and a refused change takes none.
pub async fn events_have_consecutive_places_over_commits<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.insert("ann", "web").await;
    let begin = scene.store.last_event(&cx()).await.unwrap().0;
    for (count, want) in [(1, 1), (3, 4), (0, 4), (2, 6)] {
        let events = vec![deleted_event(&vm); count];
        let last = scene.commit(FleetChange { events, ..FleetChange::default() }).await.unwrap();
        assert_eq!(last, EventSeq(begin + want));
        assert_eq!(scene.store.last_event(&cx()).await.unwrap(), last);
    }
}

/// Commits at the same time are told one after the other.
pub async fn concurrent_commits_share_no_place<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.vm("ann", "web");
    let begin = scene.store.last_event(&cx()).await.unwrap().0;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (store, event) = (scene.store.clone(), deleted_event(&vm));
        calls.spawn(async move {
            let change = FleetChange { events: vec![event.clone(), event], ..FleetChange::default() };
            store.commit(&cx(), &change).await.unwrap().0
        });
    }
    let mut last = calls.join_all().await;
    last.sort_unstable();
    let want: Vec<u64> = (1..=50).map(|nth| begin + 2 * nth).collect();
    assert_eq!(last, want);
}

/// A reader that pages sees each event once, in order.
pub async fn events_are_paged_without_gaps<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let vm = scene.vm("ann", "web");
    let begin = scene.store.last_event(&cx()).await.unwrap();
    scene.commit(FleetChange { events: vec![deleted_event(&vm); 7], ..FleetChange::default() }).await.unwrap();
    let mut place = begin;
    let mut seen = Vec::new();
    loop {
        let page = scene.store.events(&cx(), &EventQuery::all(place, 3)).await.unwrap();
        assert!(page.len() <= 3, "no page is longer than asked for");
        let Some(last) = page.last() else { break };
        place = last.seq;
        seen.extend(page.iter().map(|event| event.seq.0 - begin.0));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(scene.store.events(&cx(), &EventQuery::all(EventSeq(u64::MAX), 3)).await.unwrap(), []);
}

/// A reader of one owner's events sees each of theirs once, in order, and nobody else's.
pub async fn an_owners_events_are_paged_without_anybody_elses<S: FleetStore + ?Sized>(
    make: &impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(make, folder).await;
    let (ann, bob) = (scene.vm("ann", "web"), scene.vm("bob", "api"));
    let begin = scene.store.last_event(&cx()).await.unwrap();
    let events = [&bob, &ann, &bob, &bob, &ann, &ann, &bob].map(deleted_event).to_vec();
    scene.commit(FleetChange { events, ..FleetChange::default() }).await.unwrap();
    for (owner, want) in [("ann", vec![2, 5, 6]), ("bob", vec![1, 3, 4, 7]), ("eve", vec![]), ("an", vec![])] {
        let owner = Owner(owner.to_owned());
        let mut place = begin;
        let mut seen = Vec::new();
        loop {
            let page = scene.store.events(&cx(), &EventQuery::of(owner.clone(), place, 2)).await.unwrap();
            assert!(page.len() <= 2, "no page is longer than asked for");
            let Some(last) = page.last() else { break };
            assert!(page.iter().all(|event| event.event.owner == owner));
            place = last.seq;
            seen.extend(page.iter().map(|event| event.seq.0 - begin.0));
        }
        assert_eq!(seen, want, "{owner:?}");
        assert_eq!(scene.store.events(&cx(), &EventQuery::of(owner.clone(), EventSeq(u64::MAX), 3)).await.unwrap(), []);
    }
}
