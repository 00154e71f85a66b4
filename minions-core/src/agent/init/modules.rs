//! Kernel modules that the initrd brings along.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::agent::log::say;

const FOLDER: &str = "/lib/modules-minions";

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks it itself.
const COMPRESSED: i32 = 4;

/// Loads all of them in the order of their names. One that does not load is said and left out: what needed it tells.
pub(super) fn load() {
    let Ok(folder) = std::fs::read_dir(FOLDER) else { return };
    let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match load_one(&path) {
            // Loaded already, or built in.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => say(format_args!("cannot load {}: {error}", path.display())),
        }
    }
}

fn load_one(path: &Path) -> Result<(), Errno> {
    let file = File::open(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let packed = path.extension().is_some_and(|end| end != "ko");
    finit_module(&file, c"", if packed { COMPRESSED } else { 0 })
}
