//! Brings what a guest says of itself into ranges.

/// Values that can be brought into their ranges. Doing it twice changes nothing more.
pub trait Clamp {
    /// The value with every number in its range, every list and text bounded, every text safe to print.
    #[must_use]
    fn clamp(self) -> Self;
}

/// Longest text that is kept, in characters.
const MAX_LINE: usize = 256;

pub(super) fn clamp_line(text: &mut String) {
    *text = super::terminal::sanitize_line(text, MAX_LINE);
}

pub(super) fn clamp_list<T>(list: &mut Vec<T>, most: usize) {
    list.truncate(most);
}
