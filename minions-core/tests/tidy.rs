//! The house rules that a machine can check: who may name whom, how long a file may be, what it begins with, and what it
//! is never called.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Code lines that a file may have; beyond this it is two things.
const MOST_LINES: usize = 500;
/// Names that say nothing about what is inside.
const BANNED: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Who may name whom, besides itself. The first row whose beginning fits a file counts. A name stands for all below it.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("types/", &["types", "error"]),
    ("error.rs", &["types", "error"]),
    ("env/", &["types", "error"]),
    ("api/", &["types", "error"]),
    // Ports: never another port, never an adapter. The wire types of the agent belong to the road into the guest.
    ("hypervisor/mod.rs", PORT),
    ("storage/mod.rs", PORT),
    ("network/mod.rs", PORT),
    ("guest/mod.rs", PORT),
    ("guest/ext.rs", &["types", "error", "env", "guest", "api::guest"]),
    ("guest/client/", &["types", "error", "env", "guest", "api::guest"]),
    ("store/mod.rs", PORT),
    ("store/fleet.rs", PORT),
    ("store/retention.rs", &["types"]),
    ("store/journal.rs", &["types", "error", "env", "store"]),
    ("node/mod.rs", &["types", "error", "env", "hypervisor", "storage", "network", "guest", "store", "api::guest"]),
    (
        "node/",
        &[
            "types",
            "error",
            "env",
            "hypervisor",
            "storage",
            "network",
            "guest",
            "store",
            "node",
            "engine",
            "api::guest",
        ],
    ),
    // Adapters: their port and what hosts share.
    ("hypervisor/", &["types", "error", "env", "host", "hypervisor"]),
    ("storage/", &["types", "error", "env", "host", "storage"]),
    ("network/", &["types", "error", "env", "host", "network"]),
    ("guest/", &["types", "error", "env", "host", "guest"]),
    ("store/", &["types", "error", "env", "host", "store"]),
    ("host/", &["types", "error", "env"]),
    ("image/", &["types", "error", "env", "host", "storage"]),
    ("memory/", &["types", "error", "env", "hypervisor", "storage", "network", "guest", "store", "api::guest"]),
    ("layers/", &["types", "error", "env", "hypervisor", "storage", "network", "guest", "store", "node", "api::guest"]),
    (
        "engine/",
        &["types", "error", "env", "hypervisor", "storage", "network", "guest", "store::journal", "store", "mutant"],
    ),
    (
        "service/",
        &[
            "types",
            "error",
            "env",
            "node",
            "store",
            "guest",
            "image",
            "api",
            "storage",
            "hypervisor",
            "network",
            "mutant",
        ],
    ),
    ("config/", &["types", "error"]),
    // Above the adapters that it makes a host ready for.
    ("setup/", &["types", "error", "env", "host", "storage"]),
    // Planted mistakes: only the tests plant any.
    ("mutant.rs", &["mutant"]),
    ("agent/", &["types", "error", "api::guest"]),
    (
        "testkit/",
        &[
            "types",
            "error",
            "env",
            "hypervisor",
            "storage",
            "network",
            "guest",
            "store",
            "node",
            "engine",
            "service",
            "memory",
            "layers",
            "api",
            "image",
            "host",
        ],
    ),
    // Edges.
    ("http/", EDGE),
    ("ssh/", EDGE),
    ("proxy/", EDGE),
    ("dns/", EDGE),
    ("acme/", EDGE),
    ("lib.rs", &["error"]),
];
const PORT: &[&str] = &["types", "error", "env"];
const EDGE: &[&str] = &["types", "error", "env", "service", "api", "guest"];

/// What the table forbids and the code does all the same: file, name, and why. One that is no longer needed fails.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("engine/execute.rs", "api::guest", "one step asks the agent to end its guest")];

struct Source {
    /// Relative to `src`, with slashes.
    path: String,
    text: String,
}

