//! What the conformance suite cannot know of: the protocol on the sockets, and hostile sides of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::error::ErrorKind;

struct Lab {
    dir: PathBuf,
    channel: VsockChannel,
    id: VmId,
}

impl Lab {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mn-vsock-{}-{name}", std::process::id()));
        files::dir_absent(&dir).unwrap();
        let channel = VsockChannel::open(&dir).unwrap();
        Self { dir, channel, id: VmId::from_bits(3) }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.channel.dir(self.id).join(name)
    }

    /// The monitor's side: what it answers to whoever dials.
    fn monitor(&self, answer: &'static [u8]) {
        let listener = UnixListener::bind(self.socket(names::VSOCK)).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut line = [0; 13];
                    stream.read_exact(&mut line).await.unwrap();
                    assert_eq!(&line, b"CONNECT 1023\n");
                    stream.write_all(answer).await.unwrap();
                    if answer.starts_with(b"OK") {
                        let mut rest = Vec::new();
                        let _ = stream.read_to_end(&mut rest).await;
                    }
                });
            }
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn cx() -> CallCx {
    CallCx::new("test", Duration::from_secs(20))
}

async fn kind(lab: &Lab) -> ErrorKind {
    lab.channel.connect(&cx(), lab.id, 1023).await.map(drop).unwrap_err().kind()
}

#[tokio::test]
async fn what_follows_the_ok_in_the_same_packet_is_the_callers() {
    let lab = Lab::new("ok");
    lab.channel.ensure_open(&cx(), lab.id, Cid::FIRST).await.unwrap();
    lab.monitor(b"OK 1073741824\nhello");
    let mut stream = lab.channel.connect(&cx(), lab.id, 1023).await.unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    // The door cuts off who went through it.
    lab.channel.ensure_absent(&cx(), lab.id).await.unwrap();
    assert_eq!(stream.read(&mut bytes).await.unwrap(), 0);
}

#[tokio::test]
async fn a_closed_connection_garbage_and_an_endless_line_are_no_answer() {
    for (name, answer) in
        [("close", b"".as_slice()), ("garbage", b"NO\n"), ("endless", b"OK 123456789012345678901234567890")]
    {
        let lab = Lab::new(name);
        lab.channel.ensure_open(&cx(), lab.id, Cid::FIRST).await.unwrap();
        assert_eq!(kind(&lab).await, ErrorKind::Unavailable, "no monitor yet");
        lab.monitor(answer);
        assert_eq!(kind(&lab).await, ErrorKind::Unavailable, "{name}");
    }
}

#[tokio::test]
async fn of_many_knocks_the_newest_are_kept_and_a_restart_takes_the_door_over() {
    let lab = Lab::new("knock");
    let ready = || lab.socket(&names::vsock_port(READY_PORT));
    lab.channel.ensure_open(&cx(), lab.id, Cid::FIRST).await.unwrap();
    let mut knocks = Vec::new();
    for number in 0..9u8 {
        let mut knock = UnixStream::connect(ready()).await.unwrap();
        knock.write_all(&[number]).await.unwrap();
        knocks.push(knock);
        // The door has taken it when the fifth-newest is closed; below that, one turn of the runtime is enough.
        tokio::task::yield_now().await;
    }
    for knock in &mut knocks[..5] {
        assert!(matches!(knock.read(&mut [0]).await, Ok(0) | Err(_)), "an old knock is kept");
    }
    let first = lab.channel.accept(&cx(), lab.id).await.unwrap().read_u8().await.unwrap();
    assert_eq!(first, 5);

    let second = VsockChannel::open(&lab.dir).unwrap();
    lab.channel.0.doors.lock().unwrap().clear();
    assert_eq!(second.observe(&cx(), lab.id).await.unwrap(), DoorState::Stale);
    assert_eq!(second.list(&cx()).await.unwrap(), [lab.id]);
    second.ensure_open(&cx(), lab.id, Cid::FIRST).await.unwrap();
    assert_eq!(second.observe(&cx(), lab.id).await.unwrap(), DoorState::Open);
    let waiting = tokio::spawn({
        let (second, id) = (second.clone(), lab.id);
        async move { second.accept(&cx(), id).await.map(drop).map_err(|error| error.kind()) }
    });
    tokio::task::yield_now().await;
    second.ensure_absent(&cx(), lab.id).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(ErrorKind::NotFound), "who waits hears that the door is gone");
    assert_eq!(second.observe(&cx(), lab.id).await.unwrap(), DoorState::Absent);
    assert!(!lab.socket("").exists(), "the folder is left");
}
