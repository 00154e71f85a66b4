//! `ssh minions@host`: the command line's verbs for whoever logged in, within the service. They write to a sheet, read
//! nothing of the process's own, and end with their client.

mod complete;
mod words;

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::{CommandFactory, FromArgMatches};
use minions_core::api::guest::sanitize_line;
use minions_core::api::v1::ListVms;
use minions_core::env::Env;
use minions_core::error::{Error, ErrorKind};
use minions_core::service::{Discreet, DynControlPlane, DynDirectory, DynLoginLinks};
use minions_core::ssh::{CommandIo, Commands, Person};

use crate::client::Client;
use crate::output::{Outcome, Output, json_error};
use crate::sink::{Piece, Sheet, Sink};
use crate::{cli, images, life, people, service};
use words::{AddKey, Desk, Key, Token, Verb};

/// VMs that a greeting names.
const NAMED: usize = 12;

/// Verbs that need the caller's own machine, or a VM's streams, and what to type instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("exec", "run something in a VM: ssh NAME@HOST COMMAND"),
    ("cp", "copy files: scp FILE NAME@HOST:"),
    ("port-forward", "reach a port of a VM: ssh -L 8080:localhost:80 NAME@HOST"),
];

/// The verbs over a control plane.
#[derive(Debug)]
pub struct Counter {
    plane: DynControlPlane,
    directory: DynDirectory,
    links: Option<DynLoginLinks>,
    env: Env,
}

impl Counter {
    /// Without `links` nobody logs a browser in from here.
    pub fn new(plane: DynControlPlane, directory: DynDirectory, links: Option<DynLoginLinks>, env: Env) -> Self {
        Self { plane: Arc::new(Discreet(plane)), directory, links, env }
    }

    fn client(&self, person: &Person) -> Client {
        Client::within(self.plane.clone(), self.directory.clone(), person.caller.clone(), self.env.clone())
    }

    async fn verb(&self, person: &Person, output: &Output, verb: Verb) -> Outcome {
        let client = self.client(person);
        match verb {
            Verb::Create(args) => life::create::run(&client, output, args).await,
            Verb::List(args) => life::list::run(&client, output, &args).await,
            Verb::Inspect(args) => life::inspect::run(&client, output, &args).await,
            Verb::Start(args) => life::change::start(&client, output, &args).await,
            Verb::Stop(args) => life::change::stop(&client, output, &args).await,
            Verb::Restart(args) => life::change::restart(&client, output, &args).await,
            Verb::Destroy(args) => life::destroy::run(&client, output, &args).await,
            Verb::Rename(args) => life::change::rename(&client, output, &args).await,
            Verb::Expose(args) => life::reach::expose(&client, output, &args).await,
            Verb::Share(args) => life::reach::share(&client, output, &args).await,
            Verb::Resize(args) => life::change::resize(&client, output, &args).await,
            Verb::Rebase(args) => life::change::rebase(&client, output, &args).await,
            Verb::Wait(args) => life::wait::run(&client, output, &args).await,
            Verb::Disk(cli::Disk::List) => life::disk::list(&client, output).await,
            Verb::Disk(cli::Disk::Delete(args)) => life::disk::delete(&client, output, &args).await,
            Verb::Images => images::list(&client, output).await,
            Verb::Events(args) => service::events::run(&client, output, &args).await,
            Verb::Key(Key::Add(AddKey { user, label, key })) => {
                people::add_key(&client, output, user.as_ref(), label, key.join(" ")).await
            }
            Verb::Key(Key::List { user }) => people::key(&client, output, cli::Key::List { user }).await,
            Verb::Key(Key::Delete { user, fingerprint }) => {
                people::key(&client, output, cli::Key::Delete { user, fingerprint }).await
            }
            Verb::Token(verb) => people::token(|| Ok(client), output, token(verb)).await,
            Verb::Login => self.login(person, output),
            Verb::Whoami => whoami(&client, output).await,
            Verb::User(verb) => people::user(&client, output, verb).await,
            Verb::Quota(verb) => people::quota(&client, output, verb).await,
            Verb::Audit(args) => people::audit(&client, output, &args).await,
        }
    }

