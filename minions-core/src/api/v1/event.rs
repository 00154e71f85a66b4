//! Events on the wire.

use serde::{Deserialize, Serialize};

use super::operation::OperationOutcome;
use crate::types::{EventSeq, OperationId, OperationVerb, StateReason, UnixMillis, VmId, VmName, VmState};

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum EventBody {
    /// A request was accepted.
    Accepted {
        /// The operation.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        operation: OperationId,
        /// What it does.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        verb: OperationVerb,
    },
    /// An operation ended.
    Ended {
        /// The operation.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        operation: OperationId,
        /// What it did.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        verb: OperationVerb,
        /// How.
        outcome: OperationOutcome,
    },
    /// The state has changed.
    State {
        /// What it is now.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        state: VmState,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
        reason: Option<StateReason>,
    },
    /// The VM is gone.
    Deleted,
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its place.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub seq: EventSeq,
    /// About which VM.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub vm: VmId,
    /// Its name at that moment.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: VmName,
    /// When, in milliseconds since 1970.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub at: UnixMillis,
    /// What it tells.
    #[serde(flatten)]
    pub body: EventBody,
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventPage {
    /// In order; only those the caller may see.
    pub events: Vec<Event>,
    /// Where the next page begins.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub next: EventSeq,
}
