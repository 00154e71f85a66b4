//! Control frames are JSON of bounded depth.

use super::frame::FrameError;

/// Deepest nesting of a control frame.
pub const MAX_DEPTH: usize = 16;

/// Longest piece of a parser's complaint that is kept: it may quote the peer.
const MAX_COMPLAINT: usize = 256;

pub(super) fn parse<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, FrameError> {
    if text.first() != Some(&b'{') {
        return Err(FrameError::BadControl("not an object".to_owned()));
    }
    if depth(text) > MAX_DEPTH {
        return Err(FrameError::BadControl("nested too deeply".to_owned()));
    }
    serde_json::from_slice(text).map_err(|error| {
        let complaint = super::terminal::sanitize_line(&error.to_string(), MAX_COMPLAINT);
        FrameError::BadControl(complaint)
    })
}

/// How deep brackets nest outside of strings. Text that is no JSON gets some answer; the parser refuses it afterwards.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings_only() {
        assert_eq!(depth(br#"{"a":"[[[{{{","b":[1,{"c":[]}]}"#), 4);
        assert_eq!(depth(br#"{"a":"\"[[[","b":1}"#), 1);
    }

    #[test]
    fn bad_20_json_nested_beyond_the_limit_is_refused_and_at_the_limit_is_not() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse::<serde_json::Value>(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse::<serde_json::Value>(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(parse::<serde_json::Value>(nested(30_000).as_bytes()).is_err());
    }

    #[test]
    fn bad_20_numbers_that_are_not_finite_and_text_that_is_not_utf_8_are_refused() {
        #[derive(Debug, serde::Deserialize)]
        struct Metric {
            #[expect(dead_code, reason = "only whether it reads matters")]
            value: f64,
        }
        for text in [&b"{\"value\":NaN}"[..], b"{\"value\":1e999}", b"{\"value\":Infinity}", b"{\"value\":\"\xff\"}"] {
            assert!(parse::<Metric>(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }
}
