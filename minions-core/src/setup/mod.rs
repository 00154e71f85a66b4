//! Makes a host ready for the service: what it shall have, what it has, the steps between the two, and their doing.
//!
//! [`look`] reads the host and changes nothing. [`plan`] is pure: from what was found to the [`Step`]s that are missing, each with
//! its reason and the way back. [`Host::apply`] does one of them. When all are done the next plan is empty, and a plan that
//! was broken off after any step goes on from there.
//!
//! What cannot be known is never guessed: a disk is used only where it was named, and only where it is blank.

mod apply;
mod device;
mod error;
mod found;
mod plan;
mod step;
#[cfg(test)]
mod tests;
mod unit;
mod wish;

pub use apply::Host;
pub use device::Device;
pub use found::{Found, Module, Pool, Service, look};
pub use plan::{Plan, plan};
pub use step::{Step, Told};
pub use unit::{UNIT, unit};
pub use wish::{Monitor, Wish};
