//! Whether a file is a kernel that a monitor can start directly. What it says of itself is read, and believed in nothing: no
//! number in it leads beyond the file.

use std::fmt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::ImageError;
use crate::error::Result;
use crate::host::{blocking, files};

/// How a kernel is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KernelFormat {
    /// As distributions ship it (`vmlinuz`); a monitor jumps to its 64-bit entry.
    BzImage,
    /// As it was linked (`vmlinux`), with the PVH entry that monitors jump to; starts without unpacking itself.
    Elf,
}

impl fmt::Display for KernelFormat {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::BzImage => "bzImage",
            Self::Elf => "ELF with PVH",
        })
    }
}

/// What a kernel says of itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KernelInfo {
    /// How it is packed. Cloud Hypervisor and QEMU start both directly.
    pub format: KernelFormat,
    /// Such as `6.1.0-56-cloud-amd64`; an ELF does not tell.
    pub version: Option<String>,
    /// Its bytes.
    pub size: u64,
}

/// Looks at a kernel.
///
/// # Errors
/// `InvalidArgument` with the field `kernel` and the reason `kernel_invalid`, saying what it is instead and what to do,
/// where a monitor could not start it.
pub async fn check_kernel(file: &Path) -> Result<KernelInfo> {
    let path = file.to_owned();
    blocking(move || {
        let io = ImageError::io("read", &path);
        let refused = |why| ImageError::Kernel { path: path.clone(), why };
        let file = files::open_read(&path).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => refused("is a symbolic link; give the file itself"),
            _ => io(error),
        })?;
        let meta = file.metadata().map_err(&io)?;
        if !meta.is_file() {
            return Err(refused("is not a regular file").into());
        }
        let read = |at: u64, length: usize| {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
        };
        Ok(look(meta.len(), &read).map_err(refused)?)
    })
    .await
}

/// Looks at the bytes of a whole kernel.
///
/// # Errors
/// Why a monitor could not start it.
pub fn check_kernel_bytes(bytes: &[u8]) -> std::result::Result<KernelInfo, &'static str> {
    let read = |at: u64, length: usize| {
        let at = usize::try_from(at).ok()?;
        bytes.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
    };
    look(bytes.len() as u64, &read)
}

/// Reads a piece of the file; `None` where it does not reach that far.
type Read<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

