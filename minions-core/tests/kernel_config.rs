//! The documented configuration of a guest's kernel is the one that is asked for, and Debian's kernel has it.
#![cfg(feature = "image")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use minions_core::image::{KernelFormat, check_kernel, missing_options, needed_options};

#[test]
fn the_document_explains_every_option_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kernel.md");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("SKIP the_document_explains_every_option_and_no_other: the package has no documents beside it");
        return;
    };
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let option = cells.next()?.strip_suffix('`')?;
        option.starts_with("CONFIG_").then(|| Some((option.to_owned(), cells.next()?.to_owned())))?
    };
    let documented: BTreeSet<(String, String)> = text.lines().filter_map(row).collect();
    assert_eq!(documented, needed_options().into_iter().collect());
}

/// The folder `boot` of Debian's package, where it is at hand.
#[expect(clippy::disallowed_methods, reason = "a test's switch")]
fn boot() -> Option<PathBuf> {
    let package = std::env::var_os("MINIONS_TEST_KERNEL").map(PathBuf::from);
    let lab = std::env::var_os("MINIONS_LAB").map(|lab| Path::new(&lab).join("kernel/package"));
    [package, lab].into_iter().flatten().map(|package| package.join("boot")).find(|boot| boot.is_dir())
}

fn file(boot: &Path, begin: &str) -> PathBuf {
    let mut names = std::fs::read_dir(boot).unwrap().map(|entry| entry.unwrap().path());
    names.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begin)).unwrap()
}

#[tokio::test]
async fn debians_kernel_for_clouds_works_as_it_is() {
    let Some(boot) = boot() else {
        eprintln!(
            "SKIP debians_kernel_for_clouds_works_as_it_is: MINIONS_LAB names no folder with kernel/package in it"
        );
        return;
    };
    let config = std::fs::read_to_string(file(&boot, "config-")).unwrap();
    assert_eq!(missing_options(&config), vec![]);
    let info = check_kernel(&file(&boot, "vmlinuz-")).await.unwrap();
    assert_eq!(info.format, KernelFormat::BzImage);
    let version = info.version.unwrap();
    assert!(file(&boot, "config-").to_str().unwrap().ends_with(&version), "{version}");
    // It would be noticed: without the road into the guest it does not.
    let without = config.replace("CONFIG_VIRTIO_VSOCKETS=m", "# CONFIG_VIRTIO_VSOCKETS is not set");
    assert_eq!(missing_options(&without).len(), 1);
}
