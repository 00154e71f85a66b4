//! Logging in: at the control pages, and from there at each VM's own name.
//!
//! ```text
//! https://VM/path  → https://CONTROL/login?host=VM&path=/path → (token, or a link) → https://VM/.minions/auth?code=…&path=/path
//! ```
//!
//! A VM's name has a session of its own, which no other VM's server is ever sent; `/.minions/` is all that the proxy takes of a
//! VM's paths.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{COOKIE, HeaderMap, HeaderValue, ORIGIN, SET_COOKIE};
use hyper::{Method, Request, Response};

use super::accept::Connection;
use super::session::Whose;
use super::site::Site;
use super::upstream::Outbound;
use super::{App, headers, page, serve};
use crate::error::Result;
use crate::service::Caller;
use crate::types::Token;

type Answer = Response<Outbound>;

/// What of a VM's paths is the proxy's.
pub(super) const OURS: &str = "/.minions/";
/// Most bytes of a form.
const MAX_FORM: usize = 4 << 10;

/// The session's cookie, where there is exactly one.
fn cookie(all: &HeaderMap) -> Option<String> {
    let values = all.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = values.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == headers::COOKIE_PREFIX).then(|| value.to_owned())
    });
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

fn set_cookie(answer: &mut Answer, value: &str, lasts: u32) {
    let name = headers::COOKIE_PREFIX;
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={lasts}");
    if let Ok(text) = HeaderValue::from_str(&text) {
        answer.headers_mut().insert(SET_COOKIE, text);
    }
}

/// How long a browser keeps the cookie, in seconds.
const KEPT: u32 = 12 * 3600;

impl App {
    /// Who has logged in at this host, if anybody still may be.
    pub(super) async fn logged_in(&self, headers: &HeaderMap, host: &str) -> Result<Option<Caller>> {
        let Some(whose) = cookie(headers).and_then(|text| self.sessions.whose(&text, host)) else { return Ok(None) };
        self.known(&whose).await
    }

    async fn known(&self, whose: &Whose) -> Result<Option<Caller>> {
        match whose {
            Whose::Token(hash) => self.accounts.by_token(hash).await,
            Whose::Key(print) => self.accounts.by_key(print).await,
        }
    }
}

/// Where somebody goes who wants to see a VM.
pub(super) fn begin(app: &App, host: &str, path: &str) -> Answer {
    let to = format!("{}/login?host={}&path={}", app.names.origin(&app.names.control), quote(host), quote(path));
    serve::elsewhere(303, &to)
}

/// The proxy's own path at a VM's name.
pub(super) fn at_vm(app: &App, host: &str, request: &Request<Incoming>) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/.minions/auth") => {
            let whose = field(query, "code").and_then(|code| app.sessions.redeem(&code, host));
            let Some(whose) = whose else {
                return page::tell(
                    403,
                    "Not logged in",
                    "this way in was used already, or took too long; go back and try again",
                    true,
                );
            };
            let mut answer =
                serve::elsewhere(303, &format!("{}{}", app.names.origin(host), local(field(query, "path"))));
            set_cookie(&mut answer, &app.sessions.begin(whose, host), KEPT);
            answer
        }
        (&Method::POST, "/.minions/logout") => leave(app, request.headers()),
        _ => page::tell(404, "Nothing here", "there is no such page", true),
    }
}

fn leave(app: &App, headers: &HeaderMap) -> Answer {
    if let Some(text) = cookie(headers) {
        app.sessions.end(&text);
    }
    let mut answer = page::tell(200, "Logged out", "you are logged out here", true);
    set_cookie(&mut answer, "", 0);
    answer
}

/// The control pages.
pub(super) async fn control(connection: &Connection, request: Request<Incoming>) -> Answer {
    let app = &connection.app;
    let query = request.uri().query().unwrap_or_default().to_owned();
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/login") => {
            if let Some(link) = field(&query, "link") {
                let Some(whose) = app.sessions.redeem(&link, "") else {
                    return form(app, &query, 403, "This link was used already, or is too old.");
                };
                return match app.known(&whose).await {
                    Ok(Some(_)) => enter(app, whose, &query),
                    Ok(None) => form(app, &query, 403, "This link lets nobody in any more."),
                    Err(_) => page::tell(503, "Not now", "it cannot be told who you are; try again in a moment", true),
                };
            }
            let text = cookie(request.headers());
            let whose = text.and_then(|text| app.sessions.whose(&text, &app.names.control));
            let Some(whose) = whose else { return form(app, &query, 200, "") };
            match app.known(&whose).await {
                Ok(Some(_)) => hand_over(app, whose, &query),
                Ok(None) => form(app, &query, 200, ""),
                Err(_) => page::tell(503, "Not now", "it cannot be told who you are; try again in a moment", true),
            }
        }
        (&Method::POST, "/login") => submitted(app, &query, request).await,
        (&Method::POST, "/logout") => leave(app, request.headers()),
        _ => page::tell(404, "Nothing here", "there is no such page", true),
    }
}

