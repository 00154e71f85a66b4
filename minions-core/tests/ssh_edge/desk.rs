//! Commands for the service itself: what the gateway does with them, whatever they are.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use minions_core::api::v1;
use minions_core::service::{Caller, Directory};
use minions_core::ssh::{CommandIo, Commands, Person};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Gate, LIMIT, have, owner, text};

/// Commands that show what a command can do.
#[derive(Clone, Debug, Default)]
pub struct Toy(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    running: AtomicUsize,
    written: AtomicUsize,
}

/// Counts what runs.
struct Runs<'a>(&'a AtomicUsize);

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Commands for Toy {
    async fn run(&self, person: &Person, words: Vec<String>, io: &mut CommandIo) -> u8 {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        let _runs = Runs(&self.0.running);
        let said = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["whoami"] => io.print(format!("{}\n", person.caller.owner.0).as_bytes()).await,
            ["words", ..] => io.print(format!("{:?}\n", &words[1..]).as_bytes()).await,
            ["fail", code] => {
                let told = io.complain(b"it failed\n").await;
                return if told.is_ok() { code.parse().unwrap() } else { 1 };
            }
            ["copy"] => match io.input().await {
                Some(bytes) => io.print(&bytes).await,
                None => return 7,
            },
            ["ask"] => match io.ask("sure? ").await {
                Ok(answer) => io.print(format!("[{}]\n", answer.unwrap_or_default()).as_bytes()).await,
                Err(error) => Err(error),
            },
            ["columns"] => io.print(format!("{:?}\n", io.columns()).as_bytes()).await,
            ["hang"] => {
                let told = io.print(b"hanging\n").await;
                if told.is_ok() {
                    std::future::pending::<()>().await;
                }
                told
            }
            ["flood"] => loop {
                if let Err(error) = io.print(&[b'x'; 1_000]).await {
                    break Err(error);
                }
                self.0.written.fetch_add(1_000, Ordering::SeqCst);
            },
            _ => return 2,
        };
        u8::from(said.is_err())
    }

    async fn complete(&self, _: &Person, before: &[String], begins: &str) -> Vec<String> {
        let all: &[&str] = if before.is_empty() { &["whoami", "words", "wonder"] } else { &["alpha", "beta"] };
        all.iter().filter(|word| word.starts_with(begins)).map(|word| (*word).to_owned()).collect()
    }

    async fn greet(&self, person: &Person, io: &mut CommandIo) {
        io.print(format!("hello {}\n", person.caller.owner.0).as_bytes()).await.unwrap();
    }
}

impl Toy {
    /// Until nothing runs any more.
    async fn rests(&self) {
        let rested = async {
            while self.0.running.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, rested).await.expect("a command goes on though its client is gone");
    }
}

#[tokio::test]
async fn a_command_has_the_rights_of_its_caller_and_words_as_a_shell_splits_them() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let (me, other) = (gate.user(&owner().owner.0).await, gate.user("stranger").await);
    for (key, name) in [(&me, owner().owner.0), (&other, "stranger".to_owned())] {
        let output = gate.run(key, "minions", &["whoami"]).await;
        assert_eq!((text(&output.stdout), output.status.code()), (format!("{name}\n"), Some(0)));
    }
    let output = gate.run(&me, "minions", &["words", "'a b'", "\"$HOME\"", "$(id)", "c\\ d", "*"]).await;
    assert_eq!(text(&output.stdout), "[\"a b\", \"$HOME\", \"$(id)\", \"c d\", \"*\"]\n");
    let output = gate.run(&me, "minions", &["fail", "78"]).await;
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("it failed\n", Some(78)));
    let output = gate.run(&me, "minions", &["words", "'"]).await;
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("quote"), "{output:?}");
    // Nobody asks where nobody is, and nothing of a VM is here.
    assert_eq!(text(&gate.run(&me, "minions", &["ask"]).await.stdout), "[]\n");
    let unknown = gate.key("unknown").await;
    assert!(text(&gate.run(&unknown, "minions", &["whoami"]).await.stderr).contains("Permission denied"));
    let forward = gate.ssh(&me, "minions").args(["-W", "localhost:22", "127.0.0.1"]).output().await.unwrap();
    assert!(!forward.status.success() && forward.stdout.is_empty());
}

