//! What both sides of the connection must agree on, besides the types in `api::v1`.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::error::{Error, Result};

/// Largest body of a request.
#[cfg(feature = "http-server")]
pub(crate) const MAX_REQUEST_BODY: usize = 64 << 10;

/// Longest that one request may wait for something to happen; a client that wants longer asks again.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

/// Most entries of a page.
#[cfg(feature = "http-server")]
pub(crate) const MAX_PAGE: u32 = 200;

/// Most bytes of a serial log that one request returns.
pub(crate) const MAX_LOG: usize = 1 << 20;

/// Largest piece of a guest's stream in one message.
pub(crate) const MAX_CHUNK: usize = 64 << 10;

/// The header with the caller's own name for a request.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The first message of the server on a stream that is open. Anything else it could say is a problem.
pub(crate) const OPENED: &str = r#"{"opened":true}"#;

/// Limits of a stream's WebSocket. Every message is written at once: what follows may depend on its answer.
pub(crate) fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(MAX_CHUNK)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_CHUNK)
        .max_message_size(Some(4 * MAX_CHUNK))
        .max_frame_size(Some(4 * MAX_CHUNK))
}

/// Reads `30s`, `500ms`, `2m` or a plain number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || Error::invalid("duration", "a duration is a whole number with a unit, such as 500ms, 30s, 5m or 1h");
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let millis = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("7", 7000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn bad_11_what_is_no_duration_is_refused() {
        for text in ["", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
