//! The services that a person knows by name: a small file of their own, `contexts.toml`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use minions_core::config::Environment;
use minions_core::error::{Error, ErrorKind, Result};
use minions_core::host::files;
use minions_core::http::client::Endpoint;
use serde::{Deserialize, Serialize};

/// Most bytes of the file: a thousand services.
const MAX: u64 = 256 << 10;

/// A service that has a name here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub server: Endpoint,
    pub token_file: Option<PathBuf>,
}

/// As it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, WrittenContext>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenContext {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

/// All of them, and which is in use.
#[derive(Clone, Debug)]
pub struct Contexts {
    path: Option<PathBuf>,
    written: Written,
}

impl Contexts {
    /// Reads the file; none is the same as an empty one.
    pub fn read(environment: &Environment) -> Result<Self> {
        let path = environment.config_home.as_ref().map(|home| home.join("minions/contexts.toml"));
        let written = path.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { path, written })
    }

    /// The one that is meant where nobody says otherwise.
    pub fn current(&self) -> Option<&str> {
        self.written.current.as_deref()
    }

    /// Every name, with what is behind it.
    pub fn all(&self) -> impl Iterator<Item = (&str, Result<Context>)> {
        self.written.contexts.keys().map(|name| (name.as_str(), self.named(name)))
    }

    /// One of them.
    pub fn named(&self, name: &str) -> Result<Context> {
        let Some(context) = self.written.contexts.get(name) else { return Err(self.unknown(name)) };
        let server =
            context.server.parse().map_err(|error: Error| error.with_field(format!("contexts.{name}.server")))?;
        Ok(Context { server, token_file: context.token_file.clone() })
    }

    /// Adds one, or says anew where it is. The first one is in use from then on.
    pub fn add(&mut self, name: &str, context: &Context) -> Result<()> {
        valid(name)?;
        if self.written.contexts.is_empty() {
            self.written.current = Some(name.to_owned());
        }
        let server = context.server.to_string();
        let written = WrittenContext { server, token_file: context.token_file.clone() };
        self.written.contexts.insert(name.to_owned(), written);
        self.write()
    }

    /// Uses one from now on; `None` for the usual place.
    pub fn choose(&mut self, name: Option<&str>) -> Result<()> {
        if let Some(name) = name {
            self.named(name)?;
        }
        self.written.current = name.map(str::to_owned);
        self.write()
    }

    /// Forgets one. The token's file is left.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        if self.written.contexts.remove(name).is_none() {
            return Err(self.unknown(name));
        }
        if self.current() == Some(name) {
            self.written.current = None;
        }
        self.write()
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<_> = self.written.contexts.keys().take(10).map(String::as_str).collect();
        let message = match known.as_slice() {
            [] => format!("there is no context {name:?}; add it with: minions context add {name} --server URL"),
            known => format!("there is no context {name:?}; there is: {}", known.join(", ")),
        };
        Error::new(ErrorKind::NotFound, message).with_field("context")
    }

    fn write(&self) -> Result<()> {
        let Some(path) = &self.path else {
            let message = "there is no place for contexts: neither XDG_CONFIG_HOME nor HOME is an absolute path";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let cannot = |error: io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot write {}", path.display())).with_source(error)
        };
        let text = toml::to_string(&self.written)
            .map_err(|error| Error::internal("the contexts cannot be written as TOML").with_source(error))?;
        path.parent().map_or(Ok(()), files::make_dir).map_err(cannot)?;
        files::replace(path, text.as_bytes(), 0o600).map_err(cannot)
    }
}

fn read(path: &Path) -> Result<Written> {
    let wrong = |what: String| Error::invalid("contexts", format!("{}: {what}", path.display()));
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Written::default()),
        file => file.map_err(|error| wrong(error.to_string()))?,
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(wrong("it is no regular file".to_owned()));
    }
    let mut text = String::new();
    file.take(MAX + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX) {
        return Err(wrong("it is larger than any list of servers".to_owned()));
    }
    toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().replace('\n', "; ")))
}

fn valid(name: &str) -> Result<()> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let whole = (1..=63).contains(&name.len()) && name.bytes().all(letter) && !name.starts_with(['-', '.']);
    if whole {
        return Ok(());
    }
    let message =
        format!("{name:?} is no name: 1 to 63 letters, digits, '-', '_' or '.', the first a letter or a digit");
    Err(Error::invalid("name", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(home: &Path) -> Environment {
        Environment { config_home: Some(home.to_owned()), ..Environment::default() }
    }

    fn context(server: &str) -> Context {
        Context { server: server.parse().unwrap(), token_file: Some("/t/\"odd\"\n".into()) }
    }

    #[test]
    fn what_is_added_is_read_again_and_what_is_removed_is_not() {
        let home = tempfile::tempdir().unwrap();
        let environment = at(&home.path().join("new"));
        let read = || Contexts::read(&environment).unwrap();
        read().add("home", &context("http://127.0.0.1:7777")).unwrap();
        read().add("work", &context("unix:///run/m.sock")).unwrap();
        assert_eq!((read().current(), read().all().count()), (Some("home"), 2), "the first is in use");
        assert_eq!(read().named("work").unwrap(), context("unix:///run/m.sock"));
        read().choose(Some("work")).unwrap();
        assert_eq!(read().choose(Some("nowhere")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(read().current(), Some("work"));
        read().remove("work").unwrap();
        assert_eq!((read().current(), read().all().count()), (None, 1), "nothing is in use that is not there");
        assert_eq!(read().remove("work").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn bad_12_names_and_files_that_make_no_sense_are_refused_and_left_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        let environment = at(home.path());
        let mut contexts = Contexts::read(&environment).unwrap();
        for name in ["", "-f", ".", "a b", "a/b", "ä", "x\u{1b}", &"n".repeat(64)] {
            assert!(contexts.add(name, &context("http://h:1")).is_err(), "{name:?}");
        }
        assert!(Contexts::read(&environment).unwrap().all().next().is_none());
        let path = home.path().join("minions/contexts.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for text in ["current = 1", "[contexts.a]\nserver = \"http://h:1\"\ncolour = 1", "\0", "[contexts.a]"] {
            std::fs::write(&path, text).unwrap();
            let error = Contexts::read(&environment).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text:?}");
            assert!(error.to_string().contains("contexts.toml") && !error.to_string().contains('\n'), "{error}");
        }
        std::fs::write(&path, " ".repeat(300 << 10)).unwrap();
        assert!(Contexts::read(&environment).is_err());
        std::fs::write(&path, "[contexts.a]\nserver = \"ftp://h\"").unwrap();
        assert!(Contexts::read(&environment).unwrap().named("a").is_err());
    }
}
