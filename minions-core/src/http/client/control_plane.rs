//! The trait, method by method.

use std::time::Duration;

use async_trait::async_trait;
use hyper::Method;

use super::HttpControlPlane;
use super::request::Call;
use crate::api::guest::GuestCall;
use crate::api::v1;
use crate::error::Result;
use crate::guest::GuestIoBox;
use crate::http::wire;
use crate::service::{Caller, ConsoleBox, ControlPlane, IdempotencyKey, VmAction, VmRef};
use crate::types::{EventSeq, ImageBundle, ImageId, OperationId, VmId};

/// A path with those of its parameters that are there.
pub(super) fn asked(path: &str, pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let pairs: Vec<String> = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[async_trait]
impl ControlPlane for HttpControlPlane {
    async fn create(&self, _: &Caller, request: &v1::CreateVm, key: Option<&IdempotencyKey>) -> Result<v1::Operation> {
        self.exchange(Call::send(Method::POST, "/v1/vms".to_owned(), request, key)?).await
    }

    async fn act(
        &self,
        _: &Caller,
        vm: &VmRef,
        action: &VmAction,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        let post = |verb| format!("/v1/vms/{vm}/{verb}");
        let call = match action {
            VmAction::Start(request) => Call::send(Method::POST, post("start"), request, key),
            VmAction::Stop(request) => Call::send(Method::POST, post("stop"), request, key),
            VmAction::Restart(request) => Call::send(Method::POST, post("restart"), request, key),
            VmAction::Rename(request) => Call::send(Method::POST, post("rename"), request, key),
            VmAction::Expose(request) => Call::send(Method::POST, post("expose"), request, key),
            VmAction::Share(request) => Call::send(Method::POST, post("share"), request, key),
            VmAction::Resize(request) => Call::send(Method::POST, post("resize"), request, key),
            VmAction::Rebase(request) => Call::send(Method::POST, post("rebase"), request, key),
            VmAction::DeleteDisk(request) => Call::send(Method::DELETE, format!("/v1/disks/{vm}"), request, key),
            VmAction::Destroy(request) => Call::send(Method::DELETE, format!("/v1/vms/{vm}"), request, key),
        };
        self.exchange(call?).await
    }

    async fn vm(&self, _: &Caller, vm: &VmRef) -> Result<v1::Vm> {
        self.exchange(Call::get(format!("/v1/vms/{vm}"))).await
    }

    async fn vms(&self, _: &Caller, query: &v1::ListVms) -> Result<v1::VmPage> {
        let path = asked(
            "/v1/vms",
            [
                ("limit", query.limit.map(|limit| limit.to_string())),
                ("cursor", query.cursor.as_deref().map(escape)),
                ("deleted", query.deleted.map(|deleted| deleted.to_string())),
            ],
        );
        self.exchange(Call::get(path)).await
    }

    async fn disks(&self, _: &Caller, query: &v1::ListDisks) -> Result<v1::DiskPage> {
        let limit = query.limit.map(|limit| limit.to_string());
        let path = asked("/v1/disks", [("limit", limit), ("cursor", query.cursor.as_deref().map(escape))]);
        self.exchange(Call::get(path)).await
    }

    async fn operation(&self, _: &Caller, id: OperationId, wait: Duration) -> Result<v1::Operation> {
        let wait = wait.min(wire::MAX_WAIT);
        let path = format!("/v1/operations/{id}?wait={}ms", wait.as_millis());
        self.exchange(Call::get(path).waiting(wait)).await
    }

    async fn events(&self, _: &Caller, after: EventSeq, limit: usize, wait: Duration) -> Result<v1::EventPage> {
        let wait = wait.min(wire::MAX_WAIT);
        let path = format!("/v1/events?after={}&limit={limit}&wait={}ms", after.0, wait.as_millis());
        self.exchange(Call::get(path).waiting(wait)).await
    }

    async fn last_event(&self, _: &Caller) -> Result<EventSeq> {
        let page: v1::EventPage = self.exchange(Call::get("/v1/events?after=last".to_owned())).await?;
        Ok(page.next)
    }

    async fn open(&self, _: &Caller, vm: &VmRef, call: &GuestCall) -> Result<GuestIoBox> {
        self.open_stream(vm, call).await
    }

    async fn visit(&self, visitor: Option<&Caller>, vm: VmId, port: u16) -> Result<GuestIoBox> {
        self.visit_stream(visitor, vm, port).await
    }

    fn head(&self) -> Option<EventSeq> {
        None
    }

    async fn console_log(&self, _: &Caller, vm: &VmRef, max: usize) -> Result<Vec<u8>> {
        let max = max.clamp(1, wire::MAX_LOG);
        Ok(self.fetch(Call::get(format!("/v1/vms/{vm}/logs?max={max}"))).await?.to_vec())
    }

    async fn console(&self, _: &Caller, vm: &VmRef, tail: usize) -> Result<ConsoleBox> {
        self.console_stream(vm, tail).await
    }

    async fn images(&self, _: &Caller) -> Result<v1::ImageList> {
        self.exchange(Call::get("/v1/images".to_owned())).await
    }

    async fn import_image(&self, _: &Caller, bundle: &ImageBundle) -> Result<v1::Image> {
        let call = Call::send(Method::POST, "/v1/images".to_owned(), &v1::ImportImage::from(bundle), None)?;
        // Large files are copied and hashed before the answer.
        self.exchange(call.waiting(Duration::from_secs(600))).await
    }

    async fn delete_image(&self, _: &Caller, id: ImageId) -> Result<()> {
        let path = format!("/v1/images/{id}");
        let call = Call { method: Method::DELETE, path, body: None, key: None, wait: Duration::ZERO };
        self.fetch(call).await.map(drop)
    }

    async fn host(&self, _: &Caller) -> Result<v1::HostStatus> {
        self.exchange(Call::get("/v1/host".to_owned())).await
    }
}

impl HttpControlPlane {
    /// Whom the service takes us for.
    pub async fn whoami(&self) -> Result<v1::WhoAmI> {
        self.exchange(Call::get("/v1/whoami".to_owned())).await
    }

    /// Which version answers.
    pub async fn version(&self) -> Result<v1::VersionInfo> {
        self.exchange(Call::get("/v1/version".to_owned())).await
    }
}

/// A value of a query.
pub(super) fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut to, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push_str(&format!("%{byte:02X}"));
        }
        to
    })
}
