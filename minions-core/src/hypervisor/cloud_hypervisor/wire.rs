//! The control API of a monitor: HTTP on a UNIX socket. Its names are those of Cloud Hypervisor's own description.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

use crate::host::socket;
use crate::hypervisor::error::MonitorError;

/// The longest answer that a monitor may give: the description of a VM with all its devices.
const MAX_ANSWER: usize = 1 << 20;

/// How long a monitor may take for an answer. Ones that are stopped or wedged do not hold anybody up for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for what takes as long as its guest's memory is large.
pub(super) const LONG: Duration = Duration::from_secs(120);

/// What a monitor says of its VM.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Info {
    pub state: State,
    pub config: Config,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub(super) enum State {
    Created,
    Running,
    Paused,
    #[serde(other)]
    Shutdown,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Config {
    pub cpus: Cpus,
    pub memory: Memory,
    #[serde(default)]
    pub landlock_enable: bool,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Cpus {
    pub boot_vcpus: u32,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Memory {
    pub size: u64,
}

/// A conversation. A monitor's socket has room for ten, and it answers one question at a time.
#[derive(Debug)]
pub(super) struct Api {
    sender: SendRequest<Full<Bytes>>,
    carrier: AbortHandle,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Api {
    /// At the socket of the process `pid`.
    pub async fn connect(path: &Path, pid: u32) -> Result<Self, MonitorError> {
        let stream = socket::connect_to(path, pid).await.map_err(|error| match error.kind() {
            // Those who gave up waiting for an answer are still in its queue, which has no place left.
            std::io::ErrorKind::WouldBlock => MonitorError::Mute,
            _ => MonitorError::Closed,
        })?;
        Self::over(stream).await
    }

    pub async fn over(stream: UnixStream) -> Result<Self, MonitorError> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| MonitorError::Closed)?;
        // Whatever ends it is told to the one who waits for an answer.
        let carrier = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, carrier })
    }

    /// That it answers, and its version.
    pub async fn ping(&mut self) -> Result<String, MonitorError> {
        let answer = self.call(Method::GET, "vmm.ping", None, PATIENCE).await?;
        let said: Value = read(&answer)?;
        said["version"].as_str().map(str::to_owned).ok_or_else(|| MonitorError::Protocol(short(&answer)))
    }

    /// Its VM; `None` while it has none.
    pub async fn info(&mut self) -> Result<Option<Info>, MonitorError> {
        match self.call(Method::GET, "vm.info", None, PATIENCE).await {
            Ok(answer) => read(&answer).map(Some),
            Err(MonitorError::Refused { reason, .. }) if reason.contains("not created") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Something is done.
    pub async fn put(&mut self, call: &'static str, body: Option<&Value>) -> Result<(), MonitorError> {
        self.call(Method::PUT, call, body, PATIENCE).await.map(drop)
    }

    /// Something is done that may take its time.
    pub async fn put_slowly(&mut self, call: &'static str, body: Option<&Value>) -> Result<(), MonitorError> {
        self.call(Method::PUT, call, body, LONG).await.map(drop)
    }

    async fn call(
        &mut self,
        method: Method,
        call: &'static str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Bytes, MonitorError> {
        let text = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{call}"))
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(text)));
        let request = request.map_err(|error| MonitorError::Protocol(error.to_string()))?;
        let talk = async {
            let answer = self.sender.send_request(request).await.map_err(|_| MonitorError::Closed)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<http_body_util::LengthLimitError>() {
                Some(_) => MonitorError::Protocol("an answer that does not end".to_owned()),
                None => MonitorError::Closed,
            })?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(limit, talk).await.map_err(|_| MonitorError::Mute)??;
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
            _ => Err(MonitorError::Refused { call, reason: reason(status, &body) }),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, MonitorError> {
    serde_json::from_slice(answer).map_err(|_| MonitorError::Protocol(short(answer)))
}

fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}

/// Why it refused: a list of causes in JSON, or whatever else it says.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Vec<String>>(body) {
        Ok(causes) => causes.join(": "),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let text = if text.trim().is_empty() { status.to_string() } else { text };
    text.chars().filter(|letter| !letter.is_control()).take(600).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn answers(text: String) -> Result<Option<Info>, MonitorError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let mut asked = [0; 4096];
            let count = theirs.read(&mut asked).await.unwrap();
            assert!(asked[..count].starts_with(b"GET /api/v1/vm.info HTTP/1.1\r\n"));
            // Whoever has heard enough hangs up.
            drop(theirs.write_all(text.as_bytes()).await);
        });
        Api::over(ours).await?.info().await
    }

    fn with(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status} \r\nServer: Cloud Hypervisor API\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_monitor_tells_of_its_vm_and_that_it_has_none_yet() {
        let body = r#"{"config":{"cpus":{"boot_vcpus":2,"x":[]},"memory":{"size":7},"new":1},"state":"Running","device_tree":{}}"#;
        let info = answers(with("200", body)).await.unwrap().unwrap();
        assert_eq!((info.state, info.config.cpus.boot_vcpus, info.config.memory.size), (State::Running, 2, 7));
        let none = r#"["Error from API","The VM info is not available","VM is not created"]"#;
        for status in ["404", "500"] {
            assert!(answers(with(status, none)).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn bad_27_garbage_refusals_and_endless_answers_of_a_monitor_are_typed_errors() {
        for body in ["", "what?", "{}", r#"{"state":"Running"}"#] {
            let answer = answers(with("200", body)).await;
            assert!(matches!(answer, Err(MonitorError::Protocol(_))), "{body}: {answer:?}");
        }
        let refused = answers(with("500", r#"["Error","of a\u001b[31m kind"]"#)).await;
        let Err(MonitorError::Refused { reason, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(reason, "Error: of a[31m kind");
        assert!(matches!(answers(with("500", "")).await, Err(MonitorError::Refused { .. })));
        assert!(matches!(answers(String::new()).await, Err(MonitorError::Closed)));
        assert!(matches!(answers("what?\r\n\r\n".to_owned()).await, Err(MonitorError::Closed)));
        let endless = answers(with("200", &"x".repeat(MAX_ANSWER + 1))).await;
        assert!(matches!(endless, Err(MonitorError::Protocol(_))), "{endless:?}");
    }
}
