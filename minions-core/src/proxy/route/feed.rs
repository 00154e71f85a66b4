//! Keeps the table as new as the stream of events.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::table::{Route, Table};
use crate::api::v1;
use crate::error::{ErrorKind, Result};
use crate::service::{Caller, DynControlPlane, VmRef};
use crate::types::{EventSeq, VmId, VmName};

/// How long one question for new events waits.
const WAIT: Duration = Duration::from_secs(5);
/// The rest after a failed question.
const REST: Duration = Duration::from_millis(200);
/// Most events at a time.
const PAGE: usize = 1000;

/// The table of routes, and how new it is.
#[derive(Debug)]
pub(crate) struct Routes {
    plane: DynControlPlane,
    caller: Caller,
    table: RwLock<Table>,
    /// Every event up to here is in the table.
    version: AtomicU64,
    moved: watch::Sender<u64>,
    /// When the service last answered.
    heard: watch::Sender<Option<Instant>>,
    /// How long a request waits for the table.
    patience: Duration,
    /// How old a table may be whose service does not say how new it should be.
    staleness: Duration,
}

impl Routes {
    pub fn new(plane: DynControlPlane, patience: Duration, staleness: Duration) -> Arc<Self> {
        Arc::new(Self {
            plane,
            caller: Caller::edge("proxy"),
            table: RwLock::default(),
            version: AtomicU64::new(0),
            moved: watch::Sender::new(0),
            heard: watch::Sender::new(None),
            patience,
            staleness,
        })
    }

    /// Waits until everything that the service has acknowledged by now is in the table; `false` where that takes too long.
    pub async fn settle(&self) -> bool {
        let Some(heard) = *self.heard.borrow() else { return self.first().await };
        match self.plane.head() {
            Some(head) if head.0 <= self.version.load(Ordering::Acquire) => true,
            Some(head) => self.reached(head).await,
            None => heard.elapsed() <= self.staleness,
        }
    }

    /// Before the table was read once, nothing can be told.
    async fn first(&self) -> bool {
        let mut heard = self.heard.subscribe();
        let read = tokio::time::timeout(self.patience, heard.wait_for(Option::is_some)).await.is_ok();
        read && match self.plane.head() {
            Some(head) => self.reached(head).await,
            None => true,
        }
    }

    async fn reached(&self, head: EventSeq) -> bool {
        let mut moved = self.moved.subscribe();
        tokio::time::timeout(self.patience, moved.wait_for(|version| *version >= head.0)).await.is_ok()
    }

    pub fn find(&self, name: &VmName) -> Option<Arc<Route>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).find(name)
    }

    pub fn get(&self, id: VmId) -> Option<Arc<Route>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(id)
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn reach(&self, seq: EventSeq) {
        self.version.store(seq.0, Ordering::Release);
        self.moved.send_replace(seq.0);
        self.heard.send_replace(Some(Instant::now()));
    }

    /// Follows the service for ever.
    pub async fn follow(self: Arc<Self>) {
        loop {
            if let Err(error) = self.read().await {
                tracing::warn!(error = %error.chain(), "the routes cannot be read; trying again");
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Looks at every VM, then at what happens; returns where it has to look at all of them again.
    async fn read(&self) -> Result<()> {
        let mut place = self.plane.last_event(&self.caller).await?;
        self.look().await?;
        self.reach(place);
        loop {
            let page = match self.plane.events(&self.caller, place, PAGE, WAIT).await {
                Ok(page) => page,
                Err(error) if error.reason() == Some("events_pruned") => return Ok(()),
                Err(error) if error.kind().is_transient() => {
                    tokio::time::sleep(REST).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let changed: HashSet<VmId> = page.events.iter().map(|event| event.vm).collect();
            for id in changed {
                match self.plane.vm(&self.caller, &VmRef::Id(id)).await {
                    Ok(vm) => self.change(|table| table.put(vm)),
                    Err(error) if error.kind() == ErrorKind::NotFound => self.change(|table| table.remove(id)),
                    Err(error) => return Err(error),
                }
            }
            place = page.next;
            self.reach(place);
        }
    }

    async fn look(&self) -> Result<()> {
        let mut cursor = None;
        let mut seen = HashSet::new();
        loop {
            let query = v1::ListVms { limit: Some(200), cursor, deleted: None };
            let page = self.plane.vms(&self.caller, &query).await?;
            seen.extend(page.vms.iter().map(|vm| vm.id));
            self.change(|table| page.vms.into_iter().for_each(|vm| table.put(vm)));
            cursor = page.next;
            if cursor.is_none() {
                self.change(|table| table.keep(&seen));
                return Ok(());
            }
        }
    }
}
