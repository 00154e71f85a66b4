//! A service whose every text is hostile: in front of it stands the real server.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use minions_core::api::guest::{
    CHANNEL_MAIN, CHANNEL_STDERR, ExecEvent, Frame, FrameWriter, GuestCall, Reply, WireError,
};
use minions_core::api::v1;
use minions_core::error::{Effect, Error, ErrorKind, Result};
use minions_core::guest::GuestIoBox;
use minions_core::http::server::{ApiServer, Listener, Settings};
use minions_core::hypervisor::Line;
use minions_core::service::{Caller, ConsoleBox, ControlPlane, IdempotencyKey, VmAction, VmRef};
use minions_core::types::*;

use super::corpus::evil;

/// Whether every call fails, with a hostile message.
#[derive(Debug, Default)]
pub struct Hostile {
    pub refuses: AtomicBool,
}

impl Hostile {
    pub fn judge(&self) -> Result<()> {
        if self.refuses.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Denied, evil()).with_field(evil()));
        }
        Ok(())
    }
}

fn vm(number: u128) -> v1::Vm {
    let gone = number > 100;
    v1::Vm {
        id: VmId::from_bits(number),
        name: "web".parse().unwrap(),
        owner: evil(),
        state: VmState::Running,
        reason: Some(StateReason::new(evil(), evil())),
        since: UnixMillis(u64::MAX),
        last_progress: UnixMillis(0),
        goal: evil(),
        generation: Generation(u64::MAX),
        epoch: u64::MAX,
        access: v1::Access { port: Some(u16::MAX), public: true, shared: vec![evil()] },
        image: ImageId::from_digest([7; 32]),
        cpus: Vcpus(u32::MAX),
        memory: ByteSize::bytes(u64::MAX),
        disk: ByteSize::bytes(u64::MAX),
        data_disk: ByteSize::bytes(u64::MAX),
        running: Some(v1::RunningSize { cpus: Vcpus(0), memory: ByteSize::bytes(u64::MAX) }),
        data_from: Some(VmId::from_bits(7)),
        policy: Some(PortPolicy { egress: Egress::Only(Vec::new()), rate: Some(RateLimit(u64::MAX)) }),
        fences: Some(Fences::default()),
        ip: None,
        restarts: u32::MAX,
        created: UnixMillis(u64::MAX),
        deleted: gone.then_some(UnixMillis(u64::MAX)),
        timings: marks(),
    }
}

fn marks() -> Vec<BootMark> {
    (0..3).map(|_| BootMark { name: evil().into(), micros: u64::MAX }).collect()
}

fn problem() -> v1::Problem {
    let (kind, effect) = (ErrorKind::Unavailable, Effect::None);
    v1::Problem { kind, reason: Some(evil()), field: Some(evil()), message: evil(), status: 503, effect }
}

fn operation(verb: OperationVerb) -> v1::Operation {
    // A destroyed VM is gone when it is looked at.
    let vm = VmId::from_bits(if verb == OperationVerb::Destroy { 101 } else { 1 });
    let outcome = v1::OperationOutcome::Succeeded;
    let (created, ended) = (UnixMillis(0), Some(UnixMillis(1)));
    v1::Operation { id: OperationId::from_bits(2), verb, vm, outcome, timings: marks(), created, ended }
}

fn image() -> v1::Image {
    let (size, created) = (ByteSize::bytes(u64::MAX), UnixMillis(u64::MAX));
    v1::Image { id: ImageId::from_digest([7; 32]), name: evil(), size, created }
}

#[async_trait]
impl ControlPlane for Hostile {
    async fn create(&self, _: &Caller, _: &v1::CreateVm, _: Option<&IdempotencyKey>) -> Result<v1::Operation> {
        self.judge().map(|()| operation(OperationVerb::Create))
    }

    async fn act(&self, _: &Caller, _: &VmRef, action: &VmAction, _: Option<&IdempotencyKey>) -> Result<v1::Operation> {
        self.judge()?;
        Ok(operation(match action {
            VmAction::Destroy(_) => OperationVerb::Destroy,
            _ => OperationVerb::Start,
        }))
    }

    async fn visit(&self, _: Option<&Caller>, _: VmId, _: u16) -> Result<GuestIoBox> {
        Err(Error::invalid("port", evil()))
    }

    fn head(&self) -> Option<EventSeq> {
        None
    }

    async fn vm(&self, _: &Caller, asked: &VmRef) -> Result<v1::Vm> {
        self.judge()?;
        Ok(vm(if let VmRef::Id(id) = asked { id.bits() } else { 1 }))
    }

    async fn vms(&self, _: &Caller, query: &v1::ListVms) -> Result<v1::VmPage> {
        self.judge()?;
        // One more page, then the same cursor again and again.
        assert!(query.cursor.as_ref().is_none_or(|cursor| *cursor == evil()));
        Ok(v1::VmPage { vms: (1..3).map(vm).collect(), next: Some(evil()) })
    }

