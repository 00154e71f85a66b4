//! Sessions against random and hostile packets. What files become of them is tested where there are files.

use std::io;
use std::sync::Arc;

use super::packet::{Input, LENGTH, length};
use super::session::Session;
use super::{FileAttrs, GuestFiles, MAX_HANDLES, MAX_PACKET, OpenHow};

/// Everything is there and endless.
struct Endless;

impl GuestFiles for Endless {
    type File = ();
    type Dir = ();
    fn home(&self) -> Vec<u8> {
        b"/root".to_vec()
    }
    fn open(&self, path: &[u8], _: &OpenHow) -> io::Result<()> {
        assert!(path.starts_with(b"/") && !path.contains(&0));
        Ok(())
    }
    fn read(&self, (): &(), _: u64, into: &mut [u8]) -> io::Result<usize> {
        Ok(into.len())
    }
    fn write(&self, (): &(), _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn sync(&self, (): &()) -> io::Result<()> {
        Ok(())
    }
    fn file_attrs(&self, (): &()) -> io::Result<FileAttrs> {
        Ok(FileAttrs::default())
    }
    fn set_file_attrs(&self, (): &(), _: &FileAttrs) -> io::Result<()> {
        Ok(())
    }
    fn attrs(&self, _: &[u8], _: bool) -> io::Result<FileAttrs> {
        Ok(FileAttrs::default())
    }
    fn set_attrs(&self, _: &[u8], _: &FileAttrs, _: bool) -> io::Result<()> {
        Ok(())
    }
    fn open_dir(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn next(&self, (): &mut ()) -> io::Result<Option<(Vec<u8>, FileAttrs)>> {
        Ok(Some((vec![b'n'; 255], FileAttrs::default())))
    }
    fn remove_file(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn make_dir(&self, _: &[u8], _: u32) -> io::Result<()> {
        Ok(())
    }
    fn remove_dir(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, _: &[u8], _: &[u8], _: bool) -> io::Result<()> {
        Ok(())
    }
    fn resolve(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        Ok(path.to_vec())
    }
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        Ok(path[..path.len().min(4_096)].to_vec())
    }
    fn symlink(&self, _: &[u8], _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn hard_link(&self, _: &[u8], _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = usize::try_from(self.next()).unwrap_or(0) % (most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

fn greeted() -> Session<Endless> {
    let mut session = Session::new(Arc::new(Endless));
    let mut answer = Vec::new();
    session.answer(&[1, 0, 0, 0, 3], &mut answer).unwrap();
    assert_eq!(answer[4..9], [2, 0, 0, 0, 3]);
    session
}

/// The one answer, which is as long as it says and no longer than a packet may be.
fn ask(session: &mut Session<Endless>, packet: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    session.answer(packet, &mut answer).unwrap();
    assert_eq!(length(&answer).unwrap(), Some(answer.len() - LENGTH));
    assert!(answer.capacity() <= 2 * MAX_PACKET, "{} bytes set aside", answer.capacity());
    answer
}

fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0, 7];
    for part in parts {
        packet.extend_from_slice(part);
    }
    packet
}

fn string(text: &[u8]) -> Vec<u8> {
    let mut all = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    all.extend_from_slice(text);
    all
}

#[test]
fn random_packets_never_panic_and_have_one_answer_each_of_a_packet_at_most() {
    let mut random = Random(0x5eed);
    let mut session = greeted();
    for round in 0..6_000u32 {
        let kinds = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 200, 0, 255];
        let kind = kinds[usize::try_from(random.next()).unwrap_or(0) % kinds.len()];
        let rest = match round % 3 {
            0 => random.bytes(80),
            // Well-formed at its beginning, whatever follows.
            1 => [string(&random.bytes(9)), random.bytes(40)].concat(),
            _ => [string(&(random.next() as u32 % 70).to_be_bytes()), vec![0xff; 24]].concat(),
        };
        ask(&mut session, &packet(kind, &[&rest]));
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_set_aside() {
    for length_of in [0u32, 0x4_0001, u32::MAX] {
        assert!(length(&length_of.to_be_bytes()).is_err(), "{length_of}");
    }
    assert_eq!(length(&0x4_0000u32.to_be_bytes()).unwrap(), Some(MAX_PACKET));
    assert_eq!(length(&[0, 0, 0]).unwrap(), None);
    assert!(Input(&[0xff, 0xff, 0xff, 0xff, 1]).string().is_err());
    // Two thousand million pairs of attributes that are not there.
    assert!(Input(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]).attrs().is_err());
}

#[test]
fn a_session_has_a_bound_on_handles_reads_and_names() {
    let mut session = greeted();
    let open = packet(3, &[&string(b"x"), &1u32.to_be_bytes(), &0u32.to_be_bytes()]);
    let answers: Vec<_> = (0..MAX_HANDLES + 2).map(|_| ask(&mut session, &open)[4]).collect();
    assert_eq!(answers.iter().filter(|kind| **kind == 102).count(), MAX_HANDLES);
    let read = packet(5, &[&string(&[0; 4]), &0u64.to_be_bytes(), &u32::MAX.to_be_bytes()]);
    let answer = ask(&mut session, &read);
    assert!(answer[4] == 103 && answer.len() <= LENGTH + MAX_PACKET);
    ask(&mut session, &packet(4, &[&string(&[0; 4])]));
    assert_eq!(ask(&mut session, &read)[4], 101, "it is closed");
    let dir = ask(&mut session, &packet(11, &[&string(b"/")]));
    assert_eq!(dir[4], 102);
    let names = ask(&mut session, &packet(12, &[&dir[9..]]));
    assert!(names[4] == 104 && names.len() < MAX_PACKET / 2, "{} bytes", names.len());
}

#[test]
fn what_does_not_begin_with_its_version_is_no_session() {
    let mut session = Session::new(Arc::new(Endless));
    assert!(session.answer(&packet(17, &[&string(b"/")]), &mut Vec::new()).is_err());
    assert!(session.answer(&[], &mut Vec::new()).is_err());
    assert!(greeted().answer(&[1, 0, 0, 0, 3], &mut Vec::new()).is_err());
    assert_eq!(ask(&mut greeted(), &packet(7, &[&string(b"a\0b")]))[4], 101);
}
