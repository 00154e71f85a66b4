//! Who may come in by bearer token, as a file says it.

use crate::error::{Error, Result};
use crate::service::{Caller, Role};
use crate::types::UserName;
pub use crate::types::{Token, TokenHash};

/// Bytes of the longest line of a token file.
const MAX_LINE: usize = 512;

/// Who may come in by token: what a token file says.
///
/// One line a token: `OWNER tenant|admin|edge sha256:HASH`. Empty lines and lines that begin with `#` are skipped.
#[derive(Clone, Debug, Default)]
pub struct TokenTable {
    entries: Vec<(Caller, TokenHash)>,
}

impl TokenTable {
    /// Reads a token file's text. Says the line of the first mistake, and never what was on it: it might be a token.
    pub fn parse(text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = parse_line(line)
                .map_err(|error| Error::invalid("token_file", format!("line {}: {error}", index + 1)))?;
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The line of a token file.
    #[must_use]
    pub fn line(caller: &Caller, hash: &TokenHash) -> String {
        let role = match caller.role {
            Role::Tenant => "tenant",
            Role::Admin => "admin",
            Role::Edge => "edge",
        };
        format!("{} {role} {hash}", caller.owner)
    }

    /// Whether nobody may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose token it is.
    #[must_use]
    pub fn caller(&self, token: &Token) -> Option<Caller> {
        self.caller_of(&token.hash())
    }

    /// Whose token has this hash. Looks at every entry, whichever matches.
    #[must_use]
    pub fn caller_of(&self, hash: &TokenHash) -> Option<Caller> {
        let found = self.entries.iter().fold(None, |found, entry| if entry.1.same(hash) { Some(entry) } else { found });
        found.map(|(caller, _)| caller.clone())
    }
}

fn parse_line(line: &str) -> Result<(Caller, TokenHash)> {
    let mut words = line.split_ascii_whitespace();
    let (Some(owner), Some(role), Some(hash), None, true) =
        (words.next(), words.next(), words.next(), words.next(), line.len() <= MAX_LINE)
    else {
        return Err(Error::invalid("line", "a line is an owner, a role and a hash"));
    };
    owner.parse::<UserName>()?;
    let caller = match role {
        "tenant" => Caller::tenant(owner),
        "admin" => Caller::admin(owner),
        "edge" => Caller::edge(owner),
        _ => return Err(Error::invalid("role", "a role is tenant, admin or edge")),
    };
    Ok((caller, hash.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{IdSource, SeededIds};

    #[test]
    fn a_token_lets_in_whom_the_table_names_and_nobody_else() {
        let (mine, other) = (Token::of(&SeededIds::new(1).next_secret()), Token::of(&SeededIds::new(2).next_secret()));
        let text = format!("# people\n\n{}\n", TokenTable::line(&Caller::tenant("alice"), &mine.hash()));
        let table = TokenTable::parse(&text).unwrap();
        assert_eq!(table.caller(&mine), Some(Caller::tenant("alice")));
        assert_eq!(table.caller(&other), None);
    }

    #[test]
    fn a_token_is_never_printed_and_its_file_does_not_hold_it() {
        let token = Token::of(&SeededIds::new(1).next_secret());
        let line = TokenTable::line(&Caller::admin("ops"), &token.hash());
        assert!(!format!("{token:?}{line}").contains(&token.expose()[4..]));
    }

    #[test]
    fn a_mistake_in_a_token_file_is_told_by_its_line_without_its_text() {
        let error = TokenTable::parse("# ok\nmnt_abcdefsecret\n").expect_err("bad");
        assert!(error.chain().contains("line 2") && !error.chain().contains("secret"), "{}", error.chain());
        for line in ["a boss sha256:00", "a tenant sha256:zz", "a b tenant sha256:00", "a/b tenant sha256:00"] {
            assert!(TokenTable::parse(line).is_err(), "{line}");
        }
    }
}