    fn login(&self, person: &Person, output: &Output) -> Outcome {
        let Some(links) = &self.links else {
            let message = "this service has no web names to log in at";
            return Err(Error::new(ErrorKind::Unavailable, message).with_reason("no_web").into());
        };
        let link = links.login_link(&person.key);
        if output.json {
            output.object(&serde_json::json!({ "link": link }))?;
        } else {
            output.lines([link.as_str()])?;
            output.note("it logs in once, within five minutes; show it to nobody");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Without a file: that would be one of the service's host.
fn token(verb: Token) -> cli::Token {
    match verb {
        Token::Create { user, label, scope, expires } => {
            cli::Token::Create { user, label, scope, expires, owner: None, admin: false, file: None }
        }
        Token::List { user } => cli::Token::List { user },
        Token::Delete { user, id } => cli::Token::Delete { user, id },
    }
}

async fn whoami(client: &Client, output: &Output) -> Outcome {
    let me = client.whoami().await?;
    if output.json {
        output.object(&me)?;
    } else {
        output.lines([me.name.as_str()])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Understands what was typed; otherwise writes what is to be said of it, and returns the exit code.
fn parse(words: &[String], output: &Output) -> Result<Desk, u8> {
    let columns = output.to.columns().unwrap_or(100);
    let matches = Desk::command().term_width(columns).try_get_matches_from(words);
    let error = match matches.and_then(|matches| Desk::from_arg_matches(&matches)) {
        Ok(desk) => return Ok(desk),
        Err(error) => error,
    };
    let text = minions_core::api::guest::sanitize_terminal(&error.to_string());
    let written = match (error.use_stderr(), output.json) {
        (false, _) => output.to.out(text.trim_end()),
        (true, true) => {
            let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            output.to.err(&json_error(&Error::invalid("arguments", message), 2))
        }
        (true, false) => {
            let hint = ELSEWHERE.iter().find(|(verb, _)| words.first().is_some_and(|word| word == verb));
            output.to.err(text.trim_end()).and_then(|()| hint.map_or(Ok(()), |(_, hint)| output.to.err(hint)))
        }
    };
    Err(if written.is_ok() { u8::try_from(error.exit_code()).unwrap_or(2) } else { 1 })
}

/// Runs a verb, and brings what it writes to its client. While that does not read, the verb stands still.
async fn drive(verb: impl Future<Output = u8> + Send, sheet: &Sheet, io: &mut CommandIo) -> std::io::Result<u8> {
    let mut verb = Box::pin(verb);
    let mut ended = None;
    loop {
        while let Some(piece) = sheet.take() {
            match piece {
                Piece::Out(bytes) => io.print(&bytes).await?,
                Piece::Err(bytes) => io.complain(&bytes).await?,
                Piece::Question(question, tell) => {
                    // Whoever asked may have gone meanwhile.
                    let _ = tell.send(io.ask(&question).await?.unwrap_or_default());
                }
            }
        }
        if let Some(code) = ended {
            return Ok(code);
        }
        tokio::select! {
            biased;
            code = &mut verb => ended = Some(code),
            () = sheet.written() => {}
        }
    }
}

#[async_trait]
impl Commands for Counter {
    async fn run(&self, person: &Person, mut words: Vec<String>, io: &mut CommandIo) -> u8 {
        // What is told elsewhere begins with it.
        if words.first().is_some_and(|word| word == "minions") {
            words.remove(0);
        }
        let flag =
            |flags: &[&str]| words.iter().take_while(|word| *word != "--").any(|word| flags.contains(&word.as_str()));
        let (json, quiet) = (flag(&["--json"]), flag(&["--quiet", "-q"]));
        let sheet = Arc::new(Sheet::new(io.columns(), io.prompts() && !json));
        let output = Output::onto(Sink::Sheet(sheet.clone()), json, quiet);
        let verb = match parse(&words, &output) {
            Ok(desk) => Ok(desk.verb),
            Err(code) => Err(code),
        };
        let verb = match verb {
            Ok(Verb::Key(Key::Add(mut add))) if add.key.is_empty() => match said(io).await {
                Some(text) => {
                    add.key.push(text);
                    Ok(Verb::Key(Key::Add(add)))
                }
                None => Err(output.tell(&Error::invalid("KEY", "that is no public key").into())),
            },
            verb => verb,
        };
        let running = async {
            match verb {
                Ok(verb) => match self.verb(person, &output, verb).await {
                    Ok(_) => 0,
                    Err(failure) => output.tell(&failure),
                },
                Err(code) => code,
            }
        };
        // Who has left is told nothing.
        drive(running, &sheet, io).await.unwrap_or(1)
    }

    async fn complete(&self, person: &Person, before: &[String], begins: &str) -> Vec<String> {
        match complete::what(before, begins) {
            complete::What::Words(words) => words,
            complete::What::Vms => {
                let query = ListVms { limit: Some(200), ..ListVms::default() };
                let page = self.plane.vms(&person.caller, &query).await;
                page.map(|page| page.vms.iter().map(|vm| vm.name.to_string()).collect()).unwrap_or_default()
            }
        }
    }

    async fn greet(&self, person: &Person, io: &mut CommandIo) {
        let query = ListVms { limit: Some(200), ..ListVms::default() };
        let vms = match self.plane.vms(&person.caller, &query).await {
            Ok(page) => page.vms,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "whose VMs these are cannot be told");
                Vec::new()
            }
        };
        let mine: Vec<_> = vms.iter().filter(|vm| vm.owner == person.caller.owner.0).collect();
        let named = mine.iter().take(NAMED).map(|vm| format!("{} ({})", vm.name, vm.state));
        let named = named.collect::<Vec<_>>().join(", ");
        let vms = match mine.len() {
            0 => "You have no VMs yet; make one: create web".to_owned(),
            1..=NAMED => format!("Your VMs: {named}"),
            all => format!("Your VMs: {named} and {} more", all - NAMED),
        };
        let who = sanitize_line(&person.caller.owner.0, 100);
        let text = format!("Hello {who}. {vms}\nhelp shows what you can do, Tab completes, Ctrl-D leaves.\n");
        // Who has left is greeted no more.
        let _ = io.print(text.as_bytes()).await;
    }
}

/// What somebody says who was to say it with the command, or by stdin.
async fn said(io: &mut CommandIo) -> Option<String> {
    if io.prompts() {
        return io.ask("public key: ").await.ok().flatten();
    }
    // A terminal has no end.
    if io.columns().is_some() {
        return None;
    }
    String::from_utf8(io.input().await?).ok()
}
