//! One call of lvm2 at a time: it has one lock for a whole volume group, and who waits for it waits in the dark. Who
//! wants a report while one runs, or waits for its turn, shares the next one with all others who do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;

use super::command::{Command, Place, Runner};
use super::error::LvmError;
use super::wire::{Report, ReportError};
use crate::host::command::CommandError;

/// How old a report may be that a change of something relies on which we ourselves have not changed since. Whatever
/// somebody else did meanwhile, lvm2 refuses what does not fit, and then a new report tells why.
const RECENT: Duration = Duration::from_secs(2);

/// Why there is no report: told to everybody who waits for it.
#[derive(Clone, Debug)]
enum Failure {
    Command(Arc<CommandError>),
    Report(ReportError),
}

impl From<Failure> for LvmError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Command(error) => Self::Command(error),
            Failure::Report(error) => Self::Report(error),
        }
    }
}

type Shared = Result<Arc<Report>, Failure>;

/// lvm2, one call at a time.
#[derive(Clone, Debug)]
pub(super) struct Calls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runner: Arc<dyn Runner>,
    place: Place,
    /// First come, first served.
    turn: AsyncMutex<()>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// The report that has not begun yet.
    next: Option<watch::Receiver<Option<Shared>>>,
    last: Option<Last>,
    /// How many changes have begun.
    changes: u64,
    /// Which of them was the last one of a name, since the last report.
    changed: HashMap<String, u64>,
}

#[derive(Debug)]
struct Last {
    report: Arc<Report>,
    began: Instant,
    changes: u64,
}

impl Calls {
    pub fn new(runner: Arc<dyn Runner>, place: Place) -> Self {
        Self(Arc::new(Inner { runner, place, turn: AsyncMutex::default(), book: Mutex::default() }))
    }

    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Never held across an await.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change of these names in turn. When it fails, nothing is known of what it did.
    pub async fn change(&self, names: &[&str], command: &Command) -> Result<(), LvmError> {
        let _turn = self.0.turn.lock().await;
        {
            let mut book = self.book();
            book.changes += 1;
            let number = book.changes;
            book.changed.extend(names.iter().map(|name| ((*name).to_owned(), number)));
        }
        let done = self.0.runner.run(command).await;
        done.map(drop).map_err(|error| LvmError::Command(Arc::new(error)))
    }

    /// A report that began after this call did.
    pub async fn report(&self) -> Result<Arc<Report>, LvmError> {
        let mut told = {
            let mut book = self.book();
            match &book.next {
                Some(next) => next.clone(),
                None => {
                    let (tell, told) = watch::channel(None);
                    book.next = Some(told.clone());
                    // It is many people's: it goes on whoever of them goes.
                    tokio::spawn(self.clone().run(tell));
                    told
                }
            }
        };
        let report = told.wait_for(Option::is_some).await.map_err(|_| LvmError::Stopped)?;
        match &*report {
            Some(report) => Ok(report.clone()?),
            None => Err(LvmError::Stopped),
        }
    }

    /// A report that knows of all that we did with these names, and is not old.
    pub async fn recent(&self, names: &[&str]) -> Result<Arc<Report>, LvmError> {
        if let Some(report) = self.known(names) {
            return Ok(report);
        }
        self.report().await
    }

    fn known(&self, names: &[&str]) -> Option<Arc<Report>> {
        let book = self.book();
        let last = book.last.as_ref().filter(|last| last.began.elapsed() < RECENT)?;
        let seen = |name: &&str| book.changed.get(*name).is_none_or(|&number| number <= last.changes);
        names.iter().all(seen).then(|| last.report.clone())
    }

    async fn run(self, tell: watch::Sender<Option<Shared>>) {
        let _turn = self.0.turn.lock().await;
        let (began, changes) = {
            let mut book = self.book();
            // Who comes from now on needs the next one.
            book.next = None;
            (Instant::now(), book.changes)
        };
        let shared = self.read().await;
        if let Ok(report) = &shared {
            let mut book = self.book();
            book.last = Some(Last { report: report.clone(), began, changes });
            book.changed.retain(|_, number| *number > changes);
        }
        tell.send_replace(Some(shared));
    }

    async fn read(&self) -> Shared {
        let said = self.0.runner.run(&self.0.place.report()).await;
        let said = said.map_err(|error| Failure::Command(Arc::new(error)))?;
        // Some milliseconds for thousands of volumes.
        let read = tokio::task::spawn_blocking(move || Report::parse(&said)).await;
        match read {
            Ok(report) => report.map(Arc::new).map_err(Failure::Report),
            Err(stopped) => Err(Failure::Report(ReportError::Form(stopped.to_string()))),
        }
    }
}
