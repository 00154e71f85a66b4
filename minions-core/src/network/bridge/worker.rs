//! What the network's thread knows of the host, and how it looks at it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::netlink;

use super::actor::Sent;
use super::attach;
use super::bridges;
use super::config::BridgeConfig;
use super::elements::{self, Addition, Element, Set};
use super::error::BridgeError;
use super::link::{self, Link};
use super::record::{Pin, Record};
use super::seal::Seal;
use super::socket::Socket;
use super::wire::Message;
use crate::network::{PortConfig, PortStatus};
use crate::types::{GuestNet, NicAttachment, NicBackend, PortPolicy, VmId, names};

/// Changes the host for one network.
#[derive(Debug)]
pub(super) struct Worker {
    pub config: Arc<BridgeConfig>,
    pub route: Socket,
    pub filter: Socket,
    /// The index of each shard's bridge, once it is made.
    pub bridges: Vec<Option<u32>>,
    pub ipv6: bool,
    pub seal: Seal,
    /// Every port of which anything was ever seen, until nothing is left of it.
    known: HashMap<VmId, Pin>,
    owners: HashMap<Ipv4Addr, VmId>,
    /// Policies that are more than the usual, of ports that were asked for since this daemon is there.
    policies: HashMap<VmId, PortConfig>,
    /// Ports whose policy was lost and is not known: closed until they are asked for.
    unsure: HashSet<VmId>,
    transactions: u64,
}

/// What is there of a port.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its interface, where that is ours.
    pub link: Option<(Link, Record)>,
    /// An interface of its name that is not ours.
    pub foreign: bool,
    /// What it is pinned to, as far as anything tells.
    pub pin: Option<Pin>,
    /// Its elements, but for the ranges that it may reach.
    pub elements: Vec<Set>,
}

impl Worker {
    /// With sockets in the network namespace of the calling thread.
    pub fn new(config: Arc<BridgeConfig>) -> Result<Self, BridgeError> {
        let open = |protocol| Socket::open(protocol).map_err(BridgeError::io("open a netlink socket"));
        Ok(Self {
            bridges: vec![None; usize::try_from(config.shards).unwrap_or(0)],
            config,
            route: open(None)?,
            filter: open(Some(netlink::NETFILTER))?,
            ipv6: bridges::has_ipv6(),
            seal: Seal::default(),
            known: HashMap::new(),
            owners: HashMap::new(),
            policies: HashMap::new(),
            unsure: HashSet::new(),
            transactions: 0,
        })
    }

    pub fn sent(&self) -> Sent {
        Sent { route: self.route.sent, filter: self.transactions }
    }

    /// Changes nothing, and refuses what is in the way.
    pub fn look(&mut self) -> Result<(), BridgeError> {
        for shard in 0..self.config.shards {
            bridges::find(&mut self.route, &self.config, shard)?;
        }
        bridges::refuse_left(&mut self.route, &self.config)?;
        bridges::crossing(&mut self.route, &self.config)?.map_or(Ok(()), Err)
    }

    /// The rules have just been loaded: makes the bridges, and puts back the elements of the ports that are there.
    pub fn begin(&mut self) -> Result<(), BridgeError> {
        self.seal = Seal::take(&mut self.filter).map_err(BridgeError::io("read the firewall's rules"))?;
        bridges::forward()?;
        self.bridges.fill(None);
        for shard in 0..self.config.shards {
            self.bridge(shard)?;
        }
        self.refill()
    }

    /// The index of a shard's bridge, which is made where it is not there.
    pub fn bridge(&mut self, shard: u32) -> Result<u32, BridgeError> {
        let Some(place) = usize::try_from(shard).ok().and_then(|shard| self.bridges.get_mut(shard)) else {
            return Err(BridgeError::Config(format!("there is no bridge {shard}")));
        };
        if let Some(index) = place {
            return Ok(*index);
        }
        let index = bridges::ensure(&mut self.route, &self.config, shard)?;
        *place = Some(index);
        Ok(index)
    }

    /// The ports that are there get those elements back which make them pinned.
    fn refill(&mut self) -> Result<(), BridgeError> {
        let mut have: HashSet<(Set, Vec<u8>)> = HashSet::new();
        for set in Set::KEYED.into_iter().chain([Set::Allow]) {
            for element in self.elements(set)? {
                if let Some(pin) = element.pin {
                    self.learn(pin);
                }
                have.insert((set, element.key));
            }
        }
        let mut additions = Vec::new();
        for (_, record) in self.ports()? {
            let pin = record.pin;
            self.learn(pin);
            let tap = names::tap(pin.id);
            if let Some(config) = self.policies.get(&pin.id).filter(|config| Record::of(config) == record) {
                additions.extend(attach::additions(config, &tap));
                continue;
            }
            let lost = |set: Set| !have.contains(&(set, set.key(&tap, &pin)));
            if (record.only && lost(Set::Only)) || (record.rated && lost(Set::RateUp)) {
                self.unsure.insert(pin.id);
            }
            let sets = Set::PIN.into_iter().chain(record.only.then_some(Set::Only));
            additions.extend(sets.map(|set| Addition::keyed(set, &tap, &pin)));
        }
        additions.retain(|addition| !have.contains(&(addition.set, addition.key.clone())));
        for some in additions.chunks(512) {
            let messages: Vec<Message> = some.iter().map(Addition::message).collect();
            self.transact(&messages, true)?;
        }
        Ok(())
    }

