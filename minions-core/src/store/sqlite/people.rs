//! People in SQLite: statements and how rows read back.

use rusqlite::{Connection, Row, named_params};

use super::column::{self, all, first};
use super::error::{Result, SqliteError};
use super::fleet_write::taken;
use crate::error::ErrorKind;
use crate::store::fleet::Owner;
use crate::store::people::{AuditRow, KeyRow, MAX_OF_USER, NewAudit, PeopleWrite, TokenRow, UserRow};
use crate::types::{KeyPrint, TokenHash, TokenId, UnixMillis};

pub(super) fn write(writer: &Connection, write: &PeopleWrite) -> Result<()> {
    match write {
        PeopleWrite::AddUser(row) => add_user(writer, row),
        PeopleWrite::UpdateUser(row) => update_user(writer, row),
        PeopleWrite::DeleteUser { user, at } => delete_user(writer, user, *at),
        PeopleWrite::AddKey(row) => add_key(writer, row),
        PeopleWrite::DeleteKey { user, print } => {
            let sql = "DELETE FROM user_key WHERE print = ?1 AND user = ?2";
            let gone = writer.prepare_cached(sql)?.execute((print.as_bytes(), &user.0))?;
            some(gone, || unknown("key_unknown", "there is no such key; see `minions key list`"))
        }
        PeopleWrite::AddToken(row) => add_token(writer, row),
        PeopleWrite::DeleteToken { user, id } => {
            let sql = "DELETE FROM token WHERE id = ?1 AND user = ?2";
            let gone = writer.prepare_cached(sql)?.execute((column::id(id.bits()), &user.0))?;
            some(gone, || unknown("token_unknown", "there is no such token; see `minions token list`"))
        }
    }
}

fn add_user(writer: &Connection, row: &UserRow) -> Result<()> {
    let sql = "INSERT INTO user (name, role, quota, disabled, created, deleted)
               VALUES (:name, :role, :quota, :disabled, :created, :deleted)";
    match execute_user(&mut writer.prepare_cached(sql)?, row) {
        Err(SqliteError::Sql(error)) if taken(&error).is_some() => {
            let message = "there is a user of this name, or there was one; choose another";
            Err(SqliteError::rule(ErrorKind::AlreadyExists, "user_taken", message))
        }
        other => other.map(drop),
    }
}

fn update_user(writer: &Connection, row: &UserRow) -> Result<()> {
    let sql =
        "UPDATE user SET role = :role, quota = :quota, disabled = :disabled, created = :created, deleted = :deleted
               WHERE name = :name AND deleted IS NULL";
    some(execute_user(&mut writer.prepare_cached(sql)?, row)?, no_user)
}

fn execute_user(statement: &mut rusqlite::CachedStatement<'_>, row: &UserRow) -> Result<usize> {
    Ok(statement.execute(named_params! {
        ":name": row.name.0,
        ":role": column::json(&row.role, "role")?,
        ":quota": row.quota.as_ref().map(|quota| column::json(quota, "quota")).transpose()?,
        ":disabled": row.disabled,
        ":created": column::integer(row.created.0, "created")?,
        ":deleted": row.deleted.map(|deleted| column::integer(deleted.0, "deleted")).transpose()?,
    })?)
}

fn delete_user(writer: &Connection, user: &Owner, at: UnixMillis) -> Result<()> {
    let owns = "SELECT 1 FROM vm INDEXED BY vm_owner WHERE owner = ?1 AND (deleted IS NULL OR kept) LIMIT 1";
    if writer.prepare_cached(owns)?.exists([&user.0])? {
        let message = "the user owns VMs, or disks that were kept; destroy and delete them first";
        return Err(SqliteError::rule(ErrorKind::Conflict, "user_has_vms", message));
    }
    for sql in ["DELETE FROM user_key WHERE user = ?1", "DELETE FROM token WHERE user = ?1"] {
        writer.prepare_cached(sql)?.execute([&user.0])?;
    }
    let sql = "UPDATE user SET deleted = ?2 WHERE name = ?1 AND deleted IS NULL";
    some(writer.prepare_cached(sql)?.execute((&user.0, column::integer(at.0, "at")?))?, no_user)
}

/// That the user is there, and has room for one more row of a table.
fn room(writer: &Connection, user: &Owner, count: &str) -> Result<()> {
    if !writer.prepare_cached("SELECT 1 FROM user WHERE name = ?1 AND deleted IS NULL")?.exists([&user.0])? {
        return Err(no_user());
    }
    let has = first(&mut writer.prepare_cached(count)?, [&user.0], |row| column::unsigned(row, "has"))?;
    if has.is_some_and(|has| has >= MAX_OF_USER as u64) {
        let message = format!("a user has at most {MAX_OF_USER} of these; delete one first");
        return Err(SqliteError::rule(ErrorKind::Exhausted, "quota", message));
    }
    Ok(())
}

fn add_key(writer: &Connection, row: &KeyRow) -> Result<()> {
    room(writer, &row.user, "SELECT count(*) AS has FROM user_key WHERE user = ?1")?;
    let sql = "INSERT INTO user_key (print, user, line, label, created) VALUES (?1, ?2, ?3, ?4, ?5)";
    let created = column::integer(row.created.0, "created")?;
    let done = writer.prepare_cached(sql)?.execute((row.print.as_bytes(), &row.user.0, &row.line, &row.label, created));
    inserted(done, "key_taken", "this key is in use already; make another: ssh-keygen -t ed25519")
}

