//! Programs that look at files and change them.

use crate::Result;
use crate::api::guest::{FileInfo, FileKind};
use crate::error::Error;
use crate::memory::blob::Blob;
use crate::memory::machine::fs::Disks;
use crate::memory::machine::shell::{Ended, Shell, Streams, say};
use crate::memory::tree::Entry;

pub(super) async fn run(shell: &mut Shell, program: &str, args: &[String], streams: &mut Streams) -> Ended {
    if matches!(program, "test" | "[") {
        return test(shell, args);
    }
    let flags: String = args.iter().filter(|flag| super::is_flags(flag)).map(|flag| &flag[1..]).collect();
    let mut paths: Vec<String> =
        args.iter().filter(|path| !super::is_flags(path)).map(|path| shell.path(path)).collect();
    if program == "ls" {
        if paths.is_empty() {
            paths.push(shell.cwd.clone());
        }
        return ls(shell, &paths, &flags, streams).await;
    }
    if paths.is_empty() {
        let quiet = program == "rm" && flags.contains('f');
        return if quiet { Ended::Status(0) } else { say(streams, &format!("{program}: of what?"), 2).await };
    }
    let done = match program {
        "cp" | "mv" => copy(shell, &paths, program == "mv"),
        program => paths.iter().try_for_each(|path| {
            shell.machine.disks(|disks| match program {
                "mkdir" => make_dir(disks, path, flags.contains('p')),
                "touch" => touch(disks, path),
                "rmdir" => disks.remove(path),
                _ => remove(disks, path, flags.contains('r') || flags.contains('R'), flags.contains('f')),
            })
        }),
    };
    match done {
        Ok(()) => Ended::Status(0),
        Err(error) => say(streams, &format!("{program}: {}", error.message()), 1).await,
    }
}

fn make_dir(disks: &mut Disks<'_>, path: &str, parents: bool) -> Result<()> {
    if parents {
        return disks.make_dirs(path);
    }
    if disks.info(path, false).is_ok() {
        return Err(Error::invalid("path", format!("{path}: file exists")));
    }
    let entry = Entry::dir(disks.now());
    disks.put(path, entry, false)
}

fn touch(disks: &mut Disks<'_>, path: &str) -> Result<()> {
    match disks.info(path, true) {
        Ok(info) if info.kind == FileKind::File => disks.append(path, b""),
        Ok(_) => Ok(()),
        Err(_) => {
            let entry = Entry::file(Blob::default(), disks.now());
            disks.put(path, entry, false)
        }
    }
}

fn remove(disks: &mut Disks<'_>, path: &str, recursive: bool, force: bool) -> Result<()> {
    let info = match disks.info(path, false) {
        Ok(info) => info,
        Err(_) if force => return Ok(()),
        Err(error) => return Err(error),
    };
    if info.kind == FileKind::Directory {
        if !recursive {
            return Err(crate::memory::tree::is_a_directory(path));
        }
        for (below, _) in disks.walk(path)?.iter().rev() {
            disks.remove(&format!("{path}/{below}"))?;
        }
    }
    disks.remove(path)
}

fn copy(shell: &Shell, paths: &[String], and_remove: bool) -> Result<()> {
    let Some((to, from)) = paths.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err(Error::invalid("path", "where to?"));
    };
    shell.machine.disks(|disks| {
        let into = disks.info(to, true).is_ok_and(|info| info.kind == FileKind::Directory);
        for source in from {
            let (info, blob) = (disks.info(source, true)?, disks.content(source)?);
            let name = source.rsplit('/').next().unwrap_or_default();
            let target = if into { format!("{to}/{name}") } else { to.clone() };
            let mut entry = Entry::file(blob, disks.now());
            entry.mode = info.mode;
            disks.put(&target, entry, false)?;
            if and_remove && target != *source {
                disks.remove(source)?;
            }
        }
        Ok(())
    })
}

fn test(shell: &Shell, args: &[String]) -> Ended {
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|word| *word != "]").collect();
    let info = |path: &str| shell.machine.disks(|disks| disks.info(&shell.path(path), true)).ok();
    let is = |path: &str, kind: FileKind| info(path).is_some_and(|info| info.kind == kind);
    let holds = match args.as_slice() {
        ["-e", path] => info(path).is_some(),
        ["-f", path] => is(path, FileKind::File),
        ["-d", path] => is(path, FileKind::Directory),
        ["-s", path] => info(path).is_some_and(|info| info.size > 0),
        ["-n", text] | [text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        [one, "=" | "==", other] => one == other,
        [one, "!=", other] => one != other,
        ["-t", _] => shell.terminal.is_some(),
        _ => false,
    };
    Ended::Status(u8::from(!holds))
}

async fn ls(shell: &Shell, paths: &[String], flags: &str, streams: &mut Streams) -> Ended {
    let mut status = 0;
    for path in paths {
        let listed = shell.machine.disks(|disks| {
            let info = disks.info(super::show(path), true)?;
            Ok(match info.kind {
                FileKind::Directory => disks.list(path)?.into_iter().map(|entry| (entry.name, entry.info)).collect(),
                _ => vec![(path.clone(), info)],
            })
        });
        let entries: Vec<(String, FileInfo)> = match listed {
            Ok(entries) => entries,
            Err(error) => {
                status = 2;
                say(streams, &format!("ls: {}", error.message()), 2).await;
                continue;
            }
        };
        let shown = entries.iter().filter(|(name, _)| !name.starts_with('.') || flags.contains(['a', 'A']));
        let text: String = shown
            .map(|(name, info)| match flags.contains('l') {
                true => {
                    format!("{}{:o} {} {} {:>10} {name}\n", letter(info.kind), info.mode, info.uid, info.gid, info.size)
                }
                false => format!("{name}\n"),
            })
            .collect();
        if streams.stdout.write(text).await.is_err() {
            return Ended::Signal(13);
        }
    }
    Ended::Status(status)
}

fn letter(kind: FileKind) -> char {
    match kind {
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::File | FileKind::Other => '-',
    }
}
