//! Proxies that others made, with one worker and the same names.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use minions_core::host::lookup;

use super::load::Target;
use crate::Result;
use crate::child::text;
use crate::front::{DOMAIN, VM};
use crate::pin;

/// One that runs until it is dropped.
pub struct Peer {
    process: Child,
    pub address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The worker of nginx ends with its master, which must be asked.
        let asked = rustix::process::Pid::from_raw(self.pid().cast_signed())
            .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        if asked.is_none_or(|asked| asked.is_err()) || self.process.wait().is_err() {
            eprintln!("a peer did not end");
        }
    }
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    async fn start(dir: &Path, program: &Path, words: &[&str], port: u16) -> Result<Self> {
        let quiet = std::fs::File::create(dir.join("peer.log"))?;
        let mut command = pin::command(text(program)?);
        let process = command.args(words).stdin(Stdio::null()).stdout(quiet.try_clone()?).stderr(quiet).spawn()?;
        let peer = Self { process, address: (Ipv4Addr::LOCALHOST, port).into() };
        let target = Target::new(dir, peer.address)?;
        for _ in 0..100 {
            if target.idle(1).await.is_ok() {
                return Ok(peer);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("{} did not serve: {}", program.display(), std::fs::read_to_string(dir.join("peer.log"))?).into())
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn program(name: &str) -> Option<PathBuf> {
    lookup::find(name).or_else(|| Some(PathBuf::from("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

/// `None` where it is not installed.
pub async fn haproxy(dir: &Path, backend: u16, names: usize) -> Result<Option<Peer>> {
    let Some(program) = program("haproxy") else { return Ok(None) };
    let port = free_port()?;
    let map: String = (0..names).map(|at| format!("known-{at}.{DOMAIN} vm\n")).collect();
    std::fs::write(dir.join("haproxy.map"), format!("{map}{VM}.{DOMAIN} vm\n"))?;
    let at = dir.display();
    let config = format!(
        "global\n nbthread 1\n maxconn 9000\ndefaults\n mode http\n timeout client 1h\n timeout server 1h\n timeout connect 5s\n \
         timeout tunnel 1h\n timeout http-keep-alive 1h\n http-reuse always\nfrontend fe\n \
         bind 127.0.0.1:{port} ssl crt {at}/both.pem alpn h2,http/1.1 backlog 4096\n \
         use_backend %[req.hdr(host),field(1,:),lower,map_str({at}/haproxy.map,none)]\nbackend vm\n \
         server s1 127.0.0.1:{backend} pool-max-conn 256\nbackend none\n http-request return status 404\n"
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, config)?;
    Peer::start(dir, &program, &["-f", text(&file)?, "-db"], port).await.map(Some)
}

/// `None` where it is not installed.
pub async fn nginx(dir: &Path, backend: u16, names: usize) -> Result<Option<Peer>> {
    let Some(program) = program("nginx") else { return Ok(None) };
    let port = free_port()?;
    let map: String = (0..names).map(|at| format!("known-{at}.{DOMAIN} vm;\n")).collect();
    std::fs::write(dir.join("nginx.map"), format!("{map}{VM}.{DOMAIN} vm;\n"))?;
    let at = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!(" {what}_temp_path {at}/nginx-{what};\n"))
        .concat();
    // Before it reads its configuration it would write to its own log; that of the folder is told it as a word.
    let config = format!(
        "worker_processes 1; daemon off; pid {at}/nginx.pid; worker_rlimit_nofile 20000; user root;\n\
         events {{ worker_connections 9000; multi_accept on; }}\nhttp {{ access_log off; keepalive_requests 100000000;\n \
         keepalive_timeout 3600s; tcp_nodelay on; map_hash_max_size 1048576; map_hash_bucket_size 128;\n{temporary} \
         ssl_certificate {at}/both.pem; ssl_certificate_key {at}/both.pem; ssl_protocols TLSv1.2 TLSv1.3;\n \
         upstream vm {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 100000000; }}\n \
         map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n \
         map $host $vm {{ include {at}/nginx.map; default \"\"; }}\n proxy_http_version 1.1;\n \
         server {{ listen 127.0.0.1:{port} ssl http2 backlog=4096; server_name *.{DOMAIN};\n \
         location / {{ if ($vm = \"\") {{ return 404; }} proxy_pass http://vm; proxy_set_header Host $host;\n \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;\n \
         proxy_read_timeout 3600s; }} }} }}\n"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config)?;
    let log = dir.join("nginx.err");
    Peer::start(dir, &program, &["-c", text(&file)?, "-e", text(&log)?], port).await.map(Some)
}