fn look(size: u64, read: Read<'_>) -> std::result::Result<KernelInfo, &'static str> {
    /// Enough for both headers.
    const HEAD: usize = 0x270;
    let head = read(0, HEAD).ok_or("is too small to be a kernel")?;
    if head.starts_with(b"\x7fELF") {
        return elf(size, &head, read);
    }
    if head[0x202..0x206] == *b"HdrS" && head[0x1fe..0x200] == [0x55, 0xaa] {
        return bz_image(size, &head, read);
    }
    Err(match &head {
        head if head[56..60] == *b"ARMd" => "is a kernel for another processor (arm64)",
        head if head.starts_with(b"\x1f\x8b")
            || head.starts_with(b"\xfd7zXZ")
            || head.starts_with(b"\x28\xb5\x2f\xfd") =>
        {
            "is compressed as a whole; unpack it first (gunzip, unxz, unzstd)"
        }
        head if head.starts_with(b"MZ") => {
            "is a program for EFI and no kernel for direct boot; take the vmlinuz or vmlinux that it was made of"
        }
        _ => "is no kernel: neither a bzImage (vmlinuz) nor an ELF (vmlinux)",
    })
}

fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes.get(at..at + width).unwrap_or_default().iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The boot protocol of Linux on x86.
fn bz_image(size: u64, head: &[u8], read: Read<'_>) -> std::result::Result<KernelInfo, &'static str> {
    const XLOADFLAGS: u64 = 0x020c;
    const HIGH: u64 = 1;
    const LONG_MODE: u64 = 1;
    if number(head, 0x206, 2) < XLOADFLAGS {
        return Err("is older than Linux 3.8, which has no 64-bit entry");
    }
    if number(head, 0x211, 1) & HIGH == 0 {
        return Err("is a zImage, which loads below 1 MiB; build a bzImage");
    }
    if number(head, 0x236, 2) & LONG_MODE == 0 {
        return Err("has no 64-bit entry: build it with CONFIG_64BIT=y");
    }
    // Sectors of its first part; 0 means 4, from times when nobody counted them.
    let setup = match number(head, 0x1f1, 1) {
        0 => 4,
        sectors => sectors,
    };
    if (setup + 1) * 512 + number(head, 0x1f4, 4) * 16 > size {
        return Err("is cut short: its header promises more bytes; copy it again");
    }
    let told = number(head, 0x20e, 2);
    let text = if told == 0 { None } else { read(0x200 + told, 64).or_else(|| read(0x200 + told, 16)) };
    let version = text.and_then(|text| {
        let word: String =
            text.iter().take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
        (!word.is_empty()).then_some(word)
    });
    Ok(KernelInfo { format: KernelFormat::BzImage, version, size })
}

fn elf(size: u64, head: &[u8], read: Read<'_>) -> std::result::Result<KernelInfo, &'static str> {
    const X86_64: u64 = 62;
    const LOAD: u64 = 1;
    const NOTE: u64 = 4;
    const MOST_HEADERS: u64 = 64;
    const MOST_NOTES: u64 = 1 << 20;
    if head[4] != 2 || head[5] != 1 || number(head, 0x12, 2) != X86_64 {
        return Err("is an ELF for another processor; monitors here start x86-64");
    }
    let (table, each, count) = (number(head, 0x20, 8), number(head, 0x36, 2), number(head, 0x38, 2));
    if each != 56 || count == 0 || count > MOST_HEADERS {
        return Err("is an ELF, but no kernel: it has no segments");
    }
    let (mut loads, mut entry) = (false, false);
    for index in 0..count {
        let at =
            table.checked_add(index * each).ok_or("is cut short: its header promises more bytes; copy it again")?;
        let header = read(at, 56).ok_or("is cut short: its header promises more bytes; copy it again")?;
        let (kind, start, length) = (number(&header, 0, 4), number(&header, 8, 8), number(&header, 0x20, 8));
        if start.checked_add(length).is_none_or(|end| end > size) {
            return Err("is cut short: its header promises more bytes; copy it again");
        }
        loads |= kind == LOAD;
        if kind == NOTE && length <= MOST_NOTES {
            let length = usize::try_from(length).unwrap_or(0);
            entry |= read(start, length).is_some_and(|notes| has_pvh(&notes));
        }
    }
    if !loads {
        return Err("is an ELF, but no kernel: nothing of it is loaded");
    }
    if !entry {
        return Err("is an ELF without the entry for PVH: build the kernel with CONFIG_PVH=y, or take its bzImage");
    }
    Ok(KernelInfo { format: KernelFormat::Elf, version: None, size })
}

/// Whether there is a note of Xen's that names the entry.
fn has_pvh(notes: &[u8]) -> bool {
    const PHYS32_ENTRY: u64 = 18;
    let mut rest = notes;
    while rest.len() >= 12 {
        let length = |at: usize| usize::try_from(number(rest, at, 4)).ok();
        let (Some(name), Some(value)) = (length(0), length(4)) else { return false };
        if number(rest, 8, 4) == PHYS32_ENTRY && name == 4 && rest.get(12..16) == Some(b"Xen\0") && value >= 4 {
            return rest.len() >= 16 + value.min(8);
        }
        let whole = name.checked_next_multiple_of(4).zip(value.checked_next_multiple_of(4));
        let Some(next) = whole.and_then(|(name, value)| name.checked_add(value)?.checked_add(12)) else { return false };
        let Some(after) = rest.get(next..) else { return false };
        rest = after;
    }
    false
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn set(bytes: &mut [u8], at: usize, value: u64, width: usize) {
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    pub fn vmlinuz() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        for (at, value, width) in [
            (0x1fe, 0xaa55, 2),
            (0x206, 0x020f, 2),
            (0x211, 1, 1),
            (0x236, 1, 2),
            (0x1f1, 1, 1),
            (0x1f4, 192, 4),
            (0x20e, 0x400, 2),
        ] {
            set(&mut bytes, at, value, width);
        }
        bytes[0x600..0x610].copy_from_slice(b"6.1.0-1 (x@y) #1");
        bytes
    }

    pub fn vmlinux() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (at, value, width) in [(0x12, 62, 2), (0x20, 64, 8), (0x36, 56, 2), (0x38, 2, 2)] {
            set(&mut bytes, at, value, width);
        }
        for (at, kind, start, length) in [(64, 1, 1024, 3000), (120, 4, 512, 52)] {
            set(&mut bytes, at, kind, 4);
            set(&mut bytes, at + 8, start, 8);
            set(&mut bytes, at + 0x20, length, 8);
        }
        // Another's note, of odd lengths, comes first.
        for (at, value) in [(512, 4), (516, 5), (520, 3)] {
            set(&mut bytes, at, value, 4);
        }
        bytes[524..528].copy_from_slice(b"GNU\0");
        for (at, value) in [(536, 4), (540, 8), (544, 18)] {
            set(&mut bytes, at, value, 4);
        }
        bytes[548..552].copy_from_slice(b"Xen\0");
        bytes
    }

    #[test]
    fn both_kinds_of_kernels_are_told_apart_and_their_version_is_read() {
        let found = check_kernel_bytes(&vmlinuz()).unwrap();
        assert_eq!((found.format, found.version.as_deref()), (KernelFormat::BzImage, Some("6.1.0-1")));
        assert_eq!(check_kernel_bytes(&vmlinux()).unwrap().format, KernelFormat::Elf);
    }

    #[test]
    fn bad_22_what_no_monitor_could_start_is_refused_with_what_it_is_instead() {
        let changed = |from: fn() -> Vec<u8>, at: usize, value: u64, width: usize| {
            let mut bytes = from();
            set(&mut bytes, at, value, width);
            check_kernel_bytes(&bytes).expect_err("changed")
        };
        for (said, word) in [
            (changed(vmlinuz, 0x206, 0x0209, 2), "older"),
            (changed(vmlinuz, 0x211, 0, 1), "zImage"),
            (changed(vmlinuz, 0x236, 0, 2), "64-bit"),
            (changed(vmlinuz, 0x1f4, 0xffff_ffff, 4), "cut short"),
            (changed(vmlinux, 0x12, 183, 2), "processor"),
            (changed(vmlinux, 0x38, 0, 2), "no segments"),
            (changed(vmlinux, 64, 2, 4), "nothing of it"),
            (changed(vmlinux, 544, 17, 4), "CONFIG_PVH"),
            (changed(vmlinux, 0x20, u64::MAX - 10, 8), "cut short"),
            (changed(vmlinux, 64 + 0x20, u64::MAX, 8), "cut short"),
            (changed(vmlinux, 64 + 0x20, 4000, 8), "cut short"),
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        for (begin, word) in [(&b"\x1f\x8b"[..], "gunzip"), (b"MZ", "EFI"), (b"#!/bin/sh", "neither"), (b"", "neither")]
        {
            let mut bytes = begin.to_vec();
            bytes.resize(4096, 0);
            assert!(check_kernel_bytes(&bytes).unwrap_err().contains(word), "{word}");
            assert!(check_kernel_bytes(begin).unwrap_err().contains("too small"));
        }
    }

    #[test]
    fn bad_22_no_single_byte_that_is_wrong_nor_any_end_makes_it_stumble() {
        for whole in [vmlinuz(), vmlinux()] {
            for at in 0..0x270 {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] = value;
                    let _ = check_kernel_bytes(&bytes);
                }
            }
            for length in 0..whole.len() {
                let _ = check_kernel_bytes(&whole[..length]);
            }
        }
    }

    #[cfg(feature = "proptest")]
    proptest::proptest! {
        #[test]
        fn bad_22_whatever_the_bytes_are_they_are_judged(
            elf in proptest::bool::ANY,
            changes in proptest::collection::vec((0usize..4096, proptest::num::u64::ANY), 0..24),
        ) {
            let mut bytes = if elf { vmlinux() } else { vmlinuz() };
            for (at, value) in changes {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            let _ = check_kernel_bytes(&bytes);
        }
    }
}
