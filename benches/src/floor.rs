//! Floors: the least that the same result costs on this machine, in the same minute, without any of ours.

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;

use crate::Result;
use crate::child::end_with_parent;
use crate::create_host::ip;
use crate::measure::{median, micros};

/// Bytes of one piece that is copied.
pub const PIECE: usize = 64 << 10;

/// The other end of the floors: answers what comes over a socket, until its parent ends it.
///
/// The first byte of a connection says what it is: `p` for ping-pong, `w` for bytes that go into a file, `r` for bytes
/// that come out of one.
pub async fn serve(socket: &Path, file: &Path) -> Result<()> {
    end_with_parent();
    let listener = UnixListener::bind(socket)?;
    println!("ready");
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut piece = vec![0; PIECE];
        match stream.read_u8().await? {
            b'p' => {
                let mut ping = [0; 64];
                while stream.read_exact(&mut ping).await.is_ok() {
                    stream.write_all(&ping).await?;
                }
            }
            b'w' => {
                let mut to = std::fs::File::create(file)?;
                let mut left = stream.read_u64().await?;
                while left > 0 {
                    let count = stream.read(&mut piece).await?;
                    std::io::Write::write_all(&mut to, piece.get(..count).unwrap_or_default())?;
                    left = left.saturating_sub(u64::try_from(count)?);
                    if count == 0 {
                        return Err("the copy broke off".into());
                    }
                }
                stream.write_u8(0).await?;
            }
            _ => {
                let mut from = std::fs::File::open(file)?;
                loop {
                    let count = std::io::Read::read(&mut from, &mut piece)?;
                    if count == 0 {
                        break;
                    }
                    stream.write_all(piece.get(..count).unwrap_or_default()).await?;
                }
            }
        }
    }
}

/// Microseconds of each of so many ping-pongs of 64 bytes with another process.
pub async fn ping_pongs(socket: &Path, count: usize) -> Result<Vec<f64>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_u8(b'p').await?;
    let mut ping = [0; 64];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        stream.write_all(&ping).await?;
        stream.read_exact(&mut ping).await?;
        times.push(micros(begin));
    }
    Ok(times)
}

/// Seconds that a copy of so many pieces takes into the other process's file.
pub async fn copy_in(socket: &Path, pieces: usize) -> Result<f64> {
    let mut stream = UnixStream::connect(socket).await?;
    let piece = vec![7; PIECE];
    let begin = Instant::now();
    stream.write_u8(b'w').await?;
    stream.write_u64(u64::try_from(pieces * PIECE)?).await?;
    for _ in 0..pieces {
        stream.write_all(&piece).await?;
    }
    stream.read_u8().await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Seconds that a copy out of the other process's file takes.
pub async fn copy_out(socket: &Path, pieces: usize) -> Result<f64> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut piece = vec![0; PIECE];
    let (mut seen, begin) = (0, Instant::now());
    stream.write_u8(b'r').await?;
    loop {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            break;
        }
        seen += count;
    }
    if seen != pieces * PIECE {
        return Err("a copy has another length".into());
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Microseconds of the start and the end of a program that does nothing.
pub async fn spawns(count: usize) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let status = tokio::process::Command::new("true").status().await?;
        times.push(micros(begin));
        if !status.success() {
            return Err("true is not true".into());
        }
    }
    Ok(times)
}

/// Microseconds of each of so many copies of a file of 64 MiB that share its blocks.
pub fn reflinks(dir: &Path, count: usize) -> Result<Vec<f64>> {
    let (from, to) = (dir.join("floor-from"), dir.join("floor-to"));
    if !from.exists() {
        std::fs::write(&from, vec![7; 64 << 20])?;
    }
    let from = std::fs::File::open(from)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let copy = std::fs::File::create_new(&to)?;
        rustix::fs::ioctl_ficlone(&copy, &from)?;
        times.push(micros(begin));
        std::fs::remove_file(&to)?;
    }
    Ok(times)
}

