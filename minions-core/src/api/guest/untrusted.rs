//! What came from a guest is marked as such until someone has dealt with it.

use std::fmt;

use super::clamp::Clamp;

/// A value that a guest chose. There is no `Deref`: whoever wants it says how.
///
/// It may decide about readiness, metrics and output. It never selects a path, a VM, an owner or an address.
#[derive(Clone, PartialEq, Eq)]
pub struct Untrusted<T>(T);

impl<T> Untrusted<T> {
    /// Marks a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Lets a check decide what becomes of it.
    pub fn check<U>(self, check: impl FnOnce(T) -> crate::Result<U>) -> crate::Result<U> {
        check(self.0)
    }

    /// The value as the guest chose it, for those who pass it on as bytes. Never for a terminal, a path or a decision.
    pub fn expose(self) -> T {
        self.0
    }
}

impl<T: Clamp> Untrusted<T> {
    /// The value with every number in its range, every list and text bounded, every text safe to print.
    pub fn clamp(self) -> T {
        self.0.clamp()
    }
}

impl Untrusted<String> {
    /// One line of at most 256 characters, safe to print.
    #[must_use]
    pub fn line(&self) -> String {
        super::terminal::sanitize_line(&self.0, 256)
    }
}

impl<T> fmt::Debug for Untrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Untrusted(…)")
    }
}
