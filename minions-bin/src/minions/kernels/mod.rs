//! `minions kernel`: what images are made with, on this machine. No service is asked.

use std::path::Path;
use std::process::ExitCode;

use minions_core::config::Environment;
use minions_core::error::{Error, Result};
use minions_core::image::{
    DEBIAN_CLOUD, ImageTools, KERNEL_CONFIG, KernelEntry, KernelInfo, KernelSource, Kernels, MissingOption,
    check_kernel, missing_options,
};

use crate::cli::{Global, Kernel};
use crate::follow::Progress;
use crate::images::Place;
use crate::output::{Outcome, Output};

pub async fn run(output: &Output, verb: Kernel, global: &Global, environment: &Environment) -> Outcome {
    let kernels = || Ok::<_, Error>(Place::new(global, environment)?.kernels());
    match verb {
        Kernel::List => list(output, &kernels()?).await,
        Kernel::Check { file, config } => check(output, &file, config.as_deref()).await,
        Kernel::Config => {
            if output.json {
                output.object(&serde_json::json!({ "config": KERNEL_CONFIG }))?;
            } else {
                output.text(KERNEL_CONFIG.trim_end())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Kernel::Fetch => fetch(output, &kernels()?).await,
        Kernel::Import { name, kernel, modules, config } => {
            if let Some(config) = &config {
                refuse(&lacks(config).await?)?;
            }
            let entry = kernels()?.import(&name, &kernel, &modules, &ImageTools::find()).await?;
            told(output, &entry)
        }
        Kernel::Delete { name } => {
            kernels()?.delete(&name).await?;
            if output.json {
                output.object(&serde_json::json!({ "deleted": name }))?;
            } else {
                output.note(&format!("{name} is gone"));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(output: &Output, kernels: &Kernels) -> Outcome {
    let list = kernels.list().await?;
    if output.json {
        output.object(&serde_json::json!({ "kernels": list }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |entry: &KernelEntry| {
        let source = match entry.source {
            KernelSource::Debian => "linux-image-cloud-amd64",
            _ => "imported",
        };
        let format = entry.info.as_ref().map(|info| info.format.to_string());
        let version = entry.version.clone().unwrap_or_else(|| "not fetched yet".to_owned());
        vec![entry.name.clone(), version, format.unwrap_or_default(), source.to_owned()]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    output.table(&["NAME", "VERSION", "FORMAT", "FROM"], &rows, &["FROM", "FORMAT"])?;
    Ok(ExitCode::SUCCESS)
}

async fn lacks(config: &Path) -> Result<Vec<MissingOption>> {
    /// The largest configuration is a third of a MiB.
    const MOST: u64 = 4 << 20;
    let unreadable = |error| {
        Error::invalid("config", format!("{} cannot be read as a kernel's configuration", config.display()))
            .with_source(error)
    };
    let meta = tokio::fs::metadata(config).await.map_err(unreadable)?;
    if !meta.is_file() || meta.len() > MOST {
        return Err(Error::invalid("config", format!("{} is no kernel's configuration", config.display())));
    }
    let text = tokio::fs::read_to_string(config).await.map_err(unreadable)?;
    Ok(missing_options(&text))
}

fn spelled(missing: &MissingOption) -> String {
    let state = if missing.is_module { " (a module is too late)" } else { "" };
    format!("{}=y{state}: {}", missing.option, missing.why)
}

fn refuse(missing: &[MissingOption]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = missing.iter().map(spelled).collect();
    let message = format!("the kernel lacks {}; see minions kernel config", list.join("; "));
    Err(Error::invalid("config", message).with_reason("kernel_invalid"))
}

async fn check(output: &Output, file: &Path, config: Option<&Path>) -> Outcome {
    let info = check_kernel(file).await?;
    let missing = match config {
        Some(config) => Some(lacks(config).await?),
        None => None,
    };
    if output.json {
        output.object(&serde_json::json!({ "info": info, "missing": missing }))?;
    } else {
        let KernelInfo { format, version, .. } = &info;
        let version = version.as_deref().unwrap_or("of a version that it does not tell");
        output.text(&format!("{format}, {version}: Cloud Hypervisor and QEMU start it directly"))?;
        for missing in missing.iter().flatten() {
            output.text(&format!("lacks {}", spelled(missing)))?;
        }
        if missing.as_ref().is_some_and(Vec::is_empty) {
            output.text("its configuration has all that is needed")?;
        }
    }
    if missing.is_some_and(|missing| !missing.is_empty()) {
        // What is missing is data; that something is, an answer.
        return Ok(ExitCode::from(2));
    }
    Ok(ExitCode::SUCCESS)
}

async fn fetch(output: &Output, kernels: &Kernels) -> Outcome {
    let progress = Progress::new(output, "fetching the kernel");
    kernels.find(DEBIAN_CLOUD, &ImageTools::find()).await?;
    progress.clear();
    let list = kernels.list().await?;
    match list.into_iter().find(|entry| entry.name == DEBIAN_CLOUD) {
        Some(entry) => told(output, &entry),
        None => Err(Error::internal("a kernel that was fetched is not there").into()),
    }
}

fn told(output: &Output, entry: &KernelEntry) -> Outcome {
    if output.json {
        output.object(entry)?;
    } else {
        let version = entry.version.as_deref().unwrap_or_default();
        output.note(&format!("{} ({version}) is there; try: minions image build busybox --kernel {0}", entry.name));
    }
    Ok(ExitCode::SUCCESS)
}
