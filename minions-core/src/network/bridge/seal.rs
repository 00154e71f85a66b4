//! Whether the firewall's table is still as it was loaded: its flags, its chains, its rules, and what stands in the
//! sets that are no port's (a port's own elements are looked at port by port). The kernel counts the changes of all rulesets: only
//! when somebody else made one, the table is looked at again.

use std::io;

use super::elements::TABLE;
use super::socket::Socket;
use super::wire::{Message, attrs, find, text};

const SUBSYSTEM: u16 = 10 << 8;
const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;
const GETGEN: u16 = 16;
const GEN_ID: u16 = 1;
/// The table's name, in a table, a chain, a rule and a list of elements alike.
const OF_TABLE: u16 = 1;
const OF_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const BRIDGE: u8 = 7;
const INET: u8 = 1;
/// The sets that are filled when the table is loaded, and never changed.
const FIXED: [&str; 5] = ["bridges", "subnets", "resolvers", "closed", "open"];
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// What the table was when it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    table: u64,
    changes: u32,
    doubted: bool,
}

impl Seal {
    /// Of the table as it is.
    pub fn take(socket: &mut Socket) -> io::Result<Self> {
        // Counted first: a change in between is then seen the next time.
        let changes = changes(socket)?;
        Ok(Self { table: table(socket)?, changes, doubted: false })
    }

    /// A transaction of our own took place. One that may have changed nothing was perhaps not counted.
    pub fn changed(&mut self, for_certain: bool) {
        self.changes = self.changes.wrapping_add(1);
        self.doubted |= !for_certain;
    }

    /// Whether the table is as it was loaded.
    pub fn holds(&mut self, socket: &mut Socket) -> io::Result<bool> {
        let changes = changes(socket)?;
        if changes == self.changes && !self.doubted {
            return Ok(true);
        }
        let holds = table(socket)? == self.table;
        if holds {
            (self.changes, self.doubted) = (changes, false);
        }
        Ok(holds)
    }
}

fn changes(socket: &mut Socket) -> io::Result<u32> {
    let bodies = socket.ask_one(Message::new(SUBSYSTEM | GETGEN, 0, &[0; 4]))?;
    let id = bodies.first().and_then(|body| find(body.get(4..)?, GEN_ID));
    let id = id.and_then(|id| <[u8; 4]>::try_from(id).ok());
    id.map(u32::from_be_bytes).ok_or_else(|| io::Error::other("the kernel counts no changes of its rules"))
}

/// A number that changes with the table, wherever it does.
fn table(socket: &mut Socket) -> io::Result<u64> {
    let mut sum = BASIS;
    for family in [BRIDGE, INET] {
        for kind in [GETTABLE, GETCHAIN, GETRULE] {
            let request = Message::new(SUBSYSTEM | kind, 0, &[family, 0, 0, 0]).text(OF_TABLE, TABLE);
            for body in socket.dump(&request)? {
                // Behind the header, which counts the changes. Not every kind is listed by table.
                let about = body.get(4..).unwrap_or_default();
                if find(about, OF_TABLE).and_then(text) == Some(TABLE) {
                    sum = mixed(sum, about);
                }
            }
        }
    }
    for set in FIXED {
        sum = mixed(sum, &elements(socket, set)?.to_ne_bytes());
    }
    Ok(sum)
}

/// A number that changes with a set, and not with the order in which the kernel lists it.
fn elements(socket: &mut Socket, set: &str) -> io::Result<u64> {
    let request = Message::new(SUBSYSTEM | GETSETELEM, 0, &[INET, 0, 0, 0]);
    let bodies = match socket.dump(&request.text(OF_TABLE, TABLE).text(OF_SET, set)) {
        Ok(bodies) => bodies,
        // Without the set, or without the table.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(0),
        Err(error) => return Err(error),
    };
    let lists = bodies.iter().filter_map(|body| find(body.get(4..)?, ELEMENTS));
    let each = lists.flat_map(attrs).map(|(_, element)| mixed(BASIS, element));
    Ok(each.fold(1, u64::wrapping_add))
}

fn mixed(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
