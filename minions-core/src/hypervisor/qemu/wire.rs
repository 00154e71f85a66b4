//! QMP: JSON lines on the monitor's control socket.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;

use crate::hypervisor::VmmPhase;
use crate::hypervisor::error::MonitorError;

/// The longest line that a monitor may say: a read of the console's ring, in base 64, and some words.
const MAX_LINE: u64 = 256 << 10;

/// How long a monitor may take for an answer. Ones that are stopped or wedged do not hold anybody up for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A conversation. A monitor has one at a time; the next one waits in the socket's queue.
#[derive(Debug)]
pub(super) struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Begins one on a connected socket.
    pub async fn begin(stream: UnixStream) -> Result<Self, MonitorError> {
        tokio::time::timeout(PATIENCE, Self::in_turn(stream)).await.map_err(|_| MonitorError::Mute)?
    }

    /// Begins one after those that others have on the same socket, however long they talk.
    async fn in_turn(stream: UnixStream) -> Result<Self, MonitorError> {
        let mut qmp = Self(BufReader::new(stream));
        let greeting = qmp.line().await?;
        if greeting.get("QMP").is_none() {
            return Err(MonitorError::Protocol(short(&greeting)));
        }
        qmp.ask("qmp_capabilities", Value::Null).await?;
        Ok(qmp)
    }

    /// Waits, in turn and without end, until the monitor's guest has ended.
    pub async fn guest_ends(stream: UnixStream) -> Result<(), MonitorError> {
        let mut qmp = Self::in_turn(stream).await?;
        // Whatever happened before is told by the status, whatever comes after it by an event.
        if qmp.phase().await? == VmmPhase::Exited {
            return Ok(());
        }
        loop {
            if qmp.line().await?.get("event").and_then(Value::as_str) == Some("SHUTDOWN") {
                return Ok(());
            }
        }
    }

    /// What the monitor says of itself.
    pub async fn phase(&mut self) -> Result<VmmPhase, MonitorError> {
        let status = self.ask("query-status", Value::Null).await?;
        match status.get("status").and_then(Value::as_str) {
            Some("prelaunch" | "inmigrate") => Ok(VmmPhase::Prepared),
            Some("paused") => Ok(VmmPhase::Paused),
            Some("shutdown" | "internal-error" | "guest-panicked") => Ok(VmmPhase::Exited),
            Some(_) => Ok(VmmPhase::Running),
            None => Err(MonitorError::Protocol(short(&status))),
        }
    }

    /// One command and its answer; events in between are left out.
    pub async fn ask(&mut self, command: &'static str, arguments: Value) -> Result<Value, MonitorError> {
        let talk = async {
            let text = words(command, arguments);
            self.0.get_mut().write_all(text.as_bytes()).await.map_err(|_| MonitorError::Closed)?;
            self.answer(command).await
        };
        tokio::time::timeout(PATIENCE, talk).await.map_err(|_| MonitorError::Mute)?
    }

    /// Two commands, the second of which is there before the first is answered: as little as can be happens between them.
    pub async fn ask_both(&mut self, commands: [(&'static str, Value); 2]) -> Result<[Value; 2], MonitorError> {
        let talk = async {
            let [(first, arguments), (second, more)] = commands;
            let text = words(first, arguments) + &words(second, more);
            self.0.get_mut().write_all(text.as_bytes()).await.map_err(|_| MonitorError::Closed)?;
            let answered = self.answer(first).await;
            let last = self.answer(second).await;
            Ok([answered?, last?])
        };
        tokio::time::timeout(PATIENCE, talk).await.map_err(|_| MonitorError::Mute)?
    }

    /// Gives the monitor an open file, under a name.
    pub async fn give(&mut self, name: &str, file: BorrowedFd<'_>) -> Result<(), MonitorError> {
        let text = words("getfd", json!({ "fdname": name }));
        let stream = self.0.get_mut();
        let send = || {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let files = [file];
            control.push(SendAncillaryMessage::ScmRights(&files));
            Ok(sendmsg(&*stream, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?)
        };
        let sent = tokio::time::timeout(PATIENCE, stream.async_io(Interest::WRITABLE, send)).await;
        let sent = sent.map_err(|_| MonitorError::Mute)?.map_err(|_| MonitorError::Closed)?;
        if sent < text.len() {
            // A line this short goes as a whole into a buffer that is empty.
            return Err(MonitorError::Closed);
        }
        tokio::time::timeout(PATIENCE, self.answer("getfd")).await.map_err(|_| MonitorError::Mute)?.map(drop)
    }

    async fn answer(&mut self, command: &'static str) -> Result<Value, MonitorError> {
        loop {
            let mut answer = self.line().await?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let reason = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(MonitorError::Refused { call: command, reason: reason.chars().take(300).collect() });
            }
            if answer.get("event").is_none() {
                return Err(MonitorError::Protocol(short(&answer)));
            }
        }
    }

    async fn line(&mut self) -> Result<Value, MonitorError> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line).await;
        match read {
            Ok(0) | Err(_) => Err(MonitorError::Closed),
            Ok(_) => serde_json::from_slice(&line)
                .map_err(|_| MonitorError::Protocol(String::from_utf8_lossy(&line).chars().take(80).collect())),
        }
    }
}

