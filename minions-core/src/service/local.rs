//! The service in process, over one node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::AbortHandle;

use super::authz::{Authz, Right};
use super::caller::Caller;
use super::control_plane::{ControlPlane, IdempotencyKey, VmAction, VmRef};
use super::forget::{self, Retention};
use super::inner::Inner;
use super::intent::{self, Base, Made, Request};
use super::limits::{self, Defaults, Quota};
use super::{convert, follow, push};
use crate::api::guest::GuestCall;
use crate::api::v1;
use crate::env::{CallCx, Env};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::guest::GuestIoBox;
use crate::hypervisor::ConsoleBox;
use crate::node::DynNode;
use crate::store::fleet::DynFleetStore;
use crate::store::people::DynPeople;
use crate::store::{EventQuery, FleetChange, Guard, OperationRow, OperationState, Owner, VmQuery, VmRow, Write};
use crate::types::{EventSeq, Goal, ImageBundle, ImageId, OperationId, StateReason, UserName, VmId, VmSpec};

/// Most bytes from the end of a serial log.
const MAX_LOG: usize = 1 << 20;

/// How the service behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// What an owner may have in all.
    pub quota: Quota,
    /// What a VM gets where nobody says anything.
    pub defaults: Defaults,
    /// One call of the store.
    pub store_limit: Duration,
    /// One call of the node.
    pub node_limit: Duration,
    /// The wait before something that failed is tried again.
    pub retry: Duration,
    /// How often everything that has not settled is said again.
    pub resync: Duration,
    /// How long what has happened is kept.
    pub retention: Retention,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            quota: Quota::default(),
            defaults: Defaults::default(),
            store_limit: Duration::from_secs(10),
            node_limit: Duration::from_secs(30),
            retry: Duration::from_millis(250),
            resync: Duration::from_secs(60),
            retention: Retention::default(),
        }
    }
}

/// The service in process. Dropping it ends its own work at once; what is durable goes on with the next one.
#[derive(Debug)]
pub struct LocalControlPlane {
    inner: Arc<Inner>,
    authz: Authz,
    tasks: [AbortHandle; 3],
}

impl LocalControlPlane {
    /// Begins to push, to follow and to forget.
    #[must_use]
    pub fn start(store: DynFleetStore, node: DynNode, env: Env, config: ServiceConfig) -> Arc<Self> {
        Self::begin(store, None, node, env, config)
    }

    /// The same, for people that the store keeps: whoever shall own something has an account, and may have a quota.
    #[must_use]
    pub fn start_with_people(
        store: DynFleetStore,
        people: DynPeople,
        node: DynNode,
        env: Env,
        config: ServiceConfig,
    ) -> Arc<Self> {
        Self::begin(store, Some(people), node, env, config)
    }

    fn begin(
        store: DynFleetStore,
        people: Option<DynPeople>,
        node: DynNode,
        env: Env,
        config: ServiceConfig,
    ) -> Arc<Self> {
        let inner = Arc::new(Inner::new(store.clone(), people, node, env, config));
        let tasks = [
            tokio::spawn(push::push(inner.clone())).abort_handle(),
            tokio::spawn(follow::follow(inner.clone())).abort_handle(),
            tokio::spawn(forget::forget(inner.clone())).abort_handle(),
        ];
        Arc::new(Self { inner, authz: Authz::new(store), tasks })
    }

    fn cx(&self, op: &'static str) -> CallCx {
        CallCx::new(op, self.inner.config.store_limit)
    }

    /// The operation that a key already stands for, if the request is the same.
    async fn repeated(
        &self,
        caller: &Caller,
        key: Option<&IdempotencyKey>,
        hash: [u8; 32],
    ) -> Result<Option<OperationRow>> {
        let Some(key) = key else { return Ok(None) };
        let cx = self.cx("idempotency");
        match self.inner.store.operation_by_key(&cx, &caller.owner, key.as_str()).await? {
            Some(row) if row.idempotency.as_ref().is_some_and(|(_, known)| *known == hash) => Ok(Some(row)),
            Some(_) => {
                Err(Error::invalid("idempotency-key", "this key was used for another request; choose a new one")
                    .with_reason("idempotency_key_reused"))
            }
            None => Ok(None),
        }
    }

