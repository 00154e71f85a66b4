//! What the conformance suite cannot know of: whose a connection is, where something stands for the kernel.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Blocking;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::*;
use crate::error::ErrorKind;

/// In the kernel's place: what the test puts in arrives, and every guest of the map answers with its context id.
#[derive(Debug)]
struct Stand {
    arriving: tokio::sync::Mutex<mpsc::UnboundedReceiver<io::Result<(OwnedFd, u32)>>>,
    /// How often in vain a guest is dialled before it answers.
    guests: Mutex<HashMap<u32, u32>>,
}

#[async_trait]
impl Carrier for Stand {
    async fn accept(&self) -> io::Result<(OwnedFd, u32)> {
        match self.arriving.lock().await.recv().await {
            Some(arrived) => arrived,
            None => std::future::pending().await,
        }
    }

    async fn dial(&self, cid: Cid, port: u32) -> io::Result<OwnedFd> {
        let mut guests = self.guests.lock().unwrap();
        match guests.get_mut(&cid.get()) {
            None => Err(io::Error::from_raw_os_error(libc::ENODEV)),
            Some(_) if port != 1023 => Err(io::ErrorKind::ConnectionReset.into()),
            Some(0) => {
                let (ours, mut theirs) = pair();
                io::Write::write_all(&mut theirs, &[u8::try_from(cid.get()).unwrap()]).unwrap();
                // Its guest holds it until it is cut off.
                std::thread::spawn(move || io::Read::read(&mut theirs, &mut [0]));
                Ok(ours)
            }
            Some(more) => {
                *more -= 1;
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

fn pair() -> (OwnedFd, Blocking) {
    let (ours, theirs) = Blocking::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours.into(), theirs)
}

struct Lab {
    channel: VhostChannel,
    arrives: mpsc::UnboundedSender<io::Result<(OwnedFd, u32)>>,
    stand: Arc<Stand>,
}

impl Lab {
    fn new() -> Self {
        let (arrives, arriving) = mpsc::unbounded_channel();
        let stand = Arc::new(Stand { arriving: tokio::sync::Mutex::new(arriving), guests: Mutex::default() });
        Self { channel: VhostChannel::over(stand.clone()), arrives, stand }
    }

    /// Who has this context id dials the host, and says its number.
    async fn knock(&self, cid: u32, number: u8) -> UnixStream {
        let (ours, theirs) = pair();
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = UnixStream::from_std(theirs).unwrap();
        theirs.write_all(&[number]).await.unwrap();
        self.arrives.send(Ok((ours, cid))).unwrap();
        theirs
    }

    async fn heard(&self, id: VmId) -> u8 {
        self.channel.accept(&cx(), id).await.unwrap().read_u8().await.unwrap()
    }
}

fn cx() -> CallCx {
    CallCx::new("test", Duration::from_secs(20))
}

fn cid(number: u32) -> Cid {
    Cid::new(number).unwrap()
}

async fn is_turned_away(mut stream: UnixStream) -> bool {
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
    matches!(ended.expect("it is held open"), Ok(0) | Err(_))
}

const ONE: VmId = VmId::from_bits(1);
const OTHER: VmId = VmId::from_bits(2);

#[tokio::test]
async fn a_connection_belongs_to_the_vm_whose_context_id_made_it() {
    let lab = Lab::new();
    lab.channel.ensure_open(&cx(), ONE, cid(5)).await.unwrap();
    lab.channel.ensure_open(&cx(), OTHER, cid(6)).await.unwrap();
    let _knocks = [lab.knock(6, 60).await, lab.knock(5, 50).await];
    assert_eq!((lab.heard(ONE).await, lab.heard(OTHER).await), (50, 60));

    lab.stand.guests.lock().unwrap().extend([(5, 0), (6, 0)]);
    for (id, number) in [(ONE, 5), (OTHER, 6)] {
        let mut stream = lab.channel.connect(&cx(), id, 1023).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), number);
    }
}

#[tokio::test]
async fn who_has_no_door_is_turned_away_and_so_is_the_host_itself() {
    let lab = Lab::new();
    lab.channel.ensure_open(&cx(), ONE, cid(5)).await.unwrap();
    // Its own host, itself, another guest, and one whose door is closed by now.
    lab.channel.ensure_open(&cx(), OTHER, cid(6)).await.unwrap();
    lab.channel.ensure_absent(&cx(), OTHER).await.unwrap();
    for stranger in [1, 2, 4, 6, u32::MAX] {
        assert!(is_turned_away(lab.knock(stranger, 9).await).await, "{stranger} came in");
    }
    // What cannot be taken stops nobody.
    lab.arrives.send(Err(io::Error::from_raw_os_error(libc::EMFILE))).unwrap();
    let _knock = lab.knock(5, 50).await;
    assert_eq!(lab.heard(ONE).await, 50);
}

#[tokio::test]
async fn no_two_vms_have_one_context_id_and_it_is_free_when_a_door_is_gone() {
    let lab = Lab::new();
    lab.channel.ensure_open(&cx(), ONE, cid(5)).await.unwrap();
    let taken = lab.channel.ensure_open(&cx(), OTHER, cid(5)).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict, "{taken}");
    assert_eq!(lab.channel.observe(&cx(), OTHER).await.unwrap(), DoorState::Absent);
    let moved = lab.channel.ensure_open(&cx(), ONE, cid(6)).await.unwrap_err();
    assert_eq!(moved.kind(), ErrorKind::Conflict, "{moved}");
    let _knock = lab.knock(5, 50).await;
    assert_eq!(lab.heard(ONE).await, 50);

