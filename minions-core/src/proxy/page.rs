//! What people read: plain pages without anything from elsewhere.

use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::upstream::Outbound;

/// Nothing is loaded, nothing runs, forms go home.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A page with a title and what to do, as HTML where that is asked for, else as a line of text.
pub(super) fn tell(status: u16, title: &str, text: &str, html: bool) -> Response<Outbound> {
    let body = match html {
        true => document(title, &format!("<p>{}</p>", escape(text))),
        false => format!("{title}: {text}\n"),
    };
    answer(status, body, html)
}

/// An answer of the proxy's own.
pub(super) fn answer(status: u16, body: String, html: bool) -> Response<Outbound> {
    let mut response = Response::new(Outbound::page(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    plain(headers);
    response
}

fn plain(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("same-origin"));
}

/// A form on this page may lead there too.
pub(super) fn may_lead(headers: &mut HeaderMap, to: &str) {
    let policy = POLICY.replace("form-action 'self'", &format!("form-action 'self' {to}"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}

/// A whole page around what is HTML already.
pub(super) fn document(title: &str, inner: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:16px/1.5 sans-serif;max-width:40em;margin:4em auto;padding:0 1em}}\
         input{{font:inherit;width:100%;box-sizing:border-box;margin:.5em 0}}button{{font:inherit}}</style>\
         <h1>{title}</h1>{inner}\n"
    )
}

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}
