//! What is on the disk when the power goes.

use std::path::Path;

use super::{Folder, cx, fleet, is, tell, told};
use crate::error::ErrorKind;
use crate::store::fleet::FleetStore;
use crate::types::EventSeq;

#[tokio::test]
async fn a_log_cut_anywhere_holds_exactly_what_was_acknowledged() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let store = fleet(&path).await;
    let log = folder.file("fleet.db-wal");
    let length = |log: &Path| std::fs::metadata(log).unwrap().len();
    let begin = length(&log);
    let mut acknowledged = Vec::new();
    for at in 1..=12 {
        tell(&store, at).await.unwrap();
        acknowledged.push(length(&log));
    }
    // While it is open: nothing was written back to the database, as after a crash.
    let database = std::fs::read(&path).unwrap();
    let whole = std::fs::read(&log).unwrap();
    let end = whole.len() as u64;
    assert_eq!(Some(&end), acknowledged.last());
    let edges = acknowledged.iter().flat_map(|&length| [length - 1, length, length + 1]);
    let cuts: Vec<u64> = (begin..=end).step_by(1_009).chain(edges).filter(|cut| *cut <= end).collect();
    assert!(cuts.len() > 36, "{cuts:?}");
    for cut in cuts {
        let copy = folder.file(&format!("cut{cut}.db"));
        std::fs::write(&copy, &database).unwrap();
        std::fs::write(folder.file(&format!("cut{cut}.db-wal")), &whole[..usize::try_from(cut).unwrap()]).unwrap();
        let want = acknowledged.iter().filter(|length| **length <= cut).count() as u64;
        let opened = fleet(&copy).await;
        assert_eq!(told(&opened).await, (1..=want).collect::<Vec<_>>(), "cut at {cut} of {end}");
        tell(&opened, 99).await.expect("and goes on");
        opened.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_of_the_files_after_any_answer_holds_all_answers() {
    let folder = Folder::new();
    let path = folder.file("fleet.db");
    let store = fleet(&path).await;
    // Over the length at which the log is written back, and past it.
    for at in 1..=1_500 {
        tell(&store, at).await.unwrap();
        if at % 211 != 0 {
            continue;
        }
        let copy = folder.file(&format!("copy{at}.db"));
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(folder.file("fleet.db-wal"), folder.file(&format!("copy{at}.db-wal"))).unwrap();
        assert_eq!(told(&fleet(&copy).await).await, (1..=at).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_backup_of_a_store_in_use_is_whole_and_can_be_opened() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    for at in 1..=50 {
        tell(&store, at).await.unwrap();
    }
    let writes = async {
        for at in 51..=100 {
            tell(&store, at).await.unwrap();
        }
    };
    let path = folder.file("backup.db");
    let (backup, ()) = tokio::join!(store.backup_to(&path), writes);
    backup.unwrap();
    let restored = fleet(&path).await;
    let held = told(&restored).await;
    assert!(held.len() >= 50, "{}", held.len());
    assert_eq!(held, (1..=held.len() as u64).collect::<Vec<_>>(), "a moment, not a mixture");
    is(&store.backup_to(&path).await.unwrap_err(), ErrorKind::AlreadyExists, "backup_exists");
    assert!(!folder.file("backup.db.part").exists());
    assert_eq!(restored.last_event(&cx()).await.unwrap(), EventSeq(held.len() as u64));
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_leaves_nothing_behind() {
    let folder = Folder::new();
    let store = fleet(&folder.file("fleet.db")).await;
    let error = store.backup_to(folder.file("no/such/backup.db")).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, "store_io");
    tell(&store, 1).await.expect("the store goes on");
}
