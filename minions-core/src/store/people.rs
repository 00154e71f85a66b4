//! Who people are: users, their keys and tokens, and what was done by whom.
//!
//! They are written in the transactions of [`FleetStore`](super::FleetStore), so that whoever is gone has nothing left, and
//! what was done is told exactly where it was done. Here they are read.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::fleet::Owner;
use crate::env::CallCx;
use crate::error::Result;
use crate::types::{KeyPrint, Quota, Role, TokenHash, TokenId, TokenScope, UnixMillis};

/// Most keys, and most tokens, of one user.
pub const MAX_OF_USER: usize = 100;

/// An account. Its name is never given to anybody else, also after it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// Its name: the owner of its VMs.
    pub name: Owner,
    /// What it may do.
    pub role: Role,
    /// What it may have in all, where that is not what everybody may have.
    pub quota: Option<Quota>,
    /// Nobody is let in by it.
    pub disabled: bool,
    /// When it was made.
    pub created: UnixMillis,
    /// When it was deleted.
    pub deleted: Option<UnixMillis>,
}

/// A public key that its user logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// What it is known by.
    pub print: KeyPrint,
    /// Whose it is.
    pub user: Owner,
    /// The key, as one line without a comment.
    pub line: String,
    /// What its user calls it.
    pub label: String,
    /// When it was added.
    pub created: UnixMillis,
}

/// A bearer token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// What it is called by.
    pub id: TokenId,
    /// What it is known by.
    pub hash: TokenHash,
    /// Whose it is.
    pub user: Owner,
    /// What its user calls it.
    pub label: String,
    /// How much of what its user may it may do.
    pub scope: TokenScope,
    /// When it was made.
    pub created: UnixMillis,
    /// From when on it lets nobody in.
    pub expires: Option<UnixMillis>,
}

/// What is written of people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleWrite {
    /// A new user; `AlreadyExists` reason `user_taken` where one had this name ever.
    AddUser(UserRow),
    /// A user who is there, whole; else `NotFound` reason `user_unknown`.
    UpdateUser(UserRow),
    /// A user goes, and every key and token of theirs; `NotFound` reason `user_unknown`, `Conflict` reason `user_has_vms`
    /// where they own a VM, or a disk that was kept.
    DeleteUser {
        /// Who.
        user: Owner,
        /// When.
        at: UnixMillis,
    },
    /// A new key of a user who is there; `NotFound` reason `user_unknown`, `AlreadyExists` reason `key_taken` where anybody
    /// has it, `Exhausted` reason `quota` where the user has [`MAX_OF_USER`].
    AddKey(KeyRow),
    /// A key goes; `NotFound` reason `key_unknown` where it is not this user's.
    DeleteKey {
        /// Whose.
        user: Owner,
        /// Which.
        print: KeyPrint,
    },
    /// A new token of a user who is there; as with keys, reason `token_taken`.
    AddToken(TokenRow),
    /// A token goes; `NotFound` reason `token_unknown` where it is not this user's.
    DeleteToken {
        /// Whose.
        user: Owner,
        /// Which.
        id: TokenId,
    },
}

/// Something that somebody did, or was not allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewAudit {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub who: Owner,
    /// What, such as `create`.
    pub action: String,
    /// To what.
    pub target: String,
    /// `ok`, or the reason that it was refused for.
    pub outcome: String,
}

/// An entry of the log, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place: one more than that of the entry before.
    pub seq: u64,
    /// What it tells.
    pub entry: NewAudit,
    /// Over the hash of the entry before, its place and what it tells: whoever changes an entry changes all that follow.
    pub hash: [u8; 32],
}

impl AuditRow {
    /// The entry after this hash and in this place.
    ///
    /// # Errors
    /// `Internal` where it cannot be written as JSON.
    pub fn chained(before: &[u8; 32], seq: u64, entry: NewAudit) -> Result<Self> {
        let text = serde_json::to_vec(&entry)
            .map_err(|error| crate::error::Error::internal("an audit entry cannot be written").with_source(error))?;
        let mut hash = hmac_sha256::Hash::new();
        hash.update(before);
        hash.update(seq.to_be_bytes());
        hash.update(&text);
        Ok(Self { seq, entry, hash: hash.finalize() })
    }
}

/// Reads who people are.
///
/// # Contract
/// - Reads see every commit of the fleet's store that returned before they began.
/// - Users who were deleted are there, marked; their keys and tokens are not.
/// - No entry of the audit log ever changes or goes; their places follow one another without a gap, from 1 on.
///
/// Source of the contract's checks: `testkit::people_suite!`.
#[async_trait]
pub trait People: Debug + Send + Sync + 'static {
    /// A user.
    async fn user(&self, cx: &CallCx, name: &Owner) -> Result<Option<UserRow>>;

    /// At most `limit` users after a name, in the order of their names.
    async fn users(&self, cx: &CallCx, after: Option<&Owner>, limit: usize) -> Result<Vec<UserRow>>;

    /// A key, and whose it is.
    async fn key(&self, cx: &CallCx, print: &KeyPrint) -> Result<Option<(KeyRow, UserRow)>>;

    /// Every key of a user, oldest first.
    async fn keys(&self, cx: &CallCx, user: &Owner) -> Result<Vec<KeyRow>>;

    /// A token, and whose it is.
    async fn token(&self, cx: &CallCx, hash: &TokenHash) -> Result<Option<(TokenRow, UserRow)>>;

    /// Every token of a user, oldest first.
    async fn tokens(&self, cx: &CallCx, user: &Owner) -> Result<Vec<TokenRow>>;

    /// At most `limit` entries of the audit log after a place.
    async fn audit(&self, cx: &CallCx, after: u64, limit: usize) -> Result<Vec<AuditRow>>;
}

/// People that are shared.
pub type DynPeople = Arc<dyn People>;
