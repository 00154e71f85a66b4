//! Bearer tokens: 256 random bits that a service keeps only the hash of.

use std::fmt;
use std::str::FromStr;

use crate::env::IdSource;
use crate::error::{Error, ErrorKind, Result};
use crate::service::{Caller, Role};

/// What every token begins with, so that a leaked one is recognised.
const PREFIX: &str = "mnt_";

/// Bytes of the longest line of a token file.
const MAX_LINE: usize = 512;

/// A bearer token. Never printed but by [`Token::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new one.
    #[must_use]
    pub fn generate(ids: &dyn IdSource) -> Self {
        let hex: String = ids.next_secret().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PREFIX}{hex}"))
    }

    /// Its text, for the one place that hands it to its owner, and the one that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a service keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(hmac_sha256::Hash::hash(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let body = text.strip_prefix(PREFIX).unwrap_or_default();
        // 32 characters of at least 4 bits each: nobody can have chosen a shorter one.
        if !(32..=128).contains(&body.len()) || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::new(ErrorKind::Unauthenticated, "not a token of the form mnt_…"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The SHA-256 of a token: enough, since nobody can guess what it was made from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Compares in a time that does not depend on where the two differ.
    fn same(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0u8, |diff, (one, two)| diff | (one ^ two)) == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenHash {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("hash", "not a hash of the form sha256: and 64 hexadecimal digits");
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(bad)?;
        let mut hash = [0u8; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(hash))
    }
}

/// Who may come in by token: what a token file says.
///
/// One line a token: `OWNER tenant|admin sha256:HASH`. Empty lines and lines that begin with `#` are skipped.
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
    if owner.len() > 64 || !owner.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte)) {
        return Err(Error::invalid("owner", "an owner has 1 to 64 letters, digits and -_.@"));
    }
    let caller = match role {
        "tenant" => Caller::tenant(owner),
        "admin" => Caller::admin(owner),
        _ => return Err(Error::invalid("role", "a role is tenant or admin")),
    };
    Ok((caller, hash.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededIds;

    #[test]
    fn a_token_lets_in_whom_the_table_names_and_nobody_else() {
        let (mine, other) = (Token::generate(&SeededIds::new(1)), Token::generate(&SeededIds::new(2)));
        let text = format!("# people\n\n{}\n", TokenTable::line(&Caller::tenant("alice"), &mine.hash()));
        let table = TokenTable::parse(&text).unwrap();
        assert_eq!(table.caller(&mine), Some(Caller::tenant("alice")));
        assert_eq!(table.caller(&other), None);
    }

    #[test]
    fn a_token_is_never_printed_and_its_file_does_not_hold_it() {
        let token = Token::generate(&SeededIds::new(1));
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

    #[test]
    fn bad_8_what_is_no_token_is_refused_before_it_is_hashed() {
        for text in [
            "",
            "mnt_",
            "mnt_short",
            &format!("mnt_{}", "a".repeat(8192)),
            "mnt_\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(text.parse::<Token>().is_err(), "{}", text.len());
        }
    }
}
