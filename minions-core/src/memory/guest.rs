//! The guest channel view of a simulated host.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use super::model::Door;
use super::{InMemoryHost, takes};
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::guest::{DoorState, GuestCapabilities, GuestChannel, GuestIoBox};
use crate::types::{Cid, StepReport, VmId};

/// The guest channel of an [`InMemoryHost`].
#[derive(Clone, Debug)]
pub struct InMemoryGuests(InMemoryHost);

impl InMemoryGuests {
    pub(super) fn new(host: InMemoryHost) -> Self {
        Self(host)
    }

    fn timings(&self) -> super::Timings {
        self.0.lock().settings.timings.clone()
    }

    /// A connection that waits, or how to learn of the next one.
    fn next(&self, id: VmId) -> Result<Next> {
        let mut model = self.0.lock();
        let door = model.doors.get_mut(&id).filter(|door| door.listening).ok_or_else(|| no_door(id))?;
        let Some(stream) = door.waiting.pop_front() else {
            return Ok(Next::Wait(door.arrived.clone(), door.alive.subscribe()));
        };
        // One wake-up may have stood for several arrivals.
        if !door.waiting.is_empty() {
            door.arrived.notify_one();
        }
        Ok(Next::Stream(Box::new(stream)))
    }
}

/// A connection that waits to be accepted, or what tells of the next one and of the door's end.
enum Next {
    Stream(GuestIoBox),
    Wait(Arc<Notify>, watch::Receiver<()>),
}

fn no_door(id: VmId) -> Error {
    Error::not_found(format!("{id} has no open door on this host"))
}

#[async_trait]
impl GuestChannel for InMemoryGuests {
    fn capabilities(&self) -> GuestCapabilities {
        GuestCapabilities {
            name: "memory".to_owned(),
            simulated: true,
            max_connections: self.0.lock().settings.limits.max_connections,
        }
    }

    async fn ensure_open(&self, cx: &CallCx, id: VmId, cid: Cid) -> Result<StepReport> {
        takes(cx, self.timings().door).await?;
        let mut model = self.0.lock();
        if let Some(door) = model.doors.get_mut(&id) {
            if door.cid != cid {
                let message = format!("the door of {id} has the context id {}", door.cid.get());
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            door.listening = true;
        } else {
            let door = Door {
                cid,
                listening: true,
                waiting: VecDeque::new(),
                arrived: Arc::new(Notify::new()),
                alive: watch::Sender::new(()),
            };
            model.doors.insert(id, door);
        }
        model.doors_changed.notify_waiters();
        Ok(StepReport::empty())
    }

    async fn ensure_absent(&self, cx: &CallCx, id: VmId) -> Result<StepReport> {
        takes(cx, self.timings().door).await?;
        self.0.lock().doors.remove(&id);
        Ok(StepReport::empty())
    }

    async fn connect(&self, cx: &CallCx, id: VmId, port: u32) -> Result<GuestIoBox> {
        takes(cx, self.timings().observe).await?;
        self.0.dial(id, port)
    }

    async fn accept(&self, cx: &CallCx, id: VmId) -> Result<GuestIoBox> {
        cx.bound(async {
            loop {
                let (arrived, mut alive) = match self.next(id)? {
                    Next::Stream(stream) => return Ok(stream),
                    Next::Wait(arrived, alive) => (arrived, alive),
                };
                tokio::select! {
                    () = arrived.notified() => {}
                    // The door changed or is gone: look again.
                    _ = alive.changed() => {}
                }
            }
        })
        .await
    }

    async fn observe(&self, cx: &CallCx, id: VmId) -> Result<DoorState> {
        takes(cx, self.timings().observe).await?;
        Ok(match self.0.lock().doors.get(&id) {
            None => DoorState::Absent,
            Some(door) if door.listening => DoorState::Open,
            Some(_) => DoorState::Stale,
        })
    }

    async fn list(&self, cx: &CallCx) -> Result<Vec<VmId>> {
        takes(cx, self.timings().observe).await?;
        Ok(self.0.lock().doors.keys().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::api::guest::handshake::{self, AgentIdentity};
    use crate::api::guest::{Frame, FrameReader, FrameWriter, Nonce, Purpose, ReadyAck, ReadyReport};
    use crate::env::ManualClock;
    use crate::guest::GuestChannelExt;
    use crate::types::AgentSecret;

    /// The guest's end of a new connection to its door.
    fn arrive(host: &InMemoryHost, id: VmId) -> DuplexStream {
        let (near, far) = tokio::io::duplex(4096);
        let mut model = host.lock();
        let door = model.doors.get_mut(&id).unwrap();
        door.waiting.push_back(near);
        door.arrived.notify_one();
        far
    }

    /// The start of something that may yet become an honest hello, a byte a second.
    async fn dribble(mut io: DuplexStream) {
        let mut bytes = BytesMut::new();
        Frame::control(&"x".repeat(400)).unwrap().encode(&mut bytes);
        for byte in bytes {
            if io.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn honest(io: DuplexStream, secret: AgentSecret) -> ReadyAck {
        let identity = AgentIdentity { secret, boot_nonce: Nonce::from_bytes([7; 32]), agent_version: "1".to_owned() };
        let (read, write) = tokio::io::split(io);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        handshake::agent(&mut reader, &mut writer, &identity, Purpose::Ready).await.unwrap();
        writer.message(&ReadyReport { kernel: "k".to_owned(), ..ReadyReport::default() }).await.unwrap();
        reader.message().await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_2_2_connections_that_dribble_do_not_delay_a_good_one() {
        let (host, clock) = (InMemoryHost::new(), ManualClock::new());
        let (id, secret) = (VmId::from_bits(1), AgentSecret::from_bytes([1; 32]));
        let cx = CallCx::new("test", Duration::from_secs(600));
        host.guest().ensure_open(&cx, id, Cid::FIRST).await.unwrap();
        let guest = tokio::spawn({
            let (host, secret) = (host.clone(), secret.clone());
            async move {
                for _ in 0..40 {
                    tokio::spawn(dribble(arrive(&host, id)));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let good = arrive(&host, id);
                // More of them come while the good one is heard.
                for _ in 0..8 {
                    tokio::spawn(dribble(arrive(&host, id)));
                }
                honest(good, secret).await
            }
        });
        let began = tokio::time::Instant::now();
        let ready = host.guest().await_ready(&cx, id, &secret, &clock).await.unwrap();
        assert_eq!(ready.kernel, "k");
        assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
        assert!(guest.await.unwrap().wall >= ManualClock::EPOCH);
    }
}
