//! Makes a file system on a blank disk, without a program for it: writes the few bytes that an empty ext4 of 256 MiB
//! consists of. The kernel then grows it to the size of the disk.
//!
//! The template was made by e2fsprogs 1.47.0 with
//! `E2FSPROGS_FAKE_TIME=1767225600 mke2fs -t ext4 -b 4096 -I 256 -i 16384 -m 0 -J size=32 -L data -U UUID
//! -E lazy_itable_init=1,nodiscard,root_owner=0:0,hash_seed=UUID` on a file of zeros. It holds what is not zero: for each
//! run the place and the length as little-endian u32, then its bytes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use crate::agent::error::about;
use crate::error::{Error, ErrorKind, Result};

const TEMPLATE: &[u8] = include_bytes!("blank.ext4");

/// The size of the file system that the template makes.
pub(super) const TEMPLATE_BYTES: u64 = 256 << 20;

/// A disk that has anything in its first part is not blank.
const LOOKED_AT: usize = 1 << 20;

/// Makes the file system where the disk is blank; says whether it did.
pub(super) fn make(device: &str) -> Result<bool> {
    let failed = |error: io::Error| about(format_args!("cannot make a file system on {device}"), error);
    let file = OpenOptions::new().read(true).write(true).open(device).map_err(failed)?;
    if !is_blank(&file).map_err(failed)? {
        return Ok(false);
    }
    let size = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(failed)?;
    if size < TEMPLATE_BYTES {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{device} is smaller than 256 MiB: too small for data"),
        ));
    }
    // The superblock goes last: a disk that loses power on the way is not taken for a file system.
    let mut runs: Vec<_> = runs().collect();
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

/// Whether nothing is where the template would write, nor in the first part.
fn is_blank(file: &File) -> io::Result<bool> {
    let mut first = vec![0; LOOKED_AT];
    file.read_exact_at(&mut first, 0)?;
    // All but the superblock may be left of a try that lost power: the same bytes are as good as none.
    for (index, (place, bytes)) in runs().enumerate() {
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

fn runs() -> impl Iterator<Item = (u64, &'static [u8])> {
    let mut rest = TEMPLATE;
    std::iter::from_fn(move || {
        let (place, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some((u64::from(u32::from_le_bytes(*place)), bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(size: u64) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        File::create(&path).unwrap().set_len(size).unwrap();
        (folder, path.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_template_begins_with_the_superblock_and_is_read_to_its_end() {
        let first = runs().next().unwrap();
        let magic = usize::try_from(1024 + 56 - first.0).unwrap();
        assert_eq!(first.1[magic..magic + 2], [0x53, 0xef]);
        let bytes: usize = runs().map(|run| run.1.len() + 8).sum();
        assert_eq!(bytes, TEMPLATE.len());
        assert!(runs().all(|(place, bytes)| place + (bytes.len() as u64) < TEMPLATE_BYTES));
    }

    #[test]
    fn a_blank_disk_becomes_a_file_system_once_and_another_is_left_alone() {
        let (_folder, path) = disk(512 << 20);
        assert!(make(&path).unwrap());
        assert!(!make(&path).unwrap());
        let (_folder, path) = disk(512 << 20);
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"x", 70_000).unwrap();
        assert!(!make(&path).unwrap());
    }

    #[test]
    fn a_disk_that_lost_power_in_the_middle_is_made_again() {
        let (_folder, path) = disk(512 << 20);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for (place, bytes) in runs().skip(1).take(40) {
            file.write_all_at(bytes, place).unwrap();
        }
        assert!(make(&path).unwrap());
    }
}
