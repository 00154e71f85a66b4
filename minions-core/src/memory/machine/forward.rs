//! TCP ports of a simulated guest: a small HTTP server on 80, an echo on 7.

use super::Machine;
use super::session::{Reader, Writer};
use crate::api::guest::{CHANNEL_MAIN, Frame, Reply, WireError};
use crate::error::{ErrorKind, Result};

/// Longest head of a request.
const MAX_HEAD: usize = 16 << 10;

pub(super) async fn serve(machine: &Machine, port: u16, mut reader: Reader, mut writer: Writer) -> Result<()> {
    match port {
        7 | 80 => writer.message(&Reply::Accepted).await?,
        _ => {
            let error = WireError::new(ErrorKind::Unavailable, format!("127.0.0.1:{port}: connection refused"));
            return writer.message(&Reply::Failed { error }).await;
        }
    }
    match port {
        7 => echo(&mut reader, &mut writer).await?,
        _ => http(machine, &mut reader, &mut writer).await?,
    }
    writer.send(&Frame::End { channel: CHANNEL_MAIN }).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}

async fn echo(reader: &mut Reader, writer: &mut Writer) -> Result<()> {
    while let Some(frame @ Frame::Data { .. }) = reader.next().await? {
        writer.send(&frame).await?;
    }
    Ok(())
}

/// Answers every request with the VM's name, until the client has had enough.
async fn http(machine: &Machine, reader: &mut Reader, writer: &mut Writer) -> Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(head) = head(reader, &mut read).await? else { return Ok(()) };
        let close = head.lines().next().is_none_or(|line| !line.ends_with("HTTP/1.1"))
            || header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut body: usize = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        // Only the length of what was sent matters.
        loop {
            let here = body.min(read.len());
            read.drain(..here);
            body -= here;
            if body == 0 {
                break;
            }
            let Some(Frame::Data { bytes, .. }) = reader.next().await? else { return Ok(()) };
            read.extend_from_slice(&bytes);
        }
        let text = format!("hello from {} ({})\n", machine.hostname()?, machine.id);
        let text = if head.starts_with("HEAD ") { String::new() } else { text };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nserver: minions-simulated\r\ncontent-length: {}\r\n\
             connection: {}\r\n\r\n{text}",
            text.len(),
            if close { "close" } else { "keep-alive" },
        );
        writer.send(&Frame::Data { channel: CHANNEL_MAIN, bytes: answer.into() }).await?;
        if close {
            return Ok(());
        }
    }
}

/// The next request's head, without the blank line that ends it; `None` where no request follows.
async fn head(reader: &mut Reader, read: &mut Vec<u8>) -> Result<Option<String>> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            read.drain(..end + 4);
            return Ok(Some(head));
        }
        if read.len() > MAX_HEAD {
            return Ok(None);
        }
        match reader.next().await? {
            Some(Frame::Data { bytes, .. }) => read.extend_from_slice(&bytes),
            _ => return Ok(None),
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let line = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    line.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}
