//! The one thread that changes the host's interfaces and the firewall's elements. What is asked of it at once is done
//! at once: a lock of the kernel's lies over all of it anyway.

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::error::BridgeError;
use super::worker::Worker;
use crate::network::{PortConfig, PortStatus};
use crate::types::VmId;

/// So many are done in one go.
const MOST: usize = 256;

type To<T> = oneshot::Sender<Result<T, BridgeError>>;

/// What is asked.
pub(super) enum Job {
    /// Refuses what is in the way.
    Look(To<()>),
    /// The rules were loaded: everything else that must be there is made.
    Begin(To<()>),
    /// Takes every port down.
    Close(To<()>),
    /// Whether the rules are still those that were loaded.
    Sealed(To<bool>),
    Ensure(Box<PortConfig>, To<()>),
    Absent(VmId, To<()>),
    Observe(VmId, To<Option<PortStatus>>),
    List(To<Vec<VmId>>),
    Sent(To<Sent>),
}

impl Job {
    /// Whose port it is about.
    fn vm(&self) -> Option<VmId> {
        match self {
            Job::Ensure(config, _) => Some(config.id),
            Job::Absent(vm, _) | Job::Observe(vm, _) => Some(*vm),
            Job::Look(_) | Job::Begin(_) | Job::Close(_) | Job::Sealed(_) | Job::List(_) | Job::Sent(_) => None,
        }
    }
}

/// How often the kernel was asked to change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Sends to rtnetlink, reading included.
    pub route: u64,
    /// Transactions of the firewall.
    pub filter: u64,
}

/// The way to the thread. It ends with the last of them.
#[derive(Debug)]
pub(super) struct Actor(Mutex<Sender<Job>>);

impl Actor {
    /// Starts the thread, in the network namespace of the calling one.
    pub fn start(mut worker: Worker) -> io::Result<Self> {
        let (sender, receiver) = channel();
        std::thread::Builder::new().name("minions-bridge".to_owned()).spawn(move || serve(&mut worker, &receiver))?;
        Ok(Self(Mutex::new(sender)))
    }

    /// Asks, and waits for the answer. What was asked is done even when nobody waits any more.
    pub async fn ask<T>(&self, job: impl FnOnce(To<T>) -> Job) -> Result<T, BridgeError> {
        let (to, answer) = oneshot::channel();
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(job(to));
        sent.map_err(|_| BridgeError::Ended)?;
        answer.await.map_err(|_| BridgeError::Ended)?
    }
}

fn serve(worker: &mut Worker, jobs: &Receiver<Job>) {
    let mut waiting: Vec<Job> = Vec::new();
    loop {
        if waiting.is_empty() {
            let Ok(first) = jobs.recv() else { return };
            waiting.push(first);
        }
        let room = MOST.saturating_sub(waiting.len());
        waiting.extend(jobs.try_iter().take(room));
        let (now, later) = next(waiting);
        work(worker, now);
        waiting = later;
    }
}

/// What is done in one go, and what is left: with the first job all others of its kind, each VM's jobs in their order. A
/// job that is nobody's is done alone, after all that came before it.
fn next(jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let kind = jobs.first().map(std::mem::discriminant);
    let (mut now, mut later) = (Vec::new(), Vec::new());
    let (mut seen, mut alone) = (HashSet::new(), false);
    for job in jobs {
        let fits = match job.vm() {
            Some(vm) => seen.insert(vm) && !alone && Some(std::mem::discriminant(&job)) == kind,
            None => {
                let first = now.is_empty() && later.is_empty();
                alone = true;
                first
            }
        };
        if fits { now.push(job) } else { later.push(job) }
    }
    (now, later)
}

fn work(worker: &mut Worker, jobs: Vec<Job>) {
    let (mut ensure, mut absent, mut observe) = ((vec![], vec![]), (vec![], vec![]), (vec![], vec![]));
    for job in jobs {
        match job {
            Job::Look(to) => answer(to, worker.look()),
            Job::Begin(to) => answer(to, worker.begin()),
            Job::Close(to) => answer(to, worker.close_all()),
            Job::Sealed(to) => answer(to, worker.sealed()),
            Job::List(to) => answer(to, worker.list()),
            Job::Sent(to) => answer(to, Ok(worker.sent())),
            Job::Ensure(config, to) => push(&mut ensure, *config, to),
            Job::Absent(id, to) => push(&mut absent, id, to),
            Job::Observe(id, to) => push(&mut observe, id, to),
        }
    }
    if !ensure.0.is_empty() {
        answer_all(ensure.1, worker.ensure(&ensure.0));
    }
    if !absent.0.is_empty() {
        answer_all(absent.1, worker.absent(&absent.0));
    }
    if !observe.0.is_empty() {
        answer_all(observe.1, worker.observe(&observe.0));
    }
}

fn push<A, T>(to: &mut (Vec<A>, Vec<T>), what: A, whom: T) {
    to.0.push(what);
    to.1.push(whom);
}

fn answer<T>(to: To<T>, result: Result<T, BridgeError>) {
    // Who does not wait any more looks again.
    let _ = to.send(result);
}

fn answer_all<T>(to: Vec<To<T>>, results: Vec<Result<T, BridgeError>>) {
    for (to, result) in to.into_iter().zip(results) {
        answer(to, result);
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, next};
    use crate::types::VmId;

    /// `a` and `o` with a VM's number: absent and observe; `l`: list.
    fn jobs(text: &str) -> Vec<Job> {
        let job = |word: &str| {
            let vm = || VmId::from_bits(word[1..].parse().unwrap());
            match &word[..1] {
                "a" => Job::Absent(vm(), tokio::sync::oneshot::channel().0),
                "o" => Job::Observe(vm(), tokio::sync::oneshot::channel().0),
                _ => Job::List(tokio::sync::oneshot::channel().0),
            }
        };
        text.split_whitespace().map(job).collect()
    }

    fn told(jobs: &[Job]) -> String {
        let word = |job: &Job| match job {
            Job::Absent(vm, _) => format!("a{}", vm.bits()),
            Job::Observe(vm, _) => format!("o{}", vm.bits()),
            _ => "l".to_owned(),
        };
        jobs.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn jobs_of_one_kind_go_together_and_those_of_one_vm_in_their_order() {
        for (waiting, now, later) in [
            ("a1 o2 a3 o4 a5", "a1 a3 a5", "o2 o4"),
            ("a1 o2 a2 a3", "a1 a3", "o2 a2"),
            ("o1 o1 o2", "o1 o2", "o1"),
            ("a1 l a2", "a1", "l a2"),
            ("l a1 l", "l", "a1 l"),
            ("o1 a1 o2 a1", "o1 o2", "a1 a1"),
        ] {
            let (first, rest) = next(jobs(waiting));
            assert_eq!((told(&first).as_str(), told(&rest).as_str()), (now, later), "{waiting}");
        }
    }
}