    lab.channel.ensure_absent(&cx(), ONE).await.unwrap();
    lab.channel.ensure_open(&cx(), OTHER, cid(5)).await.unwrap();
    let _knock = lab.knock(5, 51).await;
    assert_eq!(lab.heard(OTHER).await, 51);
}

#[tokio::test]
async fn of_many_knocks_the_newest_are_kept_and_another_guests_are_not_lost() {
    let lab = Lab::new();
    lab.channel.ensure_open(&cx(), ONE, cid(5)).await.unwrap();
    lab.channel.ensure_open(&cx(), OTHER, cid(6)).await.unwrap();
    let _quiet = lab.knock(6, 60).await;
    let mut knocks = Vec::new();
    for number in 0..9 {
        knocks.push(lab.knock(5, number).await);
    }
    for knock in knocks.drain(..5) {
        assert!(is_turned_away(knock).await, "an old knock is kept");
    }
    for number in 5..9 {
        assert_eq!(lab.heard(ONE).await, number);
    }
    assert_eq!(lab.heard(OTHER).await, 60);
}

#[tokio::test]
async fn a_closed_door_cuts_off_who_went_through_and_tells_who_waits() {
    let lab = Lab::new();
    lab.channel.ensure_open(&cx(), ONE, cid(5)).await.unwrap();
    lab.stand.guests.lock().unwrap().insert(5, 0);
    let mut dialled = lab.channel.connect(&cx(), ONE, 1023).await.unwrap();
    assert_eq!(dialled.read_u8().await.unwrap(), 5);
    let theirs = lab.knock(5, 50).await;
    let mut heard = lab.channel.accept(&cx(), ONE).await.unwrap();
    assert_eq!(heard.read_u8().await.unwrap(), 50);
    let waiting = tokio::spawn({
        let channel = lab.channel.clone();
        async move { channel.accept(&cx(), ONE).await.map(drop).map_err(|error| error.kind()) }
    });
    tokio::task::yield_now().await;
    lab.channel.ensure_absent(&cx(), ONE).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(ErrorKind::NotFound));
    assert!(is_turned_away(theirs).await);
    assert!(matches!(dialled.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(matches!(heard.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_busy_guest_is_dialled_again_and_one_that_is_not_there_is_unavailable() {
    let lab = Lab::new();
    lab.channel.ensure_open(&cx(), ONE, cid(5)).await.unwrap();
    let kind = async |port| lab.channel.connect(&cx(), ONE, port).await.map(drop).unwrap_err().kind();
    assert_eq!(kind(1023).await, ErrorKind::Unavailable, "there is no such guest");
    lab.stand.guests.lock().unwrap().insert(5, 2);
    assert_eq!(kind(7).await, ErrorKind::Unavailable, "nobody listens");
    let mut stream = lab.channel.connect(&cx(), ONE, 1023).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 5);
}

#[tokio::test]
async fn a_vm_has_so_many_connections_and_no_more() {
    let lab = Lab::new();
    lab.channel.ensure_open(&cx(), ONE, cid(5)).await.unwrap();
    let passage = lab.channel.door(ONE).unwrap().passage;
    let socket = || line(pair().0).unwrap();
    let held: Vec<_> = (0..3).map(|_| passage.adopt(socket(), 3).unwrap()).collect();
    assert!(passage.adopt(socket(), 3).is_none(), "one too many");
    drop(held);
    assert!(passage.adopt(socket(), 3).is_some(), "those that are gone count no more");
}