/// Microseconds of a VM made by one program after the other, as a script does: a disk, a port on a bridge, a rule, and the
/// stub in the place of a monitor until it is there.
pub async fn script(dir: &Path, number: usize) -> Result<f64> {
    let bridge = "floorbr";
    if number == 0 {
        ip(&["link", "add", bridge, "type", "bridge"]).await?;
        nft("add table inet floor; add set inet floor ports { type ifname; }").await?;
    }
    let (tap, disk) = (format!("floor{number}"), dir.join("floor-script"));
    let from = dir.join("floor-from");
    let stub = crate::host::stub().ok_or("no stub-vmm")?;
    let socket = dir.join("floor.sock");
    let begin = Instant::now();
    let copied = Command::new("cp").arg("--reflink=always").args([&from, &disk]).status().await?;
    if !copied.success() {
        return Err("cp did not copy".into());
    }
    ip(&["tuntap", "add", "dev", &tap, "mode", "tap"]).await?;
    ip(&["link", "set", &tap, "master", bridge]).await?;
    ip(&["link", "set", &tap, "address", &format!("02:00:00:00:01:{number:02x}")]).await?;
    nft(&format!("add element inet floor ports {{ {tap} }}")).await?;
    ip(&["link", "set", &tap, "up"]).await?;
    let words = ["--api-socket".to_owned(), format!("path={}", socket.display())];
    let mut monitor = Command::new(stub).args(words).kill_on_drop(true).spawn()?;
    while UnixStream::connect(&socket).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_micros(100)).await;
        if let Some(status) = monitor.try_wait()? {
            return Err(format!("the stub ended: {status}").into());
        }
    }
    let time = micros(begin);
    monitor.kill().await?;
    std::fs::remove_file(disk)?;
    std::fs::remove_file(socket)?;
    ip(&["link", "del", &tap]).await?;
    Ok(time)
}

async fn nft(words: &str) -> Result<()> {
    match Command::new("nft").arg(words).status().await? {
        status if status.success() => Ok(()),
        status => Err(format!("nft {words:?}: {status}").into()),
    }
}

/// A database as simple as one can be that holds what a VM is.
pub fn database(dir: &Path) -> Result<Connection> {
    let database = Connection::open(dir.join("floor.db"))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch(
        "CREATE TABLE IF NOT EXISTS vm (id BLOB PRIMARY KEY, name TEXT, owner TEXT, settled INTEGER, spec TEXT) WITHOUT ROWID;
         CREATE UNIQUE INDEX IF NOT EXISTS vm_name ON vm (name);
         CREATE INDEX IF NOT EXISTS vm_owner ON vm (owner, id);
         CREATE INDEX IF NOT EXISTS vm_unsettled ON vm (id) WHERE settled;
         CREATE TABLE IF NOT EXISTS operation (place INTEGER PRIMARY KEY, id BLOB UNIQUE, vm BLOB, state TEXT);
         CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, vm BLOB, kind TEXT);",
    )?;
    Ok(database)
}

/// One VM, its operation and its event, in one transaction that is durable when this returns.
pub fn autocommit(database: &Connection, number: u64) -> Result<()> {
    // Ids that follow no order but that of their making, as ours do.
    let id = u128::from(number) << 64 | u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let id = id.to_be_bytes().to_vec();
    database.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    database.prepare_cached("INSERT INTO vm VALUES (?1, ?2, ?3, 1, ?4)")?.execute((
        &id,
        format!("vm-{number}"),
        format!("owner-{}", number % 64),
        "x".repeat(200),
    ))?;
    database.prepare_cached("INSERT INTO operation (id, vm, state) VALUES (?1, ?1, 'pending')")?.execute([&id])?;
    database.prepare_cached("INSERT INTO event (vm, kind) VALUES (?1, 'accepted')")?.execute([&id])?;
    database.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// Microseconds of one of so many such transactions, one after the other.
pub fn autocommits(dir: &Path, count: u64) -> Result<f64> {
    let database = database(dir)?;
    let from: i64 = database.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
    let from = u64::try_from(from)?;
    let mut times = Vec::new();
    for number in from..from + count {
        let begin = Instant::now();
        autocommit(&database, number)?;
        times.push(micros(begin));
    }
    Ok(median(&mut times))
}
