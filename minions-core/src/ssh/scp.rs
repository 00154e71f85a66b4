//! Knows the far end of `scp -O` by its command. Pure.

use crate::api::guest::{ScpMode, ScpRequest};

/// What a command asks for if it is `scp` and nothing that only a shell could make of it: then the guest's shell gets it.
pub(super) fn request(command: &str) -> Option<ScpRequest> {
    let mut words = words(command)?.into_iter();
    if words.next()? != "scp" {
        return None;
    }
    let mut mode = None;
    let mut request =
        ScpRequest { mode: ScpMode::Sink, recursive: false, preserve: false, directory: false, paths: Vec::new() };
    let mut flags = true;
    for word in words {
        let letters = match word.strip_prefix('-') {
            Some("-") if flags => {
                flags = false;
                continue;
            }
            Some(letters) if flags && !letters.is_empty() => letters,
            _ => {
                flags = false;
                request.paths.push(word);
                continue;
            }
        };
        for letter in letters.chars() {
            match letter {
                't' => mode = Some(ScpMode::Sink),
                'f' => mode = Some(ScpMode::Source),
                'r' => request.recursive = true,
                'p' => request.preserve = true,
                'd' => request.directory = true,
                'q' | 'v' => {}
                _ => return None,
            }
        }
    }
    request.mode = mode?;
    request.check().is_ok().then_some(request)
}

/// A command's words, as a shell would take them. `None` where it would do more than take them.
fn words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = command.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '$' | '`' => return None,
                        '\\' if letters.peek().is_some_and(|next| "\\\"$`".contains(*next)) => {
                            word.extend(letters.next());
                        }
                        letter => word.push(letter),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next().filter(|letter| *letter != '\n')?),
            // One's own home is where paths begin.
            '~' if word.is_none() => match letters.peek() {
                None | Some(' ') => word = Some(".".to_owned()),
                Some('/') => word = Some(".".to_owned()),
                Some(_) => return None,
            },
            '$' | '`' | ';' | '&' | '|' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '{' | '#' | '!' | '\n' => {
                return None;
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(command: &str) -> Option<Vec<String>> {
        request(command).map(|request| request.paths)
    }

    #[test]
    fn the_commands_of_clients_are_known() {
        let known = request("scp -v -r -p -d -t -- '-a b'\\''c'").unwrap();
        assert_eq!((known.mode, known.recursive, known.preserve, known.directory), (ScpMode::Sink, true, true, true));
        assert_eq!(known.paths, ["-a b'c"]);
        assert_eq!(request("scp -rqf /etc/hosts \"x y\"").unwrap().mode, ScpMode::Source);
        assert_eq!(paths("scp -f a\\ b \"x y\" ''z").unwrap(), ["a b", "x y", "z"]);
        assert_eq!(paths("scp -t ~/x").unwrap(), ["./x"]);
        assert_eq!(paths("scp -t ~").unwrap(), ["."]);
    }

    #[test]
    fn what_only_a_shell_could_run_is_left_to_one() {
        for command in [
            "scp",
            "scp -t",
            "scp -t a b",
            "scp -f *.txt",
            "scp -f $HOME/x",
            "scp -f \"$x\"",
            "scp -f a; rm b",
            "scp -f 'a",
            "scp a b",
            "scp -t ~web/x",
            "sudo scp -t x",
            "scp -Z -t x",
            "scp -t a && true",
            "scp -f a\\",
            "scp -t a\nb",
        ] {
            assert_eq!(request(command), None, "{command}");
        }
    }
}
