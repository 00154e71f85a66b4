//! Kernel modules that the initrd brings along.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::agent::log::say;

const FOLDER: &str = "/lib/modules-minions";

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks it itself.
const COMPRESSED: i32 = 4;

/// Loads all of them in the order of their names. One that misses another is tried again after it, so that a wrong order
/// costs a try and not the boot. What still does not load is said and left out: what needed it tells.
pub(super) fn load() {
    let Ok(folder) = std::fs::read_dir(FOLDER) else { return };
    let mut left: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    left.sort();
    loop {
        let before = left.len();
        let mut failed = Vec::new();
        left.retain(|path| match load_one(path) {
            // Loaded already, or built in.
            Ok(()) | Err(Errno::EXIST) => false,
            Err(error) => {
                failed.push(error);
                true
            }
        });
        if left.is_empty() || left.len() == before {
            for (path, error) in left.iter().zip(failed) {
                say(format_args!("cannot load {}: {error}", path.display()));
            }
            return;
        }
    }
}

fn load_one(path: &Path) -> Result<(), Errno> {
    let file = File::open(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let packed = path.extension().is_some_and(|end| end != "ko");
    finit_module(&file, c"", if packed { COMPRESSED } else { 0 })
}
