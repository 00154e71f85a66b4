//! The same for people.

use async_trait::async_trait;
use minions_core::api::v1;
use minions_core::error::Result;
use minions_core::service::{Accounts, Caller, Directory};
use minions_core::types::*;
use tokio::sync::watch;

use super::corpus::evil;
use super::server::Hostile;

fn user() -> v1::User {
    let quota = Some(Quota { vms: u64::MAX, disk: ByteSize::bytes(u64::MAX), memory: ByteSize::bytes(0) });
    v1::User { name: evil(), role: Role::Edge, quota, disabled: true, created: UnixMillis(u64::MAX) }
}

fn key() -> v1::Key {
    let created = UnixMillis(u64::MAX);
    v1::Key { fingerprint: evil(), user: evil(), key: evil(), label: evil(), created }
}

fn token() -> v1::TokenInfo {
    let (created, expires) = (UnixMillis(u64::MAX), Some(UnixMillis(u64::MAX)));
    let (id, scope) = (TokenId::from_bits(1), TokenScope::Read);
    v1::TokenInfo { id, user: evil(), label: evil(), scope, created, expires }
}

#[async_trait]
impl Accounts for Hostile {
    async fn by_key(&self, _: &KeyPrint) -> Result<Option<Caller>> {
        self.judge().map(|()| None)
    }

    async fn by_token(&self, _: &TokenHash) -> Result<Option<Caller>> {
        self.judge().map(|()| None)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

#[async_trait]
impl Directory for Hostile {
    async fn add_user(&self, _: &Caller, _: &v1::AddUser) -> Result<v1::User> {
        self.judge().map(|()| user())
    }

    async fn user(&self, _: &Caller, _: &UserName) -> Result<v1::User> {
        self.judge().map(|()| user())
    }

    async fn users(&self, _: &Caller, query: &v1::ListUsers) -> Result<v1::UserPage> {
        self.judge()?;
        // One more page, then the same cursor again and again.
        assert!(query.cursor.as_ref().is_none_or(|cursor| *cursor == evil()));
        Ok(v1::UserPage { users: vec![user(), user()], next: Some(evil()) })
    }

    async fn update_user(&self, _: &Caller, _: &UserName, _: &v1::UpdateUser) -> Result<v1::User> {
        self.judge().map(|()| user())
    }

    async fn delete_user(&self, _: &Caller, _: &UserName) -> Result<()> {
        self.judge()
    }

    async fn keys(&self, _: &Caller, _: &UserName) -> Result<v1::KeyList> {
        self.judge().map(|()| v1::KeyList { keys: vec![key(), key()] })
    }

    async fn add_key(&self, _: &Caller, _: &UserName, _: &v1::AddKey) -> Result<v1::Key> {
        self.judge().map(|()| key())
    }

    async fn delete_key(&self, _: &Caller, _: &UserName, _: &KeyPrint) -> Result<()> {
        self.judge()
    }

    async fn tokens(&self, _: &Caller, _: &UserName) -> Result<v1::TokenList> {
        self.judge().map(|()| v1::TokenList { tokens: vec![token(), token()] })
    }

    async fn add_token(&self, _: &Caller, _: &UserName, _: &v1::AddToken) -> Result<v1::NewToken> {
        self.judge().map(|()| v1::NewToken { token: evil(), info: token() })
    }

    async fn delete_token(&self, _: &Caller, _: &UserName, _: TokenId) -> Result<()> {
        self.judge()
    }

    async fn audit(&self, _: &Caller, after: u64, _: usize) -> Result<v1::AuditPage> {
        self.judge()?;
        let entry = v1::AuditEntry {
            seq: u64::MAX,
            at: UnixMillis(u64::MAX),
            who: evil(),
            action: evil(),
            target: evil(),
            outcome: evil(),
            hash: evil(),
        };
        // One more page, then a place that does not move.
        Ok(v1::AuditPage { entries: vec![entry; 2], next: after.max(7) })
    }
}