fn sources(root: &Path) -> Vec<Source> {
    fn walk(root: &Path, dir: &Path, all: &mut Vec<Source>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(root, &path, all);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                all.push(Source { path: name, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    let mut all = Vec::new();
    walk(root, root, &mut all);
    assert!(!all.is_empty(), "there is nothing in {}", root.display());
    all
}

fn core() -> Vec<Source> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn everything() -> Vec<Source> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The binaries lie beside this package in the workspace, and not in what is published of it.
    let more = ["src", "tests", "../minions-bin/src", "../minions-bin/tests"].map(|dir| here.join(dir));
    more.iter().filter(|dir| dir.is_dir()).flat_map(|dir| sources(dir)).collect()
}

/// The lines that are code and no test.
fn code(source: &Source) -> impl Iterator<Item = &str> {
    let is_test = source.path.ends_with("tests.rs") || source.path.contains("/tests/");
    let lines = source.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(move |line| {
        let line = line.trim_start();
        !is_test && !line.is_empty() && !line.starts_with("//")
    })
}

/// The modules of the crate that a file names: `types`, or `api::guest` where two words say more.
fn named(source: &Source) -> BTreeSet<String> {
    let text: String = code(source).collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        // `$crate::` in a macro names what its user has.
        if text[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$') {
            continue;
        }
        names.extend(heads(&text[at + "crate::".len()..]));
    }
    names
}

fn heads(rest: &str) -> Vec<String> {
    if let Some(group) = rest.strip_prefix('{') {
        // Only the beginning of each path of the outermost group matters.
        let (mut depth, mut fresh, mut all) = (0, true, Vec::new());
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                letter if depth == 0 && fresh && letter.is_alphanumeric() => {
                    all.extend(heads(&group[at..]));
                    fresh = false;
                }
                _ => {}
            }
        }
        return all;
    }
    let word = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    let first = word(rest);
    if first.is_empty() || first.starts_with(|letter: char| letter.is_uppercase()) {
        return vec!["error".to_owned()];
    }
    let second = rest[first.len()..].strip_prefix("::").map(word).unwrap_or_default();
    vec![match (first.as_str(), second.is_empty()) {
        ("api" | "store", false) if !second.starts_with(|letter: char| letter.is_uppercase()) => {
            format!("{first}::{second}")
        }
        _ => first,
    }]
}

fn forbidden(source: &Source) -> Vec<String> {
    let Some((_, allowed)) = MAY_NAME.iter().find(|(room, _)| source.path.starts_with(room)) else {
        return vec![format!("{} stands in no row of the table", source.path)];
    };
    let own = source.path.split(['/', '.']).next().unwrap_or_default();
    let ports: &[&str] = if source.path.ends_with("/mod.rs") && *allowed == PORT { &[] } else { &[own] };
    let fits = |name: &String| {
        allowed
            .iter()
            .chain(ports)
            .any(|may| name == may || name.strip_prefix(may).is_some_and(|rest| rest.starts_with("::")))
    };
    named(source).into_iter().filter(|name| !fits(name)).map(|name| format!("{} names {name}", source.path)).collect()
}

#[test]
fn every_module_looks_down_only() {
    let mut found: BTreeSet<String> = core().iter().flat_map(forbidden).collect();
    for (path, name, why) in EXCEPTIONS {
        assert!(!why.is_empty());
        assert!(
            found.remove(&format!("{path} names {name}")),
            "{path} no longer names {name}: take it off the exceptions"
        );
    }
    assert!(found.is_empty(), "the table of who may name whom forbids: {found:#?}");
}

#[test]
fn the_table_catches_what_it_forbids() {
    let file = |path: &str, text: &str| forbidden(&Source { path: path.to_owned(), text: text.to_owned() });
    assert_eq!(file("hypervisor/mod.rs", "use crate::storage::Storage;"), ["hypervisor/mod.rs names storage"]);
    assert_eq!(file("engine/plan.rs", "let x = crate::memory::Y;"), ["engine/plan.rs names memory"]);
    assert_eq!(file("memory/x.rs", "use crate::{types::Z, api::v1::{A, B}, Result};"), ["memory/x.rs names api::v1"]);
    assert_eq!(file("cellar/x.rs", ""), ["cellar/x.rs stands in no row of the table"]);
    let fine = "//! crate::engine\nuse crate::types::VmId;\n#[cfg(test)]\nmod tests { use crate::engine::X; }";
    assert!(file("storage/file/mod.rs", fine).is_empty());
}

#[test]
fn no_file_is_longer_than_one_thing_needs() {
    let long: Vec<_> = everything()
        .iter()
        .map(|source| (code(source).count(), source.path.clone()))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} code lines: {long:?}");
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let words = |source: &Source| -> Vec<String> { source.path.split(['/', '.']).map(str::to_owned).collect() };
    let found: Vec<_> = everything()
        .into_iter()
        .filter(|source| words(source).iter().any(|word| BANNED.contains(&word.as_str())))
        .collect();
    assert!(found.is_empty(), "{:?}", found.iter().map(|source| &source.path).collect::<Vec<_>>());
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> = core()
        .into_iter()
        .filter(|source| source.path.ends_with("mod.rs") && !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "without a first line that begins with //!: {silent:?}");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let found: Vec<_> = everything()
        .into_iter()
        .filter(|source| marks.iter().any(|mark| source.text.contains(mark)))
        .map(|source| source.path)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}