fn words(command: &str, arguments: Value) -> String {
    let mut words = json!({ "execute": command });
    if !arguments.is_null() {
        words["arguments"] = arguments;
    }
    format!("{words}\n")
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// Decodes what the monitor encodes: base 64 with padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for letter in text.bytes().take_while(|&letter| letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixStream;

    #[test]
    fn base_64_reads_back() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes(), "{text}");
        }
        assert!(base64("a b").is_none());
    }

    async fn answers(text: &'static str) -> Result<Value, MonitorError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            theirs.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n").await.unwrap();
            theirs.write_all(text.as_bytes()).await.unwrap();
            let mut sink = Vec::new();
            theirs.read_to_end(&mut sink).await.unwrap();
        });
        Qmp::begin(ours).await?.ask("query-status", Value::Null).await
    }

    #[tokio::test]
    async fn events_between_a_command_and_its_answer_are_left_out() {
        let value = answers("{\"event\": \"RESUME\"}\n{\"return\": {\"status\": \"running\"}}\n").await.unwrap();
        assert_eq!(value["status"], "running");
    }

    #[tokio::test]
    async fn bad_27_garbage_and_refusals_of_a_monitor_are_typed_errors() {
        assert!(matches!(answers("what?\n").await, Err(MonitorError::Protocol(_))));
        assert!(matches!(answers("{}\n").await, Err(MonitorError::Protocol(_))));
        let refused = answers("{\"error\": {\"desc\": \"no\"}}\n").await;
        assert!(matches!(refused, Err(MonitorError::Refused { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn the_end_of_a_guest_is_told_whether_it_came_before_or_after_the_question() {
        for said in [
            "{\"return\": {\"status\": \"shutdown\"}}\n",
            "{\"return\": {\"status\": \"running\"}}\n{\"event\": \"RTC_CHANGE\"}\n{\"event\": \"SHUTDOWN\"}\n",
        ] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let talk = format!("{{\"QMP\": {{}}}}\n{{\"return\": {{}}}}\n{said}");
            theirs.write_all(talk.as_bytes()).await.unwrap();
            Qmp::guest_ends(ours).await.unwrap();
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let talk = "{\"QMP\": {}}\n{\"return\": {}}\n{\"return\": {\"status\": \"running\"}}\n{\"event\": \"STOP\"}\n";
        theirs.write_all(talk.as_bytes()).await.unwrap();
        drop(theirs);
        assert!(matches!(Qmp::guest_ends(ours).await, Err(MonitorError::Closed)));
    }
}
