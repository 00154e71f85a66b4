//! The explorer explored: every planted mistake must be caught, or it catches nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use minions_core::layers::Fault;
use minions_core::mutant::{Mutant, plant};

use crate::explore::Case;
use crate::ops::{Before, Op, PAIRS};
use crate::play;

/// Mistakes that no run can tell from the right thing, and why.
const EQUIVALENT: &[(Mutant, &str)] = &[(
    Mutant::TrustBrokenPort,
    "a monitor is never configured with a port that is not whole, so the start fails and is unwound: late, but right",
)];

/// Where a mistake is looked for first; then everywhere.
const FIRST: &[(Op, Before)] = &[
    (Op::Create, Before::Absent),
    (Op::Restart, Before::Running),
    (Op::Stop, Before::Running),
    (Op::Destroy, Before::Running),
    (Op::Destroy, Before::Creating),
    (Op::Start, Before::Stopped),
    (Op::Start, Before::Lost),
];

/// What the quick faults do not show, and what shows it.
const HINTS: &[(Mutant, Op, Before, Fault)] = &[
    (Mutant::NoIdempotency, Op::Restart, Before::Running, Fault::CrashAfter),
    (Mutant::SkipReport, Op::Stop, Before::Running, Fault::StoreUnavailable),
];

/// The first promise that a mistake breaks.
fn hunt(mutant: Mutant) -> Option<String> {
    for &(_, op, before, fault) in HINTS.iter().filter(|(hinted, ..)| *hinted == mutant) {
        let found = at_every_call(mutant, op, before, &[fault]);
        if found.is_some() {
            return found;
        }
    }
    // Without a fault first: most mistakes need none.
    for &(op, before) in PAIRS {
        let dry = Case { op, before, again: true, first: None, second: None };
        if let Err(broken) = play_with(mutant, dry) {
            return Some(format!("{broken} ({op:?}/{before:?})"));
        }
    }
    // The kinds that most mistakes fall over come first; all of them come.
    let quick = [Fault::VmmDies, Fault::StoreUnavailable, Fault::CrashAfter, Fault::ErrorBefore];
    let others: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !quick.contains(fault)).collect();
    let tries = [&quick[..], &others[..]];
    let places = tries.iter().flat_map(|faults| FIRST.iter().map(|&(op, before)| (op, before, *faults)));
    places.into_iter().find_map(|(op, before, faults)| at_every_call(mutant, op, before, faults))
}

fn at_every_call(mutant: Mutant, op: Op, before: Before, faults: &[Fault]) -> Option<String> {
    let dry = Case { op, before, again: true, first: None, second: None };
    let seen = match play_with(mutant, dry) {
        Ok(seen) => seen,
        Err(broken) => return Some(format!("{broken} ({op:?}/{before:?})")),
    };
    for fault in faults {
        for (k, call) in seen.calls.iter().filter(|(_, call)| fault.applies_to(call)) {
            if let Err(broken) = play_with(mutant, Case { first: Some((*k, *fault)), ..dry }) {
                return Some(format!("{broken} ({op:?}/{before:?} {fault:?} at {})", call.op));
            }
        }
    }
    None
}

fn play_with(mutant: Mutant, case: Case) -> Result<crate::explore::Seen, String> {
    plant(Some(mutant));
    // A mistake may be so bad that the harness itself cannot go on: caught, too.
    let result = std::panic::catch_unwind(|| play(case));
    plant(None);
    result.unwrap_or_else(|_| Err("the run did not get through".to_owned()))
}

#[test]
fn every_planted_mistake_is_caught() {
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(&mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let known = EQUIVALENT.iter().any(|(known, _)| *known == mutant);
                    let caught = if known { None } else { hunt(mutant) };
                    lines.lock().unwrap().push((mutant, caught));
                }
            });
        }
    });
    let lines = lines.into_inner().unwrap();
    let killed = lines.iter().filter(|(_, caught)| caught.is_some()).count();
    println!("mutants killed={killed} of={}", Mutant::ALL.len());
    let mut survivors = Vec::new();
    for (mutant, caught) in &lines {
        let equivalent = EQUIVALENT.iter().find(|(known, _)| known == mutant);
        match (caught, equivalent) {
            (Some(broken), _) => println!("  {mutant:?}: {}", broken.chars().take(160).collect::<String>()),
            (None, Some((_, why))) => println!("  {mutant:?}: equivalent, {why}"),
            (None, None) => survivors.push(*mutant),
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    assert!(killed >= 10);
}
