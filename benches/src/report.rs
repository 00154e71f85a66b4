//! Figures, and the table and JSON that they are printed as.

use std::fmt::Write as _;

use serde::Serialize;

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// It stands beside another figure and has no goal of its own.
    None,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The row of the suite that it belongs to.
    pub row: &'static str,
    /// What was measured.
    pub what: String,
    /// `None` where it was not run; the note says why.
    pub value: Option<f64>,
    /// Of the value.
    pub unit: &'static str,
    /// What it should be.
    pub goal: Goal,
    /// Whether it is.
    pub met: Option<bool>,
    /// What it was computed from, floors of the same run among it.
    pub note: String,
}

impl Figure {
    pub fn new(row: &'static str, what: impl Into<String>, value: f64, unit: &'static str, goal: Goal) -> Self {
        let met = match goal {
            Goal::AtMost(most) => Some(value <= most),
            Goal::AtLeast(least) => Some(value >= least),
            Goal::None => None,
        };
        Self { row, what: what.into(), value: Some(value), unit, goal, met, note: String::new() }
    }

    pub fn not_run(row: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        let (goal, note) = (Goal::None, why.into());
        Self { row, what: what.into(), value: None, unit: "", goal, met: None, note }
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// Three digits that mean something.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size < 0.01 {
        format!("{value:.4}")
    } else if size < 10.0 {
        format!("{value:.2}")
    } else if size < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// As Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut text = "| row | figure | seen | goal | met | from |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let seen = figure.value.map_or("not run".to_owned(), |value| format!("{} {}", short(value), figure.unit));
        let goal = match figure.goal {
            Goal::AtMost(most) => format!("≤ {}", short(most)),
            Goal::AtLeast(least) => format!("≥ {}", short(least)),
            Goal::None => "–".to_owned(),
        };
        let met = match figure.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {goal} | {met} | {} |",
            figure.row,
            figure.what,
            seen.trim_end(),
            figure.note
        );
    }
    text
}
