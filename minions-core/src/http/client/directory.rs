//! Accounts over HTTP, method by method.

use async_trait::async_trait;
use hyper::Method;
use serde::Serialize;

use super::HttpControlPlane;
use super::control_plane::{asked, escape};
use super::request::Call;
use crate::api::v1;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::service::{Caller, Directory};
use crate::types::{KeyPrint, TokenId, UserName};

fn send(method: Method, path: String, body: &impl Serialize) -> Result<Call<'static>> {
    Call::send(method, path, body, None)
}

fn gone(path: String) -> Call<'static> {
    Call { method: Method::DELETE, ..Call::get(path) }
}

#[async_trait]
impl Directory for HttpControlPlane {
    async fn add_user(&self, _: &Caller, request: &v1::AddUser) -> Result<v1::User> {
        self.exchange(send(Method::POST, "/v1/users".to_owned(), request)?).await
    }

    async fn user(&self, _: &Caller, user: &UserName) -> Result<v1::User> {
        self.exchange(Call::get(format!("/v1/users/{user}"))).await
    }

    async fn users(&self, _: &Caller, query: &v1::ListUsers) -> Result<v1::UserPage> {
        let limit = query.limit.map(|limit| limit.to_string());
        let path = asked("/v1/users", [("limit", limit), ("cursor", query.cursor.as_deref().map(escape))]);
        self.exchange(Call::get(path)).await
    }

    async fn update_user(&self, _: &Caller, user: &UserName, request: &v1::UpdateUser) -> Result<v1::User> {
        self.exchange(send(Method::PATCH, format!("/v1/users/{user}"), request)?).await
    }

    async fn delete_user(&self, _: &Caller, user: &UserName) -> Result<()> {
        self.settle(gone(format!("/v1/users/{user}"))).await
    }

    async fn keys(&self, _: &Caller, user: &UserName) -> Result<v1::KeyList> {
        self.exchange(Call::get(format!("/v1/users/{user}/keys"))).await
    }

    async fn add_key(&self, _: &Caller, user: &UserName, request: &v1::AddKey) -> Result<v1::Key> {
        self.exchange(send(Method::POST, format!("/v1/users/{user}/keys"), request)?).await
    }

    async fn delete_key(&self, _: &Caller, user: &UserName, key: &KeyPrint) -> Result<()> {
        let request = v1::DeleteKey { fingerprint: key.to_string() };
        self.settle(send(Method::DELETE, format!("/v1/users/{user}/keys"), &request)?).await
    }

    async fn tokens(&self, _: &Caller, user: &UserName) -> Result<v1::TokenList> {
        self.exchange(Call::get(format!("/v1/users/{user}/tokens"))).await
    }

    async fn add_token(&self, _: &Caller, user: &UserName, request: &v1::AddToken) -> Result<v1::NewToken> {
        self.exchange(send(Method::POST, format!("/v1/users/{user}/tokens"), request)?).await
    }

    async fn delete_token(&self, _: &Caller, user: &UserName, token: TokenId) -> Result<()> {
        self.settle(gone(format!("/v1/users/{user}/tokens/{token}"))).await
    }

    async fn audit(&self, _: &Caller, after: u64, limit: usize) -> Result<v1::AuditPage> {
        self.exchange(Call::get(format!("/v1/audit?after={after}&limit={}", limit.clamp(1, 200)))).await
    }
}

impl HttpControlPlane {
    /// A call whose answer is that it was done, and nothing more.
    async fn settle(&self, call: Call<'_>) -> Result<()> {
        if self.fetch(call).await?.is_empty() {
            return Ok(());
        }
        let message = "the server's answer is not what this version understands";
        Err(Error::new(ErrorKind::Unavailable, message).with_effect(Effect::Unknown))
    }
}
