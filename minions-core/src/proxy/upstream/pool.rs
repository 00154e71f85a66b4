//! Connections that are free for the next request.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::dial::Line;
use crate::proxy::route::Route;
use crate::types::{Generation, VmId};

/// Most free connections of one VM: fewer than come at once are made anew all the time, at ten times the cost of a request.
const MOST: usize = 256;
/// How long one stays free.
const REST: Duration = Duration::from_secs(30);

/// Free connections, per VM. What was made before a VM last changed serves nobody any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<HashMap<VmId, Shelf>>>);

struct Shelf {
    generation: Generation,
    epoch: u64,
    lines: Vec<(Line, Instant)>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}: {}", self.generation, self.epoch, self.lines.len())
    }
}

/// Where a connection goes once it is free.
pub(crate) struct Place {
    pool: Pool,
    id: VmId,
    generation: Generation,
    epoch: u64,
}

impl Pool {
    fn shelves(&self) -> MutexGuard<'_, HashMap<VmId, Shelf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn place(&self, route: &Route) -> Place {
        Place { pool: self.clone(), id: route.id, generation: route.generation, epoch: route.epoch }
    }

    /// One that was made for the VM as it is now. It may still have to be waited for: its last answer has only just ended.
    pub fn take(&self, route: &Route) -> Option<Line> {
        let mut shelves = self.shelves();
        let shelf = shelves.get_mut(&route.id)?;
        if !route.same_run(shelf.generation, shelf.epoch) {
            shelves.remove(&route.id);
            return None;
        }
        while let Some((line, since)) = shelf.lines.pop() {
            if !line.is_closed() && since.elapsed() < REST {
                return Some(line);
            }
        }
        None
    }

    /// Lets go of what nobody took for long, and of what is of no use to the VMs as they are now.
    pub fn sweep(&self, current: impl Fn(VmId) -> Option<Arc<Route>>) {
        self.shelves().retain(|id, shelf| {
            shelf.lines.retain(|(line, since)| !line.is_closed() && since.elapsed() < REST);
            !shelf.lines.is_empty() && current(*id).is_some_and(|route| route.same_run(shelf.generation, shelf.epoch))
        });
    }
}

impl Place {
    pub fn put(self, line: Line) {
        if line.is_closed() {
            return;
        }
        let mut shelves = self.pool.shelves();
        let shelf = shelves.entry(self.id).or_insert_with(|| Shelf {
            generation: self.generation,
            epoch: self.epoch,
            lines: Vec::new(),
        });
        if (shelf.generation, shelf.epoch) < (self.generation, self.epoch) {
            *shelf = Shelf { generation: self.generation, epoch: self.epoch, lines: Vec::new() };
        }
        if (shelf.generation, shelf.epoch) == (self.generation, self.epoch) && shelf.lines.len() < MOST {
            shelf.lines.push((line, Instant::now()));
        }
    }
}
