//! Programs that pass bytes on, or count them. None gathers what it reads.

use hmac_sha256::Hash;

use super::written;
use crate::memory::machine::input::Input;
use crate::memory::machine::shell::{Ended, Shell, Streams, say};

pub(super) async fn run(shell: &mut Shell, program: &str, args: &[String], streams: &mut Streams) -> Ended {
    match program {
        "echo" => {
            let (end, words) = match args.split_first() {
                Some((flag, rest)) if flag == "-n" => ("", rest),
                _ => ("\n", args),
            };
            let result = streams.stdout.write(words.join(" ") + end).await;
            written(result, program, streams).await
        }
        "printf" => {
            let Some((format, words)) = args.split_first() else { return say(streams, "printf: of what?", 2).await };
            let result = streams.stdout.write(printf(format, words)).await;
            written(result, program, streams).await
        }
        _ => over_files(shell, program, args, streams).await,
    }
}

/// `%s`, `%d`, `%%` and the usual escapes; the format is used again while words are left.
fn printf(format: &str, words: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut words = words.iter();
    loop {
        let before = words.len();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some('n') => out.push(b'\n'),
                    Some('t') => out.push(b'\t'),
                    Some('r') => out.push(b'\r'),
                    Some('0') => out.push(0),
                    Some('\\') => out.push(b'\\'),
                    Some(other) => out.extend_from_slice(format!("\\{other}").as_bytes()),
                    None => out.push(b'\\'),
                },
                '%' => match letters.next() {
                    Some('s' | 'd') => out.extend_from_slice(words.next().map_or("", String::as_str).as_bytes()),
                    Some('%') => out.push(b'%'),
                    Some(other) => out.extend_from_slice(format!("%{other}").as_bytes()),
                    None => out.push(b'%'),
                },
                letter => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if words.len() == 0 || words.len() == before {
            return out;
        }
    }
}

/// What a program does with each of its inputs.
enum Job {
    Cat,
    Head { bytes: Option<u64>, lines: u64 },
    Count { lines: bool, words: bool, bytes: bool },
    Sum,
}

fn job(program: &str, args: &[String]) -> Result<(Job, Vec<String>), String> {
    let mut files = Vec::new();
    let (mut bytes, mut lines) = (None, 10);
    let mut flags = String::new();
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        let (flag, value) = match argument.strip_prefix('-') {
            Some(flag) if !flag.is_empty() => flag.split_at(flag.len().min(1)),
            _ => {
                files.push(argument.clone());
                continue;
            }
        };
        if program != "head" {
            flags.push_str(&argument[1..]);
            continue;
        }
        let value = if value.is_empty() { args.next().map_or("", String::as_str) } else { value };
        let number = value.parse::<crate::types::ByteSize>().map_err(|_| format!("head: {value}: not a number"))?;
        match flag {
            "c" => bytes = Some(number.get()),
            "n" => lines = number.get(),
            other => return Err(format!("head: -{other}: no such option")),
        }
    }
    let known = match program {
        "wc" => "lwc",
        "cat" => "u",
        "sha256sum" => "b",
        _ => "",
    };
    if let Some(unknown) = flags.chars().find(|flag| !known.contains(*flag)) {
        return Err(format!("{program}: -{unknown}: no such option"));
    }
    let all = flags.is_empty();
    let job = match program {
        "head" => Job::Head { bytes, lines },
        "wc" => Job::Count {
            lines: all || flags.contains('l'),
            words: all || flags.contains('w'),
            bytes: all || flags.contains('c'),
        },
        "sha256sum" => Job::Sum,
        _ => Job::Cat,
    };
    Ok((job, files))
}

async fn over_files(shell: &mut Shell, program: &str, args: &[String], streams: &mut Streams) -> Ended {
    let (job, files) = match job(program, args) {
        Ok(job) => job,
        Err(message) => return say(streams, &message, 2).await,
    };
    if files.is_empty() {
        let result = one(&job, None, streams).await;
        return written(result, program, streams).await;
    }
    let mut status = 0;
    for name in &files {
        let result = match name.as_str() {
            "-" => one(&job, Some(name), streams).await,
            name => match shell.open(&shell.path(name)) {
                Ok(input) => {
                    let stdin = std::mem::replace(&mut streams.stdin, input);
                    let result = one(&job, Some(name), streams).await;
                    streams.stdin = stdin;
                    result
                }
                Err(error) => {
                    say(streams, &format!("{program}: {}", error.message()), 1).await;
                    status = 1;
                    continue;
                }
            },
        };
        match written(result, program, streams).await {
            Ended::Status(0) => {}
            Ended::Status(other) => status = other,
            ended => return ended,
        }
    }
    Ended::Status(status)
}

async fn one(job: &Job, name: Option<&str>, streams: &mut Streams) -> crate::Result<()> {
    match job {
        Job::Cat => {
            while let Some(chunk) = streams.stdin.read().await {
                streams.stdout.write(chunk).await?;
            }
            Ok(())
        }
        Job::Head { bytes: Some(bytes), .. } => head_bytes(*bytes, streams).await,
        Job::Head { bytes: None, lines } => {
            for _ in 0..*lines {
                let Some(line) = streams.stdin.line().await else { break };
                streams.stdout.write(line).await?;
            }
            Ok(())
        }
        Job::Count { lines, words, bytes } => {
            let counted = count(&mut streams.stdin).await;
            let wanted = [(*lines, counted[0]), (*words, counted[1]), (*bytes, counted[2])];
            let numbers: Vec<String> = wanted.iter().filter(|one| one.0).map(|one| one.1.to_string()).collect();
            let name = name.map(|name| format!(" {name}")).unwrap_or_default();
            streams.stdout.write(format!("{}{name}\n", numbers.join(" "))).await
        }
        Job::Sum => {
            let mut hash = Hash::new();
            while let Some(chunk) = streams.stdin.read().await {
                hash.update(&chunk);
            }
            let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            streams.stdout.write(format!("{hex}  {}\n", name.unwrap_or("-"))).await
        }
    }
}

async fn head_bytes(bytes: u64, streams: &mut Streams) -> crate::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let Some(mut chunk) = streams.stdin.read().await else { break };
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let rest = chunk.split_off(take);
        left -= chunk.len() as u64;
        if !rest.is_empty() {
            streams.stdin.give_back(rest);
        }
        streams.stdout.write(chunk).await?;
    }
    Ok(())
}

/// Lines, words, bytes.
async fn count(input: &mut Input) -> [u64; 3] {
    let mut counted = [0; 3];
    let mut in_word = false;
    while let Some(chunk) = input.read().await {
        counted[2] += chunk.len() as u64;
        for byte in &chunk {
            counted[0] += u64::from(*byte == b'\n');
            let space = byte.is_ascii_whitespace();
            counted[1] += u64::from(!space && !in_word);
            in_word = !space;
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printf_repeats_its_format_while_words_are_left() {
        let words = ["a", "b"].map(str::to_owned);
        assert_eq!(printf("%s\\n", &words), b"a\nb\n");
        assert_eq!(printf("x%%", &[]), b"x%");
        assert_eq!(printf("plain", &words), b"plain");
    }
}
