//! Whether this host can run VMs by QEMU.

use std::path::{Path, PathBuf};

use super::probe::KvmVerdict;
use super::{QemuConfig, Vsock, places, vsock};
use crate::error::{Error, Result};
use crate::host::command::CommandError;
use crate::host::preflight::{Finding, disk_space, open_files, processes, socket_paths};
use crate::host::process::may_start_as_others;
use crate::host::version;
use crate::hypervisor::error::MonitorError;
use crate::types::ByteSize;

const QEMU_FIX: &str = "apt-get install qemu-system-x86 qemu-utils";
const HELPER_FIX: &str =
    "cargo install vhost-device-vsock --locked; or, where guests run on the processor, modprobe vhost_vsock";
const DEVICE_FIX: &str = "modprobe vhost_vsock, and let this user open /dev/vhost-vsock; or qemu.vsock = \"helper\"";

/// The oldest that was tried.
const OLDEST: (u32, u32) = (7, 2);

/// The version of QEMU.
pub(super) async fn qemu_version(program: &Path) -> Result<String> {
    match version::ask(program).await {
        Ok(text) => match version::first_in(&text).filter(|_| text.contains("QEMU")) {
            Some(version) if version::at_least(version, OLDEST) => Ok(version.to_owned()),
            Some(version) => Err(Error::new(
                crate::ErrorKind::Unsupported,
                format!("QEMU {version} is older than {}.{}", OLDEST.0, OLDEST.1),
            )),
            None => {
                Err(CommandError::Garbage { program: program.to_owned(), answer: text.chars().take(80).collect() }
                    .into())
            }
        },
        Err(CommandError::Start { .. }) => Err(MonitorError::Program { program: "QEMU", fix: QEMU_FIX }.into()),
        Err(error) => Err(error.into()),
    }
}

/// The version of the helper.
pub(super) async fn helper_version(program: &Path) -> Result<String> {
    match version::ask(program).await {
        Ok(text) => Ok(version::first_in(&text).unwrap_or("unknown").to_owned()),
        Err(CommandError::Start { .. }) => {
            Err(MonitorError::Program { program: "vhost-device-vsock", fix: HELPER_FIX }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Looks at all that this adapter needs, and says what is missing and how to mend it. Starts two programs for their
/// versions, and changes nothing.
pub async fn preflight(config: &QemuConfig, kvm: &KvmVerdict) -> Vec<Finding> {
    let tool = |id, version: Result<String>, fix| match version {
        Ok(version) => Finding::ok(id, format!("version {version}")),
        Err(error) => Finding::fail(id, error.chain(), fix),
    };
    let mut findings = vec![tool("qemu", qemu_version(&config.qemu).await, QEMU_FIX)];
    findings.push(match &config.vsock {
        Vsock::Helper(program) => tool("vhost-device-vsock", helper_version(program).await, HELPER_FIX),
        Vsock::Kernel(device) => kernel_vsock(device),
    });
    findings.push(match kvm {
        KvmVerdict::Works => Finding::ok("kvm", "a probe boot ran on the processor"),
        KvmVerdict::Fails { reason } => Finding::warn(
            "kvm",
            format!("guests run in emulation, some ten times slower: {reason}"),
            "run on a host with hardware virtualization, and let this user open /dev/kvm",
        ),
    });
    findings.push(users());
    findings.push(socket_paths(&config.run_dir, places::LONGEST));
    let there: PathBuf = config.run_dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned();
    findings.push(disk_space(&there, ByteSize::gib(2)));
    findings.push(open_files(4096));
    findings.push(processes(4096));
    findings
}

/// Whether the kernel carries VSOCK.
fn kernel_vsock(device: &Path) -> Finding {
    const ID: &str = "vhost-vsock";
    match vsock::open(device) {
        Ok(_) => Finding::ok(ID, "the kernel carries the VSOCK of guests"),
        Err(error) => Finding::fail(ID, format!("{}: {error}", device.display()), DEVICE_FIX),
    }
}

/// As whom monitors run.
fn users() -> Finding {
    const ID: &str = "users";
    if may_start_as_others() {
        return Finding::ok(ID, "the monitor of each VM runs as a user of its own");
    }
    if rustix::process::geteuid().is_root() {
        let message = "monitors run as root: this root may not become another user, or not look into their processes";
        return Finding::warn(
            ID,
            message,
            "grant CAP_SETUID, CAP_SETGID, CAP_KILL and CAP_SYS_PTRACE, or do not be root",
        );
    }
    Finding::ok(ID, "monitors run as this user")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::command::Tool;

    #[tokio::test]
    async fn bad_27_programs_that_are_absent_or_talk_garbage_are_told_from_one_another() {
        let absent = qemu_version(Path::new("/nonexistent/qemu")).await.unwrap_err();
        assert_eq!(absent.kind(), crate::ErrorKind::Unsupported);
        assert!(absent.to_string().contains("apt-get"), "{absent}");
        // A program that answers in another language, from another time, or not at all.
        let dir = std::env::temp_dir().join(format!("minions-version-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, script, kind) in [
            ("old", "echo 'QEMU emulator version 5.2.0'", crate::ErrorKind::Unsupported),
            ("foreign", "echo 'Emulador 7.2'", crate::ErrorKind::Unavailable),
            ("empty", "true", crate::ErrorKind::Unavailable),
            ("fails", "echo 'QEMU emulator version 7.2.0'; exit 1", crate::ErrorKind::Unavailable),
            ("killed", "kill -9 $$", crate::ErrorKind::Unavailable),
            ("endless", "while :; do echo QEMU emulator version 7.2.0; done", crate::ErrorKind::Unavailable),
        ] {
            let program = dir.join(name);
            // By a program of its own: a file that this process has open for writing is none that it can run.
            let text = format!("#!/bin/sh\n{script}\n");
            let write = Tool::new(Path::new("/bin/sh")).args(["-c", "cat > \"$0\" && chmod 700 \"$0\""]).arg(&program);
            write.run_with(text.as_bytes()).await.unwrap();
            let error = qemu_version(&program).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {}", error.chain());
        }
        std::fs::remove_dir_all(&dir).unwrap();
        let garbage = qemu_version(Path::new("/bin/echo")).await.unwrap_err();
        assert_eq!(garbage.kind(), crate::ErrorKind::Unavailable, "{garbage:?}");
    }
}
