//! People, for as long as the process lives.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::store::fleet::Owner;
use crate::store::people::{AuditRow, KeyRow, MAX_OF_USER, NewAudit, PeopleWrite, TokenRow, UserRow};
use crate::types::{KeyPrint, TokenHash};

/// Small enough to be copied before a change that may be refused halfway.
#[derive(Clone, Debug, Default)]
pub(super) struct Register {
    pub(super) users: BTreeMap<Owner, UserRow>,
    pub(super) keys: BTreeMap<KeyPrint, KeyRow>,
    pub(super) tokens: BTreeMap<TokenHash, TokenRow>,
    pub(super) audit: Vec<AuditRow>,
}

impl Register {
    /// `owns` says whether a user owns anything.
    pub(super) fn write(&mut self, write: &PeopleWrite, owns: impl Fn(&Owner) -> bool) -> Result<()> {
        match write {
            PeopleWrite::AddUser(row) => {
                if self.users.contains_key(&row.name) {
                    let message = "there is a user of this name, or there was one; choose another";
                    return Err(Error::new(ErrorKind::AlreadyExists, message).with_reason("user_taken"));
                }
                self.users.insert(row.name.clone(), row.clone());
            }
            PeopleWrite::UpdateUser(row) => *self.live(&row.name)? = row.clone(),
            PeopleWrite::DeleteUser { user, at } => {
                if owns(user) {
                    let message = "the user owns VMs, or disks that were kept; destroy and delete them first";
                    return Err(Error::new(ErrorKind::Conflict, message).with_reason("user_has_vms"));
                }
                self.live(user)?.deleted = Some(*at);
                self.keys.retain(|_, row| row.user != *user);
                self.tokens.retain(|_, row| row.user != *user);
            }
            PeopleWrite::AddKey(row) => {
                self.live(&row.user)?;
                room(self.keys.values().filter(|other| other.user == row.user).count())?;
                if self.keys.contains_key(&row.print) {
                    let message = "this key is in use already; make another: ssh-keygen -t ed25519";
                    return Err(Error::new(ErrorKind::AlreadyExists, message).with_reason("key_taken"));
                }
                self.keys.insert(row.print, row.clone());
            }
            PeopleWrite::DeleteKey { user, print } => {
                if self.keys.get(print).is_none_or(|row| row.user != *user) {
                    let message = "there is no such key; see `minions key list`";
                    return Err(Error::not_found(message).with_reason("key_unknown"));
                }
                self.keys.remove(print);
            }
            PeopleWrite::AddToken(row) => {
                self.live(&row.user)?;
                room(self.tokens.values().filter(|other| other.user == row.user).count())?;
                if self.tokens.values().any(|other| other.hash == row.hash || other.id == row.id) {
                    let message = "there is such a token already";
                    return Err(Error::new(ErrorKind::AlreadyExists, message).with_reason("token_taken"));
                }
                self.tokens.insert(row.hash, row.clone());
            }
            PeopleWrite::DeleteToken { user, id } => {
                let before = self.tokens.len();
                self.tokens.retain(|_, row| row.id != *id || row.user != *user);
                if self.tokens.len() == before {
                    let message = "there is no such token; see `minions token list`";
                    return Err(Error::not_found(message).with_reason("token_unknown"));
                }
            }
        }
        Ok(())
    }

    fn live(&mut self, user: &Owner) -> Result<&mut UserRow> {
        let found = self.users.get_mut(user).filter(|row| row.deleted.is_none());
        let unknown = || Error::not_found("there is no such user; see `minions user list`").with_reason("user_unknown");
        found.ok_or_else(unknown)
    }

    pub(super) fn append(&mut self, entries: &[NewAudit]) -> Result<()> {
        for entry in entries {
            let (seq, hash) = self.audit.last().map_or((0, [0; 32]), |row| (row.seq, row.hash));
            self.audit.push(AuditRow::chained(&hash, seq + 1, entry.clone())?);
        }
        Ok(())
    }
}

fn room(has: usize) -> Result<()> {
    if has < MAX_OF_USER {
        return Ok(());
    }
    let message = format!("a user has at most {MAX_OF_USER} of these; delete one first");
    Err(Error::new(ErrorKind::Exhausted, message).with_reason("quota"))
}
