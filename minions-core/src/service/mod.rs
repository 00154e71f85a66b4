//! Who may do what, with how much: the use cases, over nodes and a fleet store.

pub mod caller;
pub mod control_plane;

pub use caller::{Caller, Role};
pub use control_plane::{ControlPlane, DynControlPlane, IdempotencyKey, VmAction, VmRef};
