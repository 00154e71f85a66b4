//! Runs one case on a runtime and in a folder of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::env::CallCx;

/// Longer than any case takes on a slow machine: a case that hangs fails.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs a case to its end.
///
/// # Panics
/// If the case panics, which is how it fails.
pub fn case(name: &str, body: impl AsyncFnOnce(PathBuf)) {
    let folder = Folder::new(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let path = folder.0.clone();
    runtime.block_on(async { tokio::time::timeout(LIMIT, body(path)).await.expect("the case ends in time") });
}

/// The context of a call that may take its time.
#[must_use]
pub fn cx() -> CallCx {
    CallCx::new("conformance", LIMIT)
}

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Says loudly that a case, or a part of it, cannot be run here, and why; and counts it.
#[expect(clippy::print_stdout, reason = "whoever reads the test's output shall see it")]
pub fn skip(case: &str, reason: &str) {
    let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    println!("SKIPPED ({number}) {case}: {reason}");
}

/// How many cases of this process were skipped up to now.
#[must_use]
pub fn skipped() -> usize {
    SKIPPED.load(Ordering::Relaxed)
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("minions-case-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the case can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "the folder of a case stays behind");
    }
}

/// Turns a list of cases into tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($name:ident, $suite:ident, $make:expr, [$($case:ident),+ $(,)?]) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[test]
                fn $case() {
                    $crate::testkit::case(stringify!($case), async |folder| {
                        $crate::testkit::$suite::$case(&$make, &folder).await;
                    });
                }
            )+
        }
    };
}
