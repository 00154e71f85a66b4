//! One request, from its head to its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, HeaderMap, HeaderValue, LOCATION, UPGRADE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use super::accept::Connection;
use super::caps::Permit;
use super::check::{self, Refusal};
use super::route::Route;
use super::site::{self, Site};
use super::upstream::{Inbound, Outbound, dial};
use super::{headers, login, page, tunnel, who};
use crate::error::{Error, ErrorKind};
use crate::service::Caller;
use crate::types::{VmName, VmState};

type Answer = Response<Outbound>;

/// How long a connection whose answer has ended may take until it is free.
const SETTLE: Duration = Duration::from_millis(20);

/// Over plain HTTP there is only the way to HTTPS.
pub(super) fn http(connection: Connection, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, _) = request.into_parts();
    let named = parts.headers.get_all(hyper::header::HOST).iter().collect::<Vec<_>>();
    let host = match named.as_slice() {
        [one] => one.to_str().ok().and_then(site::host),
        _ => None,
    };
    let Some(host) = host else { return Ok(page::tell(400, "Bad request", "a request has one Host header", false)) };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(elsewhere(308, &format!("{}{path}", connection.app.names.origin(&host))))
}

/// Sends a client to another place.
pub(super) fn elsewhere(status: u16, to: &str) -> Answer {
    let mut answer = page::answer(status, String::new(), false);
    match HeaderValue::from_str(to) {
        Ok(to) => answer.headers_mut().insert(LOCATION, to),
        Err(_) => return page::tell(400, "Bad request", "there is no way to this place", false),
    };
    answer
}

