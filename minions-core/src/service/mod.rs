//! Who may do what, with how much: the use cases, over a node and a fleet store.

pub mod accounts;
pub mod admit;
mod audit;
mod authz;
pub mod caller;
pub mod control_plane;
mod convert;
mod discreet;
mod follow;
mod forget;
mod inner;
mod intent;
mod limits;
mod local;
mod local_accounts;
mod push;
mod waiters;

pub use crate::hypervisor::ConsoleBox;
pub use accounts::{Accounts, Directory, DynAccounts, DynDirectory, DynLoginLinks, LoginLinks};
pub use caller::{Caller, Role};
pub use control_plane::{ControlPlane, DynControlPlane, IdempotencyKey, VmAction, VmRef};
pub use discreet::Discreet;
pub use forget::Retention;
pub use limits::{Defaults, Quota};
pub use local::{LocalControlPlane, ServiceConfig};
pub use local_accounts::LocalAccounts;