    /// All that is in a set.
    pub fn elements(&mut self, set: Set) -> Result<Vec<Element>, BridgeError> {
        match self.filter.dump(&elements::list(set)) {
            Ok(bodies) => Ok(bodies.iter().flat_map(|body| elements::read(body)).collect()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
            Err(error) => Err(BridgeError::io("list a set of the firewall")(error)),
        }
    }

    /// Every interface that is a port of ours.
    fn ports(&mut self) -> Result<Vec<(Link, Record)>, BridgeError> {
        let bodies = self.route.dump(&link::get_kind("tun")).map_err(BridgeError::io("list interfaces"))?;
        Ok(bodies.iter().filter_map(|body| ours(Link::read(body)?).ok()).collect())
    }

    /// Nothing tells what may pass: every port goes down.
    pub fn close_all(&mut self) -> Result<(), BridgeError> {
        let down: Vec<Message> = self.ports()?.iter().map(|(link, _)| link::down(link.index)).collect();
        for answer in self.route.ask(&down).map_err(BridgeError::io("take ports down"))? {
            match answer.error {
                None | Some(Errno::NODEV) => {}
                Some(error) => return Err(BridgeError::io("take ports down")(error.into())),
            }
        }
        Ok(())
    }

    pub fn learn(&mut self, pin: Pin) {
        self.known.insert(pin.id, pin);
        self.owners.insert(pin.ip, pin.id);
    }

    /// A port was made as it was asked for.
    pub fn settle(&mut self, config: &PortConfig) {
        self.unsure.remove(&config.id);
        match config.policy == PortPolicy::default() {
            true => drop(self.policies.remove(&config.id)),
            false => drop(self.policies.insert(config.id, config.clone())),
        }
    }

    pub fn forget(&mut self, id: VmId) {
        self.unsure.remove(&id);
        self.policies.remove(&id);
        if let Some(pin) = self.known.remove(&id)
            && self.owners.get(&pin.ip) == Some(&id)
        {
            self.owners.remove(&pin.ip);
        }
    }

    pub fn knows(&self, id: VmId) -> Option<Pin> {
        self.known.get(&id).copied()
    }

    /// Who else has an address.
    pub fn owner(&self, ip: Ipv4Addr) -> Option<VmId> {
        self.owners.get(&ip).copied()
    }

    /// Elements change: all of them, or none. `certainly`: something does.
    pub fn transact(&mut self, messages: &[Message], certainly: bool) -> Result<(), BridgeError> {
        if messages.is_empty() {
            return Ok(());
        }
        let (begin, end) = elements::brackets();
        self.transactions += 1;
        match self.filter.transaction(&begin, messages, &end) {
            Ok(()) => {
                self.seal.changed(certainly);
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Err(BridgeError::NoTable),
            Err(error) => Err(BridgeError::io("change the firewall's sets")(error)),
        }
    }

    /// Whether the rules are there that the elements are for.
    pub fn sealed(&mut self) -> Result<bool, BridgeError> {
        self.seal.holds(&mut self.filter).map_err(BridgeError::io("read the firewall's rules"))
    }

    /// What is there of some ports: one question about their interfaces, one about their elements.
    pub fn find(&mut self, ids: &[VmId]) -> Result<Vec<Found>, BridgeError> {
        let questions: Vec<Message> = ids.iter().map(|id| link::get(names::tap(*id).as_str())).collect();
        let answers = self.route.ask(&questions).map_err(BridgeError::io("look at interfaces"))?;
        let mut found: Vec<Found> = Vec::new();
        for (id, answer) in ids.iter().zip(answers) {
            let mut of = Found { pin: self.knows(*id), ..Found::default() };
            match answer.error {
                None => match answer.bodies.first().and_then(|body| Link::read(body)).map(ours) {
                    Some(Ok((link, record))) if record.pin.id == *id => {
                        of.pin = Some(record.pin);
                        of.link = Some((link, record));
                    }
                    _ => of.foreign = true,
                },
                Some(Errno::NODEV) => {}
                Some(error) => return Err(BridgeError::io("look at interfaces")(error.into())),
            }
            found.push(of);
        }
        let (mut questions, mut whose) = (Vec::new(), Vec::new());
        for (at, (id, of)) in ids.iter().zip(&found).enumerate() {
            let tap = names::tap(*id);
            // Without a pin only the one set can be asked whose key is the name.
            let pin =
                of.pin.unwrap_or(Pin { id: *id, ip: Ipv4Addr::UNSPECIFIED, mac: crate::types::MacAddr::local(0) });
            for set in Set::KEYED.into_iter().filter(|set| of.pin.is_some() || *set == Set::Ports) {
                questions.push(elements::get(set, &set.key(&tap, &pin)));
                whose.push((at, set));
            }
        }
        let answers = self.filter.ask(&questions).map_err(BridgeError::io("look at the firewall's sets"))?;
        for ((at, set), answer) in whose.into_iter().zip(answers) {
            match answer.error {
                None => {
                    found[at].elements.push(set);
                    if found[at].pin.is_none() {
                        found[at].pin =
                            answer.bodies.iter().flat_map(|body| elements::read(body)).find_map(|element| element.pin);
                    }
                }
                Some(Errno::NOENT) => {}
                Some(error) => return Err(BridgeError::io("look at the firewall's sets")(error.into())),
            }
        }
        Ok(found)
    }

    /// Whether nothing is missing of a port.
    pub fn whole(&self, found: &Found) -> bool {
        let Some((link, record)) = &found.link else { return false };
        let bridge = self.config.shard_of(record.pin.ip).ok().and_then(|shard| usize::try_from(shard).ok());
        let bridge = bridge.and_then(|shard| self.bridges.get(shard).copied().flatten());
        let has = |set| found.elements.contains(&set);
        !self.unsure.contains(&record.pin.id)
            && link.kind == "tun"
            && link.up
            && link.master.is_some()
            && link.master == bridge
            && link.isolated
            && !link.learning
            && Set::PIN.into_iter().all(has)
            && (!record.only || has(Set::Only))
            && (!record.rated || (has(Set::RateUp) && has(Set::RateDown)))
    }

    pub fn observe(&mut self, ids: &[VmId]) -> Vec<Result<Option<PortStatus>, BridgeError>> {
        let looked = self.find(ids).and_then(|found| Ok((found, self.sealed()?)));
        match looked {
            Ok((found, sealed)) => {
                ids.iter().zip(found).map(|(id, found)| Ok(self.status(*id, &found, sealed))).collect()
            }
            // Each is told, and which of them it was about nobody can say.
            Err(_) if ids.len() > 1 => ids.iter().flat_map(|id| self.observe(&[*id])).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn status(&mut self, id: VmId, found: &Found, sealed: bool) -> Option<PortStatus> {
        if found.link.is_none() && found.elements.is_empty() {
            self.forget(id);
            return None;
        }
        if let Some(pin) = found.pin {
            self.learn(pin);
        }
        let pin = found.pin.filter(|_| sealed && self.whole(found));
        Some(PortStatus { nic: pin.and_then(|pin| self.nic(pin)) })
    }

    fn nic(&self, pin: Pin) -> Option<NicAttachment> {
        let shard = self.config.shard_of(pin.ip).ok()?;
        let (gateway, prefix) = (self.config.gateway(shard).ok()?, self.config.subnet.prefix());
        let net = GuestNet { ip: pin.ip, prefix, gateway, dns: self.config.resolvers.clone(), mac: pin.mac };
        Some(NicAttachment { backend: NicBackend::Tap(names::tap(pin.id)), mac: pin.mac, net })
    }

    pub fn list(&mut self) -> Result<Vec<VmId>, BridgeError> {
        let mut seen: BTreeMap<VmId, Pin> =
            self.ports()?.into_iter().map(|(_, record)| (record.pin.id, record.pin)).collect();
        for set in Set::KEYED.into_iter().chain([Set::Allow]) {
            for pin in self.elements(set)?.into_iter().filter_map(|element| element.pin) {
                seen.entry(pin.id).or_insert(pin);
            }
        }
        let gone: BTreeSet<VmId> = self.known.keys().filter(|id| !seen.contains_key(id)).copied().collect();
        gone.into_iter().for_each(|id| self.forget(id));
        seen.values().for_each(|pin| self.learn(*pin));
        Ok(seen.into_keys().collect())
    }
}

/// An interface with what its label says, where that label is ours and on the right one.
fn ours(link: Link) -> Result<(Link, Record), Link> {
    match Record::of_label(&link.label) {
        Some(record) if names::tap(record.pin.id).as_str() == link.name => Ok((link, record)),
        _ => Err(link),
    }
}
