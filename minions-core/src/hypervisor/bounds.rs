//! What no monitor can ever run.

use super::VmmConfig;
use crate::error::{Error, Result};
use crate::types::ByteSize;

/// The least memory that the cloud kernel and our initrd unpack in.
pub(super) const MIN_MEMORY: ByteSize = ByteSize::mib(96);

/// What can never work is refused before anything happens.
pub(super) fn check(config: &VmmConfig, max_vcpus: u32, max_memory: ByteSize) -> Result<()> {
    if config.vcpus.0 == 0 || config.vcpus.0 > max_vcpus {
        return Err(Error::invalid("vcpus", format!("a VM here has 1 to {max_vcpus} processors")));
    }
    if config.memory < MIN_MEMORY || config.memory > max_memory {
        let text = format!("a VM here has {MIN_MEMORY} to {max_memory} of memory");
        return Err(Error::invalid("memory", text));
    }
    Ok(())
}
