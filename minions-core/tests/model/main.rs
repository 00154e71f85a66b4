//! Many requests of several tenants, with crashes, reboots and meddling operators between them, against a map of what
//! was acknowledged: whatever the order, what was promised holds.
//!
//! `MINIONS_SEED=7` replays one case, `MINIONS_MODEL=256x60` runs so many cases of so many commands at most.
#![cfg(all(feature = "testkit", feature = "sqlite", feature = "proptest"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "its own settings come from the environment")]

mod check;
mod command;
#[path = "../crash_at_every_call/inline.rs"]
mod inline;
mod reference;
mod run;
#[path = "../crash_at_every_call/world.rs"]
#[allow(dead_code, reason = "shared with another test, which uses more of it")]
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use command::Command;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Cases that have found something once, or lead through what is rare.
const SEEDS: &[u64] = &[55, 91];
/// The ordinary cases: these seeds, and as many commands at most.
const CASES: (u64, usize) = (256, 60);

/// A fresh runtime for each run, with simulated time and one thread: the same commands are the same run.
fn play(seed: u64, commands: &[Command], tell: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run::run(seed, commands, tell))
}

fn commands(seed: u64, most: usize) -> impl ValueTree<Value = Vec<Command>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    proptest::collection::vec(command::command(), 1..=most).new_tree(&mut runner).unwrap()
}

/// Plays a case; of one that breaks a promise, the fewest commands that still do.
fn case(seed: u64, most: usize, tell: bool) -> Result<usize, String> {
    let mut tree = commands(seed, most);
    let all = tree.current();
    let Err(mut broken) = play(seed, &all, tell) else { return Ok(all.len()) };
    let mut fewest = all;
    let mut tries = 0;
    while tries < 2_000 && tree.simplify() {
        loop {
            tries += 1;
            let fewer = tree.current();
            match play(seed, &fewer, false) {
                Err(still) => {
                    (broken, fewest) = (still, fewer);
                    break;
                }
                Ok(()) if !tree.complicate() => break,
                Ok(()) => {}
            }
        }
    }
    let list: Vec<String> = fewest.iter().map(|command| format!("    {command:?}")).collect();
    Err(format!("MINIONS_SEED={seed}: {broken}\n{}", list.join("\n")))
}

fn settings() -> (Vec<u64>, usize) {
    let (mut cases, mut most) = CASES;
    if let Ok(text) = std::env::var("MINIONS_MODEL") {
        let (count, length) = text.split_once('x').expect("MINIONS_MODEL is like 256x60");
        (cases, most) = (count.parse().unwrap(), length.parse().unwrap());
    }
    match std::env::var("MINIONS_SEED") {
        Ok(seed) => (vec![seed.parse().unwrap()], most),
        Err(_) => (SEEDS.iter().copied().chain(0..cases).collect(), most),
    }
}

#[test]
fn whatever_the_order_everything_acknowledged_holds() {
    let (seeds, most) = settings();
    let (next, steps) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match case(seed, most, seeds.len() == 1) {
                        Ok(length) => {
                            steps.fetch_add(length, Ordering::Relaxed);
                        }
                        Err(what) => {
                            println!("{what}");
                            broken.lock().unwrap().push(what);
                        }
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    println!("model cases={} commands={} violations={}", seeds.len(), steps.into_inner(), broken.len());
    assert!(broken.is_empty(), "{} cases break a promise, the first: {}", broken.len(), broken[0]);
}
