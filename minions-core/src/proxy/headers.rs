//! Headers: what of them crosses the proxy, either way. Decides, and does no I/O.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE,
    TRANSFER_ENCODING, UPGRADE,
};

/// What every cookie of the platform's own begins with. A VM neither sees nor sets one.
pub(super) const COOKIE_PREFIX: &str = "__Host-minions";

/// For one connection only, whoever names them.
const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What only the proxy says of a client.
const OURS: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "via",
];

/// What a VM says that would bind other VMs too, or lead around the proxy.
const UNSAID: [&str; 2] = ["alt-svc", "clear-site-data"];

/// Takes out what is for this connection only, the headers that `Connection` names among it.
fn strip_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Who names these would have the next one read another message.
        .filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(name);
    }
}

/// A request's headers as a VM gets them. `upgrade` is what it asks to become, where it does.
pub(super) fn inward(headers: &mut HeaderMap, host: &str, client: IpAddr, upgrade: Option<&HeaderValue>) {
    strip_hop(headers);
    let odd: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in odd {
        headers.remove(name);
    }
    let forwarded: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in forwarded {
        headers.remove(name);
    }
    for name in OURS {
        headers.remove(name);
    }
    headers.remove(EXPECT);
    cookies(headers);
    let mut say = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    let address = client.to_canonical().to_string();
    let quoted = if address.contains(':') { format!("\"[{address}]\"") } else { address.clone() };
    say(FORWARDED, &format!("for={quoted};host={host};proto=https"));
    say(HeaderName::from_static("x-forwarded-for"), &address);
    say(HeaderName::from_static("x-real-ip"), &address);
    say(HeaderName::from_static("x-forwarded-host"), host);
    say(HeaderName::from_static("x-forwarded-proto"), "https");
    say(HOST, host);
    if let Some(value) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, value.clone());
    }
}

/// One header with the client's cookies, without the platform's.
fn cookies(headers: &mut HeaderMap) {
    if !headers.contains_key(COOKIE) {
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    for value in headers.get_all(COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            if pair.is_empty() || is_platform(pair) {
                continue;
            }
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    headers.remove(COOKIE);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&kept)
    {
        headers.insert(COOKIE, value);
    }
}

fn is_platform(pair: &[u8]) -> bool {
    pair.get(..COOKIE_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE_PREFIX.as_bytes()))
}

/// An answer's headers as the client gets them.
pub(super) fn outward(headers: &mut HeaderMap, host: &str) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop(headers);
    for name in UNSAID {
        headers.remove(name);
    }
    let set: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    if !set.iter().all(|value| may_set(value.as_bytes(), host)) {
        headers.remove(SET_COOKIE);
        for value in set.into_iter().filter(|value| may_set(value.as_bytes(), host)) {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// Whether a VM may set this cookie: not one of the platform's, and not one that other VMs would get.
fn may_set(cookie: &[u8], host: &str) -> bool {
    let mut parts = cookie.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let pair = parts.next().unwrap_or_default();
    // A cookie without a name may begin with anything: `=__Host-minions=…` is sent back as one of ours.
    if is_platform(pair) || is_platform(pair.strip_prefix(b"=").unwrap_or(pair).trim_ascii()) {
        return false;
    }
    parts.all(|part| {
        let mut words = part.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        let domain = words.next().is_some_and(|name| name.eq_ignore_ascii_case(b"domain"));
        let value = words.next().unwrap_or_default();
        let value = value.strip_prefix(b".").unwrap_or(value).to_ascii_lowercase();
        !domain || value.is_empty() || value == host.as_bytes() || value.ends_with(format!(".{host}").as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn sent(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = headers(all);
        inward(&mut headers, "web.box.example", "192.0.2.7".parse().unwrap(), None);
        headers
    }

    #[test]
    fn ctl_4_2_what_is_for_one_connection_does_not_cross() {
        let got = sent(&[
            ("connection", "keep-alive, X-Secret"),
            ("connection", "host, content-length"),
            ("x-secret", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("content-length", "5"),
            ("x_real_ip", "1"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ]);
        let mut names: Vec<_> = got.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let told = ["accept", "content-length", "forwarded", "host", "x-forwarded-for", "x-forwarded-host"];
        assert_eq!(names, [&told[..], &["x-forwarded-proto", "x-real-ip"]].concat());
    }

    #[test]
    fn ctl_4_6_what_a_client_says_of_itself_is_rewritten() {
        let got = sent(&[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-anything", "1"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
        ]);
        let all: Vec<_> = got.get_all("x-forwarded-for").iter().collect();
        assert_eq!(all, ["192.0.2.7"]);
        assert_eq!(
            (&got["x-real-ip"], &got["x-forwarded-proto"]),
            (&"192.0.2.7".parse().unwrap(), &"https".parse().unwrap())
        );
        assert_eq!(got["forwarded"], "for=192.0.2.7;host=web.box.example;proto=https");
        assert!(!got.contains_key("x-forwarded-anything"));
    }

    #[test]
    fn ctl_4_7_a_vm_never_sees_the_platforms_cookie() {
        let got = sent(&[
            ("cookie", "a=1;__Host-minions-session=secret ; b=2"),
            ("cookie", "c=3"),
            ("cookie", "__host-MINIONS=x"),
        ]);
        assert_eq!(got.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        assert!(!sent(&[("cookie", "__Host-minions=secret")]).contains_key("cookie"));
    }

    #[test]
    fn bad_19_a_vm_sets_no_cookie_of_other_vms_and_leads_nobody_around_the_proxy() {
        for (cookie, may) in [
            ("a=1", true),
            ("a=1; Path=/; Secure", true),
            ("a=1; Domain=web.box.example", true),
            ("a=1; domain=.WEB.box.example", true),
            ("a=1; domain=x.web.box.example", true),
            ("a=1; Domain=box.example", false),
            ("a=1; Domain=.box.example", false),
            ("a=1; Domain=web.box.example; DOMAIN = example", false),
            ("a=1; Domain=evilweb.box.example", false),
            ("__Host-minions=1; Path=/; Secure", false),
            ("=__Host-minions=1", false),
            ("= __host-minions=1", false),
        ] {
            assert_eq!(may_set(cookie.as_bytes(), "web.box.example"), may, "{cookie}");
        }
        let mut got = headers(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=1; Domain=box.example"),
            ("set-cookie", "c=1"),
            ("alt-svc", "h3=\":443\""),
            ("clear-site-data", "\"*\""),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("server", "x"),
        ]);
        outward(&mut got, "web.box.example");
        assert_eq!(got.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "c=1"]);
        assert_eq!(got.len(), 3);
    }
}
