//! What is printed: data on stdout, everything else on stderr, and nothing that could talk to the terminal.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use minions_core::api::guest::{sanitize_line, sanitize_terminal};
use minions_core::config::Environment;
use minions_core::error::{Error, ErrorKind};
use serde::Serialize;

use crate::cli::Global;
use crate::sink::Sink;

/// How to print.
#[derive(Clone, Debug)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
    /// Whether a person watches stderr.
    pub lively: bool,
    /// Whether stderr takes colours.
    pub colour: bool,
    pub to: Sink,
}

/// Why the program ends otherwise than well.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong; the code where it is not the error's own.
    Error(Error, Option<u8>),
    /// Whoever read our output has gone, which is no failure to speak of.
    Unread,
    /// Whoever waited has typed Ctrl-C: what goes on without them.
    Interrupted(String),
}

impl Failure {
    /// Failures of exec itself, which must not look like the guest's exit codes.
    pub fn of_exec(failure: impl Into<Self>) -> Self {
        match failure.into() {
            Self::Error(error, code) => Self::Error(error, code.or(Some(255))),
            Self::Unread => Self::Unread,
            Self::Interrupted(what) => Self::Interrupted(what),
        }
    }

    /// A bad configuration.
    pub fn of_config(error: Error) -> Self {
        Self::Error(error, Some(78))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error, None)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::Error(Error::new(ErrorKind::Unavailable, "cannot write the output").with_source(error), None)
    }
}

/// What a verb brings.
pub type Outcome = Result<ExitCode, Failure>;

impl Output {
    pub fn new(global: &Global, environment: &Environment) -> Self {
        let lively = io::stderr().is_terminal() && !global.quiet && !global.json;
        let colour = lively && !environment.no_color;
        Self { json: global.json, quiet: global.quiet, lively, colour, to: Sink::Process }
    }

    /// Onto something that is not the process's own: plain, and nothing that moves.
    pub fn onto(to: Sink, json: bool, quiet: bool) -> Self {
        Self { json, quiet, lively: false, colour: false, to }
    }

