//! The few files of an image that tell who and where it is.

use std::path::{Path, PathBuf};

use super::cmdline::BootPlan;
use crate::agent::log::say;

/// Writes what differs. A file that is a link belongs to a service of the image, and is left alone.
pub(super) fn write(plan: &BootPlan, root: &Path) {
    let etc = root.join("etc");
    if !plan.dns.is_empty() {
        let text: String = plan.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
        put(etc.join("resolv.conf"), &text);
    }
    let Some(name) = &plan.hostname else { return };
    put(etc.join("hostname"), &format!("{name}\n"));
    let hosts = std::fs::read_to_string(etc.join("hosts")).unwrap_or_else(|_| "127.0.0.1 localhost\n".to_owned());
    if !hosts.split_ascii_whitespace().any(|word| word == name) {
        let line_end = if hosts.is_empty() || hosts.ends_with('\n') { "" } else { "\n" };
        put(etc.join("hosts"), &format!("{hosts}{line_end}127.0.1.1 {name}\n"));
    }
}

fn put(path: PathBuf, text: &str) {
    let is_link = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link || std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return;
    }
    if let Err(error) = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text))
    {
        say(format_args!("cannot write {}: {error}", path.display()));
    }
}
