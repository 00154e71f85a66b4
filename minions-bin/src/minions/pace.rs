//! Requests that a server answers sooner than it was asked to wait are kept apart: it is never asked in a tight loop,
//! whatever it says.

use std::time::Duration;

use tokio::time::Instant;

/// The least between two requests, at first; doubles from one to the next.
const FIRST: Duration = Duration::from_millis(10);

/// The distance between requests.
#[derive(Debug)]
pub struct Pace {
    next: Duration,
    most: Duration,
}

impl Pace {
    /// They are never further apart than `most`.
    pub fn new(most: Duration) -> Self {
        Self { next: FIRST.min(most), most }
    }

    /// After a request that began then, was to wait so long, and has told nothing that ends the loop. A server that waited
    /// as it was asked is asked again at once.
    pub async fn keep(&mut self, begun: Instant, asked: Duration) {
        if begun.elapsed() >= asked {
            self.next = FIRST.min(self.most);
            return;
        }
        tokio::time::sleep_until((begun + self.next).min(begun + asked)).await;
        self.next = (self.next * 2).min(self.most);
    }
}
