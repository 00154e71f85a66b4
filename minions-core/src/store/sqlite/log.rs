//! The log beside a database, cut to what was committed.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rusqlite::Connection;

/// Bytes before the first frame of a log, and before the page in each frame.
const HEADER: u64 = 32;
const FRAME: u64 = 24;

/// Cuts off, durably, what a commit that found no room may have left behind the end of the log: after a crash it could
/// have been taken for committed. To be called by whoever alone writes, between two transactions; readers never look
/// behind the end. Needs no room, and gives back what was taken.
pub(super) fn cut(writer: &Connection, database: &Path) -> io::Result<()> {
    let frames: i64 =
        writer.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).map_err(io::Error::other)?;
    let page: u32 = writer.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(io::Error::other)?;
    let frames = u64::try_from(frames).map_err(io::Error::other)?;
    let end = HEADER.saturating_add(frames.saturating_mul(FRAME.saturating_add(page.into())));
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() > end {
        file.set_len(end)?;
    }
    file.sync_all()
}
