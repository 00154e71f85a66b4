//! The stores that come with the crate keep the contracts of theirs.
#![cfg(feature = "testkit")]

use std::sync::Arc;

use minions_core::env::Env;
use minions_core::memory::{InMemoryFleet, InMemoryJournal};
use minions_core::store::fleet::DynFleetStore;
use minions_core::store::journal::DynJournal;

minions_core::fleet_store_suite!(fleet_in_memory, async |_| Arc::new(InMemoryFleet::new()));
minions_core::fleet_store_suite!(fleet_shared, async |_| {
    let store: DynFleetStore = Arc::new(InMemoryFleet::new());
    store
});
minions_core::people_suite!(people_in_memory, async |_| Arc::new(InMemoryFleet::new()));
minions_core::journal_suite!(journal_in_memory, async |_, pool| Arc::new(InMemoryJournal::new(
    pool,
    Env::system().clock
)));
minions_core::journal_suite!(journal_shared, async |_, pool| {
    let journal: DynJournal = Arc::new(InMemoryJournal::new(pool, Env::system().clock));
    journal
});

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::PathBuf;
    use std::sync::Arc;

    use minions_core::env::Env;
    use minions_core::store::{LeasePool, SqliteFleet, SqliteJournal};

    minions_core::fleet_store_suite!(fleet, async |folder: PathBuf| {
        Arc::new(SqliteFleet::open(folder.join("fleet.db")).await.unwrap())
    });
    minions_core::people_suite!(people, async |folder: PathBuf| {
        Arc::new(SqliteFleet::open(folder.join("fleet.db")).await.unwrap())
    });
    minions_core::journal_suite!(journal, async |folder: PathBuf, pool: LeasePool| {
        Arc::new(SqliteJournal::open(folder.join("journal.db"), pool, Env::system().clock).await.unwrap())
    });
}
