//! `minions`: the command line, and the daemon in it.

mod cli;
mod client;
mod clock;
mod contexts;
mod desk;
mod follow;
mod images;
mod inside;
mod kernels;
mod life;
mod output;
mod pace;
mod people;
mod place;
mod secret;
mod serve;
mod service;
mod sink;

use std::process::ExitCode;

use clap::Parser;
use minions_core::config::Environment;
use minions_core::error::{Error, ErrorKind};

use cli::{Cli, Verb};
use client::Client;
use output::{Failure, Output};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Not a verb for people: the service starts this program again to become a monitor behind its fences, which are made
    // for a process of one thread.
    if std::env::args_os().nth(1).is_some_and(|word| word == "jail") {
        let failed = minions_core::host::jail::enter(std::env::args_os().skip(2));
        eprintln!("minions jail: {failed}");
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => return Output::new(&cli.global, &Environment::default()).failure(&error.into()),
    };
    let output = Output::new(&cli.global, &environment);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::new(ErrorKind::Unavailable, "cannot start threads").with_source(error);
            return output.failure(&Failure::from(error));
        }
    };
    let ended = runtime.block_on(run(cli, &output, environment));
    // A thread that still reads stdin has nobody left to tell.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(failure) => output.failure(&failure),
    }
}

async fn run(cli: Cli, output: &Output, environment: Environment) -> Result<ExitCode, Failure> {
    let global = &cli.global;
    let client = || Client::new(global, &environment);
    match cli.verb {
        Verb::Create(args) => life::create::run(&client()?, output, args).await,
        Verb::List(args) => life::list::run(&client()?, output, &args).await,
        Verb::Inspect(args) => life::inspect::run(&client()?, output, &args).await,
        Verb::Start(args) => life::change::start(&client()?, output, &args).await,
        Verb::Stop(args) => life::change::stop(&client()?, output, &args).await,
        Verb::Restart(args) => life::change::restart(&client()?, output, &args).await,
        Verb::Destroy(args) => life::destroy::run(&client()?, output, &args).await,
        Verb::Rename(args) => life::change::rename(&client()?, output, &args).await,
        Verb::Expose(args) => life::reach::expose(&client()?, output, &args).await,
        Verb::Share(args) => life::reach::share(&client()?, output, &args).await,
        Verb::Resize(args) => life::change::resize(&client()?, output, &args).await,
        Verb::Rebase(args) => life::change::rebase(&client()?, output, &args).await,
        Verb::Wait(args) => life::wait::run(&client()?, output, &args).await,
        Verb::Exec(args) => match client() {
            Ok(client) => inside::exec::run(&client, args, &environment).await.map_err(Failure::of_exec),
            Err(error) => Err(Failure::of_exec(error)),
        },
        Verb::Cp(args) => inside::copy::run(&client()?, output, &args).await,
        Verb::PortForward(args) => inside::forward::run(&client()?, output, &args).await,
        Verb::Console(args) => inside::console::run(&client()?, output, &args).await,
        Verb::Logs(args) => inside::logs::run(&client()?, output, &args).await,
        Verb::Image(verb) => images::run(&client()?, output, verb, global, &environment).await,
        Verb::BakeAgent(args) => images::bake(&client()?, output, args, global, &environment).await,
        Verb::Kernel(verb) => kernels::run(output, verb, global, &environment).await,
        Verb::Disk(cli::Disk::List) => life::disk::list(&client()?, output).await,
        Verb::Disk(cli::Disk::Delete(args)) => life::disk::delete(&client()?, output, &args).await,
        Verb::Host(cli::Host::Status) => service::host::run(&client()?, output).await,
        Verb::User(verb) => people::user(&client()?, output, verb).await,
        Verb::Key(verb) => people::key(&client()?, output, verb).await,
        Verb::Quota(verb) => people::quota(&client()?, output, verb).await,
        Verb::Audit(args) => people::audit(&client()?, output, &args).await,
        Verb::Token(verb) => people::token(client, output, verb).await,
        Verb::Context(verb) => service::context::run(output, verb, global, &environment),
        Verb::Serve(args) => serve::run(global, &args, &environment).await,
        Verb::Init(args) => service::init::run(output, global, &args, &environment).await,
        Verb::Doctor(args) => service::doctor::run(output, global, &args, &environment).await,
        Verb::Events(args) => service::events::run(&client()?, output, &args).await,
        Verb::Config(verb) => service::config::run(output, verb, &environment),
        Verb::Version => service::version::run(client().ok(), output).await,
        Verb::Completion { shell } => service::completion::run(output, shell),
        Verb::Schema => service::schema::run(output),
    }
}

/// What clap has to say: help and version are answers, everything else is bad usage.
fn misused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        output::print_json_error(&Error::invalid("arguments", message), 2);
    } else if error.use_stderr() && error.to_string().chars().any(|letter| letter.is_control() && letter != '\n') {
        // What was typed may come from anywhere, and is repeated in what is said about it.
        output::print_misuse(&error.to_string());
    } else if let Err(gone) = error.print() {
        // Nobody reads any more.
        drop(gone);
    } else if error.kind() == clap::error::ErrorKind::UnknownArgument && error.to_string().contains("minions exec") {
        output::print_misuse("The program and its words stand after two hyphens: minions exec NAME -- CMD");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
