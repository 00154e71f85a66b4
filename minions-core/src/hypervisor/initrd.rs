//! The initrd of one boot: the image's, and behind it an archive with the secret that only the guest's root can read.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::host::{cpio, files};
use crate::types::AgentSecret;

/// Where the agent looks for it: 64 hexadecimal digits.
const SECRET: &str = "minions/secret";

/// Writes it. It is not made durable: a boot of the host ends the monitor too.
pub(super) fn write(image: &mut File, secret: &AgentSecret, to: &Path) -> io::Result<()> {
    files::absent(to)?;
    let mut target = files::open_write(to, 0o600)?;
    // By the kernel, and never through our memory: it may measure anything.
    let size = io::copy(image, &mut target)?;
    let mut tail = cpio::gap(size).to_vec();
    let mut archive = cpio::Archive::new();
    archive.dir("minions", 0o700);
    let hex: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    archive.file(SECRET, 0o600, hex.as_bytes());
    tail.extend(archive.finish());
    target.write_all(&tail)
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
            write(&mut File::open(&image).unwrap(), &secret, &to).unwrap();
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
}
