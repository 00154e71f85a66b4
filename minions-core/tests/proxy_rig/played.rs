//! A control plane whose VMs are played by a backend that counts what it reads.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use minions_core::Result;
use minions_core::api::guest::{FrameReader, FrameWriter, GuestCall, Reply, pump};
use minions_core::api::v1;
use minions_core::guest::GuestIoBox;
use minions_core::service::{Caller, ConsoleBox, ControlPlane, DynControlPlane, IdempotencyKey, VmAction, VmRef};
use minions_core::types::{EventSeq, ImageBundle, ImageId, OperationId, VmId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What a backend says to a head.
type Says = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// Reads requests with a parser of its own, and keeps all of them.
pub struct Backend {
    pub connections: AtomicUsize,
    pub heads: Mutex<Vec<String>>,
    pub bodies: Mutex<Vec<Vec<u8>>>,
    says: Says,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    pub fn new(says: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            connections: AtomicUsize::new(0),
            heads: Mutex::default(),
            bodies: Mutex::default(),
            says: Box::new(says),
        })
    }

    pub fn ok() -> Arc<Self> {
        Self::new(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
    }

    pub fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    async fn guest(self: Arc<Self>, io: DuplexStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (read, write) = tokio::io::split(io);
        let mut writer = FrameWriter::new(write);
        writer.message(&Reply::Accepted).await.unwrap();
        let (near, far) = tokio::io::duplex(64 << 10);
        let (near_read, near_write) = tokio::io::split(near);
        tokio::spawn(self.http(far));
        let _ = pump(FrameReader::new(read), writer, near_read, near_write).await;
    }

    async fn http(self: Arc<Self>, mut io: DuplexStream) {
        let mut read = Vec::new();
        loop {
            let Some(head) = self.until(&mut io, &mut read, b"\r\n\r\n").await else { return };
            let head = String::from_utf8_lossy(&head).into_owned();
            let field = |name: &str| {
                let lower = head.to_ascii_lowercase();
                lower.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            if head.contains(" /eager ") {
                // Answers before it has read, and reads no more.
                let answer = (self.says)(&head);
                self.heads.lock().unwrap().push(head);
                let _ = io.write_all(&answer).await;
                return std::future::pending().await;
            }
            let mut body = Vec::new();
            if field("transfer-encoding:").is_some() {
                loop {
                    let Some(line) = self.until(&mut io, &mut read, b"\r\n").await else { return };
                    let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
                    if size == 0 {
                        // Trailers until a blank line.
                        while self.until(&mut io, &mut read, b"\r\n").await.is_some_and(|line| line.len() > 2) {}
                        break;
                    }
                    let Some(chunk) = self.take(&mut io, &mut read, size + 2).await else { return };
                    body.extend_from_slice(&chunk[..size]);
                }
            } else if let Some(length) = field("content-length:") {
                let Some(all) = self.take(&mut io, &mut read, length.parse().unwrap()).await else { return };
                body = all;
            }
            let answer = (self.says)(&head);
            self.heads.lock().unwrap().push(head);
            self.bodies.lock().unwrap().push(body);
            if io.write_all(&answer).await.is_err() {
                return;
            }
            if answer.starts_with(b"HTTP/1.1 101") {
                // From here on an echo.
                io.write_all(&read).await.unwrap();
                let (mut from, mut to) = tokio::io::split(io);
                let _ = tokio::io::copy(&mut from, &mut to).await;
                return;
            }
        }
    }

    async fn until(&self, io: &mut DuplexStream, read: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = read.windows(end.len()).position(|here| here == end) {
                return Some(read.drain(..at + end.len()).collect());
            }
            if io.read_buf(read).await.ok()? == 0 {
                return None;
            }
        }
    }

    async fn take(&self, io: &mut DuplexStream, read: &mut Vec<u8>, size: usize) -> Option<Vec<u8>> {
        while read.len() < size {
            if io.read_buf(read).await.ok()? == 0 {
                return None;
            }
        }
        Some(read.drain(..size).collect())
    }
}

/// A control plane with this backend in every VM.
#[derive(Debug)]
pub struct Played {
    pub plane: DynControlPlane,
    pub backend: Arc<Backend>,
}

#[async_trait]
impl ControlPlane for Played {
    async fn create(
        &self,
        caller: &Caller,
        request: &v1::CreateVm,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        self.plane.create(caller, request, key).await
    }

    async fn act(
        &self,
        caller: &Caller,
        vm: &VmRef,
        action: &VmAction,
        key: Option<&IdempotencyKey>,
    ) -> Result<v1::Operation> {
        self.plane.act(caller, vm, action, key).await
    }

    async fn vm(&self, caller: &Caller, vm: &VmRef) -> Result<v1::Vm> {
        self.plane.vm(caller, vm).await
    }

    async fn vms(&self, caller: &Caller, query: &v1::ListVms) -> Result<v1::VmPage> {
        self.plane.vms(caller, query).await
    }

    async fn disks(&self, caller: &Caller, query: &v1::ListDisks) -> Result<v1::DiskPage> {
        self.plane.disks(caller, query).await
    }

    async fn operation(&self, caller: &Caller, id: OperationId, wait: Duration) -> Result<v1::Operation> {
        self.plane.operation(caller, id, wait).await
    }

    async fn events(&self, caller: &Caller, after: EventSeq, limit: usize, wait: Duration) -> Result<v1::EventPage> {
        self.plane.events(caller, after, limit, wait).await
    }

    async fn last_event(&self, caller: &Caller) -> Result<EventSeq> {
        self.plane.last_event(caller).await
    }

    async fn open(&self, caller: &Caller, vm: &VmRef, call: &GuestCall) -> Result<GuestIoBox> {
        self.plane.open(caller, vm, call).await
    }

    async fn visit(&self, visitor: Option<&Caller>, vm: VmId, port: u16) -> Result<GuestIoBox> {
        drop(self.plane.visit(visitor, vm, port).await?);
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(self.backend.clone().guest(far));
        Ok(Box::new(near))
    }

    fn head(&self) -> Option<EventSeq> {
        self.plane.head()
    }

    async fn console_log(&self, caller: &Caller, vm: &VmRef, max: usize) -> Result<Vec<u8>> {
        self.plane.console_log(caller, vm, max).await
    }

    async fn console(&self, caller: &Caller, vm: &VmRef, tail: usize) -> Result<ConsoleBox> {
        self.plane.console(caller, vm, tail).await
    }

    async fn images(&self, caller: &Caller) -> Result<v1::ImageList> {
        self.plane.images(caller).await
    }

    async fn import_image(&self, caller: &Caller, bundle: &ImageBundle) -> Result<v1::Image> {
        self.plane.import_image(caller, bundle).await
    }

    async fn delete_image(&self, caller: &Caller, id: ImageId) -> Result<()> {
        self.plane.delete_image(caller, id).await
    }

    async fn host(&self, caller: &Caller) -> Result<v1::HostStatus> {
        self.plane.host(caller).await
    }
}
