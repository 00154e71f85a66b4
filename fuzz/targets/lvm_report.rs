//! What stands where a report of LVM should: read strictly or refused, and whatever was read makes sense.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use minions_core::storage::lvm::Report;
use minions_core::types::ByteSize;

fuzz_target!(|bytes: &[u8]| {
    let report = match Report::parse(bytes) {
        Ok(report) => report,
        Err(error) => {
            assert!(error.to_string().len() < 1024 + bytes.len(), "a refusal is short");
            return;
        }
    };
    let names: HashSet<&str> = report.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names.len(), report.volumes.len(), "each volume is there once");
    assert!(report.volumes.is_empty() || report.extent > ByteSize::default(), "sizes grow in steps");
    for volume in &report.volumes {
        assert!(!volume.name.is_empty() && report.volume(&volume.name) == Some(volume));
        assert!(volume.tags.iter().all(|tag| !tag.is_empty() && !tag.contains(',')));
        for fill in [volume.data, volume.metadata].into_iter().flatten() {
            assert!(fill.of(volume.size) <= volume.size, "{fill} of {}", volume.size);
        }
    }
});
