//! One line to stderr, which is the guest's console.

/// Says a line.
pub(super) fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // A console that is gone is no reason to stop.
    let _ = writeln!(std::io::stderr(), "minions-agent: {line}");
}
