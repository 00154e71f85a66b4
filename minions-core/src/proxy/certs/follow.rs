//! A certificate's file, read again when it has changed.

use std::path::PathBuf;
use std::time::Duration;

use super::{Certificate, Certificates};
use crate::error::{Error, ErrorKind, Result};

impl Certificates {
    /// Takes one file with a key and its chain for these names, now and whenever it has changed; looks every so often, for
    /// ever. What cannot be read changes nothing: the last good one stays.
    ///
    /// # Errors
    /// Only for the first look: `Unavailable` where the file cannot be read, `InvalidArgument` where it does not fit.
    pub async fn follow(&self, path: PathBuf, names: Vec<String>, every: Duration) -> Result<()> {
        let mut last = read(path.clone()).await?;
        self.put(&Certificate::from_pem(&last, names.clone())?);
        loop {
            tokio::time::sleep(every).await;
            let fresh = match read(path.clone()).await {
                Ok(fresh) if fresh == last => continue,
                fresh => fresh,
            };
            match fresh.and_then(|fresh| Ok((Certificate::from_pem(&fresh, names.clone())?, fresh))) {
                Ok((certificate, fresh)) => {
                    self.put(&certificate);
                    last = fresh;
                    tracing::info!(path = %path.display(), "a new certificate is in use");
                }
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(path = %path.display(), error, "the certificate's file is no good; the last one stays");
                }
            }
        }
    }
}

async fn read(path: PathBuf) -> Result<Vec<u8>> {
    let message = format!("cannot read {}", path.display());
    let failed = |error| Error::new(ErrorKind::Unavailable, message).with_source(error);
    let reading = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    reading.map_err(|error| Error::internal("the reader panicked").with_source(error))?.map_err(failed)
}
