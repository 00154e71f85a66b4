//! One connection: a hello, one call, its answer.

use std::time::Duration;

use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

use super::{Machine, exec, files, forward, ssh_files, tar};
use crate::api::guest::handshake;
use crate::api::guest::{FrameReader, FrameWriter, GuestCall, Purpose, Reply, WireError};
use crate::error::{Error, ErrorKind, Result};

pub(super) type Reader = FrameReader<ReadHalf<DuplexStream>>;
pub(super) type Writer = FrameWriter<WriteHalf<DuplexStream>>;

/// How long hello and call may take together.
const HELLO: Duration = Duration::from_secs(10);

pub(super) async fn serve(machine: &Machine, stream: DuplexStream) -> Result<()> {
    let identity = machine.identity()?;
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let hello = async {
        handshake::agent(&mut reader, &mut writer, &identity, Purpose::Call).await?;
        reader.message::<GuestCall>().await
    };
    let call = tokio::time::timeout(HELLO, hello)
        .await
        .map_err(|_| Error::new(ErrorKind::DeadlineExceeded, "no call came after the hello"))??;
    match call {
        GuestCall::Exec(request) => return exec::serve(machine, request, reader, writer).await,
        GuestCall::Forward { port } => return forward::serve(machine, port, reader, writer).await,
        _ => {}
    }
    let done = match call {
        GuestCall::ReadFile(request) => files::read(machine, &request, &mut writer).await,
        GuestCall::WriteFile(request) => files::write(machine, &request, &mut reader, &mut writer).await,
        GuestCall::List(request) => files::list(machine, &request, &mut writer).await,
        GuestCall::Sftp => ssh_files::sftp(machine, &mut reader, &mut writer).await,
        GuestCall::Scp(request) => ssh_files::scp(machine, request, &mut reader, &mut writer).await,
        GuestCall::TarIn { dest } => tar::unpack(machine, &dest, &mut reader, &mut writer).await,
        GuestCall::TarOut { path } => tar::pack(machine, &path, &mut writer).await,
        GuestCall::Shutdown { .. } => {
            // The answer leaves before the machine does.
            let said = writer.message(&Reply::Accepted).await;
            machine.shut_down();
            said
        }
        call => match answer(machine, &call) {
            Ok(reply) => writer.message(&reply).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = done {
        writer.message(&Reply::Failed { error: WireError::from(&error) }).await?;
    }
    // The peer closes; until then what was sent is its to read.
    while reader.next().await?.is_some() {}
    Ok(())
}

/// The calls that have one answer.
fn answer(machine: &Machine, call: &GuestCall) -> Result<Reply> {
    Ok(match call {
        GuestCall::Health => Reply::Health(machine.health()?),
        GuestCall::Status => Reply::Status(Box::new(machine.status()?)),
        GuestCall::Network => Reply::Network(machine.network()?),
        GuestCall::Stat { path } => Reply::Info(machine.disks(|disks| disks.info(path, false))?),
        GuestCall::GrowFilesystem { target } => {
            Reply::Done { bytes: machine.disks(|disks| disks.grown(*target))?, entries: 1 }
        }
        other => return Err(Error::internal(format!("{} is not a call with one answer", other.name()))),
    })
}
