//! The programs that a simulated guest has.

mod files;
mod text;

use std::time::Duration;

use super::shell::{Ended, Shell, Streams, say, show};
use crate::error::ErrorKind;
use crate::memory::KERNEL_RELEASE;

/// Every name that [`run`] knows.
const NAMES: &[&str] = &[
    "[",
    "bash",
    "cat",
    "cd",
    "cp",
    "echo",
    "env",
    "exit",
    "export",
    "false",
    "head",
    "hostname",
    "id",
    "kill",
    "ls",
    "mkdir",
    "mv",
    "nproc",
    "poweroff",
    "printf",
    "pwd",
    "reboot",
    "rm",
    "rmdir",
    "sh",
    "sha256sum",
    "sleep",
    "stty",
    "sync",
    "test",
    "touch",
    "true",
    "tty",
    "uname",
    "wc",
    "whoami",
];

/// Where a program may be called from by its full name.
const FOLDERS: &[&str] = &["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"];

fn base(name: &str) -> &str {
    FOLDERS.iter().find_map(|folder| name.strip_prefix(folder)).unwrap_or(name)
}

/// Whether there is such a program.
pub(super) fn exists(name: &str) -> bool {
    // What only a shell has is no program.
    !matches!(name, "cd" | "exit" | "export") && NAMES.contains(&base(name))
}

/// Whether a person is going to type into it.
pub(super) fn is_interactive_shell(argv: &[String]) -> bool {
    matches!(base(&argv[0]), "sh" | "bash") && !argv.iter().any(|argument| argument.contains('c') && is_flags(argument))
}

fn is_flags(argument: &str) -> bool {
    argument.len() > 1 && argument.starts_with('-') && !argument.starts_with("--")
}

/// A write that went wrong: the reader is gone, or the disk is full.
pub(super) async fn written(result: crate::Result<()>, program: &str, streams: &mut Streams) -> Ended {
    match result {
        Ok(()) => Ended::Status(0),
        Err(error) if error.kind() == ErrorKind::Unavailable => Ended::Signal(13),
        Err(error) => say(streams, &format!("{program}: {}", error.message()), 1).await,
    }
}

pub(super) async fn run(shell: &mut Shell, argv: &[String], streams: &mut Streams) -> Ended {
    let Some((name, args)) = argv.split_first() else { return Ended::Status(0) };
    let program = base(name);
    match program {
        "true" | "sync" => Ended::Status(0),
        "false" => Ended::Status(1),
        "exit" => match args.first().map(|status| status.parse::<i64>()) {
            None => Ended::Exit(shell.status),
            Some(Ok(status)) => Ended::Exit((status & 0xff) as u8),
            Some(Err(_)) => Ended::Exit(2),
        },
        "sh" | "bash" => child(shell, args, streams).await,
        "echo" | "printf" | "cat" | "wc" | "head" | "sha256sum" => text::run(shell, program, args, streams).await,
        "ls" | "rm" | "rmdir" | "mkdir" | "touch" | "cp" | "mv" | "test" | "[" => {
            files::run(shell, program, args, streams).await
        }
        "sleep" => match args.first().and_then(|time| time.trim_end_matches('s').parse::<f64>().ok()) {
            Some(time) if (0.0..1e9).contains(&time) => {
                tokio::time::sleep(Duration::from_secs_f64(time)).await;
                Ended::Status(0)
            }
            _ => say(streams, "sleep: how long? a number of seconds", 1).await,
        },
        "kill" => kill(shell, args, streams).await,
        "cd" => {
            let home = shell.env.get("HOME").cloned().unwrap_or_default();
            let path = shell.path(args.first().unwrap_or(&home));
            match shell.machine.disks(|disks| disks.list(&path).map(|_| ())) {
                Ok(()) => {
                    shell.cwd = path;
                    Ended::Status(0)
                }
                Err(error) => say(streams, &format!("sh: cd: {}", error.message()), 1).await,
            }
        }
        "export" => {
            for word in args {
                match super::shell::assignment(word) {
                    Some((name, value)) => shell.env.insert(name.to_owned(), value.to_owned()),
                    None => shell.variables.remove(word).and_then(|value| shell.env.insert(word.clone(), value)),
                };
            }
            Ended::Status(0)
        }
        "env" => env(shell, args, streams).await,
        "poweroff" | "reboot" => {
            shell.machine.shut_down();
            Ended::Status(0)
        }
        program => match line(shell, program, args) {
            Some(text) => {
                let result = streams.stdout.write(text + "\n").await;
                written(result, program, streams).await
            }
            None => say(streams, &format!("sh: {name}: not found"), 127).await,
        },
    }
}

