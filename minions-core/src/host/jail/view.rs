//! Makes the view, and leaves everything else behind.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, Uid, chownat, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::plan::View;

/// What went wrong, with the path where it did.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// The place of a path of the host in the view.
fn inside(view: &View, path: &Path) -> PathBuf {
    view.at.join(path.strip_prefix("/").unwrap_or(path))
}

/// In a mount namespace of this process's own. `owner` gets the devices.
pub(super) fn make(view: &View, owner: u32) -> io::Result<()> {
    // What happens here is not seen outside, nor the other way round.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("view", &view.at, "tmpfs", flags, c"mode=0755,size=1m").map_err(io::Error::from).map_err(at(&view.at))?;
    for path in &view.read {
        show(view, path, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV)?;
    }
    for path in &view.write {
        show(view, path, MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV)?;
    }
    for path in &view.devices {
        device(view, path, owner).map_err(at(path))?;
    }
    chdir(&view.at)?;
    // The old root comes to lie over the new one, and is taken off.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    Ok(())
}

/// Lets a path of the host be seen. One that is a symbolic link there is one here too, with what it leads to.
fn show(view: &View, path: &Path, flags: MountFlags) -> io::Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let target = inside(view, path);
    if std::fs::symlink_metadata(&target).is_ok() {
        return Ok(());
    }
    let parents = || target.parent().map_or(Ok(()), std::fs::create_dir_all);
    parents().map_err(at(&target))?;
    if meta.is_symlink() {
        let leads_to = std::fs::read_link(path).map_err(at(path))?;
        std::os::unix::fs::symlink(&leads_to, &target).map_err(at(&target))?;
        let next = path.parent().unwrap_or(Path::new("/")).join(leads_to);
        return show(view, &std::fs::canonicalize(next).map_err(at(path))?, flags);
    }
    match meta.is_dir() {
        true => std::fs::create_dir(&target).map_err(at(&target))?,
        false => drop(std::fs::File::create_new(&target).map_err(at(&target))?),
    }
    let bind = || {
        mount_bind(path, &target)?;
        mount_remount(&target, MountFlags::BIND | flags, c"")
    };
    bind().map_err(io::Error::from).map_err(at(path))
}

/// A node of its own for a device of the host, in the hands of one user.
fn device(view: &View, path: &Path, owner: u32) -> io::Result<()> {
    let meta = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => FileType::CharacterDevice,
        kind if kind.is_block_device() => FileType::BlockDevice,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no device")),
    };
    let target = inside(view, path);
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    mknodat(CWD, &target, kind, Mode::RUSR | Mode::WUSR, meta.rdev())?;
    std::fs::set_permissions(&target, Permissions::from_mode(0o600))?;
    chownat(
        CWD,
        &target,
        Some(Uid::from_raw(owner)),
        Some(Gid::from_raw(owner)),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(())
}
