//! Who people are: the accounts' faces of the service.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::caller::Caller;
use crate::api::v1;
use crate::error::Result;
use crate::types::{KeyPrint, TokenHash, TokenId, UserName};

/// Tells front doors whom they have before them.
///
/// # Contract
/// - A key, a token and a user that were taken back let nobody in from the moment on that this was acknowledged.
/// - Whoever is nobody here is `None`, never an error: an error says that it could not be told.
#[async_trait]
pub trait Accounts: fmt::Debug + Send + Sync + 'static {
    /// Whose key it is.
    async fn by_key(&self, key: &KeyPrint) -> Result<Option<Caller>>;

    /// Whose token has this hash.
    async fn by_token(&self, token: &TokenHash) -> Result<Option<Caller>>;

    /// Changes whenever somebody may no longer be who they were: whoever let one in before looks again.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Lets people into a browser whom another front door knows by their key.
pub trait LoginLinks: fmt::Debug + Send + Sync + 'static {
    /// An address that logs its first visitor in, once, within five minutes, as whoever's key this is. What that opens ends
    /// when the key lets nobody in any more.
    fn login_link(&self, key: &KeyPrint) -> String;
}

/// Links that are shared.
pub type DynLoginLinks = Arc<dyn LoginLinks>;

/// Accounts that are shared.
pub type DynAccounts = Arc<dyn Accounts>;

/// Who has an account, and what lets them in. Users see and change their own keys and tokens, admins everybody's.
///
/// # Contract
/// - What is not the caller's is `NotFound`, word for word as if it were not there.
/// - Changes need a caller of full scope, and are in the audit log in the same transaction.
#[async_trait]
pub trait Directory: fmt::Debug + Send + Sync + 'static {
    /// A new user. Admins only.
    async fn add_user(&self, caller: &Caller, request: &v1::AddUser) -> Result<v1::User>;

    /// A user.
    async fn user(&self, caller: &Caller, user: &UserName) -> Result<v1::User>;

    /// A page of users. Admins only.
    async fn users(&self, caller: &Caller, query: &v1::ListUsers) -> Result<v1::UserPage>;

    /// Changes a user. Admins only.
    async fn update_user(&self, caller: &Caller, user: &UserName, request: &v1::UpdateUser) -> Result<v1::User>;

    /// A user goes, with keys and tokens; `Conflict` reason `user_has_vms` while they own something. Admins only.
    async fn delete_user(&self, caller: &Caller, user: &UserName) -> Result<()>;

    /// Every key of a user.
    async fn keys(&self, caller: &Caller, user: &UserName) -> Result<v1::KeyList>;

    /// A new key of a user.
    async fn add_key(&self, caller: &Caller, user: &UserName, request: &v1::AddKey) -> Result<v1::Key>;

    /// A key goes.
    async fn delete_key(&self, caller: &Caller, user: &UserName, key: &KeyPrint) -> Result<()>;

    /// Every token of a user.
    async fn tokens(&self, caller: &Caller, user: &UserName) -> Result<v1::TokenList>;

    /// A new token of a user.
    async fn add_token(&self, caller: &Caller, user: &UserName, request: &v1::AddToken) -> Result<v1::NewToken>;

    /// A token goes.
    async fn delete_token(&self, caller: &Caller, user: &UserName, token: TokenId) -> Result<()>;

    /// A page of at most `limit` entries of the audit log after a place. Admins only.
    async fn audit(&self, caller: &Caller, after: u64, limit: usize) -> Result<v1::AuditPage>;
}

/// A directory that is shared.
pub type DynDirectory = Arc<dyn Directory>;
