//! `minions doctor`: the same look that the daemon takes before it starts, and one at the machine itself.

use std::path::Path;
use std::process::ExitCode;

use minions_core::config::{Backend, Config, Environment};
use minions_core::error::{Error, ErrorKind};
use minions_core::host::machine::Machine;
use minions_core::host::preflight::{Finding, FindingStatus};
use minions_core::setup::{self, Step};
use minions_core::types::FileDigest;

use super::config::{find, load};
use super::init;
use crate::cli::{Doctor, Global};
use crate::output::{Failure, Outcome, Output};
use crate::serve::{UIDS, examine, folder};

pub async fn run(output: &Output, global: &Global, args: &Doctor, environment: &Environment) -> Outcome {
    let written = find(None, global.dir.as_deref(), environment);
    let config = load(written.as_deref())?;
    if args.fix {
        fix(output, global, environment, &config).await?;
    }
    let folder = folder(global, environment, &config)?;
    let mut findings = examine(&folder, &config).await?;
    let monitors =
        [("cloud_hypervisor_digest", folder.cloud_hypervisor()), ("qemu_digest", folder.program("qemu-system-x86_64"))];
    for (id, program) in monitors {
        let digest = tokio::task::spawn_blocking(move || digest(id, &program)).await;
        findings.extend(digest.map_err(|error| Error::internal("a look ended early").with_source(error))?);
    }
    findings.extend(Machine::default().findings(UIDS));
    for finding in &findings {
        if output.json {
            output.object(finding)?;
        } else {
            output.text(&spell(finding))?;
        }
    }
    let failed = findings.iter().filter(|finding| finding.status == FindingStatus::Fail).count();
    if failed > 0 {
        output.note("this machine cannot run real VMs yet; simulated ones it can: minions serve --backend memory");
        return Ok(ExitCode::from(ErrorKind::Unavailable.exit_code()));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a monitor's program is, byte by byte, for whoever compares it with what was published; nothing where there is none.
fn digest(id: &str, program: &Path) -> Option<Finding> {
    match std::fs::read(program) {
        Ok(bytes) => {
            let digest = FileDigest::of(&bytes);
            Some(Finding::ok(id, format!("the SHA-256 of {} is {}", program.display(), digest.sha256)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let fix = format!("ls -l {}", program.display());
            Some(Finding::warn(id, format!("{} cannot be read: {error}", program.display()), fix))
        }
    }
}

/// Does those steps of `init` that repair; what would make something new is left to `init`.
async fn fix(output: &Output, global: &Global, environment: &Environment, config: &Config) -> Result<(), Failure> {
    if config.backend == Backend::Memory {
        output.note("simulated VMs need nothing of a machine");
        return Ok(());
    }
    let written = find(None, global.dir.as_deref(), environment).filter(|path| path.exists());
    let wish = init::of(global, environment, config, written)?;
    let found = setup::look(&wish).await?;
    if !found.root {
        return Err(Error::new(ErrorKind::Denied, "a machine is mended by root; run: sudo minions doctor --fix").into());
    }
    let steps: Vec<Step> = setup::plan(&wish, &found).steps.into_iter().filter(Step::is_repair).collect();
    if steps.is_empty() {
        output.note("there is nothing that --fix mends");
        return Ok(());
    }
    for told in steps.iter().map(Step::tell) {
        output.note(&format!("will {}: {} (undo: {})", told.what, told.why, told.undo));
    }
    init::carry_out(output, &wish, &steps).await
}

pub fn spell(finding: &Finding) -> String {
    let status = match finding.status {
        FindingStatus::Ok => "ok",
        FindingStatus::Warn => "warn",
        FindingStatus::Fail => "FAIL",
    };
    let mut text = format!("{status:4}  {:20}  {}", finding.id, finding.message);
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("\n      {:20}  fix: {fix}", ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctl_10_1_the_digest_of_a_monitor_is_told_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("cloud-hypervisor");
        assert_eq!(digest("x", &program), None);
        std::fs::write(&program, b"abc").unwrap();
        let told = digest("x", &program).unwrap();
        assert_eq!((told.id.as_str(), told.status), ("x", FindingStatus::Ok));
        // FIPS 180-2, appendix B.1.
        assert!(told.message.contains("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "{told:?}");
        assert_eq!(digest("x", dir.path()).map(|told| told.status), Some(FindingStatus::Warn));
    }
}
