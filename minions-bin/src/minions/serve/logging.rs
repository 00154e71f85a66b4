//! The daemon's log, on stderr.

use std::io::IsTerminal;

use minions_core::config::{Config, LogFormat};
use minions_core::error::{Error, Result};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub fn start(config: &Config, asked: Option<&str>) -> Result<()> {
    let text = asked.unwrap_or(&config.log_filter);
    let filter: Targets = text.parse().map_err(|error| {
        Error::invalid("log.filter", format!("{text:?} is no filter such as info or minions_core=debug"))
            .with_source(error)
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.log_format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours)).try_init()
        }
        LogFormat::Json => {
            registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json()).try_init()
        }
    };
    started.map_err(|error| Error::internal("the log was started twice").with_source(error))
}
