//! Wire types only: what crosses a door of the service, defined once.

pub mod v1;
