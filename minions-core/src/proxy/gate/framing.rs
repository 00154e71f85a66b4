//! Where requests begin and end.

use super::head::{self, Body};

/// Bytes of the longest line before a chunk, and of all lines behind the last.
const MAX_LINE: usize = 256;
const MAX_TRAILERS: usize = 4 << 10;

/// What may happen to the bytes that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many of them may go on: at least one.
    Pass(usize),
    /// None, before there are more.
    More,
    /// They are no request that can be read in one way.
    NoRequest,
    /// They are no body that can be.
    NoBody,
}

/// What is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    Head,
    /// So many bytes of a body.
    Bytes(u64),
    /// The line before a chunk.
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of its line.
    ChunkEnd,
    /// What stands behind the last chunk.
    Trailers,
    /// Nothing was, and will be, as it should.
    Broken,
}

/// Reads along, without I/O. What it was told to pass it must not be shown again.
#[derive(Debug, Default)]
pub(super) struct Framing {
    due: Due,
    /// How many bytes of a head that has begun hold no end.
    looked: usize,
}

impl Framing {
    /// Looks at what waits.
    pub fn step(&mut self, waiting: &[u8]) -> Step {
        if waiting.is_empty() {
            return Step::More;
        }
        match self.due {
            Due::Head => self.head(waiting),
            Due::Bytes(left) => self.bytes(waiting, left, Due::Head, Due::Bytes),
            Due::Chunk(left) => self.bytes(waiting, left, Due::ChunkEnd, Due::Chunk),
            Due::Size => self.size(waiting),
            Due::ChunkEnd => match waiting {
                [b'\r', b'\n', ..] => self.pass(2, Due::Size),
                [b'\r'] => Step::More,
                _ => self.broken(),
            },
            Due::Trailers => self.trailers(waiting),
            Due::Broken => Step::NoRequest,
        }
    }

    fn pass(&mut self, count: usize, due: Due) -> Step {
        self.due = due;
        Step::Pass(count)
    }

    fn broken(&mut self) -> Step {
        self.due = Due::Broken;
        Step::NoBody
    }

    fn no_request(&mut self) -> Step {
        self.due = Due::Broken;
        Step::NoRequest
    }

    fn bytes(&mut self, waiting: &[u8], left: u64, after: Due, more: fn(u64) -> Due) -> Step {
        let count = left.min(waiting.len() as u64);
        let due = if count == left { after } else { more(left - count) };
        self.pass(usize::try_from(count).unwrap_or(waiting.len()), due)
    }

    fn head(&mut self, waiting: &[u8]) -> Step {
        let from = self.looked.saturating_sub(3);
        let end = waiting[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4);
        let Some(end) = end.filter(|end| *end <= head::MAX) else {
            self.looked = waiting.len();
            // A line that ends otherwise may be the end of a head for somebody.
            let odd = waiting[from..].windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r') || waiting[0] == b'\n';
            return if waiting.len() > head::MAX || odd { self.no_request() } else { Step::More };
        };
        self.looked = 0;
        match head::read(&waiting[..end]) {
            Some(Body::Length(0)) => self.pass(end, Due::Head),
            Some(Body::Length(length)) => self.pass(end, Due::Bytes(length)),
            Some(Body::Chunked) => self.pass(end, Due::Size),
            Some(Body::Upgrade) if waiting.len() == end => self.pass(end, Due::Head),
            Some(Body::Upgrade) | None => self.no_request(),
        }
    }

    fn size(&mut self, waiting: &[u8]) -> Step {
        let Some(end) = waiting.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
            return if waiting.len() >= MAX_LINE { self.broken() } else { Step::More };
        };
        let Some(line) = waiting[..end].strip_suffix(b"\r") else { return self.broken() };
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let clean = line.iter().all(|byte| *byte == b'\t' || (b' '..0x7f).contains(byte));
        let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match size.filter(|_| hex && clean) {
            None => self.broken(),
            Some(0) => self.pass(end + 1, Due::Trailers),
            Some(size) => self.pass(end + 1, Due::Chunk(size)),
        }
    }

    fn trailers(&mut self, waiting: &[u8]) -> Step {
        if waiting.starts_with(b"\r\n") {
            return self.pass(2, Due::Head);
        }
        let Some(end) = waiting.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if waiting.len() > MAX_TRAILERS { self.broken() } else { Step::More };
        };
        let fields = &waiting[..end + 4];
        let fields = [b"GET / HTTP/1.1\r\n", fields].concat();
        match head::read(&fields) {
            Some(Body::Length(0)) if end <= MAX_TRAILERS => self.pass(end + 4, Due::Head),
            _ => self.broken(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of a stream that comes in pieces of this size, and how it ends.
    fn run(stream: &[u8], piece: usize) -> (usize, Step) {
        let (mut framing, mut passed, mut come) = (Framing::default(), 0, 0);
        loop {
            match framing.step(&stream[passed..come]) {
                Step::Pass(count) => {
                    assert!(count > 0 && passed + count <= come);
                    passed += count;
                }
                Step::More if come < stream.len() => come = (come + piece).min(stream.len()),
                end => return (passed, end),
            }
        }
    }

    #[test]
    fn the_same_passes_however_the_bytes_come() {
        let plain = "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        for (stream, passed, end) in [
            (plain.to_owned(), plain.len(), Step::More),
            (chunks.to_owned(), chunks.len(), Step::More),
            (format!("{plain}\0\r\n\r\n"), plain.len(), Step::NoRequest),
            (chunks.replace("5;a=b\r\n", "5;a=b\n"), 47, Step::NoBody),
            (chunks.replace("5;a=b", "5 ;\x00"), 47, Step::NoBody),
            (chunks.replace("5;a=b", "0x5"), 47, Step::NoBody),
            (chunks.replace("5;a=b", ""), 47, Step::NoBody),
            (chunks.replace("5;a=b", "ffffffffffffffff1"), 47, Step::NoBody),
            (chunks.replace("hello\r\n", "hello  "), 59, Step::NoBody),
            (chunks.replace("A: b", "Content-Length: 9"), 64, Step::NoBody),
            (chunks.replace("A: b", " A: b"), 64, Step::NoBody),
        ] {
            for piece in [1, 2, 3, 7, 4096] {
                assert_eq!(run(stream.as_bytes(), piece), (passed, end), "{stream:?} by {piece}");
            }
        }
    }

    #[test]
    fn ctl_4_3_nothing_may_follow_a_request_to_speak_something_else() {
        let head = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(run(head.as_bytes(), 4096), (head.len(), Step::More));
        assert_eq!(run(format!("{head}GET /secret HTTP/1.1\r\n\r\n").as_bytes(), 4096), (0, Step::NoRequest));
    }

    #[test]
    fn bad_17_what_has_no_end_is_not_kept() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(head::MAX));
        assert_eq!(run(long.as_bytes(), 4096).1, Step::NoRequest);
        assert_eq!(run(b"GET / HTTP/1.1\n\n", 4096), (0, Step::NoRequest));
        let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(run(format!("{chunks}5;{}", "a".repeat(300)).as_bytes(), 4096).1, Step::NoBody);
        assert_eq!(run(format!("{chunks}0\r\nA: {}", "a".repeat(5000)).as_bytes(), 4096).1, Step::NoBody);
    }
}
