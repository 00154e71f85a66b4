//! What a host lends out: the lowest that was never used, and when there is no such one, the one freed longest ago, once
//! it has rested.

use std::time::Duration;

use rusqlite::Connection;

use super::column;
use super::error::{Result, SqliteError};
use crate::error::{Error, ErrorKind};
use crate::store::journal::{LeasePool, resting};
use crate::types::{AgentSecret, Cid, Lease, MacAddr, UnixMillis, VmId};

/// What is lent out by number. Link addresses are not: each follows from its IP address, and is unique as that is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Cid,
    Ip,
    Uid,
}

impl Kind {
    const ALL: [Kind; 3] = [Self::Cid, Self::Ip, Self::Uid];

    /// Its column in `lease`, and its word in `freed`.
    const fn column(self) -> &'static str {
        match self {
            Self::Cid => "cid",
            Self::Ip => "ip",
            Self::Uid => "uid",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Cid => "VSOCK context ids",
            Self::Ip => "addresses",
            Self::Uid => "users",
        }
    }

    /// First and last of each range of what there is to lend.
    fn ranges(self, pool: &LeasePool) -> Vec<(u32, u32)> {
        match self {
            Self::Cid => vec![(Cid::FIRST.get(), u32::MAX - 1)],
            Self::Ip => pool.addresses.iter().map(|range| (range.first.into(), range.last.into())).collect(),
            Self::Uid => vec![(pool.uid_first, pool.uid_first.saturating_add(pool.uid_count - 1))],
        }
    }
}

/// Refuses a pool that nothing could ever come from.
pub(super) fn check(pool: &LeasePool) -> Result<(), Error> {
    let mut ranges = pool.addresses.to_vec();
    ranges.sort_unstable_by_key(|range| range.first);
    if ranges.is_empty() {
        return Err(Error::invalid("addresses", "there are no addresses to lend"));
    }
    if ranges.iter().any(|range| range.first > range.last) {
        return Err(Error::invalid("addresses", "the first address of a range lies behind its last"));
    }
    if ranges.windows(2).any(|pair| pair[0].last >= pair[1].first) {
        return Err(Error::invalid("addresses", "two ranges of addresses overlap"));
    }
    if pool.uid_count == 0 || pool.uid_first.checked_add(pool.uid_count - 1).is_none() {
        return Err(Error::invalid("uid_count", "the range of users is empty or too large"));
    }
    Ok(())
}