    /// Data as one line of JSON.
    pub fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Error::internal("the output cannot be written as JSON").with_source(error))?;
        Ok(self.to.out(&escape(&text))?)
    }

    /// Data for people: a line or several.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        Ok(self.to.out(&sanitize_terminal(text))?)
    }

    /// Data for people: lines that each begin as told and stay one line, whatever is in them.
    pub fn lines<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
        lines.into_iter().try_for_each(|text| Ok(self.to.out(&sanitize_line(text, usize::MAX))?))
    }

    /// Data for people: columns, as wide as they must be. Where a terminal has no room for all of them, the `spare` ones
    /// are left out, the first one first, and a note says so.
    pub fn table(&self, heads: &[&str], rows: &[Vec<String>], spare: &[&str]) -> Result<(), Failure> {
        let (lines, left_out) = columns(heads, rows, spare, self.to.columns().unwrap_or(usize::MAX));
        lines.iter().try_for_each(|text| self.to.out(text))?;
        if !left_out.is_empty() {
            self.note(&format!("no room for {}; --json tells everything", left_out.join(", ")));
        }
        Ok(())
    }

    /// A line to whoever watches; never data.
    pub fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            // Whoever closed stderr does not want to know.
            let _ = self.to.err(&sanitize_line(text, usize::MAX));
        }
    }

    /// Says what went wrong, and returns the exit code.
    pub fn failure(&self, failure: &Failure) -> ExitCode {
        ExitCode::from(self.tell(failure))
    }

    /// The same, with the code as a number.
    pub fn tell(&self, failure: &Failure) -> u8 {
        let (error, code) = match failure {
            Failure::Error(error, code) => (error, code.unwrap_or(error.kind().exit_code())),
            Failure::Unread => return 0,
            Failure::Interrupted(what) => return self.interrupted(what),
        };
        if self.json {
            // Whoever closed stderr does not want to know.
            let _ = self.to.err(&json_error(error, code));
        } else {
            let word = if self.colour { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
            let field = match error.field() {
                Some(field) => format!(" ({field})"),
                None => String::new(),
            };
            let text = sanitize_terminal(&format!("{}{field}", error.chain()));
            // Whoever closed stderr does not want to know.
            let _ = self.to.err(&format!("{word} {text}"));
        }
        code
    }

    fn interrupted(&self, what: &str) -> u8 {
        let text = if self.json {
            let error = serde_json::json!({ "kind": "interrupted", "message": what, "exit_code": INTERRUPTED });
            escape(&serde_json::json!({ "error": error }).to_string())
        } else {
            sanitize_line(what, usize::MAX)
        };
        // Whoever closed stderr does not want to know.
        let _ = self.to.err(&text);
        INTERRUPTED
    }
}

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The lines of a table that is no wider than the room there is, if that can be, and the heads that were left out.
fn columns<'a>(heads: &[&str], rows: &[Vec<String>], spare: &[&'a str], room: usize) -> (Vec<String>, Vec<&'a str>) {
    let mut table: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    table.extend(rows.iter().map(|row| row.iter().map(|cell| sanitize_line(cell, usize::MAX)).collect()));
    let mut left_out = Vec::new();
    let mut spare = spare.iter();
    loop {
        let width = |column: usize| {
            table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
        let needed = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let next = if needed > room { spare.next() } else { None };
        let Some(head) = next else {
            let text = |row: &Vec<String>| {
                let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
                cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
            };
            return (table.iter().map(text).collect(), left_out);
        };
        if let Some(column) = table[0].iter().position(|known| known == head) {
            table.iter_mut().filter(|row| column < row.len()).for_each(|row| drop(row.remove(column)));
            left_out.push(*head);
        }
    }
}

/// An error as one line of JSON.
pub fn json_error(error: &Error, code: u8) -> String {
    let value = serde_json::json!({
        "error": {
            "kind": error.kind(),
            "reason": error.reason(),
            "field": error.field(),
            "message": error.chain(),
            "effect": error.effect(),
            "exit_code": code,
        }
    });
    escape(&value.to_string())
}

/// The same, on stderr.
pub fn print_json_error(error: &Error, code: u8) {
    // Whoever closed stderr does not want to know.
    let _ = Sink::Process.err(&json_error(error, code));
}

/// What clap says, where it repeats something that a terminal obeys.
pub fn print_misuse(text: &str) {
    // Whoever closed stderr does not want to know.
    let _ = Sink::Process.err(sanitize_terminal(text).trim_end());
}

/// JSON escapes the first 32 characters only; a terminal obeys some others too. They can only stand inside strings.
fn escape(json: &str) -> String {
    if json.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return json.to_owned();
    }
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if matches!(letter, ' '..='~') || !sanitize_line(letter.encode_utf8(&mut [0; 4]), 1).is_empty() {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            letter.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Such as `1.2s` or `340ms`.
pub fn spell(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..=999 => format!("{millis}ms"),
        millis @ 1_000..=59_999 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        millis => format!("{}m{:02}s", millis / 60_000, millis / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_13_json_holds_nothing_that_a_terminal_obeys_and_still_means_the_same() {
        let evil = "a\u{1b}[31mb\u{9b}c\u{202e}d\u{7f}\u{2028}\u{61c}\u{e0041}";
        let text = escape(&serde_json::to_string(evil).unwrap());
        assert!(text.chars().all(|letter| (' '..='~').contains(&letter)), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), evil);
        let harmless = "\"Grüße, 日本語 🦀\"";
        assert_eq!(escape(harmless), harmless);
    }

    #[test]
    fn where_a_terminal_is_narrow_a_table_leaves_out_what_can_be_spared() {
        let rows = [vec!["web".to_owned(), "10GiB".to_owned(), "running".to_owned()]];
        let table = |room| columns(&["NAME", "DISK", "STATE"], &rows, &["DISK", "STATE"], room);
        assert_eq!(table(20), (vec!["NAME  DISK   STATE".to_owned(), "web   10GiB  running".to_owned()], vec![]));
        assert_eq!(table(19), (vec!["NAME  STATE".to_owned(), "web   running".to_owned()], vec!["DISK"]));
        assert_eq!(table(1).1, ["DISK", "STATE"], "a name is never left out");
        assert_eq!(table(1).0, ["NAME", "web"]);
    }

    #[test]
    fn times_are_spelled_for_people() {
        let spelled = [0, 340, 1_250, 61_000].map(|millis| spell(Duration::from_millis(millis)));
        assert_eq!(spelled, ["0ms", "340ms", "1.2s", "1m01s"]);
    }
}
