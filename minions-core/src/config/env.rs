//! The environment, read once, here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

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
    /// `CLOUD_HYPERVISOR`: its program, where it does not lie where programs usually do.
    pub cloud_hypervisor: Option<PathBuf>,
    /// `NOTIFY_SOCKET`: where whoever started the service wants to hear that it is ready.
    pub notify_socket: Option<String>,
    /// `WATCHDOG_USEC`: how long it may be silent before it is taken for dead.
    pub watchdog: Option<Duration>,
    /// `SOURCE_DATE_EPOCH`: how new a file of an image may be, in seconds; as everybody spells it.
    pub source_date_epoch: Option<String>,
    /// `NO_COLOR`: whether colours are unwanted.
    pub no_color: bool,
    /// `TERM`: the caller's terminal, for programs in guests.
    pub term: Option<String>,
}

impl Environment {
    /// Reads the process's environment. An empty variable counts as absent.
    ///
    /// # Errors
    /// `InvalidArgument`, with the variable as its field, where one of ours is not UTF-8: nothing is what its author meant.
    pub fn read() -> Result<Self> {
        Self::from(variable)
    }

    fn from(variable: impl Fn(&'static str) -> Option<OsString>) -> Result<Self> {
        let text = |name| {
            let text = variable(name).map(OsString::into_string).transpose();
            text.map_err(|_| Error::invalid(name, "the environment variable is not UTF-8; write it anew, or unset it"))
        };
        let path = |name| text(name).map(|text| text.map(PathBuf::from));
        // Not ours: they may be whatever they are.
        let home = |name| variable(name).map(PathBuf::from);
        Ok(Self {
            dir: path("MINIONS_DIR")?,
            server: text("MINIONS_SERVER")?,
            token_file: path("MINIONS_TOKEN_FILE")?,
            config: path("MINIONS_CONFIG")?,
            context: text("MINIONS_CONTEXT")?,
            config_home: home("XDG_CONFIG_HOME")
                .or_else(|| home("HOME").map(|home| home.join(".config")))
                .filter(|home| home.is_absolute()),
            log: text("MINIONS_LOG")?,
            cloud_hypervisor: path("CLOUD_HYPERVISOR")?,
            notify_socket: text("NOTIFY_SOCKET")?,
            // Whatever is no number of microseconds asks for nothing.
            watchdog: text("WATCHDOG_USEC")?
                .and_then(|text| text.parse().ok())
                .filter(|micros| *micros > 0)
                .map(Duration::from_micros),
            source_date_epoch: text("SOURCE_DATE_EPOCH")?,
            no_color: variable("NO_COLOR").is_some(),
            // Not ours: a terminal of another name is none that a guest knows.
            term: variable("TERM").and_then(|value| value.into_string().ok()),
        })
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
        let environment = Environment::from(|name| (name != "NO_COLOR").then(|| OsString::from(name))).unwrap();
        assert_eq!(environment.dir, Some(PathBuf::from("MINIONS_DIR")));
        assert_eq!(environment.server.as_deref(), Some("MINIONS_SERVER"));
        assert_eq!((environment.notify_socket.as_deref(), environment.watchdog), (Some("NOTIFY_SOCKET"), None));
        assert!(!environment.no_color);
        let watched = Environment::from(|name| (name == "WATCHDOG_USEC").then(|| OsString::from("2000000"))).unwrap();
        assert_eq!(watched.watchdog, Some(Duration::from_secs(2)));
    }

    #[test]
    fn bad_12_a_variable_of_ours_that_is_no_text_is_refused_by_its_name() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || Some(OsString::from_vec(b"/tmp/\xff".to_vec()));
        for ours in
            ["MINIONS_DIR", "MINIONS_SERVER", "MINIONS_TOKEN_FILE", "MINIONS_CONFIG", "MINIONS_CONTEXT", "MINIONS_LOG"]
        {
            let error = Environment::from(|name| (name == ours).then(odd).flatten()).expect_err(ours);
            assert_eq!((error.kind(), error.field()), (crate::error::ErrorKind::InvalidArgument, Some(ours)));
        }
        let environment = Environment::from(|name| (name == "TERM" || name == "NO_COLOR").then(odd).flatten()).unwrap();
        assert_eq!((environment.term, environment.no_color), (None, true));
    }
}
