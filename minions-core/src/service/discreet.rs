//! What tenants are told of trouble: what kind it is, its reason and what happened, but not where things lie on the host.

use std::time::Duration;

use async_trait::async_trait;

use super::caller::{Caller, Role};
use super::control_plane::{ControlPlane, DynControlPlane, IdempotencyKey, VmAction, VmRef};
use crate::api::guest::GuestCall;
use crate::api::v1;
use crate::error::{Error, Result};
use crate::guest::GuestIoBox;
use crate::hypervisor::ConsoleBox;
use crate::types::{EventSeq, ImageBundle, ImageId, OperationId, VmId};

/// What stands for a path.
const HIDDEN: &str = "…";

/// A control plane in front of another one, that tells admins everything and takes the host's paths out of what tenants
/// hear: errors, reasons of states, outcomes of operations, events. What was taken out is told to the log.
///
/// The HTTP server stands behind one by itself. Whoever shows tenants the errors of a control plane in process puts it
/// into one.
#[derive(Clone, Debug)]
pub struct Discreet(pub DynControlPlane);

/// What holds texts that were made for the operator.
trait Told {
    /// Without the host's paths.
    fn veil(&mut self);
}

fn told<T: Told>(caller: &Caller, result: Result<T>) -> Result<T> {
    if matches!(caller.role, Role::Admin | Role::Edge) {
        return result;
    }
    match result {
        Ok(mut value) => {
            value.veil();
            Ok(value)
        }
        Err(error) => Err(veiled(error)),
    }
}

fn veiled(error: Error) -> Error {
    let chain = error.chain();
    let text = without_paths(&chain);
    if text == chain {
        return error;
    }
    tracing::warn!(op = error.op(), error = %chain, "a tenant is told of this without its paths");
    let mut told = Error::new(error.kind(), text).with_effect(error.effect());
    if let Some(op) = error.op() {
        told = told.with_op(op);
    }
    if let Some(reason) = error.reason() {
        told = told.with_reason(reason);
    }
    match error.field() {
        Some(field) => told.with_field(field.to_owned()),
        None => told,
    }
}

/// A text in which no word has a slash: from where a path begins in a word to the word's end, a sign stands for it. A
/// path with a space in it is as many words, of which each has a slash, but perhaps its last.
fn without_paths(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(without_path).collect()
}

fn without_path(word: &str) -> std::borrow::Cow<'_, str> {
    let Some(slash) = word.find('/') else { return word.into() };
    let opens = |letter: char| "([{<=\"'`:,;|".contains(letter);
    let begin = word[..slash].rfind(opens).map_or(0, |at| at + 1);
    let closes = |letter: char| letter.is_whitespace() || ")]}>\"'`:,;.!?".contains(letter);
    let end = word.trim_end_matches(closes).len().max(slash + 1);
    format!("{}{HIDDEN}{}", &word[..begin], &word[end..]).into()
}

fn veil(text: &mut String) {
    if text.contains('/') {
        *text = without_paths(text);
    }
}

impl Told for v1::Vm {
    fn veil(&mut self) {
        if let Some(reason) = &mut self.reason {
            veil(&mut reason.message);
        }
    }
}

impl Told for v1::VmPage {
    fn veil(&mut self) {
        self.vms.iter_mut().for_each(Told::veil);
    }
}

impl Told for v1::OperationOutcome {
    fn veil(&mut self) {
        if let Self::Failed { error } = self {
            veil(&mut error.message);
        }
    }
}

impl Told for v1::Operation {
    fn veil(&mut self) {
        self.outcome.veil();
    }
}

impl Told for v1::EventPage {
    fn veil(&mut self) {
        for event in &mut self.events {
            match &mut event.body {
                v1::EventBody::Ended { outcome, .. } => outcome.veil(),
                v1::EventBody::State { reason: Some(reason), .. } => veil(&mut reason.message),
                v1::EventBody::State { reason: None, .. } | v1::EventBody::Accepted { .. } | v1::EventBody::Deleted => {
                }
            }
        }
    }
}

/// These hold nothing that a host says of its own trouble.
macro_rules! nothing_to_veil {
    ($($what:ty),*) => { $(impl Told for $what { fn veil(&mut self) {} })* };
}

nothing_to_veil!((), ConsoleBox, EventSeq, GuestIoBox, Vec<u8>, v1::DiskPage, v1::Image, v1::ImageList, v1::HostStatus);

#[async_trait]
impl ControlPlane for Discreet {
    async fn create(
        &self,
        caller: &Caller,
        request: &v1::CreateVm,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        told(caller, self.0.create(caller, request, key).await)
    }

    async fn act(
        &self,
        caller: &Caller,
        vm: &VmRef,
        action: &VmAction,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        told(caller, self.0.act(caller, vm, action, key).await)
    }

    async fn vm(&self, caller: &Caller, vm: &VmRef) -> Result<v1::Vm> {
        told(caller, self.0.vm(caller, vm).await)
    }

    async fn vms(&self, caller: &Caller, query: &v1::ListVms) -> Result<v1::VmPage> {
        told(caller, self.0.vms(caller, query).await)
    }

