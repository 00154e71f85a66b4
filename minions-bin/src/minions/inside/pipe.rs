//! `minions cp` from stdin and to stdout: the bytes of one file.

use std::io::{self, IsTerminal};
use std::path::Path;

use bytes::Bytes;
use minions_core::api::guest::{FileKind, GuestCall, ReadFile, TerminalFilter, WriteFile};
use minions_core::error::Error;
use minions_core::guest::client::Download;
use minions_core::service::VmRef;
use tokio::io::AsyncWriteExt;

use super::archive::Tally;
use super::copy::{is_folder, look, one_file, upload_file};
use super::soon;
use crate::client::Client;
use crate::output::Failure;

/// Stdin becomes a file in a VM.
pub async fn upload(client: &Client, vm: &VmRef, to: &str) -> Result<Tally, Failure> {
    if to.ends_with('/') || is_folder(client, vm, to).await? {
        let message =
            format!("{to} is a folder, and stdin has no name; write the file's: {}/NAME", to.trim_end_matches('/'));
        return Err(Error::invalid("path", message).into());
    }
    let call =
        GuestCall::WriteFile(WriteFile { path: to.to_owned(), mode: None, uid: None, gid: None, parents: false });
    Ok(upload_file(client, vm, call, tokio::io::stdin(), Path::new("stdin")).await?)
}

/// A file in a VM goes to stdout: as it is, but nothing of it steers a terminal.
pub async fn download(client: &Client, vm: &VmRef, from: &str) -> Result<Tally, Failure> {
    let info = look(client, vm, from).await?;
    match info.map(|info| info.kind) {
        Some(FileKind::File | FileKind::Symlink) => {}
        Some(FileKind::Directory) => {
            let message = format!("{from} is a folder; as a tar stream: minions exec {vm} -- tar c -C {from} .");
            return Err(Error::invalid("path", message).into());
        }
        Some(FileKind::Other) => {
            return Err(Error::invalid("path", format!("{from} is neither a file nor a folder")).into());
        }
        None => return Err(Error::not_found(format!("there is no {from} in {vm}")).into()),
    }
    let call = GuestCall::ReadFile(ReadFile { path: from.to_owned(), offset: 0, limit: None });
    let (mut download, _) = Download::begin(client.plane.open(&client.caller, vm, &call).await?, soon()).await?;
    let mut screen = io::stdout().is_terminal().then(TerminalFilter::default);
    let mut stdout = tokio::io::stdout();
    let mut total = 0;
    while let Some(piece) = download.next().await? {
        total += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        stdout.write_all(&harmless(&mut screen, piece)).await?;
    }
    stdout.flush().await?;
    Ok(one_file(total))
}

fn harmless(screen: &mut Option<TerminalFilter>, piece: Bytes) -> Bytes {
    let Some(filter) = screen else { return piece };
    let mut safe = String::with_capacity(piece.len());
    filter.push(&piece, &mut safe);
    safe.into()
}
