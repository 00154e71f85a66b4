//! Root filesystems: a folder with what is in it, and that folder as an ext4.

use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use super::error::ImageError;
use super::modules::is_static_program;
use super::stable;
use super::tools::{ImageTools, needed};
use crate::host::command::Tool;
use crate::host::files;
use crate::types::ByteSize;

/// Applets that would take the place of the agent as the first process.
const NO_APPLETS: [&str; 2] = ["init", "linuxrc"];

fn put(root: &Path, name: &str, text: &str, mode: u32) -> Result<(), ImageError> {
    let path = root.join(name);
    let write = || -> io::Result<()> {
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
    };
    write().map_err(ImageError::io("write", &path))
}

fn dir(root: &Path, name: &str, mode: u32) -> Result<(), ImageError> {
    let path = root.join(name);
    let make = || -> io::Result<()> {
        std::fs::create_dir_all(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
    };
    make().map_err(ImageError::io("make", &path))
}

/// A folder with a busybox.
pub(super) async fn busybox(tree: &Path, tools: &ImageTools) -> Result<(), ImageError> {
    let program = needed(tools.busybox.as_ref(), "busybox", "apt-get install busybox-static")?;
    let bytes = std::fs::read(program).map_err(ImageError::io("read", program))?;
    if !is_static_program(&bytes) {
        return Err(ImageError::NotStatic { what: "busybox", path: program.to_owned() });
    }
    let listed = Tool::new(program).arg("--list").run().await?;
    files::dir_absent(tree).map_err(ImageError::io("remove", tree))?;
    for name in ["", "bin", "dev", "etc", "home", "mnt", "proc", "run", "sys", "usr", "usr/bin", "var", "var/log"] {
        dir(tree, name, 0o755)?;
    }
    for (name, mode) in [("root", 0o700), ("data", 0o755), ("tmp", 0o1777), ("var/tmp", 0o1777)] {
        dir(tree, name, mode)?;
    }
    let target = tree.join("bin/busybox");
    let copy = std::fs::write(&target, bytes)
        .and_then(|()| std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)));
    copy.map_err(ImageError::io("write", &target))?;
    symlink("bin", tree.join("sbin")).map_err(ImageError::io("link", tree))?;
    for applet in listed.text(program)?.lines() {
        let plain = applet.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if plain && !applet.is_empty() && applet != "busybox" && !NO_APPLETS.contains(&applet) {
            let link = tree.join("bin").join(applet);
            symlink("busybox", &link).map_err(ImageError::io("link", &link))?;
        }
    }
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    put(tree, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)?;
    put(tree, "etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    put(tree, "etc/shadow", "root:*:::::::\nnobody:*:::::::\n", 0o600)?;
    put(tree, "etc/profile", &format!("export PATH={path}\nexport PS1='\\u@\\h:\\w\\$ '\n"), 0o644)?;
    put(tree, "etc/hosts", "127.0.0.1 localhost\n", 0o644)?;
    put(tree, "etc/os-release", "ID=busybox\nNAME=busybox\nPRETTY_NAME=\"busybox, by minions\"\n", 0o644)
}

/// What becomes of the times of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// They stay.
    Kept,
    /// They are all the same, so that the same folder becomes the same bytes whenever it is written.
    Settled,
    /// None is newer than this, in seconds of the epoch; what was older stays.
    Clamped(u64),
}

/// Writes a folder as an ext4. Blocks of 4 KiB, as on any disk that grows up; the guest grows it to its disk.
pub(super) async fn write(
    tree: &Path,
    to: &Path,
    size: ByteSize,
    times: Times,
    tools: &ImageTools,
) -> Result<(), ImageError> {
    let program = needed(tools.mke2fs.as_ref(), "mke2fs", "apt-get install e2fsprogs")?;
    files::absent(to).map_err(ImageError::io("remove", to))?;
    let look = {
        let tree = tree.to_owned();
        move || {
            // In this order: reading changes when a file was read.
            let uuid = stable::uuid(&tree)?;
            let inodes = match times {
                Times::Kept => 0,
                Times::Settled => stable::settle_tree(&tree, 0)?,
                Times::Clamped(newest) => stable::settle_tree(&tree, newest)?,
            };
            Ok::<_, ImageError>((uuid, inodes))
        }
    };
    let looked = tokio::task::spawn_blocking(look).await;
    let (uuid, inodes) = looked.map_err(|error| ImageError::io("read", tree)(io::Error::other(error)))??;
    let tool = stable::timeless(Tool::new(program))
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "root", "-U", &uuid])
        .args(["-E", &format!("root_owner=0:0,lazy_itable_init=1,nodiscard,hash_seed={uuid}"), "-d"])
        .arg(tree)
        .arg("--")
        .arg(to)
        .arg(format!("{}k", size.get() >> 10))
        .limit(Duration::from_mins(10));
    tool.run().await?;
    if times != Times::Kept {
        stable::settle_filesystem(to, inodes, tools).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busybox_root_has_a_shell_and_no_init() {
        let tools = ImageTools::find();
        if tools.busybox.is_none() {
            eprintln!("SKIP: no busybox here: apt-get install busybox-static");
            return;
        }
        let tree = std::env::temp_dir().join(format!("minions-tree-{}", std::process::id()));
        busybox(&tree, &tools).await.unwrap();
        assert_eq!(std::fs::read_link(tree.join("bin/sh")).unwrap(), Path::new("busybox"));
        for init in ["sbin/init", "bin/init", "init", "etc/init"] {
            assert!(!tree.join(init).exists(), "{init} would become the first process");
        }
        std::fs::remove_dir_all(&tree).unwrap();
    }

    #[tokio::test]
    async fn the_same_busybox_becomes_the_same_bytes_whenever_it_is_written() {
        let tools = ImageTools::find();
        if tools.busybox.is_none() || tools.mke2fs.is_none() || tools.debugfs.is_none() {
            eprintln!("SKIP: no busybox or no e2fsprogs here: apt-get install busybox-static e2fsprogs");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        for nth in 0..2 {
            let (tree, to) = (folder.path().join(format!("tree{nth}")), folder.path().join(format!("root{nth}")));
            busybox(&tree, &tools).await.unwrap();
            write(&tree, &to, ByteSize::mib(16), Times::Settled, &tools).await.unwrap();
            written.push((to, stable::uuid(&tree).unwrap(), tree));
            // The next one is made in another second: that is what a file's times are told in.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        let bytes = |nth: usize| std::fs::read(&written[nth].0).unwrap();
        let differs = bytes(0).iter().zip(bytes(1)).filter(|(one, other)| **one != *other).count();
        assert_eq!(differs, 0, "bytes that differ");
        assert_eq!(written[0].1, written[1].1);
        // Another content is another filesystem.
        put(&written[1].2, "etc/hosts", "127.0.0.1 localhosT\n", 0o644).unwrap();
        assert_ne!(stable::uuid(&written[1].2).unwrap(), written[0].1);
    }

    #[tokio::test]
    async fn bad_27_a_program_that_is_absent_is_told_with_the_line_to_type() {
        let error = busybox(Path::new("/nonexistent/tree"), &ImageTools::default()).await.unwrap_err();
        assert!(error.to_string().contains("apt-get install busybox-static"), "{error}");
    }
}
