//! The one table of routes. The router, the OpenAPI document and the authorisation test read it, so that they cannot
//! differ.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};

use super::answer::{self, Failure};
use super::listener::Door;
use super::{App, account, auth, docs, event, host, image, metrics, open, operation, probe, vm};
use crate::api::v1::Problem;
use crate::error::{Error, ErrorKind};

/// Who may call a route at all. What they then see is the service's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone who reaches the socket: it holds nothing that is not in the source code.
    Public,
    /// Authenticated callers.
    Caller,
    /// Authenticated callers on the local socket; anyone on the private one.
    Probe,
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Its method.
    pub method: &'static str,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Whether it changes anything: it then takes an idempotency key, and `wait`.
    pub mutates: bool,
    /// The schema of its body.
    pub body: Option<&'static str>,
    /// The schema of its answer.
    pub answer: Option<&'static str>,
    /// The parameters of its query, each with what it means.
    pub query: &'static [(&'static str, &'static str)],
    /// What it does.
    pub summary: &'static str,
}

const WAIT: (&str, &str) = ("wait", "wait up to this long for the end, such as 30s; at most 60s");
const LIMIT: (&str, &str) = ("limit", "at most this many, 1 to 200");

const fn read(path: &'static str, answer: &'static str, summary: &'static str) -> RouteInfo {
    let answer = Some(answer);
    RouteInfo { method: "GET", path, access: Access::Caller, mutates: false, body: None, answer, query: &[], summary }
}

const fn act(path: &'static str, body: &'static str, summary: &'static str) -> RouteInfo {
    let (body, answer) = (Some(body), Some("Operation"));
    RouteInfo { method: "POST", path, access: Access::Caller, mutates: true, body, answer, query: &[WAIT], summary }
}

/// A change that is done when it is answered.
const fn admit(
    method: &'static str,
    path: &'static str,
    body: &'static str,
    answer: &'static str,
    summary: &'static str,
) -> RouteInfo {
    RouteInfo { method, query: &[], answer: Some(answer), ..act(path, body, summary) }
}

type Handler = MethodRouter<Arc<App>>;

