//! `minions doctor`: the same look that the daemon takes before it starts.

use std::process::ExitCode;

use minions_core::config::Environment;
use minions_core::host::preflight::{Finding, FindingStatus};

use crate::cli::Global;
use crate::output::{Outcome, Output};
use crate::place::DEFAULT_DIR;
use crate::serve::{Folder, examine};
use crate::service::config::{find, load};

pub async fn run(output: &Output, global: &Global, environment: &Environment) -> Outcome {
    let config = load(find(None, global.dir.as_deref(), environment).as_deref())?;
    let dir = global.dir.clone().or_else(|| environment.dir.clone()).or_else(|| config.dir.clone());
    let dir = dir.unwrap_or_else(|| DEFAULT_DIR.into());
    let findings = examine(&Folder::at(&dir)?.with(environment), &config).await?;
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
        return Ok(ExitCode::from(minions_core::ErrorKind::Unavailable.exit_code()));
    }
    Ok(ExitCode::SUCCESS)
}

fn spell(finding: &Finding) -> String {
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
