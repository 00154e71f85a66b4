//! VMs.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::answer::{self, Answer};
use super::auth::Who;
use super::operation;
use super::request::{Json, Key, Params, VmPath, WaitQuery, limit};
use crate::api::v1;
use crate::error::Error;
use crate::http::wire;
use crate::service::VmAction;

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    Key(key): Key,
    Params(query): Params<WaitQuery>,
    Json(request): Json<v1::CreateVm>,
) -> Answer {
    let wait = query.duration()?;
    // The work is the service's, not this connection's: a client that hangs up changes nothing.
    operation::detached(app, caller, wait, move |plane, caller| async move {
        plane.create(&caller, &request, key.as_ref()).await
    })
    .await
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    Params(mut query): Params<v1::ListVms>,
) -> Answer {
    query.limit = Some(limit(query.limit, 100)?);
    Ok(answer::json(&app.plane.vms(&caller, &query).await?))
}

pub(super) async fn show(State(app): State<Arc<App>>, Who(caller): Who, VmPath(vm): VmPath) -> Answer {
    Ok(answer::json(&app.plane.vm(&caller, &vm).await?))
}

macro_rules! action {
    ($name:ident, $request:ty, $action:ident) => {
        pub(super) async fn $name(
            State(app): State<Arc<App>>,
            Who(caller): Who,
            VmPath(vm): VmPath,
            Key(key): Key,
            Params(query): Params<WaitQuery>,
            Json(request): Json<$request>,
        ) -> Answer {
            let wait = query.duration()?;
            operation::detached(app, caller, wait, move |plane, caller| async move {
                plane.act(&caller, &vm, &VmAction::$action(request), key.as_ref()).await
            })
            .await
        }
    };
}

action!(start, v1::StartVm, Start);
action!(stop, v1::StopVm, Stop);
action!(restart, v1::RestartVm, Restart);
action!(destroy, v1::DestroyVm, Destroy);
action!(rename, v1::RenameVm, Rename);
action!(resize, v1::ResizeVm, Resize);
action!(expose, v1::ExposeVm, Expose);
action!(share, v1::ShareVm, Share);
action!(rebase, v1::RebaseVm, Rebase);
action!(delete_disk, v1::DeleteDisk, DeleteDisk);

pub(super) async fn disks(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    Params(mut query): Params<v1::ListDisks>,
) -> Answer {
    query.limit = Some(limit(query.limit, 100)?);
    Ok(answer::json(&app.plane.disks(&caller, &query).await?))
}

/// How much of a log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    max: Option<usize>,
}

/// The end of the guest's serial log, as the guest wrote it: bytes, never a page for a browser to show.
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    VmPath(vm): VmPath,
    Params(query): Params<LogQuery>,
) -> Answer {
    let max = query.max.unwrap_or(64 << 10);
    if max == 0 || max > wire::MAX_LOG {
        return Err(Error::invalid("max", format!("a log has 1 to {} bytes", wire::MAX_LOG)).into());
    }
    let log = app.plane.console_log(&caller, &vm, max).await?;
    let mut response = Response::new(Body::from(log));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
