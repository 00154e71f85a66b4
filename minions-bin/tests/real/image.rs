//! Images that a user brings.

use std::fs;
use std::process::Command;

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn a_raw_filesystem_becomes_an_image_and_vms_are_made_from_it() {
    let Some((site, daemon)) = crate::service("import").await else { return };
    // What somebody else made: a root of their own, and an init that is theirs.
    let tree = site.path("tree");
    for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "root", "data"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "readlink", "sleep", "mount"] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    fs::write(tree.join("etc/made-by"), "somebody else\n").unwrap();
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let init = tree.join("etc/init");
    fs::write(&init, "#!/bin/sh\necho of its own > /run/init\nwhile :; do sleep 1000; done\n").unwrap();
    fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/etc/init", tree.join("bin/init")).unwrap();
    std::os::unix::fs::symlink("bin", tree.join("sbin")).unwrap();
    let raw = site.path("other.raw");
    let mut mke2fs = Command::new("/sbin/mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-d"]).arg(&tree).arg(&raw).arg("64m");
    assert!(mke2fs.output().unwrap().status.success());
    let before = fs::read(&raw).unwrap();

    let image = site.make_image(&["image", "import", raw.to_str().unwrap(), "--name", "theirs"]).await;
    assert_eq!(image["name"], "theirs");
    assert!(fs::read(&raw).unwrap() == before, "it is only read");
    fs::remove_file(&raw).unwrap();
    assert!(site.ok(&["image", "list"]).contains("theirs"));

    let small = ["--cpus", "1", "--memory", "192MiB", "--disk", "256MiB", "--data-disk", "32MiB"];
    site.ok(&[&["create", "web", "--image", "theirs"], &small[..]].concat());
    assert_eq!(site.ok(&["exec", "web", "--", "cat", "/etc/made-by", "/run/init"]), "somebody else\nof its own\n");
    // Its root has grown to its disk.
    let blocks = site.ok(&["exec", "web", "--", "busybox", "df", "-m", "/"]);
    let size: u64 = blocks.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(size > 200, "{blocks}");

    let refused = site.command(&["image", "delete", "theirs", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("image_in_use"), "{refused:?}");
    site.ok(&["destroy", "web", "--yes"]);
    site.ok(&["image", "delete", "theirs"]);
    assert!(!site.ok(&["image", "list"]).contains("theirs"));
    daemon.end();
}
