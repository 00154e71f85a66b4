//! Who people are: the accounts' face of the service.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::caller::Caller;
use crate::error::Result;
use crate::types::{KeyPrint, TokenHash};

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
}

/// Accounts that are shared.
pub type DynAccounts = Arc<dyn Accounts>;
