//! Who is visiting.

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::App;
use crate::error::Result;
use crate::service::Caller;
use crate::types::Token;

/// Where programs put a token, so that `Authorization` stays the VM's own.
pub(super) const TOKEN: &str = "x-minions-token";

/// Takes the platform's tokens out of a head: no VM sees one, whoever sends it. Returns the first that can be one.
pub(super) fn take_token(headers: &mut HeaderMap) -> Option<Token> {
    let own: Option<Token> = headers.get(TOKEN).and_then(|value| value.to_str().ok()?.parse().ok());
    headers.remove(TOKEN);
    let bearer = |text: &str| {
        let (scheme, token) = text.split_once(' ')?;
        token.trim().parse::<Token>().ok().filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    };
    let found: Option<Token> =
        headers.get_all(AUTHORIZATION).iter().find_map(|value| value.to_str().ok().and_then(bearer));
    if found.is_some() {
        headers.remove(AUTHORIZATION);
    }
    own.or(found)
}

impl App {
    /// Whose token it is; anew for every request, so that one that was taken back lets nobody in.
    pub(super) async fn visitor(&self, token: Option<&Token>) -> Result<Option<Caller>> {
        match token {
            Some(token) => self.accounts.by_token(&token.hash()).await,
            None => Ok(None),
        }
    }
}
