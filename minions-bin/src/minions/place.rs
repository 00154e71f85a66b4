//! Where the service is that a verb talks to.

use std::path::{Path, PathBuf};

use minions_core::config::Environment;
use minions_core::error::{Error, Result};
use minions_core::http::client::Endpoint;

use crate::cli::Global;
use crate::contexts::Contexts;

/// Where a service keeps everything unless someone says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/minions";

/// The API's socket in a service's folder.
pub const SOCKET: &str = "minions.sock";

/// A service, and the file with the token for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub endpoint: Endpoint,
    pub token_file: Option<PathBuf>,
}

/// What was typed, then what the environment says, then the context in use, then the usual place. A context's token goes
/// to its own server only; one that was named apart goes wherever the caller says.
pub fn find(global: &Global, environment: &Environment) -> Result<Place> {
    let token_file = global.token_file.clone().or_else(|| environment.token_file.clone());
    let at = |endpoint| Ok(Place { endpoint, token_file: token_file.clone() });
    let by_context = |name: &str| {
        let context = Contexts::read(environment)?.named(name)?;
        Ok(Place { endpoint: context.server, token_file: token_file.clone().or(context.token_file) })
    };
    match (&global.server, &global.dir, &global.context) {
        (Some(url), None, None) => return at(url.parse()?),
        (None, Some(dir), None) => return at(in_dir(dir)?),
        (None, None, Some(name)) => return by_context(name),
        (None, None, None) => {}
        _ => {
            return Err(Error::invalid(
                "server",
                "--server, --dir and --context all say where the service is: give one",
            ));
        }
    }
    match (&environment.server, &environment.dir, &environment.context) {
        (Some(url), ..) => at(url.parse()?),
        (None, Some(dir), _) => at(in_dir(dir)?),
        (None, None, Some(name)) => by_context(name),
        (None, None, None) => match Contexts::read(environment)?.current() {
            Some(name) => by_context(name),
            None => at(Endpoint::Unix(Path::new(DEFAULT_DIR).join(SOCKET))),
        },
    }
}

/// The service in a folder.
pub fn in_dir(dir: &Path) -> Result<Endpoint> {
    std::path::absolute(dir.join(SOCKET))
        .map(Endpoint::Unix)
        .map_err(|error| Error::invalid("dir", format!("{} cannot be found", dir.display())).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::Context;
    use clap::Parser;

    fn typed(words: &[&str]) -> Global {
        crate::cli::Cli::try_parse_from([&["minions", "list"], words].concat()).unwrap().global
    }

    fn place(server: &str, token_file: Option<&str>) -> Place {
        Place { endpoint: server.parse().unwrap(), token_file: token_file.map(PathBuf::from) }
    }

    #[test]
    fn what_was_typed_goes_before_the_environment_and_that_before_the_context_in_use() {
        let home = tempfile::tempdir().unwrap();
        let alone = Environment { config_home: Some(home.path().to_owned()), ..Environment::default() };
        let usual = place("unix:///var/lib/minions/minions.sock", None);
        assert_eq!(find(&typed(&[]), &alone).unwrap(), usual);
        let mut contexts = Contexts::read(&alone).unwrap();
        for (name, server) in [("home", "http://h:1"), ("work", "http://w:1")] {
            let context = Context { server: server.parse().unwrap(), token_file: Some(format!("/{name}").into()) };
            contexts.add(name, &context).unwrap();
        }
        let environment = |server: Option<&str>, dir: Option<&str>, context: Option<&str>| Environment {
            server: server.map(str::to_owned),
            dir: dir.map(PathBuf::from),
            context: context.map(str::to_owned),
            ..alone.clone()
        };
        let all = environment(Some("http://e:1"), Some("/d"), Some("work"));
        for (words, environment, want) in [
            (&[][..], &alone, place("http://h:1", Some("/home"))),
            (&["--context", "work"], &alone, place("http://w:1", Some("/work"))),
            (&["--context", "work", "--token-file", "/t"], &alone, place("http://w:1", Some("/t"))),
            // The token of a context goes nowhere else.
            (&["--server", "http://s:1"], &alone, place("http://s:1", None)),
            (&["--dir", "/x"], &alone, place("unix:///x/minions.sock", None)),
            (&[], &all, place("http://e:1", None)),
            (&[], &environment(None, Some("/d"), Some("work")), place("unix:///d/minions.sock", None)),
            (&[], &environment(None, None, Some("work")), place("http://w:1", Some("/work"))),
            (&["--context", "home"], &all, place("http://h:1", Some("/home"))),
        ] {
            assert_eq!(find(&typed(words), environment).unwrap(), want, "{words:?}");
        }
        for words in [&["--server", "http://s:1", "--context", "home"][..], &["--dir", "/x", "--context", "home"]] {
            assert_eq!(find(&typed(words), &alone).unwrap_err().field(), Some("server"), "{words:?}");
        }
        let error = find(&typed(&["--context", "none"]), &alone).unwrap_err();
        assert!(error.to_string().contains("home, work"), "{error}");
        // A file that nobody asks is in nobody's way.
        std::fs::write(home.path().join("minions/contexts.toml"), "nonsense").unwrap();
        assert_eq!(find(&typed(&["--server", "http://s:1"]), &alone).unwrap(), place("http://s:1", None));
        assert!(find(&typed(&[]), &alone).is_err());
    }
}
