//! `ssh -J NAME@host`: another SSH server behind a VM's port.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use minions_core::api::guest::{FrameReader, FrameWriter, GuestCall, Reply, pump};
use minions_core::api::v1;
use minions_core::env::Env;
use minions_core::error::Result;
use minions_core::guest::GuestIoBox;
use minions_core::service::{Caller, ConsoleBox, ControlPlane, DynControlPlane, IdempotencyKey, VmAction, VmRef};
use minions_core::ssh::{HostKey, Settings, SshGateway};
use minions_core::types::{EventSeq, ImageBundle, ImageId, OperationId, VmId};
use tokio::net::{TcpListener, TcpStream};

use super::{Gate, LIMIT, have, owner, text};

/// A control plane whose VMs have this server at port 22.
#[derive(Debug)]
struct Behind(DynControlPlane, SocketAddr);

#[async_trait::async_trait]
impl ControlPlane for Behind {
    async fn open(&self, caller: &Caller, vm: &VmRef, call: &GuestCall) -> Result<GuestIoBox> {
        let GuestCall::Forward { port: 22 } = call else { return self.0.open(caller, vm, call).await };
        let server = self.1;
        let (here, there) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            let (read, write) = tokio::io::split(here);
            let mut writer = FrameWriter::new(write);
            writer.message(&Reply::Accepted).await.unwrap();
            let (from, to) = TcpStream::connect(server).await.unwrap().into_split();
            pump(FrameReader::new(read), writer, from, to).await.unwrap();
        });
        Ok(Box::new(there))
    }

    async fn create(
        &self,
        caller: &Caller,
        request: &v1::CreateVm,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        self.0.create(caller, request, key).await
    }
    async fn act(
        &self,
        caller: &Caller,
        vm: &VmRef,
        action: &VmAction,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        self.0.act(caller, vm, action, key).await
    }
    async fn vm(&self, caller: &Caller, vm: &VmRef) -> Result<v1::Vm> {
        self.0.vm(caller, vm).await
    }
    async fn vms(&self, caller: &Caller, query: &v1::ListVms) -> Result<v1::VmPage> {
        self.0.vms(caller, query).await
    }
    async fn disks(&self, caller: &Caller, query: &v1::ListDisks) -> Result<v1::DiskPage> {
        self.0.disks(caller, query).await
    }
    async fn operation(&self, caller: &Caller, id: OperationId, wait: Duration) -> Result<v1::Operation> {
        self.0.operation(caller, id, wait).await
    }
    async fn events(&self, caller: &Caller, after: EventSeq, limit: usize, wait: Duration) -> Result<v1::EventPage> {
        self.0.events(caller, after, limit, wait).await
    }
    async fn last_event(&self, caller: &Caller) -> Result<EventSeq> {
        self.0.last_event(caller).await
    }
    async fn visit(&self, visitor: Option<&Caller>, vm: VmId, port: u16) -> Result<GuestIoBox> {
        self.0.visit(visitor, vm, port).await
    }
    fn head(&self) -> Option<EventSeq> {
        self.0.head()
    }
    async fn console_log(&self, caller: &Caller, vm: &VmRef, max: usize) -> Result<Vec<u8>> {
        self.0.console_log(caller, vm, max).await
    }
    async fn console(&self, caller: &Caller, vm: &VmRef, tail: usize) -> Result<ConsoleBox> {
        self.0.console(caller, vm, tail).await
    }
    async fn images(&self, caller: &Caller) -> Result<v1::ImageList> {
        self.0.images(caller).await
    }
    async fn import_image(&self, caller: &Caller, bundle: &ImageBundle) -> Result<v1::Image> {
        self.0.import_image(caller, bundle).await
    }
    async fn delete_image(&self, caller: &Caller, id: ImageId) -> Result<()> {
        self.0.delete_image(caller, id).await
    }
    async fn host(&self, caller: &Caller) -> Result<v1::HostStatus> {
        self.0.host(caller).await
    }
}

#[tokio::test]
async fn a_vm_is_the_way_to_another_server() {
    if !have("ssh") {
        return;
    }
    // The server behind is a gateway, too: with a key of its own, and no way but through the first.
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    gate.edge.vm("web").await;
    gate.edge.vm("inner").await;
    let key = HostKey::generate(Env::system().ids.as_ref());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outer = listener.local_addr().unwrap();
    let plane = Arc::new(Behind(gate.edge.plane.clone(), gate.address));
    let gateway = SshGateway::new(plane, gate.edge.accounts.clone(), &key, Settings::default());
    let served = tokio::spawn(async move { gateway.serve(vec![listener], std::future::pending()).await });
    let known = gate.dir.path().join("known_hosts");
    let behind = std::fs::read_to_string(&known).unwrap();
    let behind = behind.split_once(' ').unwrap().1;
    let line = key.public_line().unwrap();
    std::fs::write(&known, format!("localhost {behind}\n[127.0.0.1]:{} {line}\n", outer.port())).unwrap();
    let config = gate.dir.path().join("config");
    let text_of = format!(
        "Host *\nBatchMode yes\nIdentitiesOnly yes\nIdentityAgent none\nLogLevel ERROR\nStrictHostKeyChecking yes\n\
         IdentityFile {}\nUserKnownHostsFile {}\n",
        me.display(),
        known.display()
    );
    std::fs::write(&config, text_of).unwrap();
    let jump = format!("web@127.0.0.1:{}", outer.port());
    let run = async |host: &str| {
        let mut command = tokio::process::Command::new("ssh");
        command.arg("-F").arg(&config).args(["-J", &jump, host, "hostname"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        tokio::time::timeout(LIMIT, command.output()).await.expect("it ends").unwrap()
    };
    let output = run("inner@localhost").await;
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("inner\n", Some(0)), "{output:?}");
    // The host's own servers are not reached that way.
    assert_eq!(run("inner@192.0.2.1").await.status.code(), Some(255));
    served.abort();
}
