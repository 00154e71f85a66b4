//! Row 20: a file into a guest and out of it, against a bare copy over the same kind of socket.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use minions_core::api::guest::{GuestCall, ReadFile, WriteFile};
use minions_core::guest::client::{Download, Upload};

use crate::Result;
use crate::child::text;
use crate::floor::{self, PIECE};
use crate::guest_exec::{open, soon, start};
use crate::measure::median;
use crate::report::{Figure, Goal, short};
use crate::suite::{Run, folder_in};

async fn upload(dir: &Path, pieces: usize) -> Result<f64> {
    let path = text(&dir.join("agent-file"))?.to_owned();
    let call = GuestCall::WriteFile(WriteFile { path, mode: None, uid: None, gid: None, parents: false });
    let piece = Bytes::from(vec![7; PIECE]);
    let begin = Instant::now();
    let mut upload = Upload::new(open(dir, &call).await?);
    for _ in 0..pieces {
        upload.write(piece.clone()).await?;
    }
    upload.finish(soon()).await?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn download(dir: &Path, pieces: usize) -> Result<f64> {
    let path = text(&dir.join("agent-file"))?.to_owned();
    let call = GuestCall::ReadFile(ReadFile { path, offset: 0, limit: None });
    let (begin, mut seen) = (Instant::now(), 0);
    let (mut download, _) = Download::begin(open(dir, &call).await?, soon()).await?;
    while let Some(bytes) = download.next().await? {
        seen += bytes.len();
    }
    if seen != pieces * PIECE {
        return Err("a download has another length".into());
    }
    Ok(begin.elapsed().as_secs_f64())
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    // In memory where there is such a place, so that no disk is measured.
    let shared = Path::new("/dev/shm");
    let (folder, place) = match folder_in(shared) {
        Ok(folder) => (folder, "files in memory"),
        Err(_) => (folder_in(&std::env::temp_dir())?, "files on a disk"),
    };
    let dir = folder.path();
    let (_agent, _floor) = start(dir).await?;
    let pieces = run.pick(256 << 20, 1 << 30) / PIECE;
    let (mut into, mut out, mut floor_in, mut floor_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..run.pick(3, 5) {
        floor_in.push(floor::copy_in(&dir.join("floor"), pieces).await?);
        into.push(upload(dir, pieces).await?);
        floor_out.push(floor::copy_out(&dir.join("floor"), pieces).await?);
        out.push(download(dir, pieces).await?);
    }
    let rate = |seconds: &mut Vec<f64>| (pieces * PIECE) as f64 / 1e6 / median(seconds);
    let (into, floor_in) = (rate(&mut into), rate(&mut floor_in));
    let (out, floor_out) = (rate(&mut out), rate(&mut floor_out));
    let mib = (pieces * PIECE) >> 20;
    let note = |ours: f64, floor: f64| format!("{} MB/s; floor {} MB/s; {mib} MiB, {place}", short(ours), short(floor));
    Ok(vec![
        Figure::new("20", "file into a guest against a bare copy", into / floor_in, "x", Goal::AtLeast(0.5))
            .note(note(into, floor_in)),
        Figure::new("20", "file out of a guest against a bare copy", out / floor_out, "x", Goal::AtLeast(0.5))
            .note(note(out, floor_out)),
    ])
}
