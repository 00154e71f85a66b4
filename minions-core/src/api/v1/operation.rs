//! Operations on the wire.

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::types::{BootMark, OperationId, OperationVerb, UnixMillis, VmId};

/// How an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum OperationOutcome {
    /// Under way.
    Pending,
    /// Done, and observed to be done.
    Succeeded,
    /// Ended otherwise.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// An acknowledged request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Operation {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: OperationId,
    /// What it does.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub verb: OperationVerb,
    /// To which VM.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub vm: VmId,
    /// How it stands.
    #[serde(flatten)]
    pub outcome: OperationOutcome,
    /// What took how long, in microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub timings: Vec<BootMark>,
    /// When it was accepted, in milliseconds since 1970.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub created: UnixMillis,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub ended: Option<UnixMillis>,
}
