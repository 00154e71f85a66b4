//! The one transaction that forgets.

use rusqlite::Connection;

use super::column;
use super::error::Result;
use super::fleet_read;
use crate::store::retention::{Prune, Pruned};

pub(super) fn prune(writer: &Connection, prune: &Prune) -> Result<Pruned> {
    let (events, keys, operations) = (events(writer, prune)?, keys(writer, prune)?, operations(writer, prune)?);
    Ok(Pruned { events, keys, operations, more: [events, keys, operations].contains(&prune.limit) })
}

/// Oldest first, so that what is kept has no gap; never the newest, from which the next one counts on.
fn events(writer: &Connection, prune: &Prune) -> Result<usize> {
    let last = fleet_read::last_event(writer)?.0;
    let crowd = last.saturating_sub(prune.events_most.max(1));
    let mut statement = writer.prepare_cached("SELECT seq, at FROM event ORDER BY seq LIMIT ?1")?;
    let oldest = column::all(&mut statement, [column::limit(prune.limit)], |row| {
        Ok((column::unsigned(row, "seq")?, column::unsigned(row, "at")?))
    })?;
    let goes = |(seq, at): &&(u64, u64)| *seq < last && (*seq <= crowd || *at < prune.events_before.0);
    let Some((through, _)) = oldest.iter().take_while(goes).last() else { return Ok(0) };
    let mut statement = writer.prepare_cached("DELETE FROM event WHERE seq <= ?1")?;
    Ok(statement.execute([column::integer(*through, "seq")?])?)
}

fn keys(writer: &Connection, prune: &Prune) -> Result<usize> {
    let mut statement = writer.prepare_cached(
        "UPDATE operation SET key = NULL, key_hash = NULL WHERE place IN (
             SELECT place FROM operation INDEXED BY operation_keyed
             WHERE key IS NOT NULL AND ended IS NOT NULL AND ended < ?1 ORDER BY ended LIMIT ?2)",
    )?;
    Ok(statement.execute((before(prune.keys_before.0), column::limit(prune.limit)))?)
}

fn operations(writer: &Connection, prune: &Prune) -> Result<usize> {
    let mut statement = writer.prepare_cached("SELECT coalesce(max(place), 0) AS place FROM operation")?;
    let last = column::first(&mut statement, [], |row| column::unsigned(row, "place"))?.unwrap_or(0);
    let crowd = last.saturating_sub(prune.operations_most);
    let mut statement = writer.prepare_cached(
        "SELECT place, ended FROM operation INDEXED BY operation_free
         WHERE key IS NULL AND NOT pending ORDER BY place LIMIT ?1",
    )?;
    let oldest = column::all(&mut statement, [column::limit(prune.limit)], |row| {
        Ok((column::unsigned(row, "place")?, column::optional_unsigned(row, "ended")?))
    })?;
    let goes = |(place, ended): &&(u64, Option<u64>)| {
        *place <= crowd || ended.is_some_and(|ended| ended < prune.operations_before.0)
    };
    let mut statement = writer.prepare_cached("DELETE FROM operation WHERE place = ?1")?;
    let mut gone = 0;
    for (place, _) in oldest.iter().take_while(goes) {
        gone += statement.execute([column::integer(*place, "place")?])?;
    }
    Ok(gone)
}

/// A time beyond what can be kept is later than every time that is.
fn before(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
