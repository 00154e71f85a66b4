//! Wire types only: what crosses a door of the service or of a guest, defined once.

pub mod guest;
pub mod v1;