pub(super) async fn https(connection: Connection, request: Request<Incoming>) -> Result<Answer, Infallible> {
    connection.asked.fetch_add(1, Ordering::Relaxed);
    let app = connection.app.clone();
    let began = app.env.clock.monotonic();
    let (parts, body) = request.into_parts();
    let (method, version, client) = (parts.method.clone(), parts.version, connection.client);
    let html = wants_html(&parts.method, &parts.headers);
    let decided = check::request(&parts, &connection.sni);
    let close = decided.is_err() && version != Version::HTTP_2;
    let host = decided.clone().unwrap_or_default();
    let mut answer = match decided {
        Ok(host) => decide(connection, host, Request::from_parts(parts, body)).await,
        Err(Refusal { status, why }) => page::tell(status, "Refused", why, html),
    };
    if close {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let took = app.env.clock.monotonic().saturating_sub(began);
    let status = answer.status().as_u16();
    tracing::info!(target: "access", %client, host, %method, ?version, status, micros = took.as_micros() as u64);
    Ok(answer)
}

/// Whether a person reads the answer.
fn wants_html(method: &Method, headers: &HeaderMap) -> bool {
    let html = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
    matches!(*method, Method::GET | Method::HEAD) && headers.get_all(ACCEPT).iter().any(html)
}

async fn decide(connection: Connection, host: String, request: Request<Incoming>) -> Answer {
    let app = &connection.app;
    let html = wants_html(request.method(), request.headers());
    match app.names.site(&host) {
        Site::Unknown => page::tell(404, "Nothing here", "there is no such name here", html),
        Site::Control => login::control(&connection, request).await,
        Site::Vm(name) => {
            if !app.routes.settle().await {
                let text = "the service does not say what is where; try again in a moment";
                return page::tell(503, "Not now", text, html);
            }
            vm(connection, host, name, request).await
        }
    }
}

async fn vm(connection: Connection, host: String, name: VmName, mut request: Request<Incoming>) -> Answer {
    let app = connection.app.clone();
    let html = wants_html(request.method(), request.headers());
    if request.uri().path().starts_with(login::OURS) {
        return login::at_vm(&app, &host, &request);
    }
    let token = who::take_token(request.headers_mut());
    let Some(route) = app.routes.find(&name) else {
        let text = format!("there is no VM {name}; make one: minions create {name}");
        return page::tell(404, "No such VM", &text, html);
    };
    // Whom nobody needs to know is not asked for.
    let visitor = match (route.access.public, &token) {
        (true, _) => Ok(None),
        (false, Some(_)) => app.visitor(token.as_ref()).await,
        (false, None) => app.logged_in(request.headers(), &host).await,
    };
    let visitor = match visitor {
        Ok(visitor) => visitor,
        Err(error) => return failed(&error, &name, html),
    };
    if !route.admits(visitor.as_ref()) {
        if visitor.is_none() && token.is_none() && html {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            return login::begin(&app, &host, path);
        }
        return private(&name, visitor.as_ref(), html);
    }
    if let Some(answer) = asleep(&route, html) {
        return answer;
    }
    let Some(permit) = Permit::of(&route.load, app.settings.max_per_vm) else {
        return page::tell(
            503,
            "Busy",
            "this VM has as many requests under way as it may; try again in a moment",
            html,
        );
    };
    forward(connection, host, route, visitor, permit, request).await
}

fn private(name: &VmName, visitor: Option<&Caller>, html: bool) -> Answer {
    if visitor.is_some() {
        let text = format!("{name} is not shared with you; ask its owner: minions share {name} USER");
        return page::tell(403, "Not yours", &text, html);
    }
    let text =
        format!("send a token in the header x-minions-token; its owner makes it public: minions share {name} public");
    let mut answer = page::tell(401, "Private", &text, html);
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// What is told where a VM does not run.
fn asleep(route: &Route, html: bool) -> Option<Answer> {
    let name = &route.name;
    if !route.wanted {
        let text = format!("{name} is stopped; start it: minions start {name}");
        return Some(page::tell(503, "Stopped", &text, html));
    }
    let (title, text) = match route.state {
        VmState::Failed => ("Failed", format!("{name} could not be kept running; see why: minions inspect {name}")),
        VmState::Pending | VmState::Creating | VmState::Starting => {
            ("Starting", format!("{name} is on its way up; try again in a moment"))
        }
        _ => return None,
    };
    let mut answer = page::tell(503, title, &text, html);
    if title == "Starting" {
        answer.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    Some(answer)
}

fn failed(error: &Error, name: &VmName, html: bool) -> Answer {
    tracing::debug!(%name, error = %error.chain(), "a VM could not be reached");
    match (error.kind(), error.reason()) {
        (ErrorKind::NotFound, _) => page::tell(404, "No such VM", "it is no longer there", html),
        (_, Some("not_running")) => {
            page::tell(503, "Stopped", &format!("{name} is stopped; start it: minions start {name}"), html)
        }
        (ErrorKind::DeadlineExceeded, _) => {
            page::tell(504, "No answer", &format!("{name} did not answer in time"), html)
        }
        _ => {
            let text = format!(
                "nothing in {name} answers; see that its server listens, and on which port: minions expose {name} --port PORT"
            );
            page::tell(502, "No answer", &text, html)
        }
    }
}

async fn forward(
    connection: Connection,
    host: String,
    route: Arc<Route>,
    visitor: Option<Caller>,
    permit: Permit,
    mut request: Request<Incoming>,
) -> Answer {
    let app = connection.app.clone();
    let html = wants_html(request.method(), request.headers());
    let on_client = hyper::upgrade::on(&mut request);
    let (mut parts, body) = request.into_parts();
    let upgrade = check::upgrade(&parts);
    headers::inward(&mut parts.headers, &host, connection.client, upgrade.as_ref());
    parts.version = Version::HTTP_11;
    parts.uri = origin_form(&parts.uri);
    parts.extensions.clear();
    let mut request = Request::from_parts(parts, Inbound::new(body, app.settings.body_idle));
    let mut pooled = upgrade.is_none();
    let (mut answer, line) = loop {
        let free = if pooled { app.pool.take(&route) } else { None };
        let reused = free.is_some();
        let mut line = match free {
            Some(mut line) => match tokio::time::timeout(SETTLE, line.ready()).await {
                Ok(Ok(())) => line,
                // The VM has closed it; the next may be open.
                Ok(Err(_)) => continue,
                // A VM that answers before it has read, and then does not read: the others may stand as still.
                Err(_) => {
                    pooled = false;
                    continue;
                }
            },
            None => match dial(&app.plane, visitor.as_ref(), &route, app.settings.connect).await {
                Ok(line) => line,
                Err(error) => return failed(&error, &route.name, html),
            },
        };
        let sending = tokio::time::timeout(app.settings.first_byte, line.try_send_request(request)).await;
        match sending {
            Ok(Ok(answer)) => break (answer, line),
            Ok(Err(mut error)) => match error.take_message() {
                // Nothing of it was sent: the VM had closed a connection that was free.
                Some(unsent) if reused => (request, pooled) = (unsent, false),
                _ => {
                    let error = Error::new(ErrorKind::Unavailable, "no answer").with_source(error.into_error());
                    return failed(&error, &route.name, html);
                }
            },
            Err(_) => {
                let late = Error::new(ErrorKind::DeadlineExceeded, "no answer in time");
                return failed(&late, &route.name, html);
            }
        }
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(upgrade) = upgrade.filter(|asked| agrees(&answer, asked)) else {
            return page::tell(502, "Bad answer", "the VM switched to what nobody had asked for", html);
        };
        let on_vm = hyper::upgrade::on(&mut answer);
        let (routes, id, whose) = (app.routes.clone(), route.id, visitor);
        let may = move || {
            let now = routes.get(id);
            now.is_some_and(|now| now.epoch == route.epoch && now.wanted && now.admits(whose.as_ref()))
        };
        let idle = app.settings.tunnel_idle;
        connection.opened.set();
        tokio::spawn(tunnel::carry(on_client, on_vm, idle, may, (connection.held, permit)));
        let (mut parts, _) = answer.into_parts();
        headers::outward(&mut parts.headers, &host);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, upgrade);
        return Response::from_parts(parts, Outbound::Page(None));
    }
    let (mut parts, body) = answer.into_parts();
    headers::outward(&mut parts.headers, &host);
    parts.version = Version::HTTP_11;
    let place = app.pool.place(&route);
    let body = Outbound::vm(body, app.settings.tunnel_idle, line, place, permit);
    Response::from_parts(parts, body)
}

/// Whether a VM switches to what it was asked for.
fn agrees(answer: &Response<Incoming>, asked: &HeaderValue) -> bool {
    let mut told = answer.headers().get_all(UPGRADE).iter();
    told.next().is_some_and(|told| told.as_bytes().eq_ignore_ascii_case(asked.as_bytes())) && told.next().is_none()
}

fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}
