//! Whether a request's head can be read in one way only.

/// Most bytes of a head, the blank line at its end among them.
pub(super) const MAX: usize = 32 << 10;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked,
    /// Nothing may, until it was answered: the client wants to speak something else.
    Upgrade,
}

/// Reads a whole head, which ends with a blank line. `None` for what two programs could read in two ways.
pub(super) fn read(head: &[u8]) -> Option<Body> {
    let mut rest = head.strip_suffix(b"\r\n\r\n")?;
    let mut lines = std::iter::from_fn(|| {
        let (line, after) = match rest.windows(2).position(|two| two == b"\r\n") {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest, &[][..]),
        };
        rest = after;
        (!line.is_empty()).then_some(line)
    });
    let first = lines.next()?;
    let clean = |line: &[u8]| line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    let mut words = first.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let last = words.next().is_none();
    let graphic = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
    if !last || !method.iter().all(|byte| is_token(*byte)) || !graphic(method) || !graphic(target) {
        return None;
    }
    let eleven = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return None,
    };
    let (mut length, mut chunked, mut upgrade) = (None, false, false);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // A name begins at the line's first byte and ends at the colon: no folded line, no blank in between.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || !clean(&line[colon..]) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.is_some() || value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                return None;
            }
            length = Some(value.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !eleven || !value.eq_ignore_ascii_case(b"chunked") {
                return None;
            }
            chunked = true;
        }
        upgrade |= name.eq_ignore_ascii_case(b"upgrade");
    }
    match (length, chunked) {
        (Some(_), true) => None,
        (None, true) => Some(Body::Chunked),
        (None | Some(0), false) if upgrade => Some(Body::Upgrade),
        (length, false) => Some(Body::Length(length.unwrap_or(0))),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Option<Body> {
        read(format!("{head}\r\n\r\n").as_bytes())
    }

    #[test]
    fn bad_17_a_head_that_two_programs_could_read_in_two_ways_is_none() {
        for (head, body) in [
            ("GET / HTTP/1.1\r\nHost: a", Some(Body::Length(0))),
            ("GET / HTTP/1.1\r\nHost: a\r\nA:\tb\u{e9}", Some(Body::Length(0))),
            ("POST / HTTP/1.1\r\nContent-Length: 5", Some(Body::Length(5))),
            ("POST / HTTP/1.1\r\ncontent-length:005 ", Some(Body::Length(5))),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked", Some(Body::Chunked)),
            ("GET / HTTP/1.1\r\nUpgrade: websocket", Some(Body::Upgrade)),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 3", Some(Body::Length(3))),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", None),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5", None),
            ("POST / HTTP/1.1\r\nContent-Length: 5, 5", None),
            ("POST / HTTP/1.1\r\nContent-Length: +5", None),
            ("POST / HTTP/1.1\r\nContent-Length: 0x10", None),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999", None),
            ("POST / HTTP/1.1\r\nContent-Length:", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: \u{b}chunked", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding : chunked", None),
            ("POST / HTTP/1.1\r\n Transfer-Encoding: chunked", None),
            ("POST / HTTP/1.1\r\nA: b\r\n\tTransfer-Encoding: chunked", None),
            ("POST / HTTP/1.1\r\nA: b\nTransfer-Encoding: chunked", None),
            ("POST / HTTP/1.1\r\nA: b\rTransfer-Encoding: chunked", None),
            ("POST / HTTP/1.1\nTransfer-Encoding: chunked", None),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked", None),
            ("GET / HTTP/1.1\r\nA: \0", None),
            ("GET / HTTP/1.1\r\nA", None),
            ("GET / HTTP/1.1\r\n: b", None),
            ("GET  / HTTP/1.1", None),
            ("GET\t/ HTTP/1.1", None),
            ("GET / HTTP/1.1 ", None),
            ("GET / HTTP/2.0", None),
            ("GET /", None),
            ("", None),
            ("\r\nGET / HTTP/1.1", None),
        ] {
            assert_eq!(of(head), body, "{head:?}");
        }
    }
}
