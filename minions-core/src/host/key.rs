//! The key that a long-lived process holds, by which it is found again.
//!
//! A key is a locked file. The lock belongs to the *open file*, and the process gets that open file as its standard
//! input: so the lock is held from before the process exists until its last breath, survives the daemon's `kill -9`,
//! and needs no code to run between fork and exec. A process id that was written down can be stale or belong to a
//! stranger, a socket exists only once its owner has come up; a held lock is neither, and two holders cannot be.
//! Who the holder is, is asked of the kernel: the process whose standard input is that very file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{self, FileId};
use super::lock;
use super::process::Process;

/// Takes a key, to hand it to a process that is about to be started. `None` while somebody holds it.
pub fn take(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = files::open_write(path, 0o600)?;
        if !lock::try_lock(&file)? {
            return Ok(None);
        }
        // Whoever removes a key holds it; so a key that was removed between our open and our lock guards nothing.
        match FileId::at(path) {
            Ok(id) if id == FileId::of(&file)? => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether somebody holds the key.
pub fn is_held(path: &Path) -> io::Result<bool> {
    match files::open_read(path) {
        Ok(file) => lock::is_locked(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who may hold which key: a hint that is always checked, so that a host with many processes is searched once and not
/// once a key.
#[derive(Debug, Default)]
pub struct Holders(HashMap<FileId, u32>);

/// So many are remembered; then all are forgotten, and the next one that is looked for brings a search.
const MOST: usize = 1 << 16;

impl Holders {
    /// Remembers to whom a key was given, so that no search is needed for it: starting one process must not cost more
    /// the more of them run.
    pub fn note(&mut self, key: FileId, pid: u32) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(key, pid);
    }

    /// The process that holds a key, or `None` where the key is not held.
    ///
    /// A key that is held by nobody who can be found is an error: it is being handed over at this very moment, or its
    /// holder belongs to a user whose processes we may not see.
    pub fn find(&mut self, path: &Path) -> io::Result<Option<Process>> {
        if !is_held(path)? {
            return Ok(None);
        }
        let id = match FileId::at(path) {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(process) = self.0.get(&id).and_then(|&pid| confirm(pid, id)) {
            return Ok(Some(process));
        }
        self.0 = search()?;
        if let Some(process) = self.0.get(&id).and_then(|&pid| confirm(pid, id)) {
            return Ok(Some(process));
        }
        if !is_held(path)? {
            return Ok(None);
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "a key is held, but its holder cannot be seen"))
    }
}

/// The file that is a process's standard input. Where its first thread has ended already, as happens to a process of
/// many threads that is being killed, the others still have it.
fn input_of(pid: u32) -> Option<FileId> {
    let of = |path: String| FileId::at_followed(&PathBuf::from(path)).ok();
    of(format!("/proc/{pid}/fd/0")).or_else(|| {
        let threads = files::names(&PathBuf::from(format!("/proc/{pid}/task"))).ok()?;
        threads.iter().find_map(|thread| of(format!("/proc/{pid}/task/{thread}/fd/0")))
    })
}

/// Opens the process first and asks afterwards: if the number had passed to another process meanwhile, the answer
/// would be another file.
fn confirm(pid: u32, id: FileId) -> Option<Process> {
    if pid == std::process::id() {
        return None;
    }
    let process = Process::open(pid).ok()??;
    (input_of(pid)? == id).then_some(process)
}

fn search() -> io::Result<HashMap<FileId, u32>> {
    let mut found = HashMap::new();
    for name in files::names(Path::new("/proc"))? {
        if let Ok(pid) = name.parse::<u32>()
            && let Some(id) = input_of(pid)
        {
            found.insert(id, pid);
        }
    }
    Ok(found)
}

/// Removes a key that nobody holds. `false` while somebody does.
pub fn remove(path: &Path) -> io::Result<bool> {
    match FileId::at(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        found => found?,
    };
    let Some(file) = take(path)? else { return Ok(false) };
    files::absent(path)?;
    drop(file);
    Ok(true)
}
