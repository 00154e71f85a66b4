//! Takes ports away: their interfaces first, their elements last, so that nothing is ever up without them.

use rustix::io::Errno;

use super::conntrack;
use super::elements::{self, Set};
use super::error::BridgeError;
use super::link;
use super::record::Pin;
use super::tap::Tap;
use super::wire::Message;
use super::worker::{Found, Worker};
use crate::types::{VmId, names};

impl Worker {
    /// Ports and their rules are gone.
    pub fn absent(&mut self, ids: &[VmId]) -> Vec<Result<(), BridgeError>> {
        match self.try_absent(ids) {
            Ok(results) => results,
            Err(_) if ids.len() > 1 => ids.iter().flat_map(|id| self.absent(&[*id])).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn try_absent(&mut self, ids: &[VmId]) -> Result<Vec<Result<(), BridgeError>>, BridgeError> {
        let found = self.find(ids)?;
        let mut results: Vec<Result<(), BridgeError>> = Vec::new();
        let (mut claims, mut links, mut going) = (Vec::new(), Vec::new(), Vec::new());
        for (id, found) in ids.iter().zip(&found) {
            if let Some((link, _)) = &found.link {
                // Whoever has it open keeps it; and while it is claimed, nobody opens it.
                match Tap::claim(&names::tap(*id)) {
                    Ok(claim) => claims.push(claim),
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        results.push(Err(BridgeError::InUse(*id)));
                        continue;
                    }
                    Err(error) => {
                        results.push(Err(BridgeError::io("claim a port")(error)));
                        continue;
                    }
                }
                links.push((*id, link.index));
            }
            going.push((*id, found));
            results.push(Ok(()));
        }
        self.delete(&links)?;
        drop(claims);
        let pins: Vec<Pin> = going.iter().filter_map(|(_, found)| found.pin).collect();
        self.unknown(&pins)?;
        let ips: Vec<_> = pins.iter().map(|pin| pin.ip).collect();
        conntrack::forget(&mut self.filter, &ips)?;
        self.unpin(&going)?;
        going.iter().for_each(|(id, _)| self.forget(*id));
        Ok(results)
    }

    /// Several at once: the kernel then waits once for all of them, which is what makes it slow.
    fn delete(&mut self, links: &[(VmId, u32)]) -> Result<(), BridgeError> {
        let messages: Vec<Message> = match links {
            [] => return Ok(()),
            [(_, index)] => vec![link::delete(*index)],
            [(id, _), ..] => {
                // A number that nobody else has: random bits of an id.
                let [.., a, b, c, d] = id.bits().to_be_bytes();
                let group = u32::from_be_bytes([a, b, c, d]).max(1);
                let join = links.iter().map(|(_, index)| link::group(*index, group));
                join.chain([link::delete_group(group)]).collect()
            }
        };
        for answer in self.route.ask(&messages).map_err(BridgeError::io("remove ports"))? {
            match answer.error {
                None | Some(Errno::NODEV) => {}
                Some(error) => return Err(BridgeError::io("remove ports")(error.into())),
            }
        }
        Ok(())
    }

    /// The host no longer knows where an address is.
    fn unknown(&mut self, pins: &[Pin]) -> Result<(), BridgeError> {
        let mut messages = Vec::new();
        for pin in pins {
            let shard = self.config.shard_of(pin.ip).ok().and_then(|shard| usize::try_from(shard).ok());
            if let Some(bridge) = shard.and_then(|shard| self.bridges.get(shard).copied().flatten()) {
                messages.push(link::unknown(bridge, pin.ip));
            }
        }
        for answer in self.route.ask(&messages).map_err(BridgeError::io("forget neighbours"))? {
            match answer.error {
                None | Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {}
                Some(error) => return Err(BridgeError::io("forget neighbours")(error.into())),
            }
        }
        Ok(())
    }

    fn unpin(&mut self, going: &[(VmId, &Found)]) -> Result<(), BridgeError> {
        let messages = self.removals(going)?;
        match self.transact(&messages, true) {
            // Somebody else took one of them, or the whole table: what is left of them goes.
            Err(BridgeError::NoTable) => {
                let ids: Vec<VmId> = going.iter().map(|(id, _)| *id).collect();
                let found = self.find(&ids)?;
                let left: Vec<(VmId, &Found)> = ids.into_iter().zip(&found).collect();
                let messages = self.removals(&left)?;
                self.transact(&messages, true)
            }
            other => other,
        }
    }

    fn removals(&mut self, going: &[(VmId, &Found)]) -> Result<Vec<Message>, BridgeError> {
        let (mut messages, mut listed) = (Vec::new(), Vec::new());
        for (id, found) in going {
            let Some(pin) = found.pin else { continue };
            let tap = names::tap(*id);
            if found.elements.contains(&Set::Only) {
                listed.push(pin);
            }
            messages.extend(found.elements.iter().map(|set| elements::remove(*set, &set.key(&tap, &pin), None)));
        }
        if !listed.is_empty() {
            messages.append(&mut self.ranges_of(&listed)?);
        }
        Ok(messages)
    }
}
