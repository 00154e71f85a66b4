//! Sends files.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::line::Line;
use super::{MAX_DEPTH, ScpRequest, away};
use crate::api::guest::sftp::{FileAttrs, GuestFiles, OpenHow, absolute, joined, name_of};
use crate::error::Result;

/// Bytes that are read at a time.
const PIECE: u64 = 128 << 10;

/// A directory that is being sent.
type Level<F> = (Vec<u8>, <F as GuestFiles>::Dir);

pub(super) async fn send<F, R, W>(files: &Arc<F>, request: &ScpRequest, line: &mut Line<'_, R, W>) -> Result<()>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    line.agreed().await?;
    let home = files.home();
    for asked in &request.paths {
        let (files_of, home, asked) = (files.clone(), home.clone(), asked.clone());
        let found = away(move || -> io::Result<(Vec<u8>, Vec<u8>)> {
            let path = absolute(&home, asked.as_bytes())?;
            // Whatever `.` is called where it is.
            let name = match name_of(&path) {
                b"." | b".." => name_of(&files_of.resolve(&path)?).to_vec(),
                name => name.to_vec(),
            };
            Ok((path, name))
        });
        match found.await? {
            Ok((path, name)) => tree(files, request, path, &name, line).await?,
            Err(error) => line.warn(b"path", error).await?,
        }
    }
    Ok(())
}

/// A file, or a directory and what is in it: a stack, not a recursion, for depth is the guest's to choose.
async fn tree<F, R, W>(
    files: &Arc<F>,
    request: &ScpRequest,
    path: Vec<u8>,
    name: &[u8],
    line: &mut Line<'_, R, W>,
) -> Result<()>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut levels: Vec<Level<F>> = Vec::new();
    levels.extend(entry(files, request, path, name, line).await?);
    while let Some((path, mut dir)) = levels.pop() {
        let files_of = files.clone();
        let (dir, next) = away(move || {
            let next = files_of.next(&mut dir);
            (dir, next)
        })
        .await?;
        let name = match next {
            Ok(Some((name, _))) => name,
            ended => {
                if let Err(error) = ended {
                    line.warn(&path, error).await?;
                }
                line.send(&b"E\n"[..]).await?;
                line.agreed().await?;
                continue;
            }
        };
        let below = joined(&path, &name);
        levels.push((path, dir));
        if levels.len() > MAX_DEPTH {
            line.warn(&below, "too deep").await?;
            continue;
        }
        levels.extend(entry(files, request, below, &name, line).await?);
    }
    Ok(())
}

/// What was found at a path.
enum Found<F: GuestFiles> {
    File(FileAttrs, F::File),
    Dir(FileAttrs, F::Dir),
}

fn look<F: GuestFiles>(files: &F, path: &[u8], recursive: bool) -> io::Result<Found<F>> {
    let attrs = files.attrs(path, true)?;
    if attrs.is_dir() && recursive {
        return Ok(Found::Dir(attrs, files.open_dir(path)?));
    }
    if !attrs.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = files.open(path, &OpenHow { read: true, ..OpenHow::default() })?;
    Ok(Found::File(files.file_attrs(&file)?, file))
}

/// Announces a path; sends it where it is a file, and gives it back where it is a directory.
async fn entry<F, R, W>(
    files: &Arc<F>,
    request: &ScpRequest,
    path: Vec<u8>,
    name: &[u8],
    line: &mut Line<'_, R, W>,
) -> Result<Option<Level<F>>>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (files_of, at, recursive) = (files.clone(), path.clone(), request.recursive);
    let found = match away(move || look(&*files_of, &at, recursive)).await? {
        Ok(found) => found,
        Err(error) => return line.warn(&path, error).await.map(|()| None),
    };
    let (Found::File(attrs, _) | Found::Dir(attrs, _)) = &found;
    if request.preserve {
        let (read, written) = attrs.times.unwrap_or_default();
        line.send(format!("T{written} 0 {read} 0\n")).await?;
        if !line.agreed().await? {
            return Ok(None);
        }
    }
    let mode = attrs.mode.unwrap_or(0) & 0o7777;
    let (kind, size) = if attrs.is_dir() { ('D', 0) } else { ('C', attrs.size.unwrap_or(0)) };
    let mut head = format!("{kind}{mode:04o} {size} ").into_bytes();
    for byte in name {
        // A name's own newline would end the message.
        match byte {
            b'\n' => head.extend_from_slice(b"\\^J"),
            byte => head.push(*byte),
        }
    }
    head.push(b'\n');
    line.send(head).await?;
    if !line.agreed().await? {
        return Ok(None);
    }
    match found {
        Found::Dir(_, dir) => Ok(Some((path, dir))),
        Found::File(_, file) => content(files, &path, Arc::new(file), size, line).await.map(|()| None),
    }
}

/// Exactly as many bytes as were announced: a file that has become shorter is filled with zeros, and told of.
async fn content<F, R, W>(
    files: &Arc<F>,
    path: &[u8],
    file: Arc<F::File>,
    size: u64,
    line: &mut Line<'_, R, W>,
) -> Result<()>
where
    F: GuestFiles,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut wrong = None;
    let mut at = 0;
    while at < size {
        let length = usize::try_from((size - at).min(PIECE)).unwrap_or_default();
        let (files_of, file, failed) = (files.clone(), file.clone(), wrong.is_some());
        let (piece, read) = away(move || {
            let mut piece = vec![0; length];
            let mut read = if failed { Ok(length) } else { Ok(0) };
            while let Ok(done) = read {
                if done == length {
                    break;
                }
                read = match files_of.read(&file, at + done as u64, &mut piece[done..]) {
                    Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter")),
                    Ok(more) => Ok(done + more),
                    Err(error) => Err(error),
                };
            }
            (piece, read)
        })
        .await?;
        if let Err(error) = read {
            wrong = Some(error);
        }
        at += length as u64;
        line.send(piece).await?;
    }
    match wrong {
        None => line.agree().await?,
        Some(error) => line.warn(path, error).await?,
    }
    line.agreed().await.map(drop)
}