/// The programs that print one line.
fn line(shell: &Shell, program: &str, args: &[String]) -> Option<String> {
    let hostname = || shell.machine.hostname().unwrap_or_default();
    let user = if shell.user == "root" { 0 } else { 65534 };
    Some(match program {
        "uname" => uname(args, &hostname()),
        "pwd" => show(&shell.cwd).to_owned(),
        "hostname" => hostname(),
        "whoami" => shell.user.clone(),
        "id" if args.first().is_some_and(|flag| flag == "-u") => user.to_string(),
        "id" => format!("uid={user}({0}) gid={user}({0})", shell.user),
        "nproc" => shell.machine.monitor(|monitor| monitor.config.vcpus.0).unwrap_or(1).to_string(),
        "tty" if shell.terminal.is_some() => "/dev/pts/0".to_owned(),
        "tty" => "not a tty".to_owned(),
        "stty" => match shell.terminal_size() {
            Some(size) => format!("{} {}", size.rows, size.cols),
            None => "stty: not a terminal".to_owned(),
        },
        _ => return None,
    })
}

fn uname(args: &[String], hostname: &str) -> String {
    let flags: String = args.iter().filter(|flag| is_flags(flag)).map(|flag| &flag[1..]).collect();
    let fields = [
        ('s', "Linux"),
        ('n', hostname),
        ('r', KERNEL_RELEASE),
        ('v', "#1 SIMULATED by minions"),
        ('m', "simulated"),
        ('o', "GNU/Linux"),
    ];
    let wanted = if flags.is_empty() { "s" } else { &flags };
    let shown = fields.iter().filter(|(flag, _)| wanted.contains(*flag) || wanted.contains('a'));
    shown.map(|(_, value)| *value).collect::<Vec<_>>().join(" ")
}

async fn child(shell: &mut Shell, args: &[String], streams: &mut Streams) -> Ended {
    let flags = args.iter().take_while(|argument| is_flags(argument)).count();
    let has_script = args[..flags].iter().any(|argument| argument.contains('c'));
    let rest = &args[flags..];
    let pid = shell.machine.monitor(|monitor| {
        monitor.guest_pids += 1;
        monitor.guest_pids + 100
    });
    let mut inner = Shell {
        machine: shell.machine.clone(),
        env: shell.env.clone(),
        variables: Default::default(),
        cwd: shell.cwd.clone(),
        user: shell.user.clone(),
        pid: pid.unwrap_or(shell.pid),
        status: 0,
        arguments: Vec::new(),
        terminal: shell.terminal.clone(),
        interrupt: shell.interrupt.clone(),
    };
    let ended = if has_script {
        let Some((script, arguments)) = rest.split_first() else {
            return say(streams, "sh: -c needs a script", 2).await;
        };
        inner.arguments = if arguments.is_empty() { vec!["sh".to_owned()] } else { arguments.to_vec() };
        Box::pin(inner.script(script, streams)).await
    } else if let Some((file, _)) = rest.split_first() {
        inner.arguments = rest.to_vec();
        let path = inner.path(file);
        match inner.machine.disks(|disks| disks.content(&path)) {
            Ok(blob) => {
                let text = blob.read(0, 1 << 20);
                Box::pin(inner.script(&String::from_utf8_lossy(&text), streams)).await
            }
            Err(error) => say(streams, &format!("sh: {}", error.message()), 127).await,
        }
    } else {
        Box::pin(inner.interactive(streams)).await
    };
    match ended {
        Ended::Exit(status) => Ended::Status(status),
        ended => ended,
    }
}

async fn kill(shell: &Shell, args: &[String], streams: &mut Streams) -> Ended {
    let (signal, targets) = match args.split_first() {
        Some((flag, rest)) if flag == "-s" => (rest.first().map(String::as_str), rest.get(1..).unwrap_or_default()),
        Some((flag, rest)) if is_flags(flag) => (flag.get(1..), rest),
        _ => (Some("TERM"), args),
    };
    let number = signal.and_then(|signal| {
        let named = crate::api::guest::Signal::from_name(signal).map(|signal| signal.0);
        named.or_else(|| signal.parse().ok())
    });
    let Some(number) = number.filter(|number| *number < 65) else {
        return say(streams, "kill: which signal?", 2).await;
    };
    match targets.first() {
        Some(target) if *target == shell.pid.to_string() => match number {
            0 | 17 | 18 | 28 => Ended::Status(0),
            number => Ended::Signal(number),
        },
        Some(target) => say(streams, &format!("kill: {target}: no such process"), 1).await,
        None => say(streams, "kill: whom?", 2).await,
    }
}

async fn env(shell: &mut Shell, args: &[String], streams: &mut Streams) -> Ended {
    let given = args.iter().take_while(|word| super::shell::assignment(word).is_some()).count();
    let before = shell.env.clone();
    for (name, value) in args[..given].iter().filter_map(|word| super::shell::assignment(word)) {
        shell.env.insert(name.to_owned(), value.to_owned());
    }
    let ended = match &args[given..] {
        [] => {
            let text: String = shell.env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
            let result = streams.stdout.write(text).await;
            written(result, "env", streams).await
        }
        command => shell.run(command, streams).await,
    };
    shell.env = before;
    ended
}