    /// Commits, and wakes the pusher. On a task of its own: once begun it does not depend on the caller.
    async fn commit(&self, change: FleetChange) -> Result<()> {
        let inner = self.inner.clone();
        let work = tokio::spawn(async move {
            let cx = CallCx::new("commit", inner.config.store_limit);
            let committed = inner.store.commit(&cx, &change).await;
            match &committed {
                Ok(seq) => inner.committed(*seq),
                Err(error) if error.effect() == Effect::None => return committed.map(|_| ()),
                Err(_) => inner.doubtful(),
            }
            // The host shall hear of what may have happened now, and not at the next resync.
            inner.push.notify_one();
            committed.map(|_| ())
        });
        work.await.map_err(|error| Error::internal("the commit panicked").with_source(error))?
    }

    fn request<'a>(&self, caller: &'a Caller, key: Option<&IdempotencyKey>, hash: [u8; 32]) -> Request<'a> {
        Request {
            caller,
            operation: self.inner.env.operation_id(),
            now: self.inner.env.clock.wall(),
            idempotency: key.map(|key| (key.as_str().to_owned(), hash)),
        }
    }

    /// A call into a VM that is to run.
    async fn enter(&self, row: &VmRow, call: &GuestCall) -> Result<GuestIoBox> {
        if !matches!(row.goal, Goal::Running { .. }) || row.failure.is_some() {
            return Err(super::admit::Denied::NotRunning.error());
        }
        self.inner.node.open(&CallCx::new("open", self.inner.config.node_limit), row.id, call).await
    }

    /// The tombstone whose data disk a new VM of the caller's takes over: the caller's own, an admin's too.
    async fn origin(&self, caller: &Caller, from: VmId) -> Result<VmRow> {
        let owned = self.authz.vm(&self.cx("origin"), caller, &VmRef::Id(from), Right::Change).await;
        let row = owned.as_ref().map(|owned| owned.row().clone());
        row.ok().filter(|row| row.owner == caller.owner).ok_or_else(|| super::admit::Denied::NoDisk.error())
    }

    /// What a new root disk is made from: the image that was asked for, or the newest of the same tag.
    async fn base(&self, spec: &VmSpec, rebase: &v1::RebaseVm) -> Result<Base> {
        let cx = CallCx::new("rebase", self.inner.config.node_limit);
        let images = self.inner.node.images(&cx).await?;
        let tag = images.iter().find(|image| image.id == spec.image).map(|image| image.name.clone());
        let same = spec.image.to_string();
        let asked = rebase.image.as_deref().or(tag.as_deref()).unwrap_or(&same);
        let image = limits::image(Some(asked), &self.inner.config.defaults, &images)?;
        Ok(Base { image: image.id, root: image.root_size })
    }

    /// For a host that forgot everything: its VMs are given up with the reason `host_lost`. Returns how many.
    ///
    /// # Errors
    /// Those of the store; calling it again goes on where it ended.
    pub async fn declare_host_lost(&self, message: &str) -> Result<usize> {
        let mut lost = 0;
        let mut after = None;
        loop {
            let cx = self.cx("host_lost");
            let query = VmQuery { after, limit: 200, ..VmQuery::default() };
            let rows = self.inner.store.vms(&cx, &query).await?;
            let Some(last) = rows.last() else { return Ok(lost) };
            after = Some(last.id);
            for old in rows.iter().filter(|row| !row.goal.is_absent()) {
                self.lose(&cx, old.id, message).await?;
                lost += 1;
            }
        }
    }

    async fn lose(&self, cx: &CallCx, vm: VmId, message: &str) -> Result<()> {
        let Some(old) = self.inner.store.vm(cx, vm).await? else { return Ok(()) };
        let now = self.inner.env.clock.wall();
        let reason = StateReason::new("host_lost", message);
        let mut row = old.clone();
        row.settled = row.generation;
        row.failure = Some(reason.clone());
        row.updated = now;
        let mut writes = vec![Write::UpdateVm(row.clone())];
        let mut events = Vec::new();
        for operation in self.inner.store.pending_operations(cx, vm).await? {
            let state = OperationState::Failed { kind: ErrorKind::Unavailable, reason: reason.clone() };
            let operation = OperationRow { state, ended: Some(now), ..operation };
            events.push(intent::event(&row, now, intent::ended_event(&operation)));
            writes.push(Write::UpdateOperation(operation));
        }
        let guards = vec![Guard::Unchanged { vm, generation: old.generation, settled: old.settled }];
        self.commit(FleetChange { guards, writes, events, ..FleetChange::default() }).await
    }
}

