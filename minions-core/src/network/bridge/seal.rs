//! Whether the firewall's rules are still those that were loaded. The kernel counts the changes of all rulesets: only
//! when somebody else made one, the rules are looked at again.

use std::io;

use super::elements::TABLE;
use super::socket::Socket;
use super::wire::{Message, find};

const SUBSYSTEM: u16 = 10 << 8;
const GETRULE: u16 = 7;
const GETGEN: u16 = 16;
const RULE_TABLE: u16 = 1;
const GEN_ID: u16 = 1;
const FAMILIES: [u8; 2] = [7, 1];

/// What the rules were when they were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    rules: u64,
    changes: u32,
    doubted: bool,
}

impl Seal {
    /// Of the rules as they are.
    pub fn take(socket: &mut Socket) -> io::Result<Self> {
        // Counted first: a change in between is then seen the next time.
        let changes = changes(socket)?;
        Ok(Self { rules: rules(socket)?, changes, doubted: false })
    }

    /// A transaction of our own took place. One that may have changed nothing was perhaps not counted.
    pub fn changed(&mut self, for_certain: bool) {
        self.changes = self.changes.wrapping_add(1);
        self.doubted |= !for_certain;
    }

    /// Whether the rules are those that were loaded.
    pub fn holds(&mut self, socket: &mut Socket) -> io::Result<bool> {
        let changes = changes(socket)?;
        if changes == self.changes && !self.doubted {
            return Ok(true);
        }
        let holds = rules(socket)? == self.rules;
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

/// A number that changes with the rules.
fn rules(socket: &mut Socket) -> io::Result<u64> {
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    for family in FAMILIES {
        let request = Message::new(SUBSYSTEM | GETRULE, 0, &[family, 0, 0, 0]).text(RULE_TABLE, TABLE);
        for body in socket.dump(&request)? {
            // Behind the header, which counts the changes.
            let rule = body.get(4..).unwrap_or_default();
            sum = rule.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        }
    }
    Ok(sum)
}