fn add_token(writer: &Connection, row: &TokenRow) -> Result<()> {
    room(writer, &row.user, "SELECT count(*) AS has FROM token WHERE user = ?1")?;
    let sql = "INSERT INTO token (hash, id, user, label, scope, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let done = writer.prepare_cached(sql)?.execute((
        row.hash.as_bytes(),
        column::id(row.id.bits()),
        &row.user.0,
        &row.label,
        column::json(&row.scope, "scope")?,
        column::integer(row.created.0, "created")?,
        row.expires.map(|expires| column::integer(expires.0, "expires")).transpose()?,
    ));
    inserted(done, "token_taken", "there is such a token already")
}

fn inserted(done: rusqlite::Result<usize>, reason: &'static str, message: &'static str) -> Result<()> {
    match done {
        Err(error) if taken(&error).is_some() => Err(SqliteError::rule(ErrorKind::AlreadyExists, reason, message)),
        other => Ok(other.map(drop)?),
    }
}

fn some(rows: usize, none: impl FnOnce() -> SqliteError) -> Result<()> {
    if rows == 0 { Err(none()) } else { Ok(()) }
}

fn no_user() -> SqliteError {
    unknown("user_unknown", "there is no such user; see `minions user list`")
}

fn unknown(reason: &'static str, message: &'static str) -> SqliteError {
    SqliteError::rule(ErrorKind::NotFound, reason, message)
}

/// Appends to the audit log.
pub(super) fn append(writer: &Connection, entries: &[NewAudit]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut last = writer.prepare_cached("SELECT * FROM audit ORDER BY seq DESC LIMIT 1")?;
    let (mut seq, mut hash) = first(&mut last, [], audit_row)?.map_or((0, [0; 32]), |row| (row.seq, row.hash));
    for entry in entries {
        seq += 1;
        let row = AuditRow::chained(&hash, seq, entry.clone()).map_err(SqliteError::Rule)?;
        let text = column::json(&row.entry, "entry")?;
        let mut statement = writer.prepare_cached("INSERT INTO audit (seq, entry, hash) VALUES (?1, ?2, ?3)")?;
        statement.execute((column::integer(seq, "seq")?, text, row.hash))?;
        hash = row.hash;
    }
    Ok(())
}

pub(super) fn user(reader: &Connection, name: &Owner) -> Result<Option<UserRow>> {
    first(&mut reader.prepare_cached("SELECT * FROM user WHERE name = ?1")?, [&name.0], user_row)
}

pub(super) fn users(reader: &Connection, after: Option<&Owner>, limit: usize) -> Result<Vec<UserRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM user WHERE name > ?1 ORDER BY name LIMIT ?2")?;
    let after = after.map(|after| after.0.as_str()).unwrap_or_default();
    all(&mut statement, (after, column::limit(limit)), user_row)
}

pub(super) fn key(reader: &Connection, print: &KeyPrint) -> Result<Option<(KeyRow, UserRow)>> {
    let mut statement = reader.prepare_cached("SELECT * FROM user_key WHERE print = ?1")?;
    let Some(row) = first(&mut statement, [print.as_bytes()], key_row)? else { return Ok(None) };
    Ok(user(reader, &row.user)?.map(|user| (row, user)))
}

pub(super) fn keys(reader: &Connection, user: &Owner) -> Result<Vec<KeyRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM user_key WHERE user = ?1 ORDER BY created, print")?;
    all(&mut statement, [&user.0], key_row)
}

pub(super) fn token(reader: &Connection, hash: &TokenHash) -> Result<Option<(TokenRow, UserRow)>> {
    let mut statement = reader.prepare_cached("SELECT * FROM token WHERE hash = ?1")?;
    let Some(row) = first(&mut statement, [hash.as_bytes()], token_row)? else { return Ok(None) };
    Ok(user(reader, &row.user)?.map(|user| (row, user)))
}

pub(super) fn tokens(reader: &Connection, user: &Owner) -> Result<Vec<TokenRow>> {
    let mut statement = reader.prepare_cached("SELECT * FROM token WHERE user = ?1 ORDER BY created, id")?;
    all(&mut statement, [&user.0], token_row)
}

pub(super) fn audit(reader: &Connection, after: u64, limit: usize) -> Result<Vec<AuditRow>> {
    // A place beyond what SQLite can count has nothing after it.
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let mut statement = reader.prepare_cached("SELECT * FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    all(&mut statement, (after, column::limit(limit)), audit_row)
}

fn user_row(row: &Row<'_>) -> Result<UserRow> {
    Ok(UserRow {
        name: Owner(row.get("name")?),
        role: column::from_json(row, "role")?,
        quota: column::optional_json(row, "quota")?,
        disabled: row.get("disabled")?,
        created: UnixMillis(column::unsigned(row, "created")?),
        deleted: column::optional_unsigned(row, "deleted")?.map(UnixMillis),
    })
}

fn key_row(row: &Row<'_>) -> Result<KeyRow> {
    Ok(KeyRow {
        print: KeyPrint::from_bytes(row.get("print")?),
        user: Owner(row.get("user")?),
        line: row.get("line")?,
        label: row.get("label")?,
        created: UnixMillis(column::unsigned(row, "created")?),
    })
}

fn token_row(row: &Row<'_>) -> Result<TokenRow> {
    Ok(TokenRow {
        id: TokenId::from_bits(column::bits(row, "id")?),
        hash: TokenHash::from_bytes(row.get("hash")?),
        user: Owner(row.get("user")?),
        label: row.get("label")?,
        scope: column::from_json(row, "scope")?,
        created: UnixMillis(column::unsigned(row, "created")?),
        expires: column::optional_unsigned(row, "expires")?.map(UnixMillis),
    })
}

fn audit_row(row: &Row<'_>) -> Result<AuditRow> {
    let (seq, entry) = (column::unsigned(row, "seq")?, column::from_json(row, "entry")?);
    Ok(AuditRow { seq, entry, hash: row.get("hash")? })
}
