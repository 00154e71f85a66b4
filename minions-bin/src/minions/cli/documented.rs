//! Whatever the documents and the help tell people to type must be words that this program knows.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::Cli;

/// What stands for what a shell would put there.
const SOMETHING: &str = "op_00000000000000000000000001";

/// The commands in a line of a shell, each as its words. What runs within `$(…)` is a command of its own.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words) = (Vec::new(), Vec::new());
    let mut word: Option<String> = None;
    let mut letters = line.chars().peekable();
    let mut skip = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                let quoted: String = letters.by_ref().take_while(|next| *next != letter).collect();
                word.get_or_insert_default().push_str(&quoted);
            }
            '$' if letters.peek() == Some(&'(') => {
                letters.next();
                let mut depth = 1;
                let inner: String = letters
                    .by_ref()
                    .take_while(|next| {
                        depth += i32::from(*next == '(') - i32::from(*next == ')');
                        depth > 0
                    })
                    .collect();
                all.extend(commands(&inner));
                word.get_or_insert_default().push_str(SOMETHING);
            }
            '#' if word.is_none() => break,
            ' ' | '>' | '<' | '|' | '&' | ';' => {
                if let Some(word) = word.take().filter(|_| !std::mem::take(&mut skip)) {
                    words.push(word);
                }
                // Where something is written to, or read from, is no word of the command's.
                skip |= matches!(letter, '>' | '<');
                if matches!(letter, '|' | '&' | ';') {
                    all.push(std::mem::take(&mut words));
                }
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word.filter(|_| !skip));
    all.push(words);
    all
}

/// Our own among them, without what stands in front of them.
fn ours(line: &str) -> Vec<Vec<String>> {
    let plain = |words: Vec<String>| -> Vec<String> {
        let first = |word: &String| word == "sudo" || word == "-E" || word.contains('=') && !word.starts_with('-');
        words.into_iter().skip_while(first).collect()
    };
    commands(line).into_iter().map(plain).filter(|words| words.first().is_some_and(|word| word == "minions")).collect()
}

fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = vec![root.join("README.md")];
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(docs.filter(|path| path.extension().is_some_and(|end| end == "md")));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The commands that are typed: lines of consoles that begin with a prompt, with those that a backslash joins to them.
fn typed(text: &str) -> Vec<String> {
    let (mut console, mut goes_on) = (false, false);
    let mut typed: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            (console, goes_on) = (kind == "console", false);
            continue;
        }
        let prompted = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
        let part = if goes_on { Some(line.trim_start()) } else { prompted.filter(|_| console) };
        let Some(part) = part else { continue };
        let whole = part.strip_suffix('\\');
        match typed.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(whole.unwrap_or(part)),
            None => typed.push(whole.unwrap_or(part).to_owned()),
        }
        goes_on = whole.is_some();
    }
    typed
}

#[test]
fn a_command_goes_on_behind_a_backslash() {
    let text = "```console\n# minions serve \\\n    --ssh 0.0.0.0:2222\n$ ls\nan answer\n```\n$ no command\n";
    assert_eq!(typed(text), ["minions serve --ssh 0.0.0.0:2222", "ls"]);
}

#[test]
fn every_command_in_the_documents_and_in_the_help_is_one_that_this_program_knows() {
    fn helps(command: &clap::Command, all: &mut Vec<String>) {
        all.extend(command.get_after_help().map(|text| text.to_string()));
        command.get_subcommands().for_each(|verb| helps(verb, all));
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    for (path, text) in documents() {
        lines.extend(typed(&text).into_iter().map(|line| (path.display().to_string(), line)));
    }
    let mut texts = Vec::new();
    helps(&Cli::command(), &mut texts);
    for text in &texts {
        // What a command is for stands behind it, after a gap.
        let examples = text.lines().filter_map(|line| line.strip_prefix("  ")?.split("   ").next());
        lines.extend(examples.map(|line| ("--help".to_owned(), line.to_owned())));
    }
    let mut count = 0;
    for (place, line) in &lines {
        for words in ours(line) {
            count += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                let answers = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
                assert!(answers.contains(&error.kind()), "{place}: {line}\n{words:?}\n{error}");
            }
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn every_verb_and_option_named_in_passing_is_one_that_this_program_knows() {
    let mut count = 0;
    for (path, text) in documents() {
        let prose = text.split("```").step_by(2);
        let spans = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
        for words in spans.filter(|span| span.starts_with("minions ")).flat_map(ours) {
            // A word in capitals stands for another.
            let stands = |word: &String| word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase());
            if words.iter().any(stands) {
                continue;
            }
            count += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                let half = [
                    ErrorKind::MissingRequiredArgument,
                    ErrorKind::MissingSubcommand,
                    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ];
                assert!(half.contains(&error.kind()), "{}: {words:?}\n{error}", path.display());
            }
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn a_line_of_a_shell_is_taken_apart() {
    let words = |line: &str| ours(line).iter().map(|words| words.join("|")).collect::<Vec<_>>();
    assert_eq!(words("tar c . | minions exec web -- sh -c 'a; b' && ls"), ["minions|exec|web|--|sh|-c|a; b"]);
    assert_eq!(words("A=b sudo -E minions list > out # why"), ["minions|list"]);
    assert_eq!(words("minions wait $(minions x)"), ["minions|x", &format!("minions|wait|{SOMETHING}")]);
    assert!(words("ls minions").is_empty());
}
