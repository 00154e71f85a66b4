//! Accounts in process, over the fleet's store.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::accounts::{Accounts, Directory};
use super::audit;
use super::authz::Authz;
use super::caller::{Caller, Role};
use crate::api::v1;
use crate::env::{CallCx, Env};
use crate::error::{Error, Result};
use crate::store::fleet::DynFleetStore;
use crate::store::people::{DynPeople, KeyRow, PeopleWrite, TokenRow, UserRow};
use crate::store::{FleetChange, Owner};
use crate::types::{KeyPrint, PublicKey, Token, TokenHash, TokenId, TokenScope, UnixMillis, UserName};

/// Longest label, in characters.
const MAX_LABEL: usize = 100;

/// Longest life of a token that ends: ten years.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// The accounts that a store keeps.
#[derive(Debug)]
pub struct LocalAccounts {
    store: DynFleetStore,
    people: DynPeople,
    env: Env,
    limit: Duration,
    changed: watch::Sender<u64>,
}

impl LocalAccounts {
    /// Over a store and the people in it, which are one thing with two faces. `limit` is for one call of it.
    #[must_use]
    pub fn new(store: DynFleetStore, people: DynPeople, env: Env, limit: Duration) -> Self {
        Self { store, people, env, limit, changed: watch::Sender::new(0) }
    }

    fn cx(&self, op: &'static str) -> CallCx {
        CallCx::new(op, self.limit)
    }

    /// Writes, tells the log, and lets everybody look again who let somebody in.
    async fn write(&self, caller: &Caller, action: &'static str, target: String, write: PeopleWrite) -> Result<()> {
        let entry = audit::entry(caller, action, target, "ok", self.env.clock.wall());
        let change = FleetChange { people: vec![write], audit: vec![entry], ..FleetChange::default() };
        let (store, changed, cx) = (self.store.clone(), self.changed.clone(), self.cx(action));
        // On a task of its own: once begun it does not depend on the caller.
        let work = tokio::spawn(async move {
            let done = store.commit(&cx, &change).await;
            // Also where it is not known whether it happened.
            changed.send_modify(|turn| *turn += 1);
            done.map(drop)
        });
        work.await.map_err(|error| Error::internal("a change of accounts panicked").with_source(error))?
    }

    /// The user, where they are the caller or the caller is an admin; otherwise it is as if they were not there.
    async fn known(&self, caller: &Caller, user: &UserName) -> Result<UserRow> {
        let name = Owner(user.to_string());
        let mine = caller.role == Role::Tenant && caller.owner == name;
        let unknown = || Error::not_found("there is no such user; see `minions user list`").with_reason("user_unknown");
        if !mine && caller.role != Role::Admin {
            return Err(unknown());
        }
        let row = self.people.user(&self.cx("user"), &name).await?;
        row.filter(|row| row.deleted.is_none()).ok_or_else(unknown)
    }

    /// The same, for somebody who is to be changed.
    async fn changed(&self, caller: &Caller, user: &UserName) -> Result<UserRow> {
        let row = self.known(caller, user).await?;
        Authz::full(caller).map(|()| row)
    }
}

/// Who a user is to the service, with this much of what they may.
fn caller(user: &UserRow, scope: TokenScope) -> Option<Caller> {
    let shut = user.disabled || user.deleted.is_some();
    (!shut).then(|| Caller { owner: user.name.clone(), role: user.role, scope })
}

#[async_trait]
impl Accounts for LocalAccounts {
    async fn by_key(&self, key: &KeyPrint) -> Result<Option<Caller>> {
        let found = self.people.key(&self.cx("by_key"), key).await?;
        Ok(found.and_then(|(_, user)| caller(&user, TokenScope::Full)))
    }

