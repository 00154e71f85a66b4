//! How values are written into columns, and read back.

use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Result, SqliteError};
use crate::error::Error;

/// 128 bits whose order as bytes is their order as a number.
pub(super) fn id(bits: u128) -> [u8; 16] {
    bits.to_be_bytes()
}

pub(super) fn bits(row: &Row<'_>, column: &'static str) -> Result<u128> {
    Ok(u128::from_be_bytes(row.get::<_, [u8; 16]>(column)?))
}

/// SQLite's integers have 63 bits for what is never negative.
pub(super) fn integer(value: u64, field: &'static str) -> Result<i64> {
    i64::try_from(value).map_err(|_| SqliteError::Rule(Error::invalid(field, "the number is too large to be kept")))
}

pub(super) fn unsigned(row: &Row<'_>, column: &'static str) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| SqliteError::row(column, error))
}

pub(super) fn optional_unsigned(row: &Row<'_>, column: &'static str) -> Result<Option<u64>> {
    let value = row.get::<_, Option<i64>>(column)?;
    value.map(u64::try_from).transpose().map_err(|error| SqliteError::row(column, error))
}

pub(super) fn json<T: Serialize>(value: &T, column: &'static str) -> Result<String> {
    serde_json::to_string(value).map_err(|error| SqliteError::row(column, error))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Result<T> {
    parse_json(row.get_ref(column)?.as_str().map_err(|error| SqliteError::row(column, error))?, column)
}

pub(super) fn optional_json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Result<Option<T>> {
    let text = row.get::<_, Option<String>>(column)?;
    text.map(|text| parse_json(&text, column)).transpose()
}

fn parse_json<T: DeserializeOwned>(text: &str, column: &'static str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| SqliteError::row(column, error))
}

pub(super) fn parsed<T>(row: &Row<'_>, column: &'static str) -> Result<T>
where
    T: std::str::FromStr<Err = Error>,
{
    let text = row.get_ref(column)?.as_str().map_err(|error| SqliteError::row(column, error))?;
    text.parse().map_err(|error: Error| SqliteError::row(column, error))
}

/// Every row of a query, read by `read`.
pub(super) fn all<T>(
    statement: &mut rusqlite::CachedStatement<'_>,
    parameters: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The first row of a query, if it has one.
pub(super) fn first<T>(
    statement: &mut rusqlite::CachedStatement<'_>,
    parameters: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(read).transpose()
}

/// A limit as SQLite takes it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
