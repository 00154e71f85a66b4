//! The initrd of one boot: the image's, and behind it an archive with the secret that only the guest's root can read.

use std::io::{self, Read, Write};
use std::path::Path;

use super::error::QemuError;
use crate::host::{cpio, files};
use crate::types::AgentSecret;

/// Where the agent looks for it: 64 hexadecimal digits.
const SECRET: &str = "minions/secret";

/// Writes it, whole or not at all. It is not made durable: a boot of the host ends the monitor too.
pub(super) fn write(image: &Path, secret: &AgentSecret, to: &Path) -> Result<(), QemuError> {
    let mut source = files::open_read(image).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => QemuError::Missing { what: "initrd", path: image.to_owned() },
        _ => QemuError::Io { what: "read the initrd", source: error },
    })?;
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).map_err(QemuError::io("read the initrd"))?;
    cpio::pad(&mut bytes);
    let mut archive = cpio::Archive::new();
    archive.dir("minions", 0o700);
    let hex: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    archive.file(SECRET, 0o600, hex.as_bytes());
    bytes.extend(archive.finish());
    let io = QemuError::io("write the initrd");
    files::absent(to).map_err(&io)?;
    let mut target = files::open_write(to, 0o600).map_err(&io)?;
    target.write_all(&bytes).map_err(&io)
}
