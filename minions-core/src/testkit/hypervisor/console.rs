//! Cases about serial lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scene::{HypervisorScene, Stage};
use crate::error::ErrorKind;
use crate::hypervisor::ConsoleBox;
use crate::testkit::drops::polled;
use crate::testkit::{cx, skip};
use crate::types::{StopHow, VmId};

/// How long a guest may take to say something: longer than any boot.
const PATIENCE: Duration = Duration::from_secs(120);

/// More than any log of these cases.
const ALL: usize = 1 << 20;

/// What was read when a text came.
async fn until(console: &mut ConsoleBox, text: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&read).contains(text) {
            let count = console.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "the stream ended before {text:?}: {:?}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&piece[..count]);
        }
    };
    let late = tokio::time::timeout(PATIENCE, reading).await;
    let read = String::from_utf8_lossy(&read).into_owned();
    assert!(late.is_ok(), "no {text:?} in {read:?}");
    read
}

/// Everything up to the end of the stream.
async fn rest(console: &mut ConsoleBox) -> String {
    let mut read = Vec::new();
    tokio::time::timeout(PATIENCE, console.read_to_end(&mut read)).await.expect("the stream ends").unwrap();
    String::from_utf8_lossy(&read).into_owned()
}

impl Stage {
    async fn attach(&self, id: VmId, tail: usize) -> ConsoleBox {
        self.scene.hypervisor.console(&cx(), id, tail).await.unwrap()
    }

    async fn log(&self, id: VmId) -> String {
        let log = self.scene.hypervisor.console_log(&cx(), id, ALL).await.unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }
}

pub async fn the_console_of_a_monitor_that_is_not_there_is_not_found(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let id = stage.env.vm_id();
    for _ in 0..2 {
        let refused = stage.scene.hypervisor.console(&cx(), id, ALL).await.err().expect("there is no monitor");
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{}", refused.chain());
        assert_eq!(stage.list().await, []);
    }
    // Nor is that of one that was there.
    let config = stage.running().await;
    drop(stage.attach(config.id, 0).await);
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    let refused = stage.scene.hypervisor.console(&cx(), config.id, 0).await.err().expect("it is gone");
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{}", refused.chain());
    assert_eq!(stage.list().await, []);
}

pub async fn what_is_typed_reaches_the_guest_and_what_it_prints_everybody_and_the_log(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let Some(greeting) = stage.scene.prepare.greeting() else {
        let name = "what_is_typed_reaches_the_guest_and_what_it_prints_everybody_and_the_log";
        return skip(name, "nobody in these guests listens on the serial line");
    };
    let config = stage.running().await;
    // One who never reads stalls nobody.
    let idle = stage.attach(config.id, ALL).await;
    let mut one = stage.attach(config.id, ALL).await;
    until(&mut one, greeting).await;
    let mut other = stage.attach(config.id, 0).await;
    for (number, word) in ["first-word", "second-word"].into_iter().enumerate() {
        let typist = if number == 0 { &mut one } else { &mut other };
        typist.write_all(word.as_bytes()).await.unwrap();
        typist.flush().await.unwrap();
        until(&mut one, word).await;
        let read = until(&mut other, word).await;
        assert!(!read.contains(greeting), "this one did not ask for the log: {read:?}");
        assert!(stage.log(config.id).await.contains(word), "the log goes on while somebody is attached");
    }
    // Who stops to type goes on to listen.
    one.shutdown().await.unwrap();
    other.write_all(b"third-word").await.unwrap();
    until(&mut one, "third-word").await;
    // The log outlives whoever was attached, and goes on.
    drop((one, other, idle));
    let log = stage.log(config.id).await;
    let places: Vec<_> = [greeting, "first-word", "second-word", "third-word"].map(|word| log.find(word)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {log:?}");
    let mut again = stage.attach(config.id, ALL).await;
    let read = until(&mut again, "third-word").await;
    assert_eq!(read.matches(greeting).count(), log.matches(greeting).count(), "each byte once: {read:?}");
    again.write_all(b"fourth-word").await.unwrap();
    until(&mut again, "fourth-word").await;
    drop(again);
    assert!(stage.log(config.id).await.contains("fourth-word"));
    stage.scene.hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(stage.list().await, []);
}

pub async fn the_end_of_a_monitor_is_the_end_of_its_consoles(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let hypervisor = &stage.scene.hypervisor;
    let mut config = stage.running().await;
    let (mut one, mut other) = (stage.attach(config.id, ALL).await, stage.attach(config.id, 0).await);
    hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    rest(&mut one).await;
    rest(&mut other).await;
    assert!(one.write_all(&vec![b'x'; 1 << 20]).await.is_err(), "there is nobody to type to");
    assert_eq!(stage.list().await, []);
    // The same where it is killed behind everybody's back.
    config.epoch += 1;
    hypervisor.ensure_running(&cx(), &config).await.unwrap();
    let mut last = stage.attach(config.id, ALL).await;
    if stage.scene.prepare.kill(config.id).await {
        rest(&mut last).await;
        hypervisor.wait_exit(&cx(), config.id).await.unwrap();
        let refused = hypervisor.console(&cx(), config.id, 0).await.err().expect("it is dead");
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{}", refused.chain());
    }
    hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!(stage.list().await, []);
}

pub async fn a_dropped_attach_leaves_a_console_that_works(
    make: &impl AsyncFn(PathBuf) -> HypervisorScene,
    folder: &Path,
) {
    let stage = Stage::new(make, folder).await;
    let hypervisor = &stage.scene.hypervisor;
    let config = stage.running().await;
    for polls in 1..8 {
        polled(hypervisor.console(&cx(), config.id, ALL), polls).await;
        stage.log(config.id).await;
    }
    if let Some(greeting) = stage.scene.prepare.greeting() {
        let mut console = stage.attach(config.id, ALL).await;
        until(&mut console, greeting).await;
        console.write_all(b"a-word").await.unwrap();
        until(&mut console, "a-word").await;
    }
    hypervisor.ensure_absent(&cx(), config.id, &StopHow::Force).await.unwrap();
    assert_eq!((stage.observe(config.id).await, stage.list().await), (None, vec![]));
}
