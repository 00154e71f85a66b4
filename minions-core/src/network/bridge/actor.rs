//! The one thread that changes the host's interfaces and the firewall's elements. What is asked of it at once is done
//! at once: a lock of the kernel's lies over all of it anyway.

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
    while let Ok(first) = jobs.recv() {
        let mut waiting: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(MOST - 1)).collect();
        while !waiting.is_empty() {
            let rest = waiting.split_off(run_length(&waiting));
            work(worker, waiting);
            waiting = rest;
        }
    }
}

/// How many of the first jobs can be done in one go: of one kind, and none for a VM that is among them already.
fn run_length(jobs: &[Job]) -> usize {
    let mut seen = std::collections::HashSet::new();
    let kind = jobs.first().map(std::mem::discriminant);
    let fits = |job: &&Job| {
        Some(std::mem::discriminant(*job)) == kind
            && match job {
                Job::Ensure(config, _) => seen.insert(config.id),
                Job::Absent(id, _) | Job::Observe(id, _) => seen.insert(*id),
                Job::Look(_) | Job::Begin(_) | Job::List(_) | Job::Sent(_) | Job::Sealed(_) | Job::Close(_) => {
                    seen.is_empty() && seen.insert(VmId::from_bits(0))
                }
            }
    };
    jobs.iter().take_while(fits).count().max(1)
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
