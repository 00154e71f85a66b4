//! What tenants hear when any port at all fails with a path on its lips: never the path.
#![cfg(all(feature = "http-server", feature = "http-client"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use minions_core::api::guest::{ExecRequest, GuestCall};
use minions_core::api::v1;
use minions_core::engine::{EngineConfig, Ports};
use minions_core::env::{CallCx, Env};
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::http::client::{Endpoint, HttpControlPlane};
use minions_core::http::server::{ApiServer, Listener, Settings};
use minions_core::http::token::{Token, TokenTable};
use minions_core::layers::{Call, CallKind, Entered, Layers, Place, Policy};
use minions_core::memory::{InMemoryFleet, InMemoryHost, InMemoryJournal};
use minions_core::node::LocalNode;
use minions_core::service::{Caller, ControlPlane, LocalControlPlane, ServiceConfig, VmAction};
use minions_core::storage::Storage;
use minions_core::store::LeasePool;
use minions_core::types::{AddressPool, EventSeq, HostId};

const SECRET: &str = "/srv/Secret-Root/vms/disk.raw";

/// Makes the calls of one port fail, with a path in the message and in its cause.
#[derive(Debug)]
struct Leak {
    port: &'static str,
    on: Arc<AtomicBool>,
    hits: Arc<AtomicUsize>,
}

#[async_trait]
impl Policy for Leak {
    fn place(&self) -> Place {
        Place::Faults
    }

