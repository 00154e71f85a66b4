//! A gateway that others made: OpenSSH's server, as people jump through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::Result;
use crate::child::text;
use crate::pin;

/// One that runs until it is dropped.
pub struct Peer {
    process: Child,
    pub address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.process.kill().is_err() || self.process.wait().is_err() {
            eprintln!("a peer did not end");
        }
    }
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// `None` where it is not installed, or cannot let anybody in.
pub async fn sshd(dir: &Path) -> Result<Option<Peer>> {
    let program = PathBuf::from("/usr/sbin/sshd");
    if !program.is_file() || !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    std::fs::create_dir_all("/run/sshd")?;
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let at = dir.display();
    let config = format!(
        "HostKey {at}/key\nAuthorizedKeysFile {at}/key.pub\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
         MaxStartups 1000:30:2000\nMaxSessions 1000\nLogLevel ERROR\nAllowTcpForwarding yes\nUseDNS no\n\
         ListenAddress 127.0.0.1\nPort {port}\n"
    );
    let file = dir.join("sshd.conf");
    std::fs::write(&file, config)?;
    let mut command = pin::command(text(&program)?);
    let process = command.args(["-D", "-f", text(&file)?]).stdin(Stdio::null()).spawn()?;
    let peer = Peer { process, address: (Ipv4Addr::LOCALHOST, port).into() };
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(peer.address).await.is_ok() {
            return Ok(Some(peer));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("sshd did not serve".into())
}
