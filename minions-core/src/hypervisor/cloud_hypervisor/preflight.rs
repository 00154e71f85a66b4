//! Whether this host can run VMs by Cloud Hypervisor.

use std::path::{Path, PathBuf};

use super::{CloudHypervisorConfig, places};
use crate::error::Result;
use crate::host::command::CommandError;
use crate::host::jail::Means;
use crate::host::preflight::{Finding, disk_space, open_files, processes, socket_paths};
use crate::host::version;
use crate::hypervisor::error::MonitorError;
use crate::types::ByteSize;

const FIX: &str =
    "put the release's static program to /usr/local/bin/cloud-hypervisor, or say where it is in CLOUD_HYPERVISOR";

/// The oldest whose control API and serial sockets are those that we speak.
const OLDEST: (u32, u32) = (52, 0);
const OLDEST_TEXT: &str = "52.0";

/// The version of Cloud Hypervisor.
pub(super) async fn version(program: &Path) -> Result<String> {
    match version::ask(program).await {
        Ok(text) => match version::first_in(&text).filter(|_| text.contains("cloud-hypervisor")) {
            Some(version) if version::at_least(version, OLDEST) => Ok(version.to_owned()),
            Some(version) => Err(MonitorError::Old {
                program: "Cloud Hypervisor",
                have: version.to_owned(),
                least: OLDEST_TEXT.to_owned(),
            }
            .into()),
            None => {
                Err(CommandError::Garbage { program: program.to_owned(), answer: text.chars().take(80).collect() }
                    .into())
            }
        },
        Err(CommandError::Start { .. }) => Err(MonitorError::Program { program: "Cloud Hypervisor", fix: FIX }.into()),
        Err(error) => Err(error.into()),
    }
}

/// Looks at all that this adapter needs, and says what is missing and how to mend it. Starts one program for its version,
/// and changes nothing.
pub async fn preflight(config: &CloudHypervisorConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match version(&config.program).await {
        Ok(version) => Finding::ok("cloud-hypervisor", format!("version {version}")),
        Err(error) => Finding::fail("cloud-hypervisor", error.chain(), FIX),
    });
    findings.extend(Means::of_host().findings());
    findings.push(clock());
    findings.push(socket_paths(&config.run_dir, places::LONGEST));
    let there: PathBuf = config.run_dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned();
    findings.push(disk_space(&there, ByteSize::gib(2)));
    findings.push(open_files(4096));
    findings.push(processes(4096));
    findings
}

/// Whether a monitor can read the time without a system call, which its filter of them kills it for.
fn clock() -> Finding {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    judge_clock(std::fs::read_to_string(path).unwrap_or_default().trim())
}

fn judge_clock(source: &str) -> Finding {
    match source {
        "hpet" | "acpi_pm" | "jiffies" => Finding::fail(
            "clocksource",
            format!("this host's clock is {source}, for which a monitor needs a system call that its filter forbids"),
            "boot the host with tsc=reliable clocksource=tsc",
        ),
        source => Finding::ok("clocksource", source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::host::command::Tool;
    use crate::host::preflight::FindingStatus;

    #[test]
    fn bad_28_a_clock_that_would_kill_monitors_is_a_failure_with_a_way_out() {
        let finding = judge_clock("hpet");
        assert!(finding.status == FindingStatus::Fail && finding.fix.is_some_and(|fix| fix.contains("tsc")));
        assert_eq!(judge_clock("tsc").status, FindingStatus::Ok);
    }

    #[tokio::test]
    async fn bad_27_a_program_that_is_absent_old_or_talks_garbage_is_told() {
        let absent = version(Path::new("/nonexistent/cloud-hypervisor")).await.unwrap_err();
        assert_eq!((absent.kind(), absent.reason()), (ErrorKind::Unsupported, Some("host_misconfigured")));
        let dir = tempfile::tempdir().unwrap();
        for (name, script, kind) in [
            ("old", "echo 'cloud-hypervisor v51.1.0'", ErrorKind::Unsupported),
            ("foreign", "echo 'nube v53.0.0'", ErrorKind::Unavailable),
            ("empty", "true", ErrorKind::Unavailable),
            ("fails", "echo 'cloud-hypervisor v53.0.0'; exit 1", ErrorKind::Unavailable),
            ("killed", "kill -9 $$", ErrorKind::Unavailable),
            ("endless", "while :; do echo cloud-hypervisor v53.0.0; done", ErrorKind::Unavailable),
        ] {
            let program = dir.path().join(name);
            // By a program of its own: a file that this process has open for writing is none that it can run.
            let text = format!("#!/bin/sh\n{script}\n");
            let write = Tool::new(Path::new("/bin/sh")).args(["-c", "cat > \"$0\" && chmod 700 \"$0\""]).arg(&program);
            write.run_with(text.as_bytes()).await.unwrap();
            let error = version(&program).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {}", error.chain());
        }
    }
}
