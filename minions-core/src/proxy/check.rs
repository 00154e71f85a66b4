//! Whether a request may be looked at further. Decides, and does no I/O.

use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, Version};

use super::site;

/// Why a request is refused: a status, and a line for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub why: &'static str,
}

const fn refuse<T>(status: u16, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, why })
}

/// The host that a request is for. There is one decision per request, and this is all it is made from.
pub(super) fn request(parts: &Parts, sni: &str) -> Result<String, Refusal> {
    match parts.method {
        Method::CONNECT => return refuse(405, "CONNECT is not served here"),
        Method::TRACE => return refuse(405, "TRACE is not served here"),
        _ => {}
    }
    let two = parts.version == Version::HTTP_2;
    if !two && !matches!(parts.version, Version::HTTP_11 | Version::HTTP_10) {
        return refuse(505, "HTTP/1.1 and HTTP/2 are served here");
    }
    let host = host(parts, two)?;
    framing(&parts.headers, parts.version)?;
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "https" && scheme != "http") {
        return refuse(400, "the scheme of the request is not http or https");
    }
    if host != sni {
        return refuse(421, "this connection was opened for another name");
    }
    Ok(host)
}

fn host(parts: &Parts, two: bool) -> Result<String, Refusal> {
    let named: Vec<&HeaderValue> = parts.headers.get_all(HOST).iter().collect();
    let clean = |value: &HeaderValue| value.to_str().ok().and_then(site::host);
    let from_uri = parts.uri.authority().map(|authority| site::host(authority.as_str()));
    match (named.as_slice(), from_uri) {
        (_, Some(None)) => refuse(400, "the request's authority is no host name"),
        ([], Some(Some(host))) if two => Ok(host),
        ([one], from_uri) => match (clean(one), from_uri) {
            (Some(host), None) => Ok(host),
            (Some(host), Some(Some(also))) if host == also => Ok(host),
            (Some(_), _) => refuse(400, "the request names two hosts"),
            (None, _) => refuse(400, "the Host header is no host name"),
        },
        _ => refuse(400, "a request has exactly one Host header"),
    }
}

fn framing(headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let lengths: Vec<&HeaderValue> = headers.get_all(CONTENT_LENGTH).iter().collect();
    let codings: Vec<&HeaderValue> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    match codings.as_slice() {
        [] => {}
        _ if version != Version::HTTP_11 => return refuse(400, "Transfer-Encoding belongs to HTTP/1.1"),
        _ if !lengths.is_empty() => return refuse(400, "a request has a length or a coding, not both"),
        [one] if one.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        _ => return refuse(400, "the only transfer coding is chunked"),
    }
    match lengths.as_slice() {
        [] => Ok(()),
        [one] if !one.is_empty() && one.as_bytes().iter().all(u8::is_ascii_digit) => Ok(()),
        _ => refuse(400, "a request has at most one length, in digits"),
    }
}

/// What an HTTP/1.1 request asks its connection to become.
pub(super) fn upgrade(parts: &Parts) -> Option<HeaderValue> {
    let asked = parts.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asked = asked.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let mut wanted = parts.headers.get_all(UPGRADE).iter();
    let (first, second) = (wanted.next(), wanted.next());
    let single = first.filter(|value| second.is_none() && !value.is_empty() && !value.as_bytes().contains(&b','));
    // HTTP/2 over plain text would go around every check there is.
    let single = single.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"));
    single.filter(|_| asked && parts.version == Version::HTTP_11).cloned()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn parts(version: Version, method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(version: Version, method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
        request(&parts(version, method, uri, headers), "a.example").map_or_else(|refusal| refusal.status, |_| 200)
    }

    #[test]
    fn ctl_4_2_a_request_has_one_host_and_one_length() {
        const HOST: (&str, &str) = ("host", "a.example");
        for (headers, expected) in [
            (&[HOST][..], 200),
            (&[("host", "A.example:443")], 200),
            (&[], 400),
            (&[HOST, HOST], 400),
            (&[("host", "a.example.")], 400),
            (&[("host", "a.example, b.example")], 400),
            (&[HOST, ("content-length", "5")], 200),
            (&[HOST, ("content-length", "5"), ("content-length", "5")], 400),
            (&[HOST, ("content-length", "+5")], 400),
            (&[HOST, ("content-length", "0x10")], 400),
            (&[HOST, ("content-length", "5, 5")], 400),
            (&[HOST, ("transfer-encoding", "chunked")], 200),
            (&[HOST, ("transfer-encoding", "chunked"), ("content-length", "5")], 400),
            (&[HOST, ("transfer-encoding", "gzip, chunked")], 400),
            (&[HOST, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], 400),
            (&[HOST, ("transfer-encoding", "identity")], 400),
        ] {
            assert_eq!(status(Version::HTTP_11, "POST", "/", headers), expected, "{headers:?}");
        }
        assert_eq!(status(Version::HTTP_10, "POST", "/", &[HOST, ("transfer-encoding", "chunked")]), 400);
        assert_eq!(status(Version::HTTP_11, "CONNECT", "a.example:443", &[HOST]), 405);
        assert_eq!(status(Version::HTTP_11, "TRACE", "/", &[HOST]), 405);
        assert_eq!(status(Version::HTTP_11, "GET", "https://a.example/", &[HOST]), 200);
        assert_eq!(status(Version::HTTP_11, "GET", "https://b.example/", &[HOST]), 400);
        assert_eq!(status(Version::HTTP_11, "GET", "https://u@a.example/", &[HOST]), 400);
        assert_eq!(status(Version::HTTP_11, "GET", "ftp://a.example/", &[HOST]), 400);
        assert_eq!(status(Version::HTTP_2, "GET", "https://a.example/", &[]), 200);
        assert_eq!(status(Version::HTTP_2, "GET", "https://a.example/", &[("host", "b.example")]), 400);
    }

    #[test]
    fn ctl_4_5_a_connection_serves_the_name_that_it_was_opened_for() {
        for (sni, host, expected) in [("a.example", "a.example", 200), ("b.example", "a.example", 421)] {
            for (version, uri, headers) in [
                (Version::HTTP_11, "/".to_owned(), vec![("host", host)]),
                (Version::HTTP_2, format!("https://{host}/"), vec![]),
            ] {
                let got = request(&parts(version, "GET", &uri, &headers), sni);
                assert_eq!(got.map_or_else(|refusal| refusal.status, |_| 200), expected, "{sni} {host} {version:?}");
            }
        }
    }

    #[test]
    fn ctl_4_3_only_one_upgrade_that_was_asked_for_counts() {
        let asks = |headers: &[(&str, &str)]| upgrade(&parts(Version::HTTP_11, "GET", "/", headers)).is_some();
        assert!(asks(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(!asks(&[("upgrade", "websocket")]));
        assert!(!asks(&[("connection", "upgrade")]));
        assert!(!asks(&[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!asks(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")]));
        assert!(!asks(&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")]));
    }
}
