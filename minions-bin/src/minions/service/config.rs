//! `minions config`, and how every verb finds its configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minions_core::config::{self, Config, Environment, LogFormat};
use minions_core::error::{Error, ErrorKind};
use minions_core::types::ByteSize;
use serde_json::{Map, Value};

use crate::cli;
use crate::output::{Failure, Outcome, Output};
use crate::serve::service_config;

/// Where the configuration lies unless someone says otherwise.
pub const USUAL: &str = "/etc/minions/minions.toml";

/// Its name in a service's folder.
const IN_DIR: &str = "minions.toml";

pub fn run(output: &Output, verb: cli::Config, environment: &Environment) -> Outcome {
    let (typed, show) = match verb {
        cli::Config::Check { file } => (file, false),
        cli::Config::Show { file } => (file, true),
    };
    let path = typed.or_else(|| find(None, None, environment));
    // Without a file the service runs with the defaults, so that is what there is to show.
    let checked = path.as_deref().map_or_else(|| Ok(Config::default()), config::check);
    let config = match checked {
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
    if show && output.json {
        output.object(&said(&effective(&config)).into_iter().collect::<BTreeMap<_, _>>())?;
    } else if show {
        output.text(spell(&effective(&config)).trim_end())?;
    } else if output.json {
        output.object(&serde_json::json!({ "problems": [] }))?;
    } else {
        output.note(&match path {
            Some(path) => format!("{} is good", path.display()),
            None => format!("there is no {USUAL}; the service runs with its defaults, see `minions config show`"),
        });
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

/// A configuration that says itself what the service would otherwise choose: its quotas, defaults and what it keeps.
fn effective(config: &Config) -> Config {
    let service = service_config(config);
    let (quota, defaults, keep) = (service.quota, service.defaults, service.retention);
    Config {
        quota_vms: Some(quota.vms),
        quota_disk: Some(quota.disk),
        quota_memory: Some(quota.memory),
        default_image: defaults.image,
        default_cpus: Some(defaults.vcpus),
        default_memory: Some(defaults.memory),
        default_disk: Some(defaults.root),
        default_data_disk: Some(defaults.data),
        keep_events: Some(keep.events_for),
        keep_events_most: Some(keep.events_most),
        keep_operations: Some(keep.operations_for),
        keep_operations_most: Some(keep.operations_most),
        keep_keys: Some(keep.keys_for),
        ..config.clone()
    }
}

/// Everything that a configuration says, by section.
fn said(config: &Config) -> Vec<(&'static str, Map<String, Value>)> {
    let mut sections = Vec::new();
    let mut section = |name: &'static str, entries: Vec<(&'static str, Option<Value>)>| {
        let said = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        sections.push((name, said.collect()));
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| Value::from(path.display().to_string()));
    let address = |address: Option<SocketAddr>| address.map(|address| Value::from(address.to_string()));
    // In bytes where the text for people is rounded: it would mean another size.
    let size = |size: Option<ByteSize>| {
        let size = size?;
        let text = size.to_string();
        Some(Value::from(if text.parse().ok() == Some(size) { text } else { size.get().to_string() }))
    };
    let format = match config.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    section(
        "daemon",
        vec![
            ("dir", path(&config.dir)),
            ("backend", Some(config.backend.as_str().into())),
            ("drain_seconds", Some(config.drain.as_secs().into())),
        ],
    );
    section(
        "api",
        vec![
            ("socket", path(&config.socket)),
            ("listen", address(config.listen)),
            ("token_file", path(&config.token_file)),
            ("allow_plaintext", Some(config.allow_plaintext.into())),
            ("metrics_listen", address(config.metrics_listen)),
            ("max_connections", Some(config.max_connections.into())),
            ("max_streams", Some(config.max_streams.into())),
        ],
    );
    section(
        "quota",
        vec![
            ("vms", config.quota_vms.map(Value::from)),
            ("disk", size(config.quota_disk)),
            ("memory", size(config.quota_memory)),
        ],
    );
    section(
        "defaults",
        vec![
            ("image", config.default_image.clone().map(Value::from)),
            ("cpus", config.default_cpus.map(|cpus| cpus.0.into())),
            ("memory", size(config.default_memory)),
            ("disk", size(config.default_disk)),
            ("data_disk", size(config.default_data_disk)),
        ],
    );
    let texts = |list: Vec<String>| Value::from(list);
    let network = &config.network;
    section(
        "network",
        vec![
            ("kind", Some(network.kind.as_str().into())),
            ("subnet", network.subnet.map(|subnet| subnet.to_string().into())),
            ("bridge", network.bridge.clone().map(Value::from)),
            ("bridges", network.bridges.map(Value::from)),
            ("resolvers", network.resolvers.as_ref().map(|list| texts(list.iter().map(ToString::to_string).collect()))),
            ("open", network.open.as_ref().map(|list| texts(list.iter().map(ToString::to_string).collect()))),
        ],
    );
    let hours = |kept: Option<std::time::Duration>| kept.map(|kept| Value::from(kept.as_secs() / 3_600));
    section(
        "keep",
        vec![
            ("events_hours", hours(config.keep_events)),
            ("events_most", config.keep_events_most.map(Value::from)),
            ("operations_hours", hours(config.keep_operations)),
            ("operations_most", config.keep_operations_most.map(Value::from)),
            ("keys_hours", hours(config.keep_keys)),
        ],
    );
    section("log", vec![("filter", Some(config.log_filter.clone().into())), ("format", Some(format.into()))]);
    sections
}

/// A configuration as a file that means the same. JSON's strings, numbers and words are TOML's, too.
fn spell(config: &Config) -> String {
    let section = |(name, entries): (&str, Map<String, Value>)| {
        let lines: String = entries.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("[{name}]\n{lines}")
    };
    said(config).into_iter().map(section).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_means_the_same_when_it_is_read() {
        let config = Config {
            dir: Some("/srv/\"m\"\n\u{1b}".into()),
            quota_memory: Some(ByteSize::gib(3)),
            default_cpus: Some(minions_core::types::Vcpus(4)),
            keep_events: Some(std::time::Duration::from_secs(48 * 3_600)),
            keep_operations_most: Some(5_000),
            metrics_listen: "127.0.0.1:9".parse().ok(),
            network: minions_core::config::NetworkSettings {
                kind: minions_core::config::NetworkKind::Bridge,
                bridges: Some(2),
                resolvers: Some(vec![[9, 9, 9, 9].into(), [1, 1, 1, 1].into()]),
                open: Some(Vec::new()),
                ..Default::default()
            },
            ..Config::default()
        };
        let path = std::env::temp_dir().join(format!("minions-config-{}.toml", std::process::id()));
        for config in [effective(&config), config, effective(&Config::default())] {
            std::fs::write(&path, spell(&config)).unwrap();
            let read = config::check(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(read, config);
        }
    }

    #[test]
    fn what_the_service_chooses_itself_is_shown_and_what_is_written_stays() {
        let config = Config { quota_vms: Some(5), ..Config::default() };
        let shown: BTreeMap<_, _> = said(&effective(&config)).into_iter().collect();
        assert_eq!(shown["quota"]["vms"], 5);
        for (section, keys) in [("quota", 3), ("defaults", 4), ("keep", 5)] {
            assert_eq!(shown[section].len(), keys, "{section}: {:?}", shown[section]);
        }
        assert_eq!(service_config(&effective(&config)), service_config(&config), "and it means the same");
    }
}