async fn submitted(app: &App, query: &str, request: Request<Incoming>) -> Answer {
    // Nobody else's page logs anybody in here.
    let own = app.names.origin(&app.names.control);
    let origin = request.headers().get(ORIGIN).and_then(|value| value.to_str().ok());
    if origin.is_some_and(|origin| origin != own) {
        return form(app, query, 403, "This form was sent from elsewhere.");
    }
    let limit = app.settings.body_idle;
    let body = tokio::time::timeout(limit, Limited::new(request.into_body(), MAX_FORM).collect()).await;
    let Ok(Ok(body)) = body else { return form(app, query, 400, "The form did not arrive.") };
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    let token: Option<Token> = field(&body, "token").and_then(|token| token.trim().parse().ok());
    let Some(token) = token else { return form(app, query, 403, "That is no token.") };
    match app.accounts.by_token(&token.hash()).await {
        Ok(Some(_)) => enter(app, Whose::Token(token.hash()), query),
        Ok(None) => form(app, query, 403, "That is no token."),
        Err(_) => page::tell(503, "Not now", "it cannot be told who you are; try again in a moment", true),
    }
}

/// A session at the control pages, and on to where they wanted.
fn enter(app: &App, whose: Whose, query: &str) -> Answer {
    let session = app.sessions.begin(whose.clone(), &app.names.control);
    let mut answer = hand_over(app, whose, query);
    set_cookie(&mut answer, &session, KEPT);
    answer
}

fn hand_over(app: &App, whose: Whose, query: &str) -> Answer {
    let host = field(query, "host").and_then(|host| super::site::host(&host));
    // Nowhere but to a VM: a code is worth a session.
    match host.filter(|host| matches!(app.names.site(host), Site::Vm(_))) {
        Some(host) => {
            let path = local(field(query, "path"));
            let code = app.sessions.code(whose, &host);
            serve::elsewhere(303, &format!("{}{OURS}auth?code={code}&path={}", app.names.origin(&host), quote(&path)))
        }
        None => page::tell(200, "Logged in", "you are logged in; open the address of a VM", true),
    }
}

fn form(app: &App, query: &str, status: u16, note: &str) -> Answer {
    let kept = ["host", "path"].map(|name| field(query, name).map(|value| format!("{name}={}", quote(&value))));
    let kept: Vec<String> = kept.into_iter().flatten().collect();
    let inner = format!(
        "<p>{}</p><form method=\"post\" action=\"/login?{}\"><label>Token <input name=\"token\" type=\"password\" \
         autocomplete=\"off\" autofocus required></label><button>Log in</button></form>\
         <p>Make a token: <code>minions token create</code></p>",
        page::escape(note),
        page::escape(&kept.join("&")),
    );
    let mut answer = page::answer(status, page::document("Log in", &inner), true);
    // From the form, a browser is led on to a VM: it looks at every step of that way.
    page::may_lead(answer.headers_mut(), &app.names.origin(&format!("*.{}", app.names.domain)));
    answer
}

/// A path at the same name, whatever was asked for: two slashes would begin another host.
fn local(path: Option<String>) -> String {
    let path = path.unwrap_or_default();
    let odd = path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\');
    match path.starts_with('/') && !path.starts_with("//") && !odd {
        true => path,
        false => "/".to_owned(),
    }
}

/// One field of a query or a form.
fn field(text: &str, name: &str) -> Option<String> {
    let mut found = text.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    let (_, value) = found.next()?;
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok().filter(|hex| !hex.starts_with('+'))?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// A text as a field's value.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_as_it_was_written() {
        for text in ["", "a b", "/x?y=z&a=%20", "\u{e9}+", "//evil"] {
            assert_eq!(field(&format!("x=1&path={}&y=", quote(text)), "path").as_deref(), Some(text));
        }
        for text in ["path=%", "path=%4", "path=%+1", "path=%ff", "other=1", "path"] {
            assert_eq!(field(text, "path"), None, "{text}");
        }
    }

    #[test]
    fn who_has_logged_in_is_led_to_no_other_name() {
        for (path, led) in
            [("/a?b", "/a?b"), ("//evil", "/"), ("https://evil", "/"), ("/\\evil", "/"), ("/a\r\nb", "/")]
        {
            assert_eq!(local(Some(path.to_owned())), led, "{path}");
        }
    }

    #[test]
    fn two_sessions_in_one_head_are_none() {
        let mut all = HeaderMap::new();
        all.append(COOKIE, HeaderValue::from_static("a=1; __Host-minions=x; b=2"));
        assert_eq!(cookie(&all).as_deref(), Some("x"));
        all.append(COOKIE, HeaderValue::from_static("__Host-minions=y"));
        assert_eq!(cookie(&all), None);
    }
}
