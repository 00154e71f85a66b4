//! Whether a disk may be taken.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::types::ByteSize;

/// What a disk is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// Nothing is on it and nobody uses it.
    Blank(ByteSize),
    /// It may not be taken: why, and what to do.
    Unfit {
        /// Why.
        why: String,
        /// The line to type, if what is on it is not needed.
        fix: String,
    },
}

/// The smallest that a pool is worth making on.
const LEAST: ByteSize = ByteSize::gib(1);
/// Whoever puts something on a disk says so near its beginning or its end: tables of partitions, filesystems, members of
/// arrays and of volume groups.
const ENDS: u64 = 4 << 20;
/// What has lost its beginning, or never had one, such as the plain data of a program, is seen by pieces in between, evenly spread.
const SAMPLES: u64 = 256;
const SAMPLE: u64 = 64 << 10;

/// Looks. Writes nothing, and holds the disk only for so long.
pub(super) fn look(path: &Path) -> Device {
    let unfit = |why: String, fix: String| Device::Unfit { why, fix };
    let shown = path.display();
    let another = || "name another with --device".to_owned();
    match std::fs::metadata(path) {
        Ok(meta) if meta.file_type().is_block_device() => {}
        Ok(_) => return unfit(format!("{shown} is no disk"), another()),
        Err(error) => return unfit(format!("{shown}: {error}"), another()),
    }
    // The kernel refuses this of a disk that is mounted, swapped to, or part of an array, a group or another disk.
    let opened = openat(CWD, path, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty());
    let mut disk = match opened {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::BUSY) => return unfit(format!("{shown} is in use"), format!("lsblk {shown}")),
        Err(error) => return unfit(format!("{shown}: {error}"), another()),
    };
    match is_blank(&mut disk) {
        Ok((_, size)) if size < LEAST.get() => {
            unfit(format!("{shown} has {}, less than {LEAST}", ByteSize::bytes(size)), another())
        }
        Ok((true, size)) => Device::Blank(ByteSize::bytes(size)),
        Ok((false, _)) => unfit(
            format!("{shown} is not blank: something is on it, and we never remove that"),
            format!(
                "if nothing on it is needed, discard all of it: blkdiscard --force {shown} || shred -n0 -z {shown}"
            ),
        ),
        Err(error) => unfit(format!("{shown}: {error}"), another()),
    }
}

/// Whether both of its ends are zero, and pieces in between, and how large it is.
fn is_blank(disk: &mut (impl Read + Seek)) -> io::Result<(bool, u64)> {
    let size = disk.seek(SeekFrom::End(0))?;
    let piece = usize::try_from(ENDS.min(size)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; piece];
    for from in [0, size - ENDS.min(size)] {
        disk.seek(SeekFrom::Start(from))?;
        disk.read_exact(&mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok((false, size));
        }
    }
    let between = size.saturating_sub(2 * ENDS);
    let sample = usize::try_from(SAMPLE).unwrap_or(usize::MAX);
    for number in 0..if between < SAMPLE { 0 } else { SAMPLES } {
        // On whole pieces: a disk is read by its sectors.
        let from = ENDS + (between - SAMPLE) / SAMPLES * number / SAMPLE * SAMPLE;
        disk.seek(SeekFrom::Start(from))?;
        disk.read_exact(&mut bytes[..sample])?;
        if bytes[..sample].iter().any(|byte| *byte != 0) {
            return Ok((false, size));
        }
    }
    Ok((true, size))
}

/// Disks that could be taken, for whoever is to choose: whole ones, never partitions.
pub(super) fn candidates() -> Vec<(PathBuf, ByteSize)> {
    let mut names = crate::host::files::names(Path::new("/sys/class/block")).unwrap_or_default();
    names.sort();
    let whole = |name: &String| {
        let entry = Path::new("/sys/class/block").join(name);
        !["loop", "ram", "zram", "sr", "fd"].iter().any(|kind| name.starts_with(kind))
            && !entry.join("partition").exists()
    };
    let blank = |name: String| {
        let path = Path::new("/dev").join(name);
        match look(&path) {
            Device::Blank(size) => Some((path, size)),
            Device::Unfit { .. } => None,
        }
    };
    names.into_iter().filter(whole).filter_map(blank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_disk_with_a_byte_near_one_of_its_ends_is_not_blank() {
        let size = 16 << 20;
        let mut bytes = vec![0; size];
        assert_eq!(is_blank(&mut Cursor::new(&bytes)).unwrap(), (true, size as u64));
        // A table of partitions, LVM's label, ext4's magic, a filesystem's at 64 KiB, an array's and a table's at the end.
        for at in [510, 512, 1080, 65_600, (4 << 20) - 1, size - 512, size - (64 << 10), size - (4 << 20)] {
            bytes[at] = 1;
            assert_eq!(is_blank(&mut Cursor::new(&bytes)).unwrap(), (false, size as u64), "{at}");
            bytes[at] = 0;
        }
        for size in [0, 1, 4096] {
            assert_eq!(is_blank(&mut Cursor::new(vec![0; size])).unwrap(), (true, size as u64));
        }
    }

    #[test]
    fn a_disk_that_holds_something_in_its_middle_only_is_not_blank() {
        let size = 192usize << 20;
        let mut bytes = vec![0; size];
        // As long as two steps from sample to sample, wherever it begins.
        let long = 2 * (size - (8 << 20)) / 256;
        for from in [(4 << 20) + 1, 50 << 20, (99 << 20) + 12_345, size - (4 << 20) - long] {
            bytes[from..from + long].fill(1);
            assert_eq!(is_blank(&mut Cursor::new(&bytes)).unwrap(), (false, size as u64), "{from}");
            bytes[from..from + long].fill(0);
        }
        assert_eq!(is_blank(&mut Cursor::new(&bytes)).unwrap(), (true, size as u64));
    }

    #[test]
    fn what_is_no_disk_is_not_taken_for_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path(), Path::new("/dev/null"), Path::new("/nonexistent"), Path::new("/")] {
            assert!(matches!(look(path), Device::Unfit { .. }), "{}", path.display());
        }
    }
}
