//! The host key: what clients know the gateway by.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};

use crate::env::IdSource;
use crate::error::{Error, ErrorKind, Result};

/// An Ed25519 key. Never printed.
#[derive(Clone)]
pub struct HostKey(pub(super) PrivateKey);

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

impl HostKey {
    /// A new one.
    #[must_use]
    pub fn generate(ids: &dyn IdSource) -> Self {
        Self(Ed25519Keypair::from_seed(&ids.next_secret()).into())
    }

    /// What clients show of it, `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// Its public part, as one line.
    ///
    /// # Errors
    /// `Internal` where it cannot be written.
    pub fn public_line(&self) -> Result<String> {
        let failed = |error| Error::internal("the host key cannot be written").with_source(error);
        self.0.public_key().to_openssh().map_err(failed)
    }

    /// The key of a file, made there where `may_make` says that nobody knows an older one. It is never made anew silently:
    /// clients would be told that somebody is between. Blocks.
    ///
    /// # Errors
    /// `Denied` reason `host_key_lost` where it is not there and may not be made, `InvalidArgument` where others may read
    /// it or it is none.
    pub fn load(path: &Path, may_make: bool, ids: &dyn IdSource) -> Result<Self> {
        let failed = |what: &str, error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot {what} the host key {}", path.display()))
                .with_source(error)
        };
        match std::fs::metadata(path) {
            Ok(found) if found.mode() & 0o077 != 0 => {
                let shown = path.display();
                Err(Error::invalid("host_key", format!("others may read {shown}; run: chmod 600 {shown}")))
            }
            Ok(_) => {
                let text = std::fs::read_to_string(path).map_err(|error| failed("read", error))?;
                PrivateKey::from_openssh(text).map(Self).map_err(|error| {
                    Error::invalid("host_key", format!("{} holds no SSH key", path.display())).with_source(error)
                })
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("look for", error)),
            Err(_) if !may_make => {
                let message = format!(
                    "the host key {} is not there, and people know this service by it; restore it from a backup, or say \
                     that it may be another: ssh-keygen -t ed25519 -N '' -f {0}",
                    path.display()
                );
                Err(Error::new(ErrorKind::Denied, message).with_reason("host_key_lost"))
            }
            Err(_) => {
                let key = Self::generate(ids);
                key.save(path).map_err(|error| failed("write", error))?;
                Ok(key)
            }
        }
    }

    /// Whole or not at all.
    fn save(&self, path: &Path) -> std::io::Result<()> {
        let text = self.0.to_openssh(LineEnding::LF).map_err(std::io::Error::other)?;
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(part, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededIds;

    #[test]
    fn ctl_5_4_a_host_key_is_made_once_and_never_again_silently() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host_key");
        let ids = SeededIds::new(1);
        let lost = HostKey::load(&path, false, &ids).unwrap_err();
        assert_eq!(lost.reason(), Some("host_key_lost"));
        let made = HostKey::load(&path, true, &ids).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for may_make in [true, false] {
            assert_eq!(HostKey::load(&path, may_make, &ids).unwrap().fingerprint(), made.fingerprint());
        }
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(HostKey::load(&path, true, &ids).unwrap_err().to_string().contains("chmod 600"));
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }
}
