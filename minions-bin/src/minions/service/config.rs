//! `minions config`, and how every verb finds its configuration.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minions_core::config::{self, Config, Environment, LogFormat};
use minions_core::error::{Error, ErrorKind};

use crate::cli;
use crate::output::{Failure, Outcome, Output};

/// Where the configuration lies unless someone says otherwise.
const USUAL: &str = "/etc/minions/minions.toml";

/// Its name in a service's folder.
const IN_DIR: &str = "minions.toml";

pub fn run(output: &Output, verb: cli::Config, environment: &Environment) -> Outcome {
    let (typed, show) = match verb {
        cli::Config::Check { file } => (file, false),
        cli::Config::Show { file } => (file, true),
    };
    let path = typed.or_else(|| find(None, None, environment)).unwrap_or_else(|| USUAL.into());
    let config = match config::check(&path) {
        Ok(config) => config,
        Err(problems) => {
            if output.json {
                let list: Vec<_> = problems
                    .0
                    .iter()
                    .map(|problem| {
                        serde_json::json!({ "file": problem.file, "line": problem.line, "key": problem.key, "message": problem.message })
                    })
                    .collect();
                output.object(&serde_json::json!({ "problems": list }))?;
            }
            return Err(Failure::of_config(Error::new(ErrorKind::InvalidArgument, problems.to_string())));
        }
    };
    if show {
        output.text(spell(&config).trim_end())?;
    } else if output.json {
        output.object(&serde_json::json!({ "problems": [] }))?;
    } else {
        output.note(&format!("{} is good", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration file: what was typed, what the environment says, the one in the folder, the usual one.
pub fn find(typed: Option<&Path>, dir: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let named = typed.map(Path::to_owned).or_else(|| environment.config.clone());
    let there = |path: PathBuf| path.exists().then_some(path);
    named.or_else(|| match dir.or(environment.dir.as_deref()) {
        Some(dir) => there(dir.join(IN_DIR)),
        None => there(USUAL.into()),
    })
}

/// Reads it, or the defaults where there is none.
pub fn load(path: Option<&Path>) -> Result<Config, Failure> {
    let Some(path) = path else { return Ok(Config::default()) };
    config::check(path)
        .map_err(|problems| Failure::of_config(Error::new(ErrorKind::InvalidArgument, problems.to_string())))
}

/// The text of a file with secrets, which nobody but its owner may read.
pub fn private_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if meta.mode() & 0o077 != 0 {
        return Err(format!("{shown} holds secrets and others may read it; run: chmod 600 {shown}"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {error}"))
}

/// A configuration as a file that means the same.
fn spell(config: &Config) -> String {
    let mut text = String::new();
    let mut section = |name: &str, lines: Vec<Option<(&str, String)>>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{name}]");
        for (key, value) in lines.into_iter().flatten() {
            let _ = writeln!(text, "{key} = {value}");
        }
        let _ = writeln!(text);
    };
    let quoted = |text: &dyn ToString| format!("{:?}", text.to_string());
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.display()));
    section(
        "daemon",
        vec![
            path(&config.dir).map(|dir| ("dir", dir)),
            Some(("backend", quoted(&config.backend.as_str()))),
            Some(("drain_seconds", config.drain.as_secs().to_string())),
        ],
    );
    section(
        "api",
        vec![
            path(&config.socket).map(|socket| ("socket", socket)),
            config.listen.map(|listen| ("listen", quoted(&listen))),
            path(&config.token_file).map(|file| ("token_file", file)),
            Some(("allow_plaintext", config.allow_plaintext.to_string())),
            config.metrics_listen.map(|listen| ("metrics_listen", quoted(&listen))),
            Some(("max_connections", config.max_connections.to_string())),
            Some(("max_streams", config.max_streams.to_string())),
        ],
    );
    section(
        "quota",
        vec![
            config.quota_vms.map(|vms| ("vms", vms.to_string())),
            config.quota_disk.map(|disk| ("disk", quoted(&disk.get()))),
            config.quota_memory.map(|memory| ("memory", quoted(&memory.get()))),
        ],
    );
    section(
        "defaults",
        vec![
            config.default_image.as_ref().map(|image| ("image", quoted(image))),
            config.default_cpus.map(|cpus| ("cpus", cpus.to_string())),
            config.default_memory.map(|memory| ("memory", quoted(&memory.get()))),
            config.default_disk.map(|disk| ("disk", quoted(&disk.get()))),
            config.default_data_disk.map(|disk| ("data_disk", quoted(&disk.get()))),
        ],
    );
    let hours = |kept: Option<std::time::Duration>| kept.map(|kept| (kept.as_secs() / 3_600).to_string());
    section(
        "keep",
        vec![
            hours(config.keep_events).map(|kept| ("events_hours", kept)),
            config.keep_events_most.map(|most| ("events_most", most.to_string())),
            hours(config.keep_operations).map(|kept| ("operations_hours", kept)),
            config.keep_operations_most.map(|most| ("operations_most", most.to_string())),
            hours(config.keep_keys).map(|kept| ("keys_hours", kept)),
        ],
    );
    let format = match config.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    section("log", vec![Some(("filter", quoted(&config.log_filter))), Some(("format", quoted(&format)))]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_means_the_same_when_it_is_read() {
        let config = Config {
            dir: Some("/srv/m".into()),
            quota_memory: Some(minions_core::types::ByteSize::gib(3)),
            default_cpus: Some(minions_core::types::Vcpus(4)),
            keep_events: Some(std::time::Duration::from_secs(48 * 3_600)),
            keep_operations_most: Some(5_000),
            metrics_listen: "127.0.0.1:9".parse().ok(),
            ..Config::default()
        };
        let path = std::env::temp_dir().join(format!("minions-config-{}.toml", std::process::id()));
        std::fs::write(&path, spell(&config)).unwrap();
        let read = config::check(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, config);
    }
}
