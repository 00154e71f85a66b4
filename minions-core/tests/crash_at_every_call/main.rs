//! Every operation, from every state, with every fault at every port call: then a restart, and every promise is checked.
//!
//! Nobody lists the calls: a dry run counts them, so a new call is covered the day it is written.
//! `MINIONS_DOUBLE=all` explores every pair of faults; otherwise a sample of them. `MINIONS_ONLY=Stop/Running` explores
//! one operation from one state.
#![cfg(all(feature = "testkit", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "its own settings come from the environment")]

mod check;
mod explore;
mod inline;
mod mutants;
mod ops;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use explore::{Calls, Case, Seen, run};
use minions_core::layers::{Call, Fault};
use ops::{Before, Op, PAIRS};

/// A fresh runtime for each run, with simulated time and one thread: the same case is the same run.
fn play(case: Case) -> Result<Seen, String> {
    play_and(case, |_, _| ())
}

fn play_and(case: Case, look: impl FnOnce(&Calls, &Calls)) -> Result<Seen, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(case, look))
}

fn faults(call: &Call) -> impl Iterator<Item = Fault> {
    let call = *call;
    Fault::ALL.into_iter().filter(move |fault| fault.applies_to(&call))
}

#[derive(Default)]
struct Tally {
    ops: usize,
    calls: usize,
    single: usize,
    double: usize,
    unreached: usize,
    max_steps: usize,
    violations: Vec<String>,
}

impl Tally {
    fn note(&mut self, case: Case, result: Result<Seen, String>) {
        match result {
            Ok(seen) => {
                self.unreached += usize::from(!seen.reached);
                self.max_steps = self.max_steps.max(seen.steps);
                if !seen.reached {
                    eprintln!("unreached: {case:?}");
                }
            }
            Err(broken) => self.violations.push(format!("{broken}\n    {case:?}")),
        }
    }

    fn add(&mut self, other: Tally) {
        self.ops += other.ops;
        self.calls += other.calls;
        self.single += other.single;
        self.double += other.double;
        self.unreached += other.unreached;
        self.max_steps = self.max_steps.max(other.max_steps);
        self.violations.extend(other.violations);
    }
}

/// Every fault at every call of one operation from one state.
fn explore(op: Op, before: Before, again: bool) -> Tally {
    let mut tally = Tally { ops: 1, ..Tally::default() };
    let dry = Case { op, before, again, first: None, second: None };
    let calls = match play(dry) {
        Ok(seen) => seen.calls,
        Err(broken) => {
            tally.violations.push(format!("{broken}\n    {dry:?}"));
            return tally;
        }
    };
    tally.calls += calls.len();
    for (turn, (k, call)) in calls.iter().enumerate() {
        for (kind, fault) in faults(call).enumerate() {
            // Asked once or twice, turn by turn: over the faults both are covered at every call.
            if ((turn + kind) % 2 == 0) != again {
                continue;
            }
            let case = Case { first: Some((*k, fault)), ..dry };
            let result = play(case);
            tally.single += 1;
            let recovery = result.as_ref().map(|seen| seen.recovery.clone()).unwrap_or_default();
            tally.note(case, result);
            if fault.is_crash() {
                double(&mut tally, case, &recovery);
            }
        }
    }
    tally
}

/// A second fault in the recovery from the first.
fn double(tally: &mut Tally, case: Case, recovery: &[(usize, Call)]) {
    let all = std::env::var("MINIONS_DOUBLE").is_ok_and(|wanted| wanted == "all");
    for (j, call) in recovery {
        for fault in faults(call) {
            // A sample that moves on with every case, so that over all cases every kind meets every place.
            let sampled = (tally.single * 31 + j * 7 + fault as usize * 3).is_multiple_of(401);
            if all || sampled {
                let case = Case { second: Some((*j, fault)), ..case };
                let result = play(case);
                tally.double += 1;
                tally.note(case, result);
            }
        }
    }
}

fn explore_all() -> Tally {
    let only = std::env::var("MINIONS_ONLY").ok();
    let wanted = |op: &Op, before: &Before| only.as_ref().is_none_or(|only| *only == format!("{op:?}/{before:?}"));
    let work: Vec<_> = PAIRS
        .iter()
        .filter(|(op, before)| wanted(op, before))
        .flat_map(|&(op, before)| [(op, before, false), (op, before, true)])
        .collect();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&(op, before, again)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = explore(op, before, again);
                    total.lock().unwrap().add(tally);
                }
            });
        }
    });
    total.into_inner().unwrap()
}

#[test]
fn every_fault_at_every_call_leaves_every_promise_kept() {
    let tally = explore_all();
    println!(
        "faults ops={} calls={} single={} double={} violations={} unreached={} max_steps={}",
        tally.ops,
        tally.calls,
        tally.single,
        tally.double,
        tally.violations.len(),
        tally.unreached,
        tally.max_steps
    );
    for violation in tally.violations.iter().take(25) {
        println!("  {violation}");
    }
    assert!(
        tally.violations.is_empty(),
        "{} promises broken, the first: {}",
        tally.violations.len(),
        tally.violations[0]
    );
    assert_eq!(tally.unreached, 0);
    assert!(tally.max_steps <= 64, "LIV-1: {} steps", tally.max_steps);
    if std::env::var("MINIONS_ONLY").is_err() {
        assert!(tally.single >= 2_000, "only {} single faults", tally.single);
    }
}

/// Plays one case again, and prints its calls: `MINIONS_CASE='Restart/Running again 8 ErrorBefore, 40 Hang'`.
#[test]
fn a_case_is_played_again() {
    let Ok(wanted) = std::env::var("MINIONS_CASE") else { return };
    let mut words = wanted.split([' ', ',']).filter(|word| !word.is_empty()).peekable();
    let pair = words.next().unwrap();
    let &(op, before) = PAIRS.iter().find(|(op, before)| format!("{op:?}/{before:?}") == pair).expect("no such pair");
    let again = words.next_if(|word| *word == "again").is_some();
    let mut fault = || {
        let k = words.next()?.parse().expect("the number of a call");
        let name = words.next().expect("a fault");
        Some((k, Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name).expect("no such fault")))
    };
    let case = Case { op, before, again, first: fault(), second: fault() };
    println!("{case:?}");
    let print = |which: &str, calls: &Calls| calls.iter().for_each(|(k, call)| println!("{which} {k}: {call:?}"));
    let result = play_and(case, |first, recovery| {
        print("first", first);
        print("recovery", recovery);
    });
    result.unwrap();
}
