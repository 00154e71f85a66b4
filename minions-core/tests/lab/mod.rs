//! What tests of the real parts work with: a folder that brings programs, and a VM made of real parts.
//!
//! `MINIONS_LAB` names a folder with `bin/vhost-device-vsock`, `bin/minions-agent` (static) and `kernel/`, where a
//! fetched kernel is kept. Without it, whatever needs a real guest is skipped, and says so.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};

use minions_core::image::ImageTools;

/// The folder of the lab, with what must be in it.
pub struct Lab {
    dir: PathBuf,
    pub qemu: PathBuf,
}

impl Lab {
    /// `None`, loudly, where this machine lacks something.
    #[expect(clippy::disallowed_methods, reason = "a test's switch")]
    pub fn find(test: &str) -> Option<Self> {
        let skip = |why: String| {
            eprintln!("SKIP {test}: {why}");
            None
        };
        let Some(dir) = std::env::var_os("MINIONS_LAB") else {
            return skip("MINIONS_LAB names no folder with programs for real guests".to_owned());
        };
        let Some(qemu) = minions_core::host::lookup::find("qemu-system-x86_64") else {
            return skip("no QEMU: apt-get install qemu-system-x86 qemu-utils".to_owned());
        };
        let lab = Self { dir: PathBuf::from(dir), qemu };
        for path in [lab.helper(), lab.agent()] {
            if !path.is_file() {
                return skip(format!("no {}", path.display()));
            }
        }
        Some(lab)
    }

    pub fn helper(&self) -> PathBuf {
        self.dir.join("bin/vhost-device-vsock")
    }

    pub fn agent(&self) -> PathBuf {
        self.dir.join("bin/minions-agent")
    }

    pub fn kernel_cache(&self) -> PathBuf {
        self.dir.join("kernel")
    }

    pub fn tools(&self) -> ImageTools {
        ImageTools::find()
    }
}

/// A short folder: the paths of sockets have little room.
pub fn folder(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("mn{name}")).tempdir_in(Path::new("/tmp")).unwrap()
}

/// Ends what a test that failed left running in a folder: it would outlive the test, as it should.
pub struct Leftovers(pub PathBuf);

impl Drop for Leftovers {
    fn drop(&mut self) {
        kill_below(&self.0, "");
    }
}

/// Ends the processes whose words name a folder and a program, as `kill -9` does. How many there were.
pub fn kill_below(folder: &Path, program: &str) -> usize {
    let found = processes(folder, program);
    for pid in found.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    found.len()
}

/// The processes whose words name a folder and something else.
pub fn processes(folder: &Path, word: &str) -> Vec<i32> {
    let folder = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        if words.contains(folder) && words.contains(word) {
            found.push(pid);
        }
    }
    found
}
