//! Which rows there are, what a run is, and how it is printed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use minions_core::memory::InMemoryHost;
use tokio::sync::Mutex;

use crate::Result;
use crate::host::Kind;
use crate::report::{self, Figure};
use crate::{
    api_scale, boot, create_host, create_rate, daemon, file_transfer, floor, front, guest_exec, idle, memory, proxy,
    recovery, seed, ssh, store_write,
};

const USAGE: &str = "usage: minions-bench quick|full [--only ROW[,ROW]] [--json FILE]
rows: boot host create exec files api store memory recovery idle proxy ssh";

/// What was asked for.
#[derive(Debug)]
pub struct Run {
    full: bool,
    only: Option<Vec<String>>,
    json: Option<PathBuf>,
    /// Folders with stores that know so many VMs; each is made once.
    seeded: Mutex<Vec<(usize, std::sync::Arc<tempfile::TempDir>)>>,
}

impl Run {
    fn parse(words: &[String]) -> Result<Self> {
        let mut words = words.iter();
        let full = match words.next().map(String::as_str) {
            Some("quick") => false,
            Some("full") => true,
            _ => return Err(USAGE.into()),
        };
        let mut run = Self { full, only: None, json: None, seeded: Mutex::default() };
        while let Some(word) = words.next() {
            match (word.as_str(), words.next()) {
                ("--only", Some(rows)) => run.only = Some(rows.split(',').map(str::to_owned).collect()),
                ("--json", Some(file)) => run.json = Some(file.into()),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(run)
    }

    /// One for a quick run, the other for a full one.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.full { full } else { quick }
    }

    fn wants(&self, row: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|word| word == row))
    }

    /// A folder with stores that know so many stopped VMs. Nobody changes them for good.
    pub async fn seeded(&self, known: usize) -> Result<std::sync::Arc<tempfile::TempDir>> {
        let mut seeded = self.seeded.lock().await;
        if let Some((_, folder)) = seeded.iter().find(|(count, _)| *count == known) {
            return Ok(folder.clone());
        }
        let folder = std::sync::Arc::new(folder()?);
        seed::stores(Kind::Memory, folder.path(), InMemoryHost::demo_image().id, known).await?;
        seeded.push((known, folder.clone()));
        Ok(folder)
    }

    /// The same, to be changed.
    pub async fn copy_of_seeded(&self, known: usize) -> Result<tempfile::TempDir> {
        let (from, to) = (self.seeded(known).await?, folder()?);
        for name in ["fleet.db", "journal.db"] {
            std::fs::copy(from.path().join(name), to.path().join(name))?;
        }
        Ok(to)
    }
}

/// A folder with a short name: the paths of sockets have little room.
pub fn folder() -> Result<tempfile::TempDir> {
    folder_in(&std::env::temp_dir())
}

pub fn folder_in(dir: &Path) -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("mnb").tempdir_in(dir)?)
}

async fn measured(run: &Run) -> Vec<Figure> {
    let mut figures = Vec::new();
    macro_rules! row {
        ($name:literal, $number:literal, $module:ident) => {
            if run.wants($name) {
                let begin = Instant::now();
                eprintln!("{} …", $name);
                match $module::run(run).await {
                    Ok(some) => figures.extend(some),
                    Err(error) => figures.push(Figure::not_run($number, $name, format!("failed: {error}"))),
                }
                eprintln!("{} took {:.0} s", $name, begin.elapsed().as_secs_f64());
            }
        };
    }
    row!("boot", "5", boot);
    row!("host", "1", create_host);
    row!("create", "2", create_rate);
    row!("exec", "19", guest_exec);
    row!("files", "20", file_transfer);
    row!("api", "21", api_scale);
    row!("store", "22", store_write);
    row!("memory", "24", memory);
    row!("recovery", "25", recovery);
    row!("idle", "26", idle);
    row!("proxy", "8-14", proxy);
    row!("ssh", "16-18", ssh);
    figures
}

async fn bench(run: Run) -> Result<()> {
    let begin = Instant::now();
    let figures = measured(&run).await;
    println!("{}", report::table(&figures));
    let missed = figures.iter().filter(|figure| figure.met == Some(false)).count();
    let not_run = figures.iter().filter(|figure| figure.value.is_none()).count();
    println!(
        "{} figures, {missed} beside their goal, {not_run} not run; {:.0} s",
        figures.len(),
        begin.elapsed().as_secs_f64()
    );
    if let Some(file) = &run.json {
        std::fs::write(file, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match play(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// This program plays several roles, as processes of their own.
fn play(words: &[String]) -> Result<()> {
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    let (many, one) = (tokio::runtime::Builder::new_multi_thread, tokio::runtime::Builder::new_current_thread);
    match word(0) {
        "daemon" => many().enable_all().build()?.block_on(daemon::run(Kind::parse(word(1))?, Path::new(word(2)))),
        "model" => many().enable_all().build()?.block_on(daemon::model_only(Path::new(word(1)))),
        "agent" => one().enable_all().build()?.block_on(guest_exec::agent(Path::new(word(1)))),
        "front" => {
            let kind = Kind::parse(word(1))?;
            one().enable_all().build()?.block_on(front::serve(
                kind,
                Path::new(word(2)),
                word(3).parse()?,
                word(4).parse()?,
            ))
        }
        "backend" => one().enable_all().build()?.block_on(proxy::backend::serve()),
        "minproxy" => {
            let names = word(3).parse()?;
            one().enable_all().build()?.block_on(proxy::floor::serve(Path::new(word(1)), word(2).parse()?, names))
        }
        "minssh" => one().enable_all().build()?.block_on(ssh::floor::serve(Path::new(word(1)))),
        "floor" => one().enable_all().build()?.block_on(floor::serve(Path::new(word(1)), Path::new(word(2)))),
        _ => many().enable_all().build()?.block_on(bench(Run::parse(words)?)),
    }
}
