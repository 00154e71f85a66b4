//! What a user does with real guests, as a user does it: the command line against the daemon, guests under QEMU.
//!
//! Slow, so all of it is ignored unless asked for: `scripts/test --real`. `MINIONS_LAB` is a folder with programs for real
//! guests, `MINIONS_TRANSFER_MIB` says how much goes through a transfer (1024), `MINIONS_BIN` is the program to test instead
//! of the one that was built with the tests, such as one with optimizations.
#![cfg(feature = "minions")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, and reads its settings from the environment")]

#[path = "../drills/census.rs"]
#[allow(dead_code, reason = "the drills take more of it")]
mod census;
#[path = "../drills/daemon.rs"]
#[allow(dead_code, reason = "the drills take more of it")]
mod daemon;
mod image;
mod life;
mod terminal;
mod transfer;

use daemon::{Daemon, Programs, Site};

/// A daemon with an image, and nothing else yet.
async fn service(test: &str) -> Option<(Site, Daemon)> {
    let mut site = Site::new(Programs::real(test)?);
    let daemon = site.start();
    site.image().await;
    Some((site, daemon))
}
