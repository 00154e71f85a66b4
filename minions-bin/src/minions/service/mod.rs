//! Verbs about the service itself.

pub mod completion;
pub mod config;
pub mod context;
pub mod doctor;
pub mod events;
pub mod host;
pub mod init;
pub mod schema;
pub mod version;
