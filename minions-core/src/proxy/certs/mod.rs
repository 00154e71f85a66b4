//! Certificates: which one a name gets, and where they come from.
//!
//! ```text
//! own_ca.rs  an authority of one's own, for development     keep.rs  files that only their owner reads
//! follow.rs  a file, read again when it has changed
//! ```

mod follow;
mod keep;
mod own_ca;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use own_ca::OwnCa;

use crate::error::{Error, ErrorKind, Result};

/// The one provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A key with its chain, and the names that it is for: `web.example`, or `*.example` for every name right below.
#[derive(Clone)]
pub struct Certificate {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a PEM text that holds one key and its chain, the leaf first.
    ///
    /// # Errors
    /// `InvalidArgument` where something is missing, the key is another certificate's, or a name is not in the leaf.
    pub fn from_pem(pem: &[u8], names: Vec<String>) -> Result<Self> {
        let bad = |message: &'static str| Error::invalid("certificate", message);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| bad("not a readable chain in PEM").with_source(error))?;
        let leaf = chain.first().ok_or_else(|| bad("there is no certificate in the file"))?.clone();
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| bad("there is no readable private key in the file").with_source(error))?;
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| bad("the key and the certificate do not fit").with_source(error))?;
        let parsed =
            ParsedCertificate::try_from(&leaf).map_err(|error| bad("the leaf cannot be read").with_source(error))?;
        for name in &names {
            let example = name.replacen("*.", "any.", 1);
            let example = ServerName::try_from(example.as_str()).map_err(|_| bad("a name is no DNS name"))?;
            rustls::client::verify_server_name(&parsed, &example)
                .map_err(|error| bad("a name is not in the certificate").with_source(error))?;
        }
        Ok(Self { names, key: Arc::new(key) })
    }

    /// Reads one file with a key and its chain. Blocks: not for a runtime's thread.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem); `Unavailable` where the file cannot be read.
    pub fn from_file(path: &Path, names: Vec<String>) -> Result<Self> {
        let failed =
            |error| Error::new(ErrorKind::Unavailable, format!("cannot read {}", path.display())).with_source(error);
        Self::from_pem(&std::fs::read(path).map_err(failed)?, names)
    }
}

/// The certificates that are in use. Cheap to clone; all clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<RwLock<HashMap<String, Arc<CertifiedKey>>>>);

impl Certificates {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Each of its names gets this one from the next connection on. Connections that are there stay.
    pub fn put(&self, certificate: &Certificate) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.extend(certificate.names.iter().map(|name| (name.to_ascii_lowercase(), certificate.key.clone())));
    }

    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.get(name).cloned().or_else(|| map.get(&format!("*.{}", name.split_once('.')?.1)).cloned())
    }
}

impl ResolvesServerCert for Certificates {
    /// Without a name, and for a name that is nobody's here, there is none: the handshake ends.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(&hello.server_name()?.to_ascii_lowercase())
    }
}
