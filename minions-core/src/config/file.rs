//! What was written: TOML with the place of everything in it.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key, with its sections, such as `api.listen`; empty where it is about the file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblems(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}

/// Collects what is wrong while a file is read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<(usize, ConfigProblem)>,
}

impl<'a> Reading<'a> {
    /// Parses the text. What is no TOML has no meaning: that is the only problem then.
    pub(super) fn parse(path: &'a Path, text: &'a str) -> (Self, DeTable<'a>) {
        let mut reading = Self { path, text, problems: Vec::new() };
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                reading.problem(at, String::new(), error.message().to_owned());
                DeTable::new()
            }
        };
        (reading, table)
    }

    pub(super) fn problem(&mut self, at: usize, key: String, message: impl Into<String>) {
        let line = self.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        // A line of a file cannot be more than one line of a message.
        let message = message.into().replace('\n', "; ");
        self.problems.push((at, ConfigProblem { file: self.path.to_owned(), line, key, message }));
    }

    /// Ok when nothing was wrong.
    pub(super) fn finish(mut self) -> Result<(), ConfigProblems> {
        self.problems.sort_by_key(|(at, _)| *at);
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ConfigProblems(self.problems.into_iter().map(|(_, problem)| problem).collect()))
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: usize,
    pub(super) key: String,
}

/// One table of a file. Keys are taken out of it; what is left in the end is unknown.
pub(super) struct Section<'a> {
    name: String,
    table: DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: DeTable<'a>) -> Self {
        Self { name: String::new(), table, known: Vec::new() }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// A table in this one; an empty one where it is absent.
    pub(super) fn section(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Section<'a> {
        let name = self.path(key);
        let table = match self.take(key) {
            None => DeTable::new(),
            Some(value) => {
                let at = value.span().start;
                match value.into_inner() {
                    DeValue::Table(table) => table,
                    other => {
                        reading.problem(at, name.clone(), format!("expected a section, found a {}", other.type_str()));
                        DeTable::new()
                    }
                }
            }
        };
        Section { name, table, known: Vec::new() }
    }

    pub(super) fn string(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Option<At<String>> {
        self.value(reading, key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn bool(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Option<At<bool>> {
        self.value(reading, key, "true or false", DeValue::as_bool)
    }

    pub(super) fn whole(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Option<At<u64>> {
        self.value(reading, key, "a whole number that is not negative", |value| {
            let number = value.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    /// A string that means something.
    pub(super) fn parsed<T>(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let At { value, at, key } = self.string(reading, key)?;
        match parse(&value) {
            Ok(value) => Some(At { value, at, key }),
            Err(message) => {
                reading.problem(at, key, message);
                None
            }
        }
    }

    /// An array of strings that mean something each.
    pub(super) fn list<T>(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let strings = |value: &DeValue<'a>| {
            value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        let At { value, at, key } = self.value(reading, key, "an array of strings", strings)?;
        let mut list = Vec::new();
        for text in value {
            match parse(&text) {
                Ok(item) => list.push(item),
                Err(message) => reading.problem(at, key.clone(), message),
            }
        }
        Some(list)
    }

    fn value<T>(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&DeValue<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        let found = self.take(key)?;
        let (at, path) = (found.span().start, self.path(key));
        match read(found.get_ref()) {
            Some(value) => Some(At { value, at, key: path }),
            None => {
                let found = found.get_ref().type_str();
                reading.problem(at, path, format!("expected {expected}, found a {found} that is none"));
                None
            }
        }
    }

    /// What was never asked for is unknown.
    pub(super) fn finish(self, reading: &mut Reading<'_>) {
        for key in self.table.keys() {
            let known = self.known.join(", ");
            let message = format!("unknown key; known here are: {known}");
            reading.problem(key.span().start, self.path(key.get_ref()), message);
        }
    }
}
