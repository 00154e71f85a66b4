//! `kill -9` of the daemon at random moments of creates, stops, starts and destroys; whatever was acknowledged holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minions_core::api::v1;
use minions_core::service::{ControlPlane, IdempotencyKey, VmAction, VmRef};
use minions_core::types::{OperationId, VmId, VmState};

use crate::census;
use crate::daemon::{Programs, Site, me};

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Running,
    Stopped,
    Gone,
}

#[derive(Clone, Debug)]
enum Request {
    Create(String),
    Act(VmId, VmAction, Want),
}

/// What was acknowledged, VM by VM.
#[derive(Default)]
struct Log {
    vms: BTreeMap<VmId, (Want, OperationId)>,
    /// Sent, and not answered: sent again with the same key, as a careful client does.
    open: Vec<(IdempotencyKey, Request)>,
    sent: u64,
}

impl Log {
    fn of(&self, want: Want) -> BTreeSet<VmId> {
        self.vms.iter().filter(|(_, (wanted, _))| *wanted == want).map(|(vm, _)| *vm).collect()
    }

    /// Something to do to VMs of which nothing is open.
    fn next(&mut self, dice: &mut Dice, most: usize) -> Option<(IdempotencyKey, Request)> {
        let busy: BTreeSet<VmId> = self
            .open
            .iter()
            .filter_map(|(_, request)| if let Request::Act(vm, ..) = request { Some(*vm) } else { None })
            .collect();
        let creating = self.open.len() - busy.len();
        let free: Vec<(VmId, Want)> = self
            .vms
            .iter()
            .filter(|(vm, (want, _))| *want != Want::Gone && !busy.contains(vm))
            .map(|(vm, (want, _))| (*vm, *want))
            .collect();
        self.sent += 1;
        let key = format!("drill-{}", self.sent).parse().unwrap();
        let room = free.len() + busy.len() + creating < most;
        if room && (free.is_empty() || dice.below(3) == 0) {
            return Some((key, Request::Create(format!("vm{}", self.sent))));
        }
        let count = u64::try_from(free.len()).unwrap();
        let (vm, want) = *free.get(usize::try_from(dice.below(count.max(1))).unwrap())?;
        let stop = |force| VmAction::Stop(v1::StopVm { force, grace_ms: Some(5_000) });
        let request = match (dice.below(6), want) {
            (0 | 1, _) => Request::Act(vm, VmAction::Destroy(v1::DestroyVm::default()), Want::Gone),
            (2, Want::Running) => Request::Act(vm, VmAction::Restart(v1::RestartVm {}), Want::Running),
            (turn, Want::Running) => Request::Act(vm, stop(turn == 3), Want::Stopped),
            _ => Request::Act(vm, VmAction::Start(v1::StartVm {}), Want::Running),
        };
        Some((key, request))
    }

    async fn send(&mut self, site: &Site, key: &IdempotencyKey, request: &Request) -> minions_core::Result<()> {
        let (operation, want) = match request {
            Request::Create(name) => (site.plane.create(&me(), &site.new_vm(name), Some(key)).await?, Want::Running),
            Request::Act(vm, action, want) => (site.plane.act(&me(), &VmRef::Id(*vm), action, Some(key)).await?, *want),
        };
        self.vms.insert(operation.vm, (want, operation.id));
        Ok(())
    }

    /// Sends again what was not answered.
    async fn repeat(&mut self, site: &Site) {
        for (key, request) in std::mem::take(&mut self.open) {
            let sent = self.send(site, &key, &request).await;
            assert!(sent.is_ok(), "{request:?} was sent again, and the answer is {sent:?}: {}", site.log());
        }
    }
}

/// So many kills. Returns how many requests were sent.
pub async fn kill_and_settle(programs: Programs, seed: u64, kills: u64, most: usize, longest: Duration) -> u64 {
    let (mut site, mut dice, mut log) = (Site::new(programs), Dice(seed), Log::default());
    let daemon = site.start();
    site.image().await;
    daemon.end();
    for turn in 0..kills {
        let daemon = site.start();
        log.repeat(&site).await;
        let moment = Duration::from_micros(dice.below(u64::try_from(longest.as_micros()).unwrap()));
        let requests: Vec<_> = (0..1 + dice.below(3)).map_while(|_| log.next(&mut dice, most)).collect();
        let mut open = requests.clone();
        let asking = async {
            for (key, request) in &requests {
                // One for each VM, for their order would not be known.
                let twice = |(_, other): &(IdempotencyKey, Request)| matches!((other, request), (Request::Act(a, ..), Request::Act(b, ..)) if a == b);
                if requests.iter().position(twice).is_none_or(|first| requests[first].0 == *key) {
                    log.send(&site, key, request).await.unwrap();
                }
                open.remove(0);
            }
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(moment, asking).await;
        daemon.kill();
        log.open = open;
        // Only the first of several about one VM counts as sent.
        let mut seen = BTreeSet::new();
        log.open.retain(|(_, request)| match request {
            Request::Create(_) => true,
            Request::Act(vm, ..) => seen.insert(*vm),
        });
        if (turn + 1) % 20 == 0 || turn + 1 == kills {
            settle(&mut site, &mut log, turn).await;
        }
    }
    // And away with all of them: nothing is left.
    let daemon = site.start();
    for vm in log.of(Want::Running).into_iter().chain(log.of(Want::Stopped)).collect::<Vec<_>>() {
        let operation = site.act(vm, &VmAction::Destroy(v1::DestroyVm::default()), None).await;
        log.vms.insert(vm, (Want::Gone, operation.id));
    }
    daemon.kill();
    settle(&mut site, &mut log, kills).await;
    log.sent
}

/// Everything comes to rest, and is what was acknowledged; there is nothing else.
async fn settle(site: &mut Site, log: &mut Log, turn: u64) {
    let daemon = site.start();
    log.repeat(site).await;
    for (vm, (want, operation)) in &log.vms {
        let ended = site.ends(*operation).await;
        let succeeded = ended.outcome == v1::OperationOutcome::Succeeded;
        assert!(succeeded, "kill {turn}: {vm} shall be {want:?}, and it ended as {ended:?}: {}", site.log());
    }
    let page = site.plane.vms(&me(), &v1::ListVms { limit: Some(200), ..v1::ListVms::default() }).await.unwrap();
    let listed: BTreeSet<VmId> = page.vms.iter().map(|vm| vm.id).collect();
    let (running, stopped) = (log.of(Want::Running), log.of(Want::Stopped));
    assert_eq!(listed, &running | &stopped, "kill {turn}: INV-4");
    // Of those that were asked for long ago, too: their operations ended in another life.
    let mut after = minions_core::types::EventSeq(0);
    for vm in &listed {
        let due = if running.contains(vm) { VmState::Running } else { VmState::Stopped };
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let is = site.plane.vm(&me(), &VmRef::Id(*vm)).await.unwrap();
            if is.state == due {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "kill {turn}: LIV-1: {is:?} shall be {due:?}: {}", site.log());
            // Whatever happens wakes this up.
            after = site.plane.events(&me(), after, 200, Duration::from_secs(1)).await.unwrap().next;
        }
    }
    daemon.end();
    let differences = census::differences(&site.dir(), &running, &stopped).await;
    assert!(differences.is_empty(), "kill {turn}: INV-1: {differences:#?}: {}", site.log());
}