/// Whose a new VM shall be.
fn owner_of(caller: &Caller, request: &v1::CreateVm) -> Result<Owner> {
    if caller.role == super::Role::Edge {
        Authz::admin(caller)?;
    }
    Authz::full(caller)?;
    let Some(owner) = &request.owner else { return Ok(caller.owner.clone()) };
    if *owner != caller.owner.0 {
        Authz::admin(caller)?;
    }
    Ok(Owner(owner.parse::<UserName>()?.to_string()))
}

/// How much of a list, and from where on.
fn page(limit: Option<u32>, cursor: Option<&str>, refusal: &'static str) -> Result<(usize, Option<VmId>)> {
    let limit = usize::try_from(limit.unwrap_or(100)).unwrap_or(usize::MAX);
    if !(1..=200).contains(&limit) {
        return Err(Error::invalid("limit", refusal));
    }
    let after = cursor.map(str::parse::<VmId>).transpose();
    Ok((limit, after.map_err(|_| Error::invalid("cursor", "not a cursor that a page before gave"))?))
}

impl Drop for LocalControlPlane {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[async_trait]
impl ControlPlane for LocalControlPlane {
    async fn create(
        &self,
        caller: &Caller,
        request: &v1::CreateVm,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        let hash = intent::fingerprint(crate::types::OperationVerb::Create, None, request)?;
        if let Some(row) = self.repeated(caller, key, hash).await? {
            return Ok(convert::operation(&row));
        }
        let node_cx = CallCx::new("create", self.inner.config.node_limit);
        let images = self.inner.node.images(&node_cx).await?;
        let image = limits::image(request.image.as_deref(), &self.inner.config.defaults, &images)?;
        let host = self.inner.able(&node_cx).await?;
        let mut spec = limits::spec(request, image, &self.inner.config.defaults, host)?;
        let origin = match request.data_from {
            Some(from) => {
                let row = self.origin(caller, from).await?;
                limits::take_over(request, &row, &mut spec)?;
                Some(row)
            }
            None => None,
        };
        let made = Made { owner: owner_of(caller, request)?, spec, access: limits::access(request)?, origin };
        if made.owner != caller.owner {
            self.inner.account(&made.owner).await?;
        }
        let context = self.request(caller, key, hash);
        let (id, quota) = (self.inner.env.vm_id(), self.inner.quota(&made.owner).await?);
        let (change, operation) = intent::create(&context, id, request.name.name(), made, &quota);
        match self.commit(change).await {
            Ok(()) => Ok(convert::operation(&operation)),
            // The same key came twice at the same time, and the other one won: the key, or the name.
            Err(error) => match self.repeated(caller, key, hash).await? {
                Some(row) => Ok(convert::operation(&row)),
                None => Err(error),
            },
        }
    }