    async fn by_token(&self, token: &TokenHash) -> Result<Option<Caller>> {
        let found = self.people.token(&self.cx("by_token"), token).await?;
        let now = self.env.clock.wall();
        let found = found.filter(|(token, _)| token.expires.is_none_or(|expires| now < expires));
        Ok(found.and_then(|(token, user)| caller(&user, token.scope)))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[async_trait]
impl Directory for LocalAccounts {
    async fn add_user(&self, caller: &Caller, request: &v1::AddUser) -> Result<v1::User> {
        Authz::admin(caller)?;
        let role = if request.admin { Role::Admin } else { Role::Tenant };
        let (name, created) = (Owner(request.name.to_string()), self.env.clock.wall());
        let row = UserRow { name, role, quota: None, disabled: false, created, deleted: None };
        self.write(caller, "add_user", row.name.0.clone(), PeopleWrite::AddUser(row.clone())).await?;
        Ok(shown(&row))
    }

    async fn user(&self, caller: &Caller, user: &UserName) -> Result<v1::User> {
        Ok(shown(&self.known(caller, user).await?))
    }

    async fn users(&self, caller: &Caller, query: &v1::ListUsers) -> Result<v1::UserPage> {
        Authz::admin(caller)?;
        let limit = usize::try_from(query.limit.unwrap_or(100)).unwrap_or(usize::MAX);
        if !(1..=200).contains(&limit) {
            return Err(Error::invalid("limit", "a page has 1 to 200 users"));
        }
        let after = query.cursor.as_deref().map(str::parse::<UserName>).transpose();
        let after = after.map_err(|_| Error::invalid("cursor", "not a cursor that a page before gave"))?;
        let after = after.map(|name| Owner(name.to_string()));
        let mut rows = self.people.users(&self.cx("users"), after.as_ref(), limit + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.name.0.clone());
        // The names of who is gone are kept so that nobody else gets them, and for nothing else.
        let users = rows.iter().filter(|row| row.deleted.is_none()).map(shown).collect();
        Ok(v1::UserPage { users, next })
    }

    async fn update_user(&self, caller: &Caller, user: &UserName, request: &v1::UpdateUser) -> Result<v1::User> {
        Authz::admin(caller)?;
        let mut row = self.changed(caller, user).await?;
        row.disabled = request.disabled.unwrap_or(row.disabled);
        row.quota = request.quota.or(row.quota);
        if let Some(admin) = request.admin {
            row.role = if admin { Role::Admin } else { Role::Tenant };
        }
        self.write(caller, "update_user", row.name.0.clone(), PeopleWrite::UpdateUser(row.clone())).await?;
        Ok(shown(&row))
    }

    async fn delete_user(&self, caller: &Caller, user: &UserName) -> Result<()> {
        Authz::admin(caller)?;
        let row = self.changed(caller, user).await?;
        let write = PeopleWrite::DeleteUser { user: row.name, at: self.env.clock.wall() };
        self.write(caller, "delete_user", user.to_string(), write).await
    }

    async fn keys(&self, caller: &Caller, user: &UserName) -> Result<v1::KeyList> {
        let row = self.known(caller, user).await?;
        let keys = self.people.keys(&self.cx("keys"), &row.name).await?;
        Ok(v1::KeyList { keys: keys.iter().map(key).collect() })
    }

    async fn add_key(&self, caller: &Caller, user: &UserName, request: &v1::AddKey) -> Result<v1::Key> {
        let user = self.changed(caller, user).await?.name;
        let public: PublicKey = request.key.parse()?;
        let label = label(request.label.as_deref().unwrap_or(public.comment()))?;
        let (print, line, created) = (public.print(), public.line(), self.env.clock.wall());
        let row = KeyRow { print, user, line, label, created };
        let target = format!("{} {print}", row.user);
        self.write(caller, "add_key", target, PeopleWrite::AddKey(row.clone())).await?;
        Ok(key(&row))
    }

    async fn delete_key(&self, caller: &Caller, user: &UserName, print: &KeyPrint) -> Result<()> {
        let user = self.changed(caller, user).await?.name;
        let target = format!("{user} {print}");
        self.write(caller, "delete_key", target, PeopleWrite::DeleteKey { user, print: *print }).await
    }

    async fn tokens(&self, caller: &Caller, user: &UserName) -> Result<v1::TokenList> {
        let row = self.known(caller, user).await?;
        let tokens = self.people.tokens(&self.cx("tokens"), &row.name).await?;
        Ok(v1::TokenList { tokens: tokens.iter().map(token).collect() })
    }

    async fn add_token(&self, caller: &Caller, user: &UserName, request: &v1::AddToken) -> Result<v1::NewToken> {
        let user = self.changed(caller, user).await?.name;
        let created = self.env.clock.wall();
        let expires = match request.lifetime_s.map(Duration::from_secs) {
            Some(life) if life.is_zero() || life > MAX_LIFETIME => {
                return Err(Error::invalid(
                    "lifetime_s",
                    "a token lives for a second to ten years, or until it is taken back",
                ));
            }
            life => life
                .map(|life| UnixMillis(created.0.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX)))),
        };
        let secret = Token::of(&self.env.ids.next_secret());
        let (id, hash, label) = (self.env.token_id(), secret.hash(), label(&request.label)?);
        let row = TokenRow { id, hash, user, label, scope: request.scope, created, expires };
        let target = format!("{} {id}", row.user);
        self.write(caller, "add_token", target, PeopleWrite::AddToken(row.clone())).await?;
        Ok(v1::NewToken { token: secret.expose().to_owned(), info: token(&row) })
    }

    async fn delete_token(&self, caller: &Caller, user: &UserName, id: TokenId) -> Result<()> {
        let user = self.changed(caller, user).await?.name;
        let target = format!("{user} {id}");
        self.write(caller, "delete_token", target, PeopleWrite::DeleteToken { user, id }).await
    }

    async fn audit(&self, caller: &Caller, after: u64, limit: usize) -> Result<v1::AuditPage> {
        Authz::admin(caller)?;
        let rows = self.people.audit(&self.cx("audit"), after, limit.clamp(1, 1_000)).await?;
        let next = rows.last().map_or(after, |row| row.seq);
        Ok(v1::AuditPage { entries: rows.into_iter().map(audit::shown).collect(), next })
    }
}

/// A label that a terminal shows as it is.
fn label(text: &str) -> Result<String> {
    if text.chars().count() > MAX_LABEL || text.chars().any(char::is_control) {
        return Err(Error::invalid("label", format!("a label has at most {MAX_LABEL} characters that can be seen")));
    }
    Ok(text.to_owned())
}

fn shown(row: &UserRow) -> v1::User {
    let (name, role, quota) = (row.name.0.clone(), row.role, row.quota);
    v1::User { name, role, quota, disabled: row.disabled, created: row.created }
}

fn key(row: &KeyRow) -> v1::Key {
    v1::Key {
        fingerprint: row.print.to_string(),
        user: row.user.0.clone(),
        key: row.line.clone(),
        label: row.label.clone(),
        created: row.created,
    }
}

fn token(row: &TokenRow) -> v1::TokenInfo {
    let (id, user, label, scope) = (row.id, row.user.0.clone(), row.label.clone(), row.scope);
    v1::TokenInfo { id, user, label, scope, created: row.created, expires: row.expires }
}
