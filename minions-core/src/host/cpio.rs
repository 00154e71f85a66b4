//! Writes archives in the format that a Linux kernel unpacks as its first root: cpio, "newc".

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dir,
    File,
    Link,
    CharDevice { major: u32, minor: u32 },
}

/// An archive that grows in memory. All that is in it belongs to root.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder. Paths have no slash at their beginning, and parents come before children.
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.entry(path, Kind::Dir, mode, &[]);
    }

    /// A file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, Kind::File, mode, content);
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, Kind::Link, 0o777, target.as_bytes());
    }

    /// A character device.
    pub fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, Kind::CharDevice { major, minor }, mode, &[]);
    }

    /// The archive's bytes, a multiple of four: another archive may follow them.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entries = 0;
        self.entry("TRAILER!!!", Kind::File, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, kind: Kind, mode: u32, content: &[u8]) {
        let (bits, links, (major, minor)) = match kind {
            Kind::Dir => (0o040_000, 2, (0, 0)),
            Kind::File => (0o100_000, 1, (0, 0)),
            Kind::Link => (0o120_000, 1, (0, 0)),
            Kind::CharDevice { major, minor } => (0o020_000, 1, (major, minor)),
        };
        let mode = if path == "TRAILER!!!" { 0 } else { bits | mode };
        self.entries += 1;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let fields: [u32; 13] = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            length(content),
            0,
            0,
            major,
            minor,
            length(path.as_bytes()).saturating_add(1),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        let length = u64::try_from(self.bytes.len()).unwrap_or(0);
        self.bytes.extend_from_slice(gap(length));
    }
}

/// The zeros that follow an archive of this length, up to a multiple of four. The kernel finds the next archive only
/// there: behind a compressed one whose length is not such a multiple it reports an invalid magic and drops the rest.
#[must_use]
pub fn gap(length: u64) -> &'static [u8] {
    const ZEROS: [u8; 3] = [0; 3];
    match length % 4 {
        1 => &ZEROS,
        2 => &ZEROS[..2],
        3 => &ZEROS[..1],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_cpio_program_reads() {
        let mut archive = Archive::new();
        archive.dir("minions", 0o700);
        archive.file("minions/secret", 0o600, b"five!");
        archive.link("minions/link", "secret");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let header = &bytes[..110];
        assert_eq!(&header[..6], b"070701");
        assert_eq!(&header[14..22], b"000041C0", "a folder that only its owner enters");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("minions/secret\0") && text.contains("five!") && text.ends_with("TRAILER!!!\0\0\0\0"));
    }
}
