//! An authority of one's own, for development: whoever trusts its certificate trusts the names it signs.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, date_time_ymd,
};

use super::Certificate;
use super::keep::keep;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};

/// The authority's key. Readable by its owner only.
const KEY: &str = "dev-ca.key";
/// The authority's certificate: what people trust.
const CERTIFICATE: &str = "dev-ca.pem";
/// How long a leaf is good for: browsers refuse more than 398 days.
const LEAF: Duration = Duration::from_secs(90 * 86_400);
/// Clocks differ.
const BEFORE: Duration = Duration::from_secs(86_400);

/// An authority in a folder: made once, and then found again.
#[derive(Debug)]
pub struct OwnCa {
    key: KeyPair,
    pem: String,
}

fn failed(error: rcgen::Error) -> Error {
    Error::internal("cannot make a certificate").with_source(error)
}

fn params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "minions development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

impl OwnCa {
    /// The authority in this folder, which must be there. Blocks: not for a runtime's thread.
    ///
    /// # Errors
    /// `Unavailable` where a file cannot be read or written, `InvalidArgument` where the key is none.
    pub fn ensure(dir: &Path) -> Result<Self> {
        let (at_key, at_pem) = (dir.join(KEY), dir.join(CERTIFICATE));
        let read = |path: &Path| match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let message = format!("cannot read {}", path.display());
                Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
            }
        };
        let key = match read(&at_key)? {
            Some(text) => KeyPair::from_pem(&text).map_err(|error| {
                let message =
                    format!("{} is no private key; move it away to have a new authority made", at_key.display());
                Error::invalid("dev_ca", message).with_source(error)
            })?,
            None => {
                let key = KeyPair::generate().map_err(failed)?;
                keep(&at_key, &key.serialize_pem())?;
                key
            }
        };
        let pem = match read(&at_pem)? {
            Some(text) => text,
            None => {
                let pem = params()?.self_signed(&key).map_err(failed)?.pem();
                keep(&at_pem, &pem)?;
                pem
            }
        };
        Ok(Self { key, pem })
    }

    /// The authority's certificate, to be trusted by whoever shall reach the service.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A new certificate for these names, good for 90 days.
    ///
    /// # Errors
    /// `InvalidArgument` where a name is no DNS name.
    pub fn sign(&self, env: &Env, names: Vec<String>) -> Result<Certificate> {
        Certificate::from_pem(self.sign_pem(env, &names)?.as_bytes(), names)
    }

    /// As [`sign`](Self::sign), as one text with the key and its chain: secret.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn sign_pem(&self, env: &Env, names: &[String]) -> Result<String> {
        let mut leaf = CertificateParams::new(names.to_vec())
            .map_err(|error| Error::invalid("names", "a name is no DNS name").with_source(error))?;
        let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(env.clock.wall().0);
        (leaf.not_before, leaf.not_after) = (now - BEFORE, now + LEAF);
        leaf.distinguished_name.push(DnType::CommonName, "minions");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        leaf.serial_number = Some(SerialNumber::from_slice(&env.ids.next_bits().to_be_bytes()[1..]));
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = Issuer::new(params()?, &self.key);
        let signed = leaf.signed_by(&key, &issuer).map_err(failed)?;
        Ok(format!("{}{}{}", key.serialize_pem(), signed.pem(), self.pem))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_authority_is_made_once_and_its_key_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = OwnCa::ensure(dir.path()).unwrap();
        let again = OwnCa::ensure(dir.path()).unwrap();
        assert_eq!((first.pem(), first.key.serialize_pem()), (again.pem(), again.key.serialize_pem()));
        let mode = std::fs::metadata(dir.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(dir.path().join(KEY), "nonsense").unwrap();
        assert_eq!(OwnCa::ensure(dir.path()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificates_file_is_read_again_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ca = OwnCa::ensure(dir.path()).unwrap();
        let (path, names) = (dir.path().join("web.pem"), vec!["box.example".to_owned()]);
        let certificates = crate::proxy::Certificates::new();
        let every = Duration::from_secs(60);
        assert!(certificates.follow(path.clone(), names.clone(), every).await.is_err(), "there is none yet");
        let write = || std::fs::write(&path, ca.sign_pem(&Env::system(), &names).unwrap()).unwrap();
        write();
        let following = certificates.clone();
        let (at, of) = (path.clone(), names.clone());
        let task = tokio::spawn(async move { following.follow(at, of, every).await });
        let in_use = async |after: Option<&[u8]>| loop {
            tokio::time::sleep(every).await;
            let found = certificates.find("box.example").map(|key| key.cert[0].to_vec());
            if let Some(found) = found.filter(|found| Some(found.as_slice()) != after) {
                return found;
            }
        };
        let first = in_use(None).await;
        std::fs::write(&path, "nonsense").unwrap();
        tokio::time::sleep(every * 3).await;
        assert_eq!(in_use(None).await, first);
        write();
        assert_ne!(in_use(Some(&first)).await, first);
        task.abort();
    }

    #[test]
    fn what_does_not_fit_is_no_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let ca = OwnCa::ensure(dir.path()).unwrap();
        let env = Env::system();
        assert!(ca.sign(&env, vec!["*.box.example".into(), "box.example".into()]).is_ok());
        let other = KeyPair::generate().unwrap().serialize_pem();
        for pem in [String::new(), ca.pem().to_owned(), format!("{other}{}", ca.pem())] {
            assert!(Certificate::from_pem(pem.as_bytes(), vec!["box.example".into()]).is_err());
        }
    }
}
