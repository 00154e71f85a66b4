//! What goes around any port: N forwarders + M policies, instead of N × M wrappers.
//!
//! [`Layered`] forwards each method of each port once; a [`Policy`] sees every call as a [`Call`]. The order does not
//! follow from the order in which policies are given, but from their [`Place`]:
//!
//! > metrics → trace → deadline → retry → limit → latency → record → faults → port
//!
//! Everything before retry sees a call once with all its attempts; everything after it sees each attempt.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use minions_core::layers::{Deadline, Layers, Metrics, Retry};
//! use minions_core::memory::InMemoryHost;
//!
//! let metrics = Arc::new(Metrics::default());
//! let layers = Layers::new()
//!     .with(Retry::default())
//!     .with_shared(metrics.clone())
//!     .with(Deadline::after(Duration::from_secs(10)));
//! let host = InMemoryHost::new();
//! let storage = layers.storage(Arc::new(host.storage()));
//! # let _ = storage;
//! ```

mod call;
mod deadline;
mod faults;
mod fleet_store;
mod guest;
mod hypervisor;
mod journal;
mod latency;
mod limit;
mod metrics;
mod network;
mod node;
mod pointer;
mod policy;
mod record;
mod retry;
mod stack;
mod storage;
mod trace;

use std::fmt;
use std::sync::Arc;

pub use call::{Call, CallKind};
pub use deadline::Deadline;
pub use faults::{Fault, FaultPlan, Faults};
pub use latency::Latency;
pub use limit::Limit;
pub use metrics::{Metrics, OpMetrics};
pub use policy::{Entered, Outcome, Place, Policy};
pub use record::{Record, Recorded};
pub use retry::Retry;
pub use stack::Layers;
pub use trace::Trace;

/// A port with policies around it. Implements every port that `P` does.
pub struct Layered<P: ?Sized> {
    inner: Arc<P>,
    layers: Layers,
}

impl<P: ?Sized> Layered<P> {
    /// Puts policies around a port.
    pub fn new(inner: Arc<P>, layers: Layers) -> Self {
        Self { inner, layers }
    }
}

impl<P: ?Sized> Clone for Layered<P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layers: self.layers.clone() }
    }
}

impl<P: fmt::Debug + ?Sized> fmt::Debug for Layered<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layered").field("inner", &&*self.inner).field("layers", &self.layers).finish()
    }
}

/// Sends one method of a port through the policies.
macro_rules! forward {
    ($self:ident, $cx:ident, $kind:ident, $op:literal, $vm:expr, $method:ident($($arg:expr),*)) => {{
        let inner = &*$self.inner;
        let call = $crate::layers::Call::new($op, $crate::layers::CallKind::$kind, $vm);
        $self.layers.run($cx, call, move |cx| async move { inner.$method(&cx $(, $arg)*).await }).await
    }};
}
use forward;

#[cfg(test)]
mod tests;
