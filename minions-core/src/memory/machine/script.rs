//! Reads what a simulated shell is told: words, quotes, variables, redirections, `;`, `&&`, `||`.

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// A variable: `?`, `$`, or a name.
    Variable(String),
}

pub(super) type Word = Vec<Piece>;

/// When a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// After success.
    And,
    /// After failure.
    Or,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    In(Word),
    Out {
        stderr: bool,
        append: bool,
        to: Word,
    },
    /// stderr goes where stdout goes.
    ErrToOut,
    /// stdout goes where stderr goes.
    OutToErr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub when: When,
    pub words: Vec<Word>,
    pub redirects: Vec<Redirect>,
}

enum Token {
    Word(Word),
    Operator(&'static str),
}

/// The longest first.
const OPERATORS: &[&str] =
    &["2>&1", "2>>", "1>&2", "&&", "||", ">>", ">&2", "&>", "2>", "1>", ";", "\n", "|", "&", ">", "<", "(", ")"];

/// The commands of a script, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    let mut now = Command { when: When::Always, words: Vec::new(), redirects: Vec::new() };
    let mut tokens = tokens(text)?.into_iter();
    while let Some(token) = tokens.next() {
        let operator = match token {
            Token::Word(word) => {
                now.words.push(word);
                continue;
            }
            Token::Operator(operator) => operator,
        };
        let when = match operator {
            ";" | "\n" => Some(When::Always),
            "&&" => Some(When::And),
            "||" => Some(When::Or),
            _ => None,
        };
        if let Some(when) = when {
            let empty = now.words.is_empty() && now.redirects.is_empty();
            if empty && operator != "\n" {
                return Err(format!("syntax error near \"{operator}\""));
            }
            if !empty {
                commands.push(std::mem::replace(&mut now, Command { when, words: Vec::new(), redirects: Vec::new() }));
            }
            continue;
        }
        let redirect = match operator {
            "2>&1" => Redirect::ErrToOut,
            "1>&2" | ">&2" => Redirect::OutToErr,
            "|" | "&" | "(" | ")" => return Err(format!("the simulated shell has no \"{operator}\"")),
            operator => {
                let Some(Token::Word(to)) = tokens.next() else {
                    return Err(format!("syntax error after \"{operator}\""));
                };
                match operator {
                    "<" => Redirect::In(to),
                    "&>" => {
                        now.redirects.push(Redirect::Out { stderr: false, append: false, to });
                        Redirect::ErrToOut
                    }
                    operator => {
                        Redirect::Out { stderr: operator.starts_with('2'), append: operator.ends_with(">>"), to }
                    }
                }
            }
        };
        now.redirects.push(redirect);
    }
    if !now.words.is_empty() || !now.redirects.is_empty() {
        commands.push(now);
    } else if now.when != When::Always {
        return Err("syntax error: the script ends too early".to_owned());
    }
    Ok(commands)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        if rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        }
        if let Some(after) = rest.strip_prefix("\\\n") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Ok(tokens);
        }
        if let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
            tokens.push(Token::Operator(operator));
            rest = &rest[operator.len()..];
            continue;
        }
        let (word, after) = word(rest)?;
        tokens.push(Token::Word(word));
        rest = after;
    }
}

fn word(text: &str) -> Result<(Word, &str), String> {
    let mut word = Word::new();
    let mut plain = String::new();
    let mut rest = text;
    let mut quoted = false;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        match letter {
            '\'' if !quoted => {
                let end = after.find('\'').ok_or("a quote has no end")?;
                plain.push_str(&after[..end]);
                rest = &after[end + 1..];
                // An empty quote is a word too.
                word.push(Piece::Text(std::mem::take(&mut plain)));
            }
            '"' => {
                quoted = !quoted;
                rest = after;
                word.push(Piece::Text(std::mem::take(&mut plain)));
            }
            '\\' => {
                let Some(next) = after.chars().next() else { return Err("nothing follows a backslash".to_owned()) };
                if quoted && !matches!(next, '"' | '\\' | '$' | '`' | '\n') {
                    plain.push('\\');
                }
                if next != '\n' {
                    plain.push(next);
                }
                rest = &after[next.len_utf8()..];
            }
            '$' => {
                let (name, after) = variable(after);
                match name {
                    Some(name) => {
                        word.push(Piece::Text(std::mem::take(&mut plain)));
                        word.push(Piece::Variable(name));
                    }
                    None => plain.push('$'),
                }
                rest = after;
            }
            '`' => return Err("the simulated shell substitutes no commands".to_owned()),
            ' ' | '\t' | '\n' | '\r' | ';' | '&' | '|' | '<' | '>' | '(' | ')' if !quoted => break,
            letter => {
                plain.push(letter);
                rest = after;
            }
        }
    }
    if quoted {
        return Err("a quote has no end".to_owned());
    }
    word.push(Piece::Text(plain));
    Ok((word, rest))
}

/// The name after a `$`, where one follows.
fn variable(text: &str) -> (Option<String>, &str) {
    if let Some((name, after)) = text.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        return (Some(name.to_owned()), after);
    }
    if let Some(special) = text.chars().next().filter(|letter| matches!(letter, '?' | '$' | '#' | '0'..='9')) {
        return (Some(special.to_string()), &text[1..]);
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    match end {
        0 => (None, text),
        end => (Some(text[..end].to_owned()), &text[end..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(command: &Command) -> Vec<String> {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => format!("${{{name}}}"),
        };
        command.words.iter().map(|word| word.iter().map(text).collect()).collect()
    }

    #[test]
    fn quotes_variables_and_joins_are_read_as_a_shell_does() {
        let commands = parse("a 'b  c' \"d $E\"; f && g\\ h || exit 3 # not this\ni").unwrap();
        let read: Vec<_> = commands.iter().map(|command| (command.when, texts(command))).collect();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            read,
            [
                (When::Always, words(&["a", "b  c", "d ${E}"])),
                (When::Always, words(&["f"])),
                (When::And, words(&["g h"])),
                (When::Or, words(&["exit", "3"])),
                (When::Always, words(&["i"])),
            ]
        );
    }

    #[test]
    fn redirections_are_no_words() {
        let commands = parse("echo x>/tmp/a 2>&1 <b >>c").unwrap();
        assert_eq!(texts(&commands[0]), ["echo", "x"]);
        assert_eq!(commands[0].redirects.len(), 4);
    }

    #[test]
    fn what_the_shell_cannot_do_is_refused_instead_of_misread() {
        for text in ["a | b", "a &", "(a)", "'a", "a &&", "; a", "a >", "`a`"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
