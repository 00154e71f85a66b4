//! One error type for the whole crate: what kind, whether it may have happened, where, and why.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs. One row a kind; see [`ErrorKind::http_status`] and [`ErrorKind::exit_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Can never work as asked.
    InvalidArgument,
    /// Who is calling is not known.
    Unauthenticated,
    /// There is no such thing, or the caller may not know of it.
    NotFound,
    /// Exists already, and differs.
    AlreadyExists,
    /// In use, or changed meanwhile.
    Conflict,
    /// State or policy forbids it.
    Denied,
    /// A quota, a capacity or a rate is used up.
    Exhausted,
    /// The capability is absent here.
    Unsupported,
    /// The peer is down or busy; worth another try.
    Unavailable,
    /// Time ran out; whether it happened is not known.
    DeadlineExceeded,
    /// A bug of ours.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of the table.
    pub const ALL: [ErrorKind; 11] = [
        Self::InvalidArgument,
        Self::Unauthenticated,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Denied,
        Self::Exhausted,
        Self::Unsupported,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// The stable name that programs match on.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status where no reason says otherwise.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        self.row().1
    }

    /// The exit code of the command line.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        self.row().2
    }

    /// Whether repeating the same call later can help without anything else changing.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::DeadlineExceeded | Self::Conflict)
    }

    const fn row(self) -> (&'static str, u16, u8) {
        match self {
            Self::InvalidArgument => ("invalid_argument", 400, 2),
            Self::Unauthenticated => ("unauthenticated", 401, 3),
            Self::NotFound => ("not_found", 404, 4),
            Self::AlreadyExists => ("already_exists", 409, 5),
            Self::Conflict => ("conflict", 409, 5),
            Self::Denied => ("denied", 409, 6),
            Self::Exhausted => ("exhausted", 403, 7),
            Self::Unsupported => ("unsupported", 501, 2),
            Self::Unavailable => ("unavailable", 503, 8),
            Self::DeadlineExceeded => ("deadline_exceeded", 504, 8),
            Self::Internal => ("internal", 500, 1),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the failed call may have changed the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing happened.
    None,
    /// It may have happened: observe before acting.
    Unknown,
}

/// What every fallible function of the crate returns.
///
/// Messages are lower case, name the thing and the way out, and never repeat their source: whoever prints an
/// error prints the chain.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    effect: Effect,
    op: Option<&'static str>,
    reason: Option<&'static str>,
    field: Option<Cow<'static, str>>,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind. The effect is `Unknown` for `DeadlineExceeded` and `None` for all others, until
    /// [`Error::with_effect`] says otherwise.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let effect = if matches!(kind, ErrorKind::DeadlineExceeded) { Effect::Unknown } else { Effect::None };
        Self(Box::new(Inner {
            kind,
            effect,
            op: None,
            reason: None,
            field: None,
            message: message.into(),
            source: None,
        }))
    }

    /// `InvalidArgument` that names the field it is about.
    pub fn invalid(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message).with_field(field)
    }

    /// `NotFound`.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// `Internal`.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Says whether the effect may have happened.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.0.effect = effect;
        self
    }

    /// Stamps the operation, unless one closer to the cause did.
    #[must_use]
    pub fn with_op(mut self, op: &'static str) -> Self {
        self.0.op.get_or_insert(op);
        self
    }

    /// Adds the stable reason code below the kind, such as `name_taken`.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Names the field of the request.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether it may have happened.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// The operation that failed, such as `storage.ensure_volume`.
    #[must_use]
    pub fn op(&self) -> Option<&'static str> {
        self.0.op
    }

    /// The reason code below the kind.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        self.0.reason
    }

    /// The field of the request it is about.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The message without its causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The message and all its causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_prints_every_cause_once() {
        let error = Error::new(ErrorKind::Unavailable, "cannot start the monitor")
            .with_source(std::io::Error::other("no such file"));
        assert_eq!(error.chain(), "cannot start the monitor: no such file");
    }

    #[test]
    fn a_deadline_leaves_the_effect_unknown_and_nothing_else_does() {
        for kind in ErrorKind::ALL {
            let want = if kind == ErrorKind::DeadlineExceeded { Effect::Unknown } else { Effect::None };
            assert_eq!(Error::new(kind, "x").effect(), want, "{kind}");
        }
    }

    #[test]
    fn the_op_closest_to_the_cause_wins() {
        let error = Error::internal("x").with_op("storage.volume").with_op("engine.step");
        assert_eq!(error.op(), Some("storage.volume"));
    }
}
