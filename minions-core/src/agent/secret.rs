//! The VM's secret, as a file that only root can read: 64 hexadecimal digits.

use std::path::Path;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as Unreadable, StrDeserializer};

use super::error::about;
use crate::error::{Error, Result};
use crate::types::AgentSecret;

/// Reads a secret. What the file holds is never part of an error.
pub fn read_secret(path: &Path) -> Result<AgentSecret> {
    let text = std::fs::read_to_string(path).map_err(|error| about(path.display(), error))?;
    let text: StrDeserializer<'_, Unreadable> = text.trim().into_deserializer();
    AgentSecret::deserialize(text)
        .map_err(|_| Error::invalid("secret", format!("{} does not hold 64 hexadecimal digits", path.display())))
}
