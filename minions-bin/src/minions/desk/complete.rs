//! What a word may become at the prompt. Pure.

use clap::{Command, CommandFactory};

use super::words::Desk;

/// What to offer.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// These.
    Words(Vec<String>),
    /// The caller's VMs.
    Vms,
}

/// What may stand behind these words, and begins so.
pub fn what(before: &[String], begins: &str) -> What {
    let mut root = Desk::command();
    root.build();
    let (mut at, mut place, mut value) = (&root, 0, false);
    for word in before.iter().skip_while(|word| *word == "minions") {
        if std::mem::take(&mut value) {
            continue;
        }
        match (word.strip_prefix("--"), at.find_subcommand(word)) {
            (Some(flag), _) => value = takes_value(at, flag),
            (None, Some(verb)) => at = verb,
            (None, None) => place += usize::from(!word.starts_with('-')),
        }
    }
    if value {
        return What::Words(Vec::new());
    }
    if begins.starts_with('-') {
        let flags = at.get_arguments().filter(|flag| !flag.is_hide_set()).filter_map(|flag| flag.get_long());
        return What::Words(flags.map(|flag| format!("--{flag}")).collect());
    }
    if at.has_subcommands() {
        let verbs = at.get_subcommands().filter(|verb| !verb.is_hide_set()).map(|verb| verb.get_name().to_owned());
        let leave = before.is_empty().then(|| "exit".to_owned());
        return What::Words(verbs.chain(leave).collect());
    }
    match at.get_positionals().nth(place) {
        Some(argument) if argument.get_id() == "vm" => What::Vms,
        Some(argument) => {
            let values = argument.get_possible_values();
            What::Words(values.iter().map(|value| value.get_name().to_owned()).collect())
        }
        None => What::Words(Vec::new()),
    }
}

/// Whether a flag is followed by its value.
fn takes_value(command: &Command, flag: &str) -> bool {
    let known = command.get_arguments().find(|argument| argument.get_long() == Some(flag));
    known.is_some_and(|argument| argument.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(before: &[&str], begins: &str) -> Vec<String> {
        let before: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
        match what(&before, begins) {
            What::Words(words) => words,
            What::Vms => vec!["VM".to_owned()],
        }
    }

    #[test]
    fn a_word_becomes_what_fits_in_its_place() {
        let has = |before: &[&str], begins: &str, word: &str| words(before, begins).iter().any(|one| one == word);
        assert!(has(&[], "", "create") && has(&[], "", "exit") && has(&[], "", "login"));
        assert!(has(&["key"], "", "add") && !has(&["key"], "", "create"));
        assert_eq!(words(&["start"], ""), ["VM"]);
        assert_eq!(words(&["minions", "start"], ""), ["VM"]);
        assert_eq!(words(&["start", "web"], ""), [""; 0]);
        assert_eq!(words(&["share", "web"], ""), ["public", "private", "user"]);
        assert_eq!(words(&["expose", "--port", "80"], ""), ["VM"]);
        assert_eq!(words(&["expose", "--port"], ""), [""; 0]);
        assert!(has(&["create"], "-", "--memory") && has(&["list"], "--", "--json"));
    }

    #[test]
    fn no_verb_names_what_is_the_host_s_own() {
        let mut root = Desk::command();
        root.build();
        root.clone().debug_assert();
        for gone in ["cp", "serve", "init", "doctor", "context", "config", "exec", "bake-agent", "kernel", "completion"]
        {
            assert!(root.find_subcommand(gone).is_none(), "{gone}");
        }
        fn walk(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                let long = argument.get_long().unwrap_or_default();
                let named = ["file", "dir", "server", "context", "token-file", "config"].contains(&long);
                let path_type = argument.get_value_parser().type_id() == std::any::TypeId::of::<std::path::PathBuf>();
                assert!(!named && !path_type, "{path} {long}");
            }
            command.get_subcommands().for_each(|verb| walk(verb, &format!("{path} {}", verb.get_name())));
        }
        walk(&root, "");
    }
}
