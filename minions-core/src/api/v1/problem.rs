//! Errors on the wire: problem details with the kinds of the error table.

use serde::{Deserialize, Serialize};

use crate::api::guest::sanitize_line;
use crate::error::{Effect, Error, ErrorKind};

/// Most characters of a message that are believed to be one.
const MAX_MESSAGE: usize = 2_048;

/// An error, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// For programs.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: ErrorKind,
    /// The code below the kind, such as `name_taken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The field of the request it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For people, one line.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// Whether it may have happened.
    #[serde(default = "no_effect")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub effect: Effect,
}

fn no_effect() -> Effect {
    Effect::None
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        // What went wrong inside is for the log; a caller learns that it did.
        let message = if error.kind() == ErrorKind::Internal { "internal error".to_owned() } else { error.chain() };
        Self {
            kind: error.kind(),
            reason: error.reason().map(str::to_owned),
            field: error.field().map(str::to_owned),
            message,
            status: status_of(error.kind(), error.reason()),
            effect: error.effect(),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        // Whoever sent it may be anyone: one line, of a length to read, and nothing that a terminal obeys.
        let message = sanitize_line(&problem.message, MAX_MESSAGE);
        let mut error = Error::new(problem.kind, message).with_effect(problem.effect);
        if let Some(reason) = problem.reason.as_deref().and_then(known_reason) {
            error = error.with_reason(reason);
        }
        match problem.field {
            Some(field) => error.with_field(sanitize_line(&field, 64)),
            None => error,
        }
    }
}

/// The HTTP status of a kind, where the reason may say more than the kind.
#[must_use]
pub fn status_of(kind: ErrorKind, reason: Option<&str>) -> u16 {
    match (kind, reason) {
        (ErrorKind::InvalidArgument, Some("idempotency_key_reused")) => 422,
        (ErrorKind::InvalidArgument, Some("too_large")) => 413,
        (ErrorKind::InvalidArgument, Some("content_type")) => 415,
        (ErrorKind::NotFound, Some("events_pruned")) => 410,
        (ErrorKind::Denied, Some("forbidden" | "scope")) => 403,
        (ErrorKind::Exhausted, Some("no_capacity" | "pool_full" | "lease_resting")) => 409,
        (ErrorKind::Exhausted, Some("rate")) => 429,
        _ => kind.http_status(),
    }
}

/// Reasons are constants on both sides of the wire.
fn known_reason(text: &str) -> Option<&'static str> {
    const REASONS: &[&str] = &[
        "agent_unhealthy",
        "agent_untrusted",
        "agent_version",
        "boot_timeout",
        "busy",
        "changed_meanwhile",
        "content_type",
        "crash_loop",
        "events_pruned",
        "forbidden",
        "given_up",
        "gone",
        "host_lost",
        "host_misconfigured",
        "idempotency_key",
        "idempotency_key_reused",
        "image_corrupt",
        "image_in_use",
        "image_invalid",
        "image_unreadable",
        "in_use",
        "is_a_directory",
        "lease_resting",
        "key_taken",
        "key_unknown",
        "name_invalid",
        "name_taken",
        "no_accounts",
        "no_capacity",
        "no_space",
        "not_a_directory",
        "not_running",
        "pool_full",
        "quota",
        "rate",
        "scope",
        "stale_generation",
        "store_busy",
        "store_closed",
        "store_corrupt",
        "store_full",
        "store_io",
        "store_read_only",
        "superseded",
        "token_taken",
        "token_unknown",
        "too_large",
        "unsafe_entry",
        "user_has_vms",
        "user_taken",
        "user_unknown",
        "vmm_exited",
        "volume_lost",
        "wrong_state",
    ];
    REASONS.iter().find(|reason| **reason == text).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_the_wire_and_stays_what_it_was() {
        let error = Error::invalid("name", "no").with_reason("name_invalid");
        let text = serde_json::to_string(&Problem::from(&error)).unwrap();
        let back = Error::from(serde_json::from_str::<Problem>(&text).unwrap());
        assert_eq!((back.kind(), back.reason(), back.field()), (error.kind(), error.reason(), error.field()));
    }

    #[test]
    fn bad_13_a_problem_that_was_made_up_is_one_short_harmless_line() {
        let message = format!("no\nerror: \u{1b}[2Jyes\u{202e}{}", "x".repeat(1 << 20));
        let text = serde_json::json!({ "kind": "denied", "field": "a\nb\u{9b}31m", "message": message, "status": 409 });
        let error = Error::from(serde_json::from_value::<Problem>(text).unwrap());
        assert!(error.message().starts_with("no error: yesxxx"), "{}", &error.message()[..40]);
        assert_eq!((error.message().len(), error.field()), (MAX_MESSAGE, Some("a b")));
    }

    #[test]
    fn an_internal_error_tells_a_caller_nothing_of_the_inside() {
        let error = Error::internal("secret path").with_source(std::io::Error::other("more"));
        assert_eq!(Problem::from(&error).message, "internal error");
    }

    #[test]
    fn reasons_refine_the_status() {
        assert_eq!(status_of(ErrorKind::Exhausted, Some("no_capacity")), 409);
        assert_eq!(status_of(ErrorKind::Exhausted, Some("quota")), 403);
        assert_eq!(status_of(ErrorKind::InvalidArgument, Some("idempotency_key_reused")), 422);
    }
}
