//! Policies around the in-memory host.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::env::CallCx;
use crate::error::{Effect, ErrorKind};
use crate::memory::InMemoryHost;
use crate::storage::{DynStorage, VolumeConfig, VolumeSource};
use crate::types::{ByteSize, VmId, VolumeId};

fn cx() -> CallCx {
    CallCx::new("test", Duration::from_secs(60))
}

fn volume() -> VolumeConfig {
    let id = VolumeId::data(VmId::from_bits(1));
    VolumeConfig { id, size: ByteSize::mib(1), source: VolumeSource::Empty }
}

fn faulty(host: &InMemoryHost, plan: &FaultPlan, layers: Layers) -> DynStorage {
    layers.with(Faults::new(plan.clone())).storage(Arc::new(host.storage()))
}

fn volumes(host: &InMemoryHost) -> usize {
    host.census().volumes.len()
}

#[tokio::test(start_paused = true)]
async fn the_order_follows_from_the_places_and_not_from_the_words() {
    let layers = Layers::new()
        .with(Faults::new(FaultPlan::none()))
        .with(Retry::default())
        .with(Metrics::default())
        .with(Limit::to(1))
        .with(Record::default())
        .with(Trace)
        .with(Latency::of(Duration::ZERO))
        .with(Deadline::after(Duration::from_secs(1)));
    let names = layers.places().iter().map(|place| format!("{place:?}")).collect::<Vec<_>>().join(" ");
    assert_eq!(names, "Metrics Trace Deadline Retry Limit Latency Record Faults");
}

#[tokio::test(start_paused = true)]
async fn errors_before_and_after_differ_in_what_happened_and_say_so() {
    for (fault, left, effect) in [
        (Fault::ErrorBefore, 0, Effect::None),
        (Fault::ErrorAfter, 1, Effect::Unknown),
        (Fault::TimeoutAfter, 1, Effect::Unknown),
    ] {
        let (host, plan) = (InMemoryHost::new(), FaultPlan::at(1, fault));
        let storage = faulty(&host, &plan, Layers::new());
        storage.volumes(&cx()).await.unwrap();
        let error = storage.ensure_volume(&cx(), &volume()).await.unwrap_err();
        assert_eq!((error.effect(), error.op()), (effect, Some("storage.ensure_volume")), "{fault:?}");
        assert_eq!(volumes(&host), left, "{fault:?}");
        storage.ensure_volume(&cx(), &volume()).await.unwrap();
        assert_eq!((plan.hits(), plan.is_pending(), plan.count()), (vec![(1, fault)], false, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_nothing_returns_and_nothing_more_happens() {
    for (fault, left) in [(Fault::CrashBefore, 0), (Fault::CrashAfter, 1), (Fault::CrashWithin, 1)] {
        let (host, plan) = (InMemoryHost::new(), FaultPlan::at(0, fault));
        host.configure(|settings| settings.timings.volume = Duration::from_millis(1));
        let storage = faulty(&host, &plan, Layers::new());
        let config = volume();
        let work = async {
            let _ = storage.ensure_volume(&cx(), &config).await;
            unreachable!("the process has ended")
        };
        tokio::select! {
            () = plan.crashed() => {}
            () = work => {}
        }
        assert_eq!(volumes(&host), left, "{fault:?}");
        let whole = host.census().volumes.first().is_some_and(|volume| volume.whole);
        assert_eq!(whole, fault == Fault::CrashAfter, "{fault:?}");
        let late = cx();
        let next = tokio::time::timeout(Duration::from_secs(9), storage.ensure_volume(&late, &config));
        assert!(next.await.is_err(), "a process that has ended answers nobody");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_ends_with_the_deadline_where_there_is_one() {
    let (host, plan) = (InMemoryHost::new(), FaultPlan::at(0, Fault::Hang));
    let storage = faulty(&host, &plan, Layers::new().with(Deadline::after(Duration::from_secs(3))));
    let begun = tokio::time::Instant::now();
    let error = storage.ensure_volume(&cx(), &volume()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::DeadlineExceeded, Effect::Unknown));
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(volumes(&host), 0);
}

#[tokio::test(start_paused = true)]
async fn retry_repeats_what_did_nothing_and_leaves_the_rest_to_its_caller() {
    for (fault, attempts, ok) in [
        (Fault::ErrorBefore, 2, true),
        (Fault::ErrorAfter, 1, false),
        (Fault::Conflict, 1, false),
        (Fault::Exhausted, 1, false),
    ] {
        let (host, plan) = (InMemoryHost::new(), FaultPlan::at(0, fault));
        let record = Arc::new(Record::default());
        let metrics = Arc::new(Metrics::default());
        let layers = Layers::new().with(Retry::default()).with_shared(record.clone()).with_shared(metrics.clone());
        let result = faulty(&host, &plan, layers).ensure_volume(&cx(), &volume()).await;
        assert_eq!(result.is_ok(), ok, "{fault:?}");
        let recorded = record.take();
        assert_eq!(recorded.iter().map(|one| one.call.attempt).collect::<Vec<_>>(), (1..=attempts).collect::<Vec<_>>());
        let op = &metrics.snapshot()["storage.ensure_volume"];
        assert_eq!((op.calls, op.errors.values().sum::<u64>()), (1, u64::from(!ok)), "the caller made one call");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_repeated_whatever_its_effect() {
    let (host, plan) = (InMemoryHost::new(), FaultPlan::at(0, Fault::ErrorBefore).and(1, Fault::ErrorBefore));
    let storage = faulty(&host, &plan, Layers::new().with(Retry::default()));
    storage.volumes(&cx()).await.unwrap();
    assert_eq!(plan.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_limit_lets_only_so_many_through_at_a_time() {
    let host = InMemoryHost::new();
    host.configure(|settings| settings.timings.volume = Duration::from_secs(1));
    let storage = Layers::new().with(Limit::to(2)).storage(Arc::new(host.storage()));
    let begun = tokio::time::Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for vm in 0..6 {
        let storage = storage.clone();
        let config = VolumeConfig { id: VolumeId::data(VmId::from_bits(vm)), ..volume() };
        all.spawn(async move { storage.ensure_volume(&cx(), &config).await.map(|_| ()) });
    }
    all.join_all().await.into_iter().collect::<crate::Result<Vec<()>>>().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_vmm_dies_at_the_planned_moment() {
    let host = InMemoryHost::new();
    let killed = Arc::new(std::sync::Mutex::new(None));
    let seen = killed.clone();
    let plan = FaultPlan::at(0, Fault::VmmDies).kills_with(move |call| *seen.lock().unwrap() = call.vm);
    faulty(&host, &plan, Layers::new()).ensure_volume(&cx(), &volume()).await.unwrap();
    assert_eq!(*killed.lock().unwrap(), Some(VmId::from_bits(1)));
}

#[tokio::test(start_paused = true)]
async fn an_error_from_deep_inside_is_stamped_with_the_call() {
    let host = InMemoryHost::new();
    let storage = Layers::new().storage(Arc::new(host.storage()));
    host.configure(|settings| settings.limits.storage = ByteSize::bytes(0));
    let error = storage.ensure_volume(&cx(), &volume()).await.unwrap_err();
    assert_eq!((error.kind(), error.op()), (ErrorKind::Exhausted, Some("storage.ensure_volume")));
}
