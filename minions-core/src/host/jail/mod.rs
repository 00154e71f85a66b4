//! The jail of a monitor: a program of ours fences itself in and then *becomes* the monitor, so that a VM is one process.
//!
//! The daemon decides on a [`Plan`], which is a value; the same program started again with a hidden verb calls [`enter`],
//! which carries it out in this order: control group, view of the file system, limits, user, capabilities, program. A fence
//! of the plan that cannot be made ends the process: nothing runs behind less than was planned. What a host has no
//! [`Means`] for is not in the plan, and is told.

mod cgroup;
mod end;
mod enter;
mod means;
mod plan;
mod view;

pub use cgroup::{Bounds, Group};
pub use end::{end, members};
pub use enter::enter;
pub use means::{Limiter, Means};
pub use plan::{Plan, View};