    async fn before(&self, call: &Call) -> Result<Entered> {
        // Where the host cannot even be looked at, nobody is told anything new of a VM.
        let looks = call.kind == CallKind::Read
            && ["hypervisor", "storage", "network", "guest", "journal"].contains(&self.port);
        if !self.on.load(Ordering::SeqCst) || call.port() != self.port || looks {
            return Ok(Entered::default());
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        let cause = std::io::Error::other(format!("no such file: {SECRET}"));
        Err(Error::new(ErrorKind::InvalidArgument, format!("cannot open \"{SECRET}\" for it")).with_source(cause))
    }
}

/// A service one of whose ports can be made to fail, behind a real server.
struct Site {
    plane: Arc<LocalControlPlane>,
    on: Arc<AtomicBool>,
    hits: Arc<AtomicUsize>,
    address: SocketAddr,
    tokens: [Token; 2],
}

impl Site {
    async fn start(port: &'static str) -> Self {
        let (host, env) = (InMemoryHost::new(), Env::system());
        let cx = CallCx::new("import", Duration::from_secs(10));
        host.storage().ensure_image(&cx, &InMemoryHost::demo_image()).await.unwrap();
        let pool = LeasePool {
            addresses: vec![AddressPool { first: Ipv4Addr::new(10, 200, 0, 2), last: Ipv4Addr::new(10, 200, 0, 254) }]
                .into(),
            uid_first: 200_000,
            uid_count: 100,
            rest: LeasePool::REST,
        };
        let (on, hits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let layers = Layers::new().with(Leak { port, on: on.clone(), hits: hits.clone() });
        let ports = Ports {
            hypervisor: layers.hypervisor(Arc::new(host.hypervisor())),
            storage: layers.storage(Arc::new(host.storage())),
            network: layers.network(Arc::new(host.network())),
            guest: layers.guest(Arc::new(host.guest())),
            journal: layers.journal(Arc::new(InMemoryJournal::new(pool, env.clock.clone()))),
        };
        let node = LocalNode::start(HostId::from_bits(1), ports, env.clone(), EngineConfig::default()).await.unwrap();
        let fleet = layers.fleet_store(Arc::new(InMemoryFleet::new()));
        let plane = LocalControlPlane::start(fleet, layers.node(node), env.clone(), ServiceConfig::default());
        let tokens = [Token::of(&env.ids.next_secret()), Token::of(&env.ids.next_secret())];
        let callers = [ada(), Caller::admin("ops")];
        let lines: Vec<_> =
            callers.iter().zip(&tokens).map(|(caller, token)| TokenTable::line(caller, &token.hash())).collect();
        let server = ApiServer::new(plane.clone(), Settings::default());
        server.set_tokens(TokenTable::parse(&lines.join("\n")).unwrap());
        let listener = Listener::network((Ipv4Addr::LOCALHOST, 0).into(), true, false).await.unwrap();
        let address = listener.address().unwrap();
        tokio::spawn(async move { server.serve(vec![listener], std::future::pending()).await });
        Self { plane, on, hits, address, tokens }
    }

    fn as_tenant(&self) -> HttpControlPlane {
        HttpControlPlane::new(Endpoint::Tcp(self.address.to_string()), Some(self.tokens[0].clone()))
    }

    fn as_admin(&self) -> HttpControlPlane {
        HttpControlPlane::new(Endpoint::Tcp(self.address.to_string()), Some(self.tokens[1].clone()))
    }
}

fn ada() -> Caller {
    Caller::tenant("ada")
}

fn new_vm(name: &str) -> v1::CreateVm {
    v1::CreateVm::named(name.parse().unwrap())
}

/// All that a caller can hear, as text: answers, errors, what is waited for, events.
async fn everything(plane: &HttpControlPlane) -> Vec<String> {
    let (me, web) = (ada(), "web".parse().unwrap());
    let mut heard = Vec::new();
    let mut hear = |what: &str, result: Result<String>| {
        heard.push(format!("{what}: {}", result.unwrap_or_else(|error| error.chain())));
    };
    for name in ["web", "next"] {
        let created = plane.create(&me, &new_vm(name), None).await;
        let ended = match created {
            Ok(created) => plane.operation(&me, created.id, Duration::from_millis(1_500)).await,
            Err(error) => Err(error),
        };
        hear("create", ended.map(|ended| format!("{ended:?}")));
    }
    for action in [
        VmAction::Stop(v1::StopVm::default()),
        VmAction::Start(v1::StartVm {}),
        VmAction::Destroy(v1::DestroyVm::default()),
    ] {
        let asked = plane.act(&me, &web, &action, None).await;
        let ended = match asked {
            Ok(asked) => plane.operation(&me, asked.id, Duration::from_millis(300)).await,
            Err(error) => Err(error),
        };
        hear("act", ended.map(|ended| format!("{ended:?}")));
        hear("vm", plane.vm(&me, &web).await.map(|vm| format!("{vm:?}")));
    }
    hear("vms", plane.vms(&me, &v1::ListVms::default()).await.map(|page| format!("{page:?}")));
    let call = GuestCall::Exec(ExecRequest::new(["true"]));
    hear("open", plane.open(&me, &web, &call).await.map(|_| String::new()));
    hear("logs", plane.console_log(&me, &web, 100).await.map(|_| String::new()));
    hear("images", plane.images(&me).await.map(|images| format!("{images:?}")));
    hear("host", plane.host(&me).await.map(|host| format!("{host:?}")));
    hear("last", plane.last_event(&me).await.map(|last| format!("{last:?}")));
    hear("events", plane.events(&me, EventSeq(0), 200, Duration::ZERO).await.map(|page| format!("{page:?}")));
    heard
}

#[tokio::test]
async fn no_tenant_hears_where_things_lie_whichever_port_fails_with_a_path() {
    for port in ["hypervisor", "storage", "network", "guest", "journal", "fleet_store", "node"] {
        for from_the_start in [true, false] {
            let site = Site::start(port).await;
            if !from_the_start {
                // What fails is then what is asked of a VM that runs.
                let made = site.plane.create(&ada(), &new_vm("web"), None).await.unwrap();
                site.plane.operation(&ada(), made.id, Duration::from_secs(20)).await.unwrap();
            }
            site.on.store(true, Ordering::SeqCst);
            let mut heard = everything(&site.as_tenant()).await;
            let known = everything(&site.as_admin()).await;
            // What was written down is told later too.
            site.on.store(false, Ordering::SeqCst);
            heard.extend(everything(&site.as_tenant()).await);
            assert!(site.hits.load(Ordering::SeqCst) > 0, "{port} was never asked");
            for line in &heard {
                assert!(!line.contains("Secret"), "{port}: {line}");
            }
            let veiled =
                heard.iter().any(|line| line.contains("cannot open \"…\" for it") || line.contains("open \\\"…"));
            let known = known.iter().any(|line| line.contains(SECRET));
            assert!(veiled && known, "{port}: {from_the_start} {veiled} {known} {heard:#?}");
        }
    }
}
