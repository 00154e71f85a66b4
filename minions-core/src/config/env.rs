//! The environment, read once, here.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `MINIONS_DIR`: where a service keeps everything.
    pub dir: Option<PathBuf>,
    /// `MINIONS_SERVER`: where the API is.
    pub server: Option<String>,
    /// `MINIONS_TOKEN_FILE`: the file with the token for it.
    pub token_file: Option<PathBuf>,
    /// `MINIONS_CONFIG`: the configuration file.
    pub config: Option<PathBuf>,
    /// `MINIONS_CONTEXT`: the name of the service to talk to.
    pub context: Option<String>,
    /// Where a person's own configuration lies: `XDG_CONFIG_HOME`, else `.config` in `HOME`. Only an absolute path counts.
    pub config_home: Option<PathBuf>,
    /// `MINIONS_LOG`: what is logged.
    pub log: Option<String>,
    /// `NO_COLOR`: whether colours are unwanted.
    pub no_color: bool,
    /// `TERM`: the caller's terminal, for programs in guests.
    pub term: Option<String>,
}

impl Environment {
    /// Reads the process's environment. An empty variable counts as absent.
    #[must_use]
    pub fn read() -> Self {
        Self::from(variable)
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let path = |name| variable(name).map(PathBuf::from);
        Self {
            dir: path("MINIONS_DIR"),
            server: text("MINIONS_SERVER"),
            token_file: path("MINIONS_TOKEN_FILE"),
            config: path("MINIONS_CONFIG"),
            context: text("MINIONS_CONTEXT"),
            config_home: path("XDG_CONFIG_HOME")
                .or_else(|| path("HOME").map(|home| home.join(".config")))
                .filter(|home| home.is_absolute()),
            log: text("MINIONS_LOG"),
            no_color: variable("NO_COLOR").is_some(),
            term: text("TERM"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_say_what_they_are_named_after() {
        let environment = Environment::from(|name| (name != "NO_COLOR").then(|| OsString::from(name)));
        assert_eq!(environment.dir, Some(PathBuf::from("MINIONS_DIR")));
        assert_eq!(environment.server.as_deref(), Some("MINIONS_SERVER"));
        assert!(!environment.no_color);
    }
}
