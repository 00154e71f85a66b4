//! Who is calling.

use crate::store::Owner;

/// What a caller may do besides what owners may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns VMs, and sees only those.
    Tenant,
    /// Sees and changes everything, images among it.
    Admin,
}

/// A caller whom an edge has authenticated. Every method of a control plane takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub owner: Owner,
    /// Its role.
    pub role: Role,
}

impl Caller {
    /// The operator of the service, who owns what they create.
    #[must_use]
    pub fn admin(name: impl Into<String>) -> Self {
        Self { owner: Owner(name.into()), role: Role::Admin }
    }

    /// Someone who owns VMs.
    #[must_use]
    pub fn tenant(name: impl Into<String>) -> Self {
        Self { owner: Owner(name.into()), role: Role::Tenant }
    }
}
