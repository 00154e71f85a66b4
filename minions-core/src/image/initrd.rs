//! The initrd: our agent as its init, and the modules that lead to the disks.

use std::path::Path;

use super::error::ImageError;
use super::modules::{Modules, NEEDED, WANTED, is_static_program};
use crate::error::Result;
use crate::host::{blocking, cpio, files};

/// The agent's folder of modules, which it loads in the order of their names.
const MODULES: &str = "lib/modules-minions";

/// Writes an initrd with this agent and the modules of this folder, `lib/modules/VERSION`. It is not compressed: it is
/// small, and a guest in emulation would pay more for unpacking than it saves.
pub async fn write_initrd(agent: &Path, modules: &Path, to: &Path) -> Result<()> {
    let (agent, modules, to) = (agent.to_owned(), modules.to_owned(), to.to_owned());
    blocking(move || {
        let bytes = make(&agent, &modules)?;
        files::replace(&to, &bytes, 0o644).map_err(ImageError::io("write", &to))?;
        Ok(())
    })
    .await
}

fn make(agent_path: &Path, modules: &Path) -> Result<Vec<u8>, ImageError> {
    let agent = std::fs::read(agent_path).map_err(ImageError::io("read", agent_path))?;
    if !is_static_program(&agent) {
        return Err(ImageError::NotStatic { what: "agent", path: agent_path.to_owned() });
    }
    let mut archive = cpio::Archive::new();
    for dir in ["dev", "proc", "sys", "lib", MODULES] {
        archive.dir(dir, 0o755);
    }
    // A program cannot start without its first three files, and nobody has mounted anything before it.
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.char_device("dev/null", 0o666, 1, 3);
    for (index, (name, bytes)) in Modules::open(modules)?.in_order(&NEEDED, &WANTED)?.iter().enumerate() {
        archive.file(&format!("{MODULES}/{index:02}-{name}.ko"), 0o644, bytes);
    }
    archive.file("init", 0o755, &agent);
    Ok(archive.finish())
}
