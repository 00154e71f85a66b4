//! What is done to a monitor one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::env::CallCx;
use crate::error::{Effect, Error, Result};
use crate::types::VmId;

/// Several things, so that whoever looks does not wait for a guest's grace to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    /// A start or an end.
    Change,
    /// A conversation with the monitor.
    Talk,
    /// Attaching to the serial line, or taking it back.
    Attach,
}

/// Who has which turn.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Locks>);

type Locks = HashMap<(VmId, Turn), Arc<AsyncMutex<()>>>;

impl Turns {
    /// Waits for it; it ends when the guard is dropped.
    pub async fn take(&self, id: VmId, turn: Turn) -> OwnedMutexGuard<()> {
        let lock = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, lock| Arc::strong_count(lock) > 1);
            turns.entry((id, turn)).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// The VMs whose monitors are being changed.
    pub fn changing(&self) -> Vec<VmId> {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = turns.iter().filter(|((_, turn), lock)| *turn == Turn::Change && Arc::strong_count(lock) > 1);
        changed.map(|((id, _), _)| *id).collect()
    }

    /// A change of one VM's monitor, in turn. It comes to its end even when its caller is gone, so that the next one
    /// never meets a half-done one; each wait in it must be bounded.
    pub async fn change<T, E>(
        &self,
        cx: &CallCx,
        id: VmId,
        work: impl Future<Output = std::result::Result<T, E>> + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        cx.bound(async {
            let turn = self.take(id, Turn::Change).await;
            let task = tokio::spawn(async move {
                let _turn = turn;
                work.await
            });
            match task.await {
                Ok(result) => result.map_err(Into::into),
                Err(error) => Err(Error::internal("the change of a monitor ended early")
                    .with_effect(Effect::Unknown)
                    .with_source(error)),
            }
        })
        .await
    }
}
