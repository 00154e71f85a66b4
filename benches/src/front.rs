//! Both front doors as a process: what `minions serve` is made of, on a host with a stand-in for the monitor, whose guest
//! is the real agent.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minions_core::api::v1;
use minions_core::env::Env;
use minions_core::http::client::HttpControlPlane;
use minions_core::memory::InMemoryHost;
use minions_core::proxy::{self, Certificate, Certificates, HttpsProxy};
use minions_core::service::{Caller, ControlPlane, Directory, VmAction, VmRef};
use minions_core::ssh::{self, HostKey, SshGateway};

use crate::Result;
use crate::child::{Child, end_with_parent, text};
use crate::create_rate::new_vm;
use crate::host::{Kind, Service, anyone, client, parts};
use crate::pin;
use crate::seed;

/// Below which names lie.
pub const DOMAIN: &str = "minions.test";
/// The VM that all load goes to.
pub const VM: &str = "web";
/// Whose key opens it.
pub const USER: &str = "bench";

const FOREVER: Duration = Duration::from_secs(3_600);

/// Runs until its parent ends it. Says `ready HTTPS SSH` with its ports once the VM runs.
pub async fn serve(kind: Kind, dir: &Path, port: u16, known: usize) -> Result<()> {
    end_with_parent();
    pin::this_thread(pin::MEASURED);
    let env = Env::system();
    if known > 0 {
        seed::stores(kind, dir, InMemoryHost::demo_image().id, known).await?;
    }
    let parts = parts(kind, dir, &env).await?;
    if kind == Kind::Memory {
        seed::volumes(dir, &parts.storage).await?;
    }
    let service = Service::start(kind, dir, parts, &env).await?;
    service.node.engine().idle().await;
    let (plane, accounts, ops) = (service.plane.clone(), service.accounts.clone(), Caller::admin("bench"));
    let user: minions_core::types::UserName = USER.parse()?;
    accounts.add_user(&ops, &v1::AddUser { name: user.clone(), admin: true }).await?;
    let key = std::fs::read_to_string(dir.join("key.pub"))?;
    accounts.add_key(&ops, &user, &v1::AddKey { key, label: None }).await?;
    // A simulated guest answers by itself.
    let port = (kind != Kind::Memory).then_some(port);
    let owner = Some(USER.to_owned());
    let request = v1::CreateVm { owner, public: true, port, ..new_vm(VM, None)? };
    let operation = plane.create(&ops, &request, None).await?;
    let ended = plane.operation(&ops, operation.id, Duration::from_secs(30)).await?;
    if ended.outcome != v1::OperationOutcome::Succeeded {
        return Err(format!("the VM did not start: {ended:?}").into());
    }
    let certificates = Certificates::new();
    certificates.put(&Certificate::from_file(&dir.join("both.pem"), vec![format!("*.{DOMAIN}")])?);
    let settings = proxy::Settings {
        max_per_source: usize::MAX >> 1,
        head: FOREVER,
        keep_alive: FOREVER,
        ..proxy::Settings::new(DOMAIN, "control.test")
    };
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let proxy = HttpsProxy::new(plane.clone(), accounts.clone(), env.clone(), certificates, settings)?;
    let https = proxy::listen(any).await?;
    let host_key = HostKey::generate(env.ids.as_ref());
    let settings = ssh::Settings { max_startups: 1_000, max_startups_per_source: 1_000, ..ssh::Settings::default() };
    let gateway = SshGateway::new(plane, accounts, &host_key, settings);
    let door = proxy::listen(any).await?;
    println!("ready {} {}", https.local_addr()?.port(), door.local_addr()?.port());
    tokio::join!(
        proxy.serve(vec![https], Vec::new(), std::future::pending()),
        gateway.serve(vec![door], std::future::pending())
    );
    Ok(())
}

/// The process, with its guest beside what is measured, and the ports of its doors.
pub struct Front {
    pub child: Child,
    pub https: SocketAddr,
    pub ssh: SocketAddr,
}

impl Front {
    pub async fn start(kind: Kind, dir: &Path, backend: u16, known: usize) -> Result<Self> {
        let (port, known) = (backend.to_string(), known.to_string());
        let mut child = Child::start(&["front", kind.name(), text(dir)?, &port, &known])?;
        let ports = child.says("ready").await?;
        let mut ports = ports.split(' ').map(|port| port.parse::<u16>());
        let mut next = || -> Result<SocketAddr> { Ok((Ipv4Addr::LOCALHOST, ports.next().ok_or("no port")??).into()) };
        let (https, ssh) = (next()?, next()?);
        pin::children_of(child.pid()?, pin::OTHERS)?;
        Ok(Self { child, https, ssh })
    }

    /// Destroys the VM, which would outlive its daemon, and ends the process.
    pub async fn end(self, dir: &Path) -> Result<()> {
        let (plane, vm) = (client(dir), VmRef::Name(VM.parse()?));
        let operation = plane.act(&anyone(), &vm, &VmAction::Destroy(v1::DestroyVm::default()), None).await?;
        let ended = plane.operation(&anyone(), operation.id, Duration::from_secs(30)).await?;
        if ended.outcome != v1::OperationOutcome::Succeeded {
            return Err(format!("the VM is left: {ended:?}").into());
        }
        self.child.kill().await
    }
}

/// So many changes of routes a second of VMs that are only known, for so long. Returns how many were made, and how long
/// each took, in microseconds.
pub async fn churn(dir: &Path, known: usize, rate: usize, time: Duration) -> Result<Vec<f64>> {
    let plane: Arc<HttpControlPlane> = Arc::new(client(dir));
    let begin = tokio::time::Instant::now();
    let mut jobs = tokio::task::JoinSet::new();
    let workers = 8;
    for worker in 0..workers {
        let plane = plane.clone();
        jobs.spawn(async move {
            let mut times = Vec::new();
            let mut number = worker;
            let pause = Duration::from_secs_f64(workers as f64 / rate as f64);
            let mut tick = tokio::time::interval(pause);
            while begin.elapsed() < time {
                tick.tick().await;
                let vm = VmRef::Name(format!("known-{}", number % known).parse()?);
                let port = u16::try_from(1_024 + number % 60_000)?;
                let change = VmAction::Expose(v1::ExposeVm { port: Some(port) });
                let asked = std::time::Instant::now();
                plane.act(&anyone(), &vm, &change, None).await?;
                times.push(crate::measure::micros(asked));
                number += workers;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = jobs.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// Makes what every door needs in a folder: a certificate and its authority, and a user's key.
pub fn prepare(dir: &Path) -> Result<()> {
    let env = Env::system();
    let ca = proxy::OwnCa::ensure(dir)?;
    std::fs::write(dir.join("both.pem"), ca.sign_pem(&env, &[format!("*.{DOMAIN}"), DOMAIN.to_owned()])?)?;
    std::fs::write(dir.join("ca.pem"), ca.pem())?;
    let key = HostKey::load(&dir.join("key"), true, env.ids.as_ref())?;
    std::fs::write(dir.join("key.pub"), key.public_line()?)?;
    Ok(())
}
