//! In the place of `vhost-device-vsock`: what the host dials is led to the guest's socket of that port.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::part;

/// Where the guest listens on a port.
pub fn guest_port(dir: &Path, port: u32) -> PathBuf {
    dir.join(format!("guest_{port}"))
}

pub async fn run(vm: &str) -> Result<(), String> {
    let need = |name| part(vm, name).ok_or_else(|| format!("--vm has no {name}"));
    let (device, door) = (PathBuf::from(need("socket")?), PathBuf::from(need("uds-path")?));
    let told = |error: io::Error| error.to_string();
    let dir = door.parent().ok_or("the door is in no folder")?.to_owned();
    let door = UnixListener::bind(&door).map_err(told)?;
    let device = UnixListener::bind(&device).map_err(told)?;
    // The monitor's end of the device; a closed one is let go, and the next one taken, as the real one does.
    tokio::spawn(async move {
        while let Ok((mut monitor, _)) = device.accept().await {
            let mut sink = Vec::new();
            let _ = monitor.read_to_end(&mut sink).await;
        }
    });
    lead(door, dir).await.map_err(told)
}

/// Leads whoever knocks at the door into the guest.
pub async fn lead(door: UnixListener, dir: PathBuf) -> io::Result<()> {
    loop {
        let (host, _) = door.accept().await?;
        let dir = dir.clone();
        tokio::spawn(async move { connect(host, &dir).await });
    }
}

/// A refusal is a connection that closes without a word.
async fn connect(host: UnixStream, dir: &Path) -> io::Result<()> {
    let mut host = BufReader::new(host);
    let mut line = String::new();
    (&mut host).take(32).read_line(&mut line).await?;
    let port = line.trim_end().strip_prefix("CONNECT ").and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut guest = UnixStream::connect(guest_port(dir, port)).await?;
    host.get_mut().write_all(b"OK 1073741824\n").await?;
    let (mut from_host, mut to_host) = tokio::io::split(host);
    let (mut from_guest, mut to_guest) = guest.split();
    // As on a VSOCK: when one direction ends, the connection does.
    tokio::select! {
        ended = tokio::io::copy(&mut from_host, &mut to_guest) => ended.map(drop),
        ended = tokio::io::copy(&mut from_guest, &mut to_host) => {
            to_host.flush().await?;
            ended.map(drop)
        }
    }
}