/// Each route with its handler.
fn table() -> Vec<(RouteInfo, Handler)> {
    let public = |info| RouteInfo { access: Access::Public, ..info };
    let probe = |path, summary| RouteInfo { access: Access::Probe, answer: None, ..read(path, "", summary) };
    vec![
        (act("/v1/vms", "CreateVm", "Create a VM and start it"), post(vm::create)),
        (
            RouteInfo {
                query: &[LIMIT, ("cursor", "the cursor of the page before"), ("deleted", "true for tombstones too")],
                ..read("/v1/vms", "VmPage", "List VMs")
            },
            get(vm::list),
        ),
        (read("/v1/vms/{vm}", "Vm", "Show a VM, by name or id"), get(vm::show)),
        (
            RouteInfo { method: "DELETE", ..act("/v1/vms/{vm}", "DestroyVm", "Destroy a VM and its disks") },
            delete(vm::destroy),
        ),
        (act("/v1/vms/{vm}/start", "StartVm", "Start a VM"), post(vm::start)),
        (act("/v1/vms/{vm}/stop", "StopVm", "Stop a VM; its disks are kept"), post(vm::stop)),
        (act("/v1/vms/{vm}/restart", "RestartVm", "Stop a VM and start it again"), post(vm::restart)),
        (act("/v1/vms/{vm}/rename", "RenameVm", "Give a VM another name"), post(vm::rename)),
        (act("/v1/vms/{vm}/resize", "ResizeVm", "Give a VM another size, or larger disks"), post(vm::resize)),
        (act("/v1/vms/{vm}/expose", "ExposeVm", "Say which port a VM's web name leads to"), post(vm::expose)),
        (act("/v1/vms/{vm}/share", "ShareVm", "Say who may reach a VM's web name"), post(vm::share)),
        (act("/v1/vms/{vm}/rebase", "RebaseVm", "Give a VM a new root disk; its data disk is kept"), post(vm::rebase)),
        (
            RouteInfo {
                query: &[LIMIT, ("cursor", "the cursor of the page before")],
                ..read("/v1/disks", "DiskPage", "List the data disks that destroyed VMs left")
            },
            get(vm::disks),
        ),
        (
            RouteInfo {
                method: "DELETE",
                ..act("/v1/disks/{vm}", "DeleteDisk", "Delete a data disk that a destroyed VM left")
            },
            delete(vm::delete_disk),
        ),
        (
            RouteInfo {
                answer: None,
                ..read(
                    "/v1/vms/{vm}/open",
                    "",
                    "A call into the guest, as a WebSocket: first the call as JSON text, then frames",
                )
            },
            get(open::open),
        ),
        (
            RouteInfo {
                answer: None,
                query: &[
                    ("port", "the TCP port, 1 to 65535"),
                    ("visitor", "of a front door: whom it lets through; anybody where absent"),
                    ("admin", "of a front door: true where the visitor is an admin"),
                ],
                ..read("/v1/vms/{vm}/visit", "", "A TCP connection into the VM, as a WebSocket: frames")
            },
            get(open::visit),
        ),
        (
            RouteInfo {
                answer: None,
                query: &[("tail", "begin with at most this many bytes from the end of the log, 0 to 1048576")],
                ..read("/v1/vms/{vm}/console", "", "The guest's serial line, as a WebSocket: its bytes, both ways")
            },
            get(open::console),
        ),
        (
            RouteInfo {
                answer: None,
                query: &[("max", "at most this many bytes from the end, 1 to 1048576")],
                ..read("/v1/vms/{vm}/logs", "", "The end of the guest's serial log, raw")
            },
            get(vm::logs),
        ),
        (
            RouteInfo {
                query: &[WAIT],
                ..read("/v1/operations/{id}", "Operation", "Show an operation, or wait for it")
            },
            get(operation::show),
        ),
        (
            RouteInfo {
                query: &[LIMIT, ("after", "the place to begin after, or the word last"), WAIT],
                ..read("/v1/events", "EventPage", "Events, as a page; as a stream with Accept: text/event-stream")
            },
            get(event::list),
        ),
        (read("/v1/images", "ImageList", "List images"), get(image::list)),
        (
            RouteInfo {
                answer: Some("Image"),
                query: &[],
                ..act("/v1/images", "ImportImage", "Take in an image whose files lie on the host; admins only")
            },
            post(image::import),
        ),
        (
            RouteInfo {
                method: "DELETE",
                body: None,
                answer: None,
                query: &[],
                ..act("/v1/images/{id}", "", "Forget an image; admins only")
            },
            delete(image::delete),
        ),
        (read("/v1/whoami", "WhoAmI", "Who asks"), get(account::whoami)),
        (admit("POST", "/v1/users", "AddUser", "User", "Add a user; admins only"), post(account::add)),
        (
            RouteInfo {
                query: &[LIMIT, ("cursor", "the cursor of the page before")],
                ..read("/v1/users", "UserPage", "List users; admins only")
            },
            get(account::list),
        ),
        (read("/v1/users/{user}", "User", "Show a user"), get(account::show)),
        (
            admit("PATCH", "/v1/users/{user}", "UpdateUser", "User", "Change a user; admins only"),
            patch(account::update),
        ),
        (
            RouteInfo {
                body: None,
                answer: None,
                ..admit("DELETE", "/v1/users/{user}", "", "", "Delete a user, with keys and tokens; admins only")
            },
            delete(account::delete),
        ),
        (read("/v1/users/{user}/keys", "KeyList", "List a user's keys"), get(account::keys)),
        (admit("POST", "/v1/users/{user}/keys", "AddKey", "Key", "Add a key to log in with"), post(account::add_key)),
        (
            RouteInfo { answer: None, ..admit("DELETE", "/v1/users/{user}/keys", "DeleteKey", "", "Delete a key") },
            delete(account::delete_key),
        ),
        (read("/v1/users/{user}/tokens", "TokenList", "List a user's tokens"), get(account::tokens)),
        (
            admit("POST", "/v1/users/{user}/tokens", "AddToken", "NewToken", "Make a token; it is told this once"),
            post(account::add_token),
        ),
        (
            RouteInfo {
                body: None,
                answer: None,
                ..admit("DELETE", "/v1/users/{user}/tokens/{token}", "", "", "Take a token back")
            },
            delete(account::delete_token),
        ),
        (
            RouteInfo {
                query: &[LIMIT, ("after", "the place to begin after")],
                ..read("/v1/audit", "AuditPage", "Who did what; admins only")
            },
            get(account::audit),
        ),
        (read("/v1/host", "HostStatus", "What the service runs on"), get(host::show)),
        (read("/v1/version", "VersionInfo", "Which version answers"), get(host::version)),
        (public(RouteInfo { answer: None, ..read("/v1/openapi.json", "", "This document") }), get(docs::document)),
        (public(RouteInfo { answer: None, ..read("/v1/docs", "", "This document, for people") }), get(docs::page)),
        (probe("/healthz", "Whether the service is alive"), get(probe::health)),
        (probe("/readyz", "Whether the service is ready"), get(probe::ready)),
        (probe("/metrics", "Figures, for Prometheus"), get(probe::metrics)),
    ]
}

/// Every route.
#[must_use]
pub fn routes() -> Vec<RouteInfo> {
    table().into_iter().map(|(info, _)| info).collect()
}

/// What is behind a door.
pub(super) fn router(app: Arc<App>, door: Door) -> Router {
    let mut router = Router::new();
    for (info, handler) in table() {
        let behind = match door {
            Door::Local => true,
            Door::Network => info.access != Access::Probe,
            Door::Private => info.access == Access::Probe,
        };
        if !behind {
            continue;
        }
        let open = info.access == Access::Public || door == Door::Private;
        let handler = if open {
            handler
        } else {
            handler.route_layer(middleware::from_fn_with_state(app.clone(), auth::authenticate))
        };
        router = router.route(info.path, handler);
    }
    router
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(middleware::from_fn_with_state(app.clone(), metrics::measure))
        .with_state(app)
}

async fn nowhere(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    Failure(Error::not_found(format!("there is no {path}; see /v1/docs"))).into_response()
}

async fn not_so(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    let error = Error::new(ErrorKind::Unsupported, format!("{path} has no method {method}; see /v1/docs"));
    let problem = Problem { status: StatusCode::METHOD_NOT_ALLOWED.as_u16(), ..Problem::from(&error) };
    answer::problem(&problem)
}
