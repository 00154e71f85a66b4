//! Entries that the cases hand in.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::env::Env;
use crate::error::{ErrorKind, Result};
use crate::store::journal::{Accepted, GoalEntry, Journal, JournalRow, LeasePool};
use crate::testkit::cx;
use crate::types::{AddressPool, AgentSecret, ByteSize, Generation, Goal, ImageId, Vcpus, VmId, VmSpec};

/// One fresh journal and what makes entries for it.
pub(super) struct Scene<J: ?Sized> {
    pub journal: Arc<J>,
    pub env: Env,
}

/// As many addresses and users as said, none of which needs a rest.
pub(super) fn pool(count: u32) -> LeasePool {
    let first = u32::from(Ipv4Addr::new(10, 9, 0, 2));
    let range = AddressPool { first: first.into(), last: (first + count - 1).into() };
    LeasePool { addresses: vec![range].into(), uid_first: 70_000, uid_count: count, rest: Duration::ZERO }
}

impl<J: Journal + ?Sized> Scene<J> {
    pub(super) async fn new(make: &impl AsyncFn(PathBuf, LeasePool) -> Arc<J>, folder: &Path, pool: LeasePool) -> Self {
        Self { journal: make(folder.to_owned(), pool).await, env: Env::seeded(11) }
    }

    pub(super) fn entry(&self) -> GoalEntry {
        self.entry_of(self.env.vm_id())
    }

    pub(super) fn entry_of(&self, vm: VmId) -> GoalEntry {
        GoalEntry {
            vm,
            hostname: "web".parse().unwrap(),
            generation: Generation(1),
            goal: Goal::Running { epoch: 1 },
            spec: VmSpec {
                image: ImageId::from_digest([5; 32]),
                vcpus: Vcpus(1),
                memory: ByteSize::mib(128),
                root: ByteSize::gib(1),
                data: Some(ByteSize::gib(2)),
                ..VmSpec::of(ImageId::from_digest([5; 32]))
            },
        }
    }

    pub(super) async fn accept(&self, entry: &GoalEntry) -> Result<Accepted> {
        self.journal.accept(&cx(), entry, &secret(1)).await
    }

    /// Takes on a fresh entry.
    pub(super) async fn row(&self) -> JournalRow {
        self.taken_on(&self.entry()).await
    }

    pub(super) async fn taken_on(&self, entry: &GoalEntry) -> JournalRow {
        match self.accept(entry).await {
            Ok(Accepted::Row(row)) => *row,
            other => panic!("the entry is not taken on: {other:?}"),
        }
    }

    /// Takes it through absence to its tombstone.
    pub(super) async fn bury(&self, row: &JournalRow) {
        let entry = absent(&row.entry);
        self.taken_on(&entry).await;
        self.journal.bury(&cx(), entry.vm, entry.generation).await.unwrap();
    }

    pub(super) async fn read(&self, vm: VmId) -> Option<JournalRow> {
        self.journal.row(&cx(), vm).await.unwrap()
    }

    pub(super) async fn all(&self) -> Vec<JournalRow> {
        self.journal.rows(&cx(), None, 1_000).await.unwrap()
    }
}

pub(super) fn secret(byte: u8) -> AgentSecret {
    AgentSecret::from_bytes([byte; 32])
}

/// The next generation of an entry, and its last.
pub(super) fn absent(entry: &GoalEntry) -> GoalEntry {
    GoalEntry { goal: Goal::ABSENT, generation: entry.generation.next(), ..entry.clone() }
}

/// The call was refused with this kind and reason.
#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, reason: &str) {
    let error = result.expect_err("the call is refused");
    assert_eq!((error.kind(), error.reason()), (kind, Some(reason)), "{}", error.chain());
    assert_eq!(error.effect(), crate::error::Effect::None, "{}", error.chain());
}