/// Lends to a VM whose row is there.
pub(super) fn lend(writer: &Connection, pool: (&LeasePool, UnixMillis), vm: VmId, secret: &AgentSecret) -> Result<()> {
    let cid = take(writer, Kind::Cid, pool)?;
    let ip = take(writer, Kind::Ip, pool)?;
    let uid = take(writer, Kind::Uid, pool)?;
    let mut statement =
        writer.prepare_cached("INSERT INTO lease (vm, cid, ip, mac, uid, secret) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mac = mac_of(ip).to_string();
    statement.execute((column::id(vm.bits()), cid, ip, mac, uid, secret.expose()))?;
    Ok(())
}

/// Takes back what a VM was lent, and forgets its secret.
pub(super) fn free(writer: &Connection, vm: VmId, now: UnixMillis) -> Result<()> {
    let at = column::integer(now.0, "at")?;
    for kind in Kind::ALL {
        let column = kind.column();
        let sql =
            format!("INSERT INTO freed (kind, value, at) SELECT '{column}', {column}, ?2 FROM lease WHERE vm = ?1");
        writer.prepare_cached(&sql)?.execute((column::id(vm.bits()), at))?;
    }
    writer.prepare_cached("DELETE FROM lease WHERE vm = ?1")?.execute([column::id(vm.bits())])?;
    Ok(())
}

/// When something was freed last, by whatever clock.
pub(super) fn last_freed(reader: &Connection) -> Result<Option<UnixMillis>> {
    let mut statement = reader.prepare_cached("SELECT at FROM freed ORDER BY at DESC LIMIT 1")?;
    column::first(&mut statement, [], |row| Ok(UnixMillis(column::unsigned(row, "at")?)))
}

/// Nothing was freed after this moment.
pub(super) fn freed_by(writer: &Connection, now: UnixMillis) -> Result<()> {
    writer.prepare_cached("UPDATE freed SET at = ?1 WHERE at > ?1")?.execute([column::integer(now.0, "at")?])?;
    Ok(())
}

/// Reads the lease from a row that has its columns.
pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Lease> {
    Ok(Lease {
        cid: Cid::new(row.get("cid")?).map_err(|error| SqliteError::row("cid", error))?,
        ip: row.get::<_, u32>("ip")?.into(),
        mac: column::parsed(row, "mac")?,
        uid: row.get("uid")?,
        secret: AgentSecret::from_bytes(row.get("secret")?),
    })
}

fn mac_of(ip: u32) -> MacAddr {
    MacAddr::local(u64::from(ip))
}

fn take(writer: &Connection, kind: Kind, (pool, now): (&LeasePool, UnixMillis)) -> Result<u32> {
    let ranges = kind.ranges(pool);
    for range in &ranges {
        if let Some(value) = above(writer, kind, *range)? {
            return Ok(value);
        }
    }
    for range in &ranges {
        if let Some(value) = gap(writer, kind, *range)? {
            return Ok(value);
        }
    }
    let sql = "SELECT turn, value, at FROM freed WHERE kind = ?1 AND value BETWEEN ?2 AND ?3 ORDER BY turn LIMIT 1";
    let mut statement = writer.prepare_cached(sql)?;
    let mut oldest: Option<(i64, u32, u64)> = None;
    for (first, last) in ranges {
        let of_range = column::first(&mut statement, (kind.column(), first, last), |row| {
            Ok((row.get::<_, i64>("turn")?, row.get::<_, u32>("value")?, column::unsigned(row, "at")?))
        })?;
        oldest = oldest.into_iter().chain(of_range).min();
    }
    let Some((_, value, at)) = oldest else {
        let message = format!("this host has no {} left to lend; destroy a vm, or widen the pool", kind.word());
        return Err(SqliteError::rule(ErrorKind::Exhausted, "no_capacity", message));
    };
    let rested = Duration::from_millis(now.0.saturating_sub(at));
    if let Some(left) = pool.rest.checked_sub(rested).filter(|left| !left.is_zero()) {
        return Err(SqliteError::rule(ErrorKind::Exhausted, "lease_resting", resting(kind.word(), left)));
    }
    writer.prepare_cached("DELETE FROM freed WHERE kind = ?1 AND value = ?2")?.execute((kind.column(), value))?;
    Ok(value)
}

/// The highest that is lent and the highest that was given back: each the last of an index, however many there are.
fn highest_of(kind: Kind) -> [String; 2] {
    let column = kind.column();
    [
        format!("SELECT {column} AS value FROM lease WHERE {column} BETWEEN ?1 AND ?2 ORDER BY {column} DESC LIMIT 1"),
        format!(
            "SELECT value FROM freed WHERE kind = '{column}' AND value BETWEEN ?1 AND ?2 ORDER BY value DESC LIMIT 1"
        ),
    ]
}

/// Values are given out upwards, so that the next one stands behind the highest of its range that ever was.
fn above(writer: &Connection, kind: Kind, (first, last): (u32, u32)) -> Result<Option<u32>> {
    let mut highest: Option<u32> = None;
    for sql in highest_of(kind) {
        let mut statement = writer.prepare_cached(&sql)?;
        highest = highest.max(column::first(&mut statement, [first, last], |row| Ok(row.get("value")?))?);
    }
    Ok(match highest {
        None => Some(first),
        Some(highest) => (highest < last).then(|| highest + 1),
    })
}

/// Only where the pool was changed are there values below the highest that nobody ever had.
fn gap(writer: &Connection, kind: Kind, (first, last): (u32, u32)) -> Result<Option<u32>> {
    let column = kind.column();
    let used = format!("SELECT {column} AS value FROM lease UNION ALL SELECT value FROM freed WHERE kind = '{column}'");
    let sql = format!("SELECT DISTINCT value FROM ({used}) WHERE value BETWEEN ?1 AND ?2 ORDER BY value");
    let mut statement = writer.prepare_cached(&sql)?;
    let mut rows = statement.query([first, last])?;
    let mut next = first;
    while let Some(row) = rows.next()? {
        if row.get::<_, u32>("value")? != next {
            return Ok(Some(next));
        }
        // The last one was seen above, and nothing is behind it.
        next = next.saturating_add(1);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::journal::SCHEMA;

    #[test]
    fn what_the_next_vm_is_lent_is_found_without_looking_at_all_the_others() {
        let writer = Connection::open_in_memory().unwrap();
        SCHEMA.migrations.iter().for_each(|migration| writer.execute_batch(migration).unwrap());
        for sql in Kind::ALL.into_iter().flat_map(highest_of) {
            let mut plan = writer.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = plan.query_map([1, 2], |row| row.get::<_, String>("detail")).unwrap();
            for step in steps.map(Result::unwrap) {
                assert!(step.starts_with("SEARCH") && step.contains("INDEX"), "{sql}: {step}");
            }
        }
    }
}