    async fn disks(&self, _: &Caller, query: &v1::ListDisks) -> Result<v1::DiskPage> {
        self.judge()?;
        assert!(query.cursor.as_ref().is_none_or(|cursor| *cursor == evil()));
        let size = ByteSize::bytes(u64::MAX);
        let disk = |number| v1::Disk {
            id: VmId::from_bits(number),
            name: "web".parse().unwrap(),
            owner: evil(),
            size,
            since: UnixMillis(u64::MAX),
        };
        Ok(v1::DiskPage { disks: (1..3).map(disk).collect(), next: Some(evil()) })
    }

    async fn operation(&self, _: &Caller, _: OperationId, _: Duration) -> Result<v1::Operation> {
        self.judge().map(|()| operation(OperationVerb::Create))
    }

    async fn events(&self, _: &Caller, after: EventSeq, _: usize, _: Duration) -> Result<v1::EventPage> {
        self.judge()?;
        let failed = v1::OperationOutcome::Failed { error: problem() };
        let bodies = [
            v1::EventBody::State { state: VmState::Failed, reason: Some(StateReason::new(evil(), evil())) },
            v1::EventBody::Ended { operation: OperationId::from_bits(1), verb: OperationVerb::Create, outcome: failed },
            v1::EventBody::Deleted,
        ];
        let event = |(seq, body)| {
            let (name, at) = ("web".parse().unwrap(), UnixMillis(u64::MAX));
            v1::Event { seq: EventSeq(seq), vm: VmId::from_bits(1), name, at, body }
        };
        let events = if after.0 < 3 { (1..).zip(bodies).map(event).collect() } else { Vec::new() };
        Ok(v1::EventPage { events, next: EventSeq(3) })
    }

    async fn last_event(&self, _: &Caller) -> Result<EventSeq> {
        self.judge().map(|()| EventSeq(3))
    }

    async fn open(&self, _: &Caller, _: &VmRef, call: &GuestCall) -> Result<GuestIoBox> {
        self.judge()?;
        let (host, guest) = tokio::io::duplex(1 << 20);
        tokio::spawn(answer(guest, matches!(call, GuestCall::Exec(_))));
        Ok(Box::new(host))
    }

    async fn console_log(&self, _: &Caller, _: &VmRef, _: usize) -> Result<Vec<u8>> {
        self.judge()?;
        Ok([evil().as_bytes(), b"\xff\xfe\x9b31m\r\nMARK"].concat())
    }

    async fn console(&self, _: &Caller, _: &VmRef, _: usize) -> Result<ConsoleBox> {
        self.judge()?;
        let mut line = Line::new().0;
        let console = line.attach(b"");
        // Said in pieces that end wherever they end; then the guest is off.
        [evil().as_bytes(), b"\xff\xfe\x9b31m\r\nMARK"].concat().chunks(7).for_each(|piece| line.print(piece));
        Ok(console)
    }

    async fn images(&self, _: &Caller) -> Result<v1::ImageList> {
        self.judge().map(|()| v1::ImageList { images: vec![image(), image()] })
    }

    async fn import_image(&self, _: &Caller, _: &ImageBundle) -> Result<v1::Image> {
        self.judge().map(|()| image())
    }

    async fn delete_image(&self, _: &Caller, _: ImageId) -> Result<()> {
        self.judge()
    }

    async fn host(&self, _: &Caller) -> Result<v1::HostStatus> {
        self.judge()?;
        Ok(v1::HostStatus {
            hypervisor: evil(),
            storage: evil(),
            network: evil(),
            guest: evil(),
            isolated: true,
            accelerated: true,
            simulated: true,
            vms: u64::MAX,
            quarantined: u64::MAX,
            storage_total: ByteSize::bytes(u64::MAX),
            storage_used: ByteSize::bytes(u64::MAX),
            storage_metadata_total: None,
            storage_metadata_used: None,
        })
    }
}

/// What a hostile agent says: a program's output, and an error to every other call.
async fn answer(guest: tokio::io::DuplexStream, exec: bool) -> Result<()> {
    let (mut from, to) = tokio::io::split(guest);
    let mut writer = FrameWriter::new(to);
    if exec {
        let bytes = Bytes::from([evil().as_bytes(), b"\xff\xfe\xe2\x80"].concat());
        writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes: bytes.clone() }).await?;
        writer.send(&Frame::Data { channel: CHANNEL_STDERR, bytes }).await?;
        writer.message(&ExecEvent::Exited { code: 9 }).await?;
    } else {
        writer.message(&Reply::Failed { error: WireError::new(ErrorKind::Denied, evil()) }).await?;
    }
    // Until the client leaves.
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    Ok(())
}

/// Serves it at a socket, on a thread of its own, for as long as the test's process lives.
pub fn serve(socket: &Path) -> Arc<Hostile> {
    let hostile = Arc::new(Hostile::default());
    let (plane, path) = (hostile.clone(), socket.to_owned());
    let uid = std::fs::metadata(socket.parent().unwrap()).unwrap().uid();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let settings = Settings { version: evil(), admin_uids: vec![uid], ..Settings::default() };
            let server = ApiServer::with_people(plane.clone(), plane.clone(), plane, settings);
            let listener = Listener::unix(&path).unwrap();
            ready.send(()).unwrap();
            server.serve(vec![listener], std::future::pending()).await;
        });
    });
    is_ready.recv().unwrap();
    hostile
}
