//! Verbs about people: who has an account, and what lets them in.

mod audit;
mod key;
mod quota;
mod token;
mod user;

pub use audit::run as audit;
pub use key::{add as add_key, run as key};
pub use quota::run as quota;
pub use token::run as token;
pub use user::run as user;

use minions_core::error::{Error, ErrorKind, Result};
use minions_core::types::UserName;

use crate::client::Client;

/// More entries than any list has; one that goes on beyond them never ends.
const MOST: usize = 1_000_000;

/// The user who was named, or whoever asks.
async fn whom(client: &Client, named: Option<&UserName>) -> Result<UserName> {
    if let Some(name) = named {
        return Ok(name.clone());
    }
    let me = client.whoami().await?;
    me.name.parse().map_err(|_| Error::new(ErrorKind::Unavailable, "the service does not say who we are"))
}
