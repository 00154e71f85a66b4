//! Kernel modules, in an order in which they load.
//!
//! A kernel's package brings no `modules.dep`: that is made where it is installed. So each module is asked itself: it
//! names what it needs in its section `.modinfo`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::ImageError;
use crate::host::files;

/// What a guest cannot do without.
pub(super) const NEEDED: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "ext4", "vmw_vsock_virtio_transport"];

/// What is loaded where the kernel has it: randomness from the host, and the power button for inits that listen to it.
pub(super) const WANTED: [&str; 3] = ["virtio_rng", "button", "evdev"];

/// The modules of one kernel: its folder `lib/modules/VERSION`.
pub(super) struct Modules {
    paths: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// The kernel does not tell `-` from `_` in a module's name.
fn name_of(file: &str) -> Option<String> {
    let stem = file.split_once(".ko")?.0;
    Some(stem.replace('-', "_"))
}

impl Modules {
    /// Reads which there are.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let mut modules = Self { paths: BTreeMap::new(), built_in: BTreeSet::new() };
        let built_in = dir.join("modules.builtin");
        let text = std::fs::read_to_string(&built_in).map_err(ImageError::io("read", &built_in))?;
        modules.built_in = text.lines().filter_map(|line| name_of(line.rsplit('/').next()?)).collect();
        modules.walk(&dir.join("kernel"))?;
        Ok(modules)
    }

    fn walk(&mut self, dir: &Path) -> Result<(), ImageError> {
        for entry in files::names(dir).map_err(ImageError::io("list", dir))? {
            let path = dir.join(&entry);
            if path.is_dir() {
                self.walk(&path)?;
            } else if let Some(name) = name_of(&entry) {
                self.paths.insert(name, path);
            }
        }
        Ok(())
    }

    /// The files to load, each behind what it needs.
    pub fn in_order(&self, needed: &[&str], wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
        let mut order = Order { modules: self, done: BTreeSet::new(), files: Vec::new() };
        for name in needed {
            order.add(name)?;
        }
        for name in wanted.iter().filter(|name| self.paths.contains_key(**name)) {
            order.add(name)?;
        }
        Ok(order.files)
    }
}

struct Order<'a> {
    modules: &'a Modules,
    done: BTreeSet<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Order<'_> {
    fn add(&mut self, name: &str) -> Result<(), ImageError> {
        if self.modules.built_in.contains(name) || !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let path = self.modules.paths.get(name).ok_or_else(|| ImageError::NoModule(name.to_owned()))?;
        let bytes = std::fs::read(path).map_err(ImageError::io("read", path))?;
        let depends = depends(&bytes).ok_or_else(|| ImageError::BadModule(path.clone()))?;
        for needed in &depends {
            self.add(needed)?;
        }
        self.files.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// What a module's `.modinfo` says that it needs; `None` where it is no module.
fn depends(elf: &[u8]) -> Option<Vec<String>> {
    let info = section(elf, ".modinfo")?;
    let words = info.split(|&byte| byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    let mut names = Vec::new();
    for list in words.filter_map(|word| word.strip_prefix("depends=")) {
        names.extend(list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")));
    }
    Some(names)
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    let value = field.iter().rev().try_fold(0usize, |value, &byte| value.checked_mul(256)?.checked_add(byte.into()))?;
    Some(value)
}

/// A section of a 64-bit little-endian ELF file.
fn section<'a>(elf: &'a [u8], name: &str) -> Option<&'a [u8]> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(elf, 0x28, 8)?, number(elf, 0x3a, 2)?, number(elf, 0x3c, 2)?);
    let names_at = number(elf, 0x3e, 2)?;
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let body = |at: usize| {
        let (start, length) = (number(elf, at + 0x18, 8)?, number(elf, at + 0x20, 8)?);
        elf.get(start..start.checked_add(length)?)
    };
    let names = body(header(names_at)?)?;
    (0..count).find_map(|index| {
        let at = header(index)?;
        let own = names.get(number(elf, at, 4)?..)?.split(|&byte| byte == 0).next()?;
        if own == name.as_bytes() { body(at) } else { None }
    })
}

/// Whether a program needs nobody to load it: it names no interpreter.
pub(super) fn is_static_program(elf: &[u8]) -> bool {
    let interpreter = || -> Option<bool> {
        let (table, size, count) = (number(elf, 0x20, 8)?, number(elf, 0x36, 2)?, number(elf, 0x38, 2)?);
        let mut kinds = (0..count).map(|index| number(elf, table.checked_add(index.checked_mul(size)?)?, 4));
        Some(kinds.any(|kind| kind == Some(3)))
    };
    elf.starts_with(b"\x7fELF\x02\x01") && interpreter() == Some(false)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A module that has nothing but a name table and its `.modinfo`.
    pub fn module(depends: &str) -> Vec<u8> {
        let names = b"\0.names\0.modinfo\0";
        let info = format!("license=GPL\0depends={depends}\0name=x\0");
        let names_at = 64;
        let info_at = names_at + names.len();
        let table = info_at + info.len();
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        elf[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        elf[0x3a] = 64;
        elf[0x3c] = 2;
        elf.extend(names);
        elf.extend(info.as_bytes());
        for (name, start, length) in [(1u32, names_at, names.len()), (8, info_at, info.len())] {
            let mut header = vec![0u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(start as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
            elf.extend(header);
        }
        elf
    }

    #[test]
    fn modules_come_behind_what_they_need_and_once() {
        let dir = std::env::temp_dir().join(format!("minions-modules-{}", std::process::id()));
        let kernel = dir.join("kernel/drivers");
        std::fs::create_dir_all(&kernel).unwrap();
        std::fs::write(dir.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\nkernel/lib/crc16.ko\n").unwrap();
        for (name, needs) in [("a-top", "b_mid,c_low,crc16"), ("b_mid", "c-low"), ("c-low", "")] {
            std::fs::write(kernel.join(format!("{name}.ko")), module(needs)).unwrap();
        }
        let modules = Modules::open(&dir).unwrap();
        let order = modules.in_order(&["a_top", "ext4"], &["absent", "b_mid"]).unwrap();
        let names: Vec<&str> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["c_low", "b_mid", "a_top"]);
        assert!(matches!(modules.in_order(&["absent"], &[]), Err(ImageError::NoModule(_))));
        std::fs::write(kernel.join("xz.ko.xz"), b"\xfd7zXZ").unwrap();
        let modules = Modules::open(&dir).unwrap();
        assert!(matches!(modules.in_order(&["xz"], &[]), Err(ImageError::BadModule(_))));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        elf[0x20] = 64;
        elf[0x36] = 56;
        elf[0x38] = 1;
        elf.resize(64 + 56, 0);
        assert!(is_static_program(&elf));
        elf[64] = 3;
        assert!(!is_static_program(&elf));
        assert!(!is_static_program(b"#!/bin/sh"));
    }
}
