//! The initrd of one boot: the image's, and behind it an archive with the secret that only the guest's root can read.

use std::io::{self, Write};
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
    let io = QemuError::io("write the initrd");
    files::absent(to).map_err(&io)?;
    let mut target = files::open_write(to, 0o600).map_err(&io)?;
    // By the kernel, and never through our memory: it may measure anything.
    let size = io::copy(&mut source, &mut target).map_err(&io)?;
    let mut tail = cpio::gap(size).to_vec();
    let mut archive = cpio::Archive::new();
    archive.dir("minions", 0o700);
    let hex: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    archive.file(SECRET, 0o600, hex.as_bytes());
    tail.extend(archive.finish());
    target.write_all(&tail).map_err(&io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_follows_the_image_at_a_place_where_the_kernel_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (image, to) = (folder.path().join("image"), folder.path().join("initrd"));
        let secret = AgentSecret::from_bytes([0xab; 32]);
        for length in [1, 2, 3, 4, 70_001] {
            std::fs::write(&image, vec![7; length]).unwrap();
            write(&image, &secret, &to).unwrap();
            let bytes = std::fs::read(&to).unwrap();
            let place = length.next_multiple_of(4);
            assert!(bytes[..length].iter().all(|byte| *byte == 7), "{length}: the image comes first");
            assert!(bytes[length..place].iter().all(|byte| *byte == 0), "{length}: then zeros");
            assert!(bytes[place..].starts_with(b"070701"), "{length}: then an archive");
            assert!(bytes.windows(64).any(|text| text == "ab".repeat(32).as_bytes()), "{length}: with the secret");
            assert_eq!(bytes.len() % 4, 0);
        }
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_initrd_that_is_not_there_is_told_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("initrd");
        let error = write(&folder.path().join("image"), &AgentSecret::from_bytes([1; 32]), &to).unwrap_err();
        assert!(matches!(error, QemuError::Missing { what: "initrd", .. }) && !to.exists());
    }
}
