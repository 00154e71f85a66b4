//! Who is calling.

use crate::store::Owner;
pub use crate::types::Role;
use crate::types::TokenScope;

/// A caller whom an edge has authenticated. Every method of a control plane takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub owner: Owner,
    /// Its role.
    pub role: Role,
    /// How much of what it may it may do here.
    pub scope: TokenScope,
}

impl Caller {
    /// The operator of the service, who owns what they create.
    #[must_use]
    pub fn admin(name: impl Into<String>) -> Self {
        Self { owner: Owner(name.into()), role: Role::Admin, scope: TokenScope::Full }
    }

    /// A front door of the service.
    #[must_use]
    pub fn edge(name: impl Into<String>) -> Self {
        Self { owner: Owner(name.into()), role: Role::Edge, scope: TokenScope::Full }
    }

    /// Someone who owns VMs.
    #[must_use]
    pub fn tenant(name: impl Into<String>) -> Self {
        Self { owner: Owner(name.into()), role: Role::Tenant, scope: TokenScope::Full }
    }
}