    async fn disks(&self, caller: &Caller, query: &v1::ListDisks) -> Result<v1::DiskPage> {
        told(caller, self.0.disks(caller, query).await)
    }

    async fn operation(&self, caller: &Caller, id: OperationId, wait: Duration) -> Result<v1::Operation> {
        told(caller, self.0.operation(caller, id, wait).await)
    }

    async fn events(&self, caller: &Caller, after: EventSeq, limit: usize, wait: Duration) -> Result<v1::EventPage> {
        told(caller, self.0.events(caller, after, limit, wait).await)
    }

    async fn last_event(&self, caller: &Caller) -> Result<EventSeq> {
        told(caller, self.0.last_event(caller).await)
    }

    async fn open(&self, caller: &Caller, vm: &VmRef, call: &GuestCall) -> Result<GuestIoBox> {
        told(caller, self.0.open(caller, vm, call).await)
    }

    async fn visit(&self, visitor: Option<&Caller>, vm: VmId, port: u16) -> Result<GuestIoBox> {
        match visitor {
            Some(caller) => told(caller, self.0.visit(visitor, vm, port).await),
            None => self.0.visit(None, vm, port).await.map_err(veiled),
        }
    }

    fn head(&self) -> Option<EventSeq> {
        self.0.head()
    }

    async fn console_log(&self, caller: &Caller, vm: &VmRef, max: usize) -> Result<Vec<u8>> {
        told(caller, self.0.console_log(caller, vm, max).await)
    }

    async fn console(&self, caller: &Caller, vm: &VmRef, tail: usize) -> Result<ConsoleBox> {
        told(caller, self.0.console(caller, vm, tail).await)
    }

    async fn images(&self, caller: &Caller) -> Result<v1::ImageList> {
        told(caller, self.0.images(caller).await)
    }

    async fn import_image(&self, caller: &Caller, bundle: &ImageBundle) -> Result<v1::Image> {
        told(caller, self.0.import_image(caller, bundle).await)
    }

    async fn delete_image(&self, caller: &Caller, id: ImageId) -> Result<()> {
        told(caller, self.0.delete_image(caller, id).await)
    }

    async fn host(&self, caller: &Caller) -> Result<v1::HostStatus> {
        told(caller, self.0.host(caller).await)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::{Effect, ErrorKind};

    const SECRET: &str = "/srv/Secret-Root/vms/vm_1/qmp.sock";

    #[test]
    fn what_is_around_a_path_stays() {
        for (text, want) in [
            ("the kernel is not there: /srv/x/kernel", "the kernel is not there: …"),
            ("cannot read \"/srv/x\": permission denied", "cannot read \"…\": permission denied"),
            ("open(/srv/x, 3) failed", "open(…, 3) failed"),
            ("-drive file=/srv/x,if=none: no", "-drive file=…: no"),
            ("/srv/x", "…"),
            ("in /srv/x.", "in …."),
            ("socket:/srv/x\\n two", "socket:…\\n two"),
            ("no path at all: a - b", "no path at all: a - b"),
            ("", ""),
        ] {
            assert_eq!(without_paths(&text.replace("\\n", "\n")), want.replace("\\n", "\n"));
        }
    }

    /// Every text between quotation marks in the sources of whatever touches the host, with a path in each of its gaps.
    #[test]
    fn no_message_of_any_adapter_keeps_a_path() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut left: Vec<_> =
            ["hypervisor", "storage", "network", "guest", "host", "store", "image", "engine", "node", "layers"]
                .map(|module| source.join(module))
                .to_vec();
        let mut texts = 0;
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let code = std::fs::read_to_string(&path).unwrap();
            for text in code.split('"').skip(1).step_by(2).filter(|text| text.contains('{') && text.contains(' ')) {
                let mut filled = String::new();
                for (index, part) in text.split('{').enumerate() {
                    match part.split_once('}') {
                        Some((_, rest)) if index > 0 => filled.extend([SECRET, rest]),
                        _ => filled.push_str(part),
                    }
                }
                let told = without_paths(&filled);
                assert!(!told.contains("Secret") && !told.contains('/'), "{}: {told}", path.display());
                texts += 1;
            }
        }
        assert!(texts > 100, "{texts} messages were found");
    }

    #[test]
    fn an_error_stays_what_it_is_but_for_its_paths() {
        let error = || {
            let cause = std::io::Error::other(format!("no such file {SECRET}"));
            Error::new(ErrorKind::Unavailable, format!("cannot read {SECRET}"))
                .with_effect(Effect::Unknown)
                .with_op("storage.volume")
                .with_reason("no_space")
                .with_field("disk")
                .with_source(cause)
        };
        let veiled = told::<()>(&Caller::tenant("ada"), Err(error())).unwrap_err();
        assert_eq!(veiled.chain(), "cannot read …: no such file …");
        assert_eq!((veiled.kind(), veiled.effect(), veiled.op()), (error().kind(), error().effect(), error().op()));
        assert_eq!((veiled.reason(), veiled.field()), (error().reason(), error().field()));
        let whole = told::<()>(&Caller::admin("ops"), Err(error())).unwrap_err();
        assert_eq!(whole.chain(), error().chain());
    }
}
