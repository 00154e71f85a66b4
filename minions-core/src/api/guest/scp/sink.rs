//! Takes files.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::line::{Line, broken};
use super::{MAX_DEPTH, ScpRequest, away};
use crate::api::guest::sftp::{FileAttrs, GuestFiles, OpenHow, absolute, joined};
use crate::error::Result;

/// Taken off permission bits that are not to be preserved, as a shell's umask would.
const UMASK: u32 = 0o022;

/// A file or a directory that was announced.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    mode: u32,
    size: u64,
    name: Vec<u8>,
}

pub(super) async fn take<F, R, W>(files: &Arc<F>, request: &ScpRequest, line: &mut Line<'_, R, W>) -> Result<()>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (files_of, asked) = (files.clone(), request.paths.concat());
    let target = away(move || absolute(&files_of.home(), asked.as_bytes())).await?;
    let target = match target {
        Ok(target) => target,
        Err(error) => return line.warn(b"target", error).await,
    };
    let is_dir = is_dir(files, &target).await?;
    if request.directory && !is_dir {
        return line.warn(&target, "not a directory").await;
    }
    line.agree().await?;
    // Directories that are open, with what they become at their end.
    let mut levels: Vec<(Vec<u8>, FileAttrs)> = Vec::new();
    let mut times = None;
    loop {
        let kind = match line.byte().await? {
            None if levels.is_empty() => return Ok(()),
            None => return Err(broken("it hung up within a directory")),
            Some(kind) => kind,
        };
        let message = line.message().await?;
        match kind {
            1 => line.errors += 1,
            2 => return Err(broken("it gave up")),
            b'T' => {
                times = Some(parse_times(&message).ok_or_else(|| broken("times that are none"))?);
                line.agree().await?;
            }
            b'E' => {
                let (path, attrs) = levels.pop().ok_or_else(|| broken("an end without a directory"))?;
                let (files_of, at) = (files.clone(), path.clone());
                match away(move || files_of.set_attrs(&at, &attrs, true)).await? {
                    Ok(()) => line.agree().await?,
                    Err(error) => line.warn(&path, error).await?,
                }
            }
            b'C' | b'D' => {
                let head = parse_head(&message).ok_or_else(|| broken("a file that is none"))?;
                let path = match levels.last() {
                    Some((above, _)) => joined(above, &head.name),
                    None if is_dir => joined(&target, &head.name),
                    None => target.clone(),
                };
                let mode = if request.preserve { head.mode } else { head.mode & !UMASK };
                let attrs = FileAttrs { mode: Some(mode), times: times.take(), ..FileAttrs::default() };
                if kind == b'C' {
                    file(files, path, head.size, attrs, line).await?;
                } else if !request.recursive || levels.len() >= MAX_DEPTH {
                    line.warn(&path, "a directory that was not asked for, or is too deep").await?;
                } else {
                    let (files_of, at) = (files.clone(), path.clone());
                    match away(move || directory(&*files_of, &at, mode)).await? {
                        Ok(()) => {
                            levels.push((path, attrs));
                            line.agree().await?;
                        }
                        Err(error) => line.warn(&path, error).await?,
                    }
                }
            }
            _ => return Err(broken("a message that there is not")),
        }
    }
}

async fn is_dir<F: GuestFiles>(files: &Arc<F>, path: &[u8]) -> Result<bool> {
    let (files, path) = (files.clone(), path.to_vec());
    away(move || files.attrs(&path, true).is_ok_and(|attrs| attrs.is_dir())).await
}

/// The directory is there, and may be filled whatever it becomes at its end.
fn directory<F: GuestFiles>(files: &F, path: &[u8], mode: u32) -> io::Result<()> {
    match files.attrs(path, true) {
        Ok(attrs) if attrs.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => files.make_dir(path, mode | 0o700),
        Err(error) => Err(error),
    }
}

async fn file<F, R, W>(
    files: &Arc<F>,
    path: Vec<u8>,
    size: u64,
    attrs: FileAttrs,
    line: &mut Line<'_, R, W>,
) -> Result<()>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let how =
        OpenHow { write: true, create: true, truncate: true, mode: attrs.mode.unwrap_or(0o600), ..OpenHow::default() };
    let (files_of, at) = (files.clone(), path.clone());
    let opened = match away(move || files_of.open(&at, &how)).await? {
        Ok(opened) => Arc::new(opened),
        Err(error) => return line.warn(&path, error).await,
    };
    line.agree().await?;
    let mut at = 0;
    let mut done = Ok(());
    while at < size {
        let piece = line.piece(size - at).await?;
        let length = piece.len() as u64;
        if done.is_ok() {
            let (files, opened) = (files.clone(), opened.clone());
            done = away(move || files.write(&opened, at, &piece)).await?;
        }
        at += length;
    }
    // Whether it was read as it should be; where not, the client has said so.
    line.agreed().await?;
    if done.is_ok() {
        let files = files.clone();
        done = away(move || files.set_file_attrs(&opened, &attrs)).await?;
    }
    match done {
        Ok(()) => line.agree().await,
        Err(error) => line.warn(&path, error).await,
    }
}

/// `MTIME 0 ATIME 0`.
fn parse_times(message: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(message).ok()?;
    let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    let [written, _, read, _] = numbers[..] else { return None };
    Some((u32::try_from(read).ok()?, u32::try_from(written).ok()?))
}

/// `MODE SIZE NAME`. A name that leads elsewhere is none.
fn parse_head(message: &[u8]) -> Option<Head> {
    let mut parts = message.splitn(3, |byte| *byte == b' ');
    let mode = parts.next().filter(|mode| mode.len() == 4 && mode.iter().all(|digit| (b'0'..=b'7').contains(digit)))?;
    let mode = mode.iter().fold(0, |mode, digit| mode << 3 | u32::from(digit - b'0'));
    let size = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let name = parts.next()?.to_vec();
    let leads = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0);
    (!leads).then_some(Head { mode, size, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        let head = parse_head(b"0644 12 a b").unwrap();
        assert_eq!(head, Head { mode: 0o644, size: 12, name: b"a b".to_vec() });
        for wrong in [
            "0644 1 ..",
            "0644 1 .",
            "0644 1 a/b",
            "0644 1 /a",
            "0644 1 ",
            "0644 1",
            "0888 1 a",
            "644 1 a",
            "0644 -1 a",
        ] {
            assert_eq!(parse_head(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(parse_times(b"7 0 8 0"), Some((8, 7)));
        assert_eq!(parse_times(b"7 0 8"), None);
    }
}
