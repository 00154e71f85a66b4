//! Makes a file system on a blank disk, without a program for it: writes the few bytes that an empty ext4 consists of.
//! The kernel then grows it to the size of the disk.
//!
//! The templates were made by e2fsprogs 1.47.0 on files of zeros, of 256 MiB with `-i 16384 -J size=32`, and of 16 MiB
//! with `-N 8192 -J size=4`, and both with
//! `E2FSPROGS_FAKE_TIME=1767225600 mke2fs -t ext4 -b 4096 -I 256 -m 0 -L data -U UUID
//! -E lazy_itable_init=1,nodiscard,root_owner=0:0,hash_seed=UUID`. They hold what is not zero: for each run the place and
//! the length as little-endian u32, then its bytes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use crate::agent::error::about;
use crate::error::{Error, ErrorKind, Result};
use crate::types::MIN_DATA_DISK;

/// An empty file system.
struct Template {
    /// How large it is, and at least the disk must be.
    size: u64,
    runs: &'static [u8],
}

/// The larger first. The small one has a journal of 4 MiB instead of 32, which a disk of that size can spare.
const TEMPLATES: [Template; 2] = [
    Template { size: 256 << 20, runs: include_bytes!("blank.ext4") },
    Template { size: MIN_DATA_DISK.get(), runs: include_bytes!("blank_small.ext4") },
];

/// A disk that has anything in its first part is not blank.
const LOOKED_AT: usize = 1 << 20;

/// Makes the file system where the disk is blank; says whether it did.
pub(super) fn make(device: &str) -> Result<bool> {
    let failed = |error: io::Error| about(format_args!("cannot make a file system on {device}"), error);
    let file = OpenOptions::new().read(true).write(true).open(device).map_err(failed)?;
    let size = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(failed)?;
    let Some(template) = TEMPLATES.iter().find(|template| template.size <= size) else {
        let message = format!("{device} is smaller than {MIN_DATA_DISK}: too small for data");
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    if !template.is_blank(&file).map_err(failed)? {
        return Ok(false);
    }
    // The superblock goes last: a disk that loses power on the way is not taken for a file system.
    let mut runs: Vec<_> = template.runs().collect();
    runs.rotate_left(1);
    let (superblock, rest) = runs.split_last().ok_or_else(|| Error::internal("the template is empty"))?;
    for (place, bytes) in rest {
        file.write_all_at(bytes, *place).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    file.write_all_at(superblock.1, superblock.0).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(true)
}

impl Template {
    /// Whether nothing is where the template would write, nor in the first part.
    fn is_blank(&self, file: &File) -> io::Result<bool> {
        let mut first = vec![0; LOOKED_AT];
        file.read_exact_at(&mut first, 0)?;
        // All but the superblock may be left of a try that lost power: the same bytes are as good as none.
        for (index, (place, bytes)) in self.runs().enumerate() {
            let mut there = vec![0; bytes.len()];
            file.read_exact_at(&mut there, place)?;
            let same = there == bytes && index != 0;
            if !same && there.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if let (Ok(place), true) = (usize::try_from(place), same) {
                let end = (place + bytes.len()).min(first.len());
                if place < end {
                    first[place..end].fill(0);
                }
            }
        }
        Ok(first.iter().all(|byte| *byte == 0))
    }

    fn runs(&self) -> impl Iterator<Item = (u64, &'static [u8])> {
        let mut rest = self.runs;
        std::iter::from_fn(move || {
            let (place, after) = rest.split_first_chunk::<4>()?;
            let (length, after) = after.split_first_chunk::<4>()?;
            let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            rest = after;
            Some((u64::from(u32::from_le_bytes(*place)), bytes))
        })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "asks another program what it thinks of our file systems")]
mod tests {
    use std::process::Command;

    use super::*;

    fn disk(size: u64) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        File::create(&path).unwrap().set_len(size).unwrap();
        (folder, path.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_template_begins_with_the_superblock_and_is_read_to_its_end() {
        for template in &TEMPLATES {
            let first = template.runs().next().unwrap();
            let magic = usize::try_from(1024 + 56 - first.0).unwrap();
            assert_eq!(first.1[magic..magic + 2], [0x53, 0xef]);
            let bytes: usize = template.runs().map(|run| run.1.len() + 8).sum();
            assert_eq!(bytes, template.runs.len());
            assert!(template.runs().all(|(place, bytes)| place + (bytes.len() as u64) < template.size));
        }
    }

    #[test]
    fn a_blank_disk_becomes_a_file_system_once_and_another_is_left_alone() {
        for size in [512 << 20, MIN_DATA_DISK.get()] {
            let (_folder, path) = disk(size);
            assert!(make(&path).unwrap());
            assert!(!make(&path).unwrap());
            let (_folder, path) = disk(size);
            OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"x", 70_000).unwrap();
            assert!(!make(&path).unwrap());
        }
    }

    #[test]
    fn every_size_that_a_data_disk_may_have_becomes_a_sound_file_system() {
        let Some(fsck) = crate::host::lookup::find("e2fsck") else {
            println!("SKIP every_size_that_a_data_disk_may_have_becomes_a_sound_file_system: no e2fsck here");
            return;
        };
        for size in [MIN_DATA_DISK.get(), (256 << 20) - 512, 256 << 20, 300 << 20] {
            let (_folder, path) = disk(size);
            assert!(make(&path).unwrap(), "{size}");
            let checked = Command::new(&fsck).args(["-f", "-n", &path]).output().unwrap();
            assert!(checked.status.success(), "{size}: {}", String::from_utf8_lossy(&checked.stdout));
        }
        let (_folder, path) = disk(MIN_DATA_DISK.get() - 512);
        assert_eq!(make(&path).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_disk_that_lost_power_in_the_middle_is_made_again() {
        let (_folder, path) = disk(512 << 20);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for (place, bytes) in TEMPLATES[0].runs().skip(1).take(40) {
            file.write_all_at(bytes, place).unwrap();
        }
        assert!(make(&path).unwrap());
    }
}