#[tokio::test]
async fn lines_are_commands_where_none_is_named_and_the_last_status_counts() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    let script = async |lines: Vec<u8>, words: &[&str]| {
        let mut child = gate.ssh(&me, "minions").arg("127.0.0.1").args(words).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        tokio::spawn(async move { stdin.write_all(&lines).await });
        tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("it ends").unwrap()
    };
    let output = script(b"whoami\n\n# nothing\nfail 3".to_vec(), &[]).await;
    assert_eq!((text(&output.stdout), output.status.code()), (format!("{}\n", owner().owner.0), Some(3)));
    let output = script(b"fail 3\nexit\nwhoami\n".to_vec(), &[]).await;
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(3)));
    let output = script(Vec::new(), &[]).await;
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("ssh minions@HOST help"), "{output:?}");
    assert_eq!(text(&script(b"some\ntext".to_vec(), &["copy"]).await.stdout), "some\ntext");
    // Without an end there is no more than so much of it in memory.
    assert_eq!(script(vec![b'x'; 4 << 20], &["copy"]).await.status.code(), Some(7));
    assert_eq!(script(vec![b'x'; 4 << 20], &[]).await.status.code(), Some(2));
}

#[tokio::test]
async fn a_prompt_edits_completes_remembers_and_ends_what_runs() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    let mut command = gate.ssh(&me, "minions");
    let mut child = command.args(["-tt", "127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    let mut until = async |wanted: &str| {
        let found = async {
            loop {
                if let Some(at) = seen.windows(wanted.len()).position(|part: &[u8]| part == wanted.as_bytes()) {
                    seen.drain(..at + wanted.len());
                    return;
                }
                let mut piece = [0; 4_096];
                let count = screen.read(&mut piece).await.unwrap();
                assert!(count > 0, "it ended, and no {wanted:?} in {:?}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&piece[..count]);
            }
        };
        let found = tokio::time::timeout(LIMIT, found).await;
        assert!(found.is_ok(), "no {wanted:?}");
    };
    let mut press = async |bytes: &[u8]| keys.write_all(bytes).await.unwrap();
    until(&format!("hello {}\r\n", owner().owner.0)).await;
    until("minions> ").await;
    press(b"wh\t\r").await;
    until(&format!("\n{}\r\n", owner().owner.0)).await;
    // What may follow is shown with the second Tab.
    press(b"wo\t\t").await;
    until("\r\nwonder  words\r\n").await;
    press(b"rdx\x7fs a\tb\t\r").await;
    until("\n[\"alpha\", \"beta\"]\r\n").await;
    press(b"\x1b[A\x1b[A\r").await;
    until(&format!("\n{}\r\n", owner().owner.0)).await;
    press(b"ask\r").await;
    until("sure? ").await;
    press(b"yes\r").await;
    until("\n[yes]\r\n").await;
    // Typed ahead, it is done afterwards.
    press(b"hang\rwhoami\r").await;
    until("hanging\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    press(b"\x03").await;
    until("^C\r\n").await;
    gate.toy.rests().await;
    press(b"fail 5\r").await;
    until("it failed\r\n").await;
    press(b"\x04").await;
    assert_eq!(super::ends(&mut child).await.code(), Some(5));
}

#[tokio::test]
async fn bad_16_a_client_that_goes_takes_its_command_with_it() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    for command in ["hang", "flood"] {
        let mut child = gate.ssh(&me, "minions").args(["127.0.0.1", command]).spawn().unwrap();
        let mut first = [0; 1];
        tokio::time::timeout(LIMIT, child.stdout.as_mut().unwrap().read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(gate.toy.0.running.load(Ordering::SeqCst), 1);
        child.kill().await.unwrap();
        gate.toy.rests().await;
    }
    // Who is let in no more is out at once, whatever runs.
    let mut child = gate.ssh(&me, "minions").args(["127.0.0.1", "hang"]).spawn().unwrap();
    let mut first = [0; 1];
    tokio::time::timeout(LIMIT, child.stdout.as_mut().unwrap().read_exact(&mut first)).await.unwrap().unwrap();
    let off = v1::UpdateUser { disabled: Some(true), ..v1::UpdateUser::default() };
    let user = owner().owner.0.parse().unwrap();
    gate.edge.accounts.update_user(&Caller::admin("ops"), &user, &off).await.unwrap();
    assert_eq!(super::ends(&mut child).await.code(), Some(255));
    gate.toy.rests().await;
}

#[tokio::test]
async fn bad_16_a_client_that_does_not_read_holds_up_its_command_and_fills_no_memory() {
    if !have("ssh") {
        return;
    }
    let gate = Gate::start().await;
    let me = gate.user(&owner().owner.0).await;
    let _stalled = gate.ssh(&me, "minions").args(["127.0.0.1", "flood"]).spawn().unwrap();
    let mut before = 0;
    let still = async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = gate.toy.0.written.load(Ordering::SeqCst);
            if now > 0 && now == before {
                return now;
            }
            before = now;
        }
    };
    let written = tokio::time::timeout(LIMIT, still).await.expect("it stands still");
    // The client's window, and what the pipe between us holds.
    assert!(written < 8 << 20, "{written} bytes went nowhere");
    assert_eq!(text(&gate.run(&me, "minions", &["whoami"]).await.stdout), format!("{}\n", owner().owner.0));
}
