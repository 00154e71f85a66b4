//! A whole service on the in-memory host behind a real server, and a client that can send anything.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::http::client::{Endpoint, HttpControlPlane};
use minions_core::http::server::{ApiServer, Listener, Settings};
use minions_core::http::token::{Token, TokenTable};
use minions_core::memory::InMemoryHost;
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalAccounts, LocalControlPlane, ServiceConfig};
use minions_core::storage::Storage;
use minions_core::store::sqlite::{SqliteFleet, SqliteJournal};
use minions_core::store::{FleetChange, FleetStore, LeasePool, Prune, Write};
use minions_core::types::{AddressPool, ByteSize, HostId, UnixMillis, Vcpus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

const POOL: LeasePool = LeasePool {
    addresses: Cow::Borrowed(&[AddressPool {
        first: Ipv4Addr::new(10, 200, 0, 2),
        last: Ipv4Addr::new(10, 200, 255, 254),
    }]),
    uid_first: 200_000,
    uid_count: 10_000,
    rest: LeasePool::REST,
};

/// The service, its server, and who may come in.
pub struct Edge {
    pub plane: Arc<LocalControlPlane>,
    pub accounts: Arc<LocalAccounts>,
    pub fleet: Arc<SqliteFleet>,
    pub server: ApiServer,
    pub address: SocketAddr,
    pub private: SocketAddr,
    pub socket: PathBuf,
    pub owner: Token,
    pub other: Token,
    pub admin: Token,
    end: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
    dir: tempfile::TempDir,
}

pub fn owner() -> Caller {
    Caller::tenant("ada")
}

pub fn other() -> Caller {
    Caller::tenant("bob")
}

/// Whoever runs the tests.
fn own_uid(dir: &tempfile::TempDir) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.path()).unwrap())
}

impl Edge {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::system();
        let host = InMemoryHost::new();
        let cx = CallCx::new("import", Duration::from_secs(10));
        host.storage().ensure_image(&cx, &InMemoryHost::demo_image()).await.unwrap();
        let ports = Ports {
            hypervisor: Arc::new(host.hypervisor()),
            storage: Arc::new(host.storage()),
            network: Arc::new(host.network()),
            guest: Arc::new(host.guest()),
            journal: Arc::new(
                SqliteJournal::open(dir.path().join("journal.db"), POOL, env.clock.clone()).await.unwrap(),
            ),
        };
        let fleet = Arc::new(SqliteFleet::open(dir.path().join("fleet.db")).await.unwrap());
        let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), EngineConfig::default()).await.unwrap();
        let (people, service) = (fleet.clone(), ServiceConfig::default());
        let accounts = Arc::new(LocalAccounts::new(fleet.clone(), people.clone(), env.clone(), service.store_limit));
        let plane = LocalControlPlane::start_with_people(fleet.clone(), people, node, env.clone(), service);

        let token = || Token::of(&env.ids.next_secret());
        let (mine, other_token, admin) = (token(), token(), token());
        let lines = [(owner(), &mine), (other(), &other_token), (Caller::admin("ops"), &admin)]
            .map(|(caller, token)| TokenTable::line(&caller, &token.hash()));
        let mut settings = Settings { admin_uids: vec![own_uid(&dir)], ..Settings::default() };
        change(&mut settings);
        let server = ApiServer::with_people(plane.clone(), accounts.clone(), accounts.clone(), settings);
        server.set_tokens(TokenTable::parse(&lines.join("\n")).unwrap());
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let socket = dir.path().join("minions.sock");
        let listeners = vec![
            Listener::unix(&socket).unwrap(),
            Listener::network(any, true, false).await.unwrap(),
            Listener::private(any, false).await.unwrap(),
        ];
        let (address, private) = (listeners[1].address().unwrap(), listeners[2].address().unwrap());
        server.set_ready(true);
        let (end, ended) = oneshot::channel::<()>();
        let serving = server.clone();
        let served = tokio::spawn(async move {
            serving
                .serve(listeners, async {
                    let _ = ended.await;
                })
                .await;
        });
        let (end, served) = (Some(end), Some(served));
        Self {
            plane,
            accounts,
            fleet,
            server,
            address,
            private,
            socket,
            owner: mine,
            other: other_token,
            admin,
            end,
            served,
            dir,
        }
    }

    /// Forgets all events but the newest.
    pub async fn forget(&self) {
        let all = UnixMillis(u64::MAX);
        let prune = Prune {
            events_before: all,
            events_most: 1,
            keys_before: all,
            operations_before: all,
            operations_most: 0,
            limit: 10_000,
        };
        self.fleet.prune(&CallCx::new("test", Duration::from_secs(10)), &prune).await.unwrap();
    }

    /// Gives a VM a name behind the service's back.
    pub async fn rename_stored(&self, vm: &v1::Vm, name: &str) {
        let cx = CallCx::new("rename", Duration::from_secs(10));
        let mut row = self.fleet.vm(&cx, vm.id).await.unwrap().unwrap();
        row.name = name.parse().unwrap();
        let change = FleetChange { writes: vec![Write::UpdateVm(row)], ..FleetChange::default() };
        self.fleet.commit(&cx, &change).await.unwrap();
    }

    /// Ends the server, and waits until it has.
    pub async fn end(&mut self) {
        drop(self.end.take());
        self.served.take().unwrap().await.unwrap();
    }

    pub fn over_tcp(&self, token: &Token) -> HttpControlPlane {
        HttpControlPlane::new(Endpoint::Tcp(self.address.to_string()), Some(token.clone()))
    }

    pub fn over_unix(&self) -> HttpControlPlane {
        HttpControlPlane::new(Endpoint::Unix(self.socket.clone()), None)
    }

    /// A VM of the owner's that runs.
    pub async fn vm(&self, name: &str) -> v1::Vm {
        let operation = self.plane.create(&owner(), &new_vm(name), None).await.unwrap();
        let ended = self.plane.operation(&owner(), operation.id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
        self.plane.vm(&owner(), &name.parse().unwrap()).await.unwrap()
    }

    /// Sends a request as `who` and reads the whole answer.
    pub async fn ask(&self, who: Option<&Token>, method: &str, path: &str, body: Option<&str>) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        if let Some(token) = who {
            head.push_str(&format!("authorization: Bearer {}\r\n", token.expose()));
        }
        if let Some(body) = body {
            head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        raw(self.address, format!("{head}\r\n{}", body.unwrap_or_default()).as_bytes()).await
    }
}

pub fn new_vm(name: &str) -> v1::CreateVm {
    v1::CreateVm {
        cpus: Some(Vcpus(1)),
        memory: Some(ByteSize::mib(128)),

        data_disk: Some(ByteSize::default()),
        ..v1::CreateVm::named(name.parse().unwrap())
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn problem(&self) -> v1::Problem {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no problem: {self:?}"))
    }
}

/// Sends bytes, whatever they are, and reads until the server closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has answered early may close while we still send.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    let _ = reading.await.expect("the server answers and closes");
    let split = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_ascii_lowercase(), body: answer.get(split + 4..).unwrap_or_default().to_vec() }
}