    async fn act(
        &self,
        caller: &Caller,
        vm: &VmRef,
        action: &VmAction,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        loop {
            let cx = self.cx("act");
            let owned = self.authz.vm(&cx, caller, vm, Right::Change).await;
            // By name, a repeated destroy finds nothing any more: its key still finds what it did.
            let hash = intent::fingerprint(intent::verb(action), None, &(vm.to_string(), action))?;
            if let Some(row) = self.repeated(caller, key, hash).await? {
                return Ok(convert::operation(&row));
            }
            let owned = match owned {
                Ok(owned) => owned,
                Err(error) => {
                    self.inner.refused(caller, intent::verb(action).as_str(), vm.to_string(), &error).await;
                    return Err(error);
                }
            };
            if let VmAction::Resize(resize) = action {
                let host = self.inner.able(&CallCx::new("resize", self.inner.config.node_limit)).await?;
                let spec = &owned.row().spec;
                limits::size(resize.cpus.unwrap_or(spec.vcpus), resize.memory.unwrap_or(spec.memory), host)?;
                limits::disks(resize, spec, host)?;
            }
            let base = match action {
                VmAction::Rebase(rebase) => Some(self.base(&owned.row().spec, rebase).await?),
                _ => None,
            };
            if let VmAction::Stop(stop) = action {
                limits::grace(stop)?;
            }
            let context = self.request(caller, key, hash);
            let (change, operation) = intent::change(
                &context,
                owned.row(),
                action,
                self.inner.met(owned.row()),
                base,
                &self.inner.quota(&owned.row().owner).await?,
            )?;
            match self.commit(change).await {
                Ok(()) => return Ok(convert::operation(&operation)),
                Err(error) if error.reason() == Some("changed_meanwhile") => {}
                Err(error) if error.reason() == Some("idempotency_key") => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn vm(&self, caller: &Caller, vm: &VmRef) -> Result<v1::Vm> {
        let owned = self.authz.vm(&self.cx("vm"), caller, vm, Right::See).await?;
        Ok(self.inner.shown(owned.row()))
    }

    async fn vms(&self, caller: &Caller, query: &v1::ListVms) -> Result<v1::VmPage> {
        let (limit, after) = page(query.limit, query.cursor.as_deref(), "a page has 1 to 200 VMs")?;
        let owner = (caller.role == super::Role::Tenant).then(|| caller.owner.clone());
        let deleted = query.deleted.unwrap_or(false);
        let query = VmQuery { owner, after, deleted, limit: limit + 1, ..VmQuery::default() };
        let mut rows = self.inner.store.vms(&self.cx("vms"), &query).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        let vms = rows.iter().map(|row| self.inner.shown(row)).collect();
        Ok(v1::VmPage { vms, next })
    }

    async fn disks(&self, caller: &Caller, query: &v1::ListDisks) -> Result<v1::DiskPage> {
        let (limit, after) = page(query.limit, query.cursor.as_deref(), "a page has 1 to 200 disks")?;
        let owner = (caller.role == super::Role::Tenant).then(|| caller.owner.clone());
        let query = VmQuery { owner, after, kept: true, limit: limit + 1, ..VmQuery::default() };
        let mut rows = self.inner.store.vms(&self.cx("disks"), &query).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        Ok(v1::DiskPage { disks: rows.iter().map(convert::disk).collect(), next })
    }

    async fn operation(&self, caller: &Caller, id: OperationId, wait: Duration) -> Result<v1::Operation> {
        let until = tokio::time::Instant::now() + wait;
        let waiter = self.inner.waiters.register(id);
        loop {
            let ended = waiter.notify().notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let row = self.authz.operation(&self.cx("operation"), caller, id).await?;
            if row.state != OperationState::Pending || tokio::time::timeout_at(until, ended).await.is_err() {
                return Ok(convert::operation(&row));
            }
        }
    }

    async fn events(&self, caller: &Caller, after: EventSeq, limit: usize, wait: Duration) -> Result<v1::EventPage> {
        let until = tokio::time::Instant::now() + wait;
        let limit = limit.clamp(1, 1_000);
        let of = (caller.role == super::Role::Tenant).then(|| caller.owner.clone());
        let mut place = after;
        let mut latest = self.inner.latest.subscribe();
        loop {
            // What was there before the page was read is in it: a reader goes on behind everybody else's events too, and
            // does not hear one day that some were forgotten which were not theirs.
            let mut seen = *latest.borrow_and_update();
            if of.is_some() && seen == EventSeq(0) {
                seen = self.inner.store.last_event(&self.cx("events")).await?;
            }
            let page = self
                .inner
                .store
                .events(&self.cx("events"), &EventQuery { of: of.clone(), after: place, limit })
                .await?;
            place = page.last().map_or(place, |last| last.seq);
            if of.is_some() && page.len() < limit {
                place = place.max(seen);
            }
            if !page.is_empty() || tokio::time::timeout_at(until, latest.changed()).await.is_err() {
                return Ok(v1::EventPage { events: page.iter().map(convert::event).collect(), next: place });
            }
        }
    }

    async fn last_event(&self, _caller: &Caller) -> Result<EventSeq> {
        self.inner.store.last_event(&self.cx("last_event")).await
    }

    async fn open(&self, caller: &Caller, vm: &VmRef, call: &GuestCall) -> Result<GuestIoBox> {
        let owned = self.authz.vm(&self.cx("open"), caller, vm, Right::Enter).await?;
        call.check()?;
        if !call.for_tenant() {
            return Err(Error::new(ErrorKind::Denied, "this call is the host's alone").with_reason("forbidden"));
        }
        self.enter(owned.row(), call).await
    }

    async fn visit(&self, visitor: Option<&Caller>, vm: VmId, port: u16) -> Result<GuestIoBox> {
        let visited = self.authz.visited(&self.cx("visit"), visitor, vm).await?;
        let call = GuestCall::Forward { port };
        call.check()?;
        self.enter(visited.row(), &call).await
    }

    fn head(&self) -> Option<EventSeq> {
        Some(*self.inner.latest.borrow())
    }

    async fn console_log(&self, caller: &Caller, vm: &VmRef, max: usize) -> Result<Vec<u8>> {
        let owned = self.authz.vm(&self.cx("console_log"), caller, vm, Right::Enter).await?;
        let cx = CallCx::new("console_log", self.inner.config.node_limit);
        self.inner.node.console_log(&cx, owned.row().id, max.min(MAX_LOG)).await
    }

    async fn console(&self, caller: &Caller, vm: &VmRef, tail: usize) -> Result<ConsoleBox> {
        let owned = self.authz.vm(&self.cx("console"), caller, vm, Right::Enter).await?;
        let row = owned.row();
        if !matches!(row.goal, Goal::Running { .. }) || row.failure.is_some() {
            let message = format!("the VM is not running; start it: minions start {}", row.name);
            return Err(Error::new(ErrorKind::Denied, message).with_reason("not_running"));
        }
        let cx = CallCx::new("console", self.inner.config.node_limit);
        self.inner.node.console(&cx, row.id, tail.min(MAX_LOG)).await
    }

    async fn images(&self, _caller: &Caller) -> Result<v1::ImageList> {
        let cx = CallCx::new("images", self.inner.config.node_limit);
        let mut images = self.inner.node.images(&cx).await?;
        images.sort_by(|a, b| (&a.name, b.created, a.id).cmp(&(&b.name, a.created, b.id)));
        Ok(v1::ImageList { images: images.iter().map(v1::Image::from).collect() })
    }

    async fn import_image(&self, caller: &Caller, bundle: &ImageBundle) -> Result<v1::Image> {
        Authz::admin(caller)?;
        // Copying an image takes as long as it takes; only its own deadline bounds it.
        let cx = CallCx::new("import_image", Duration::from_secs(1_800));
        self.inner.node.ensure_image(&cx, bundle).await?;
        let images = self.inner.node.images(&cx).await?;
        let found = images.iter().find(|image| image.id == bundle.id);
        found.map(v1::Image::from).ok_or_else(|| Error::internal("an imported image is not listed"))
    }

    async fn delete_image(&self, caller: &Caller, id: ImageId) -> Result<()> {
        Authz::admin(caller)?;
        let cx = CallCx::new("delete_image", self.inner.config.node_limit);
        self.inner.node.ensure_image_absent(&cx, id).await
    }

    async fn host(&self, _caller: &Caller) -> Result<v1::HostStatus> {
        let info = self.inner.node.info(&CallCx::new("host", self.inner.config.node_limit)).await?;
        Ok(convert::host(&info))
    }
}
