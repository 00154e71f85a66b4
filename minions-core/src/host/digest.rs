//! What a file is, byte by byte.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::types::FileDigest;

/// Reads to the end.
pub(crate) fn digest(file: &mut impl Read) -> io::Result<FileDigest> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0u64, vec![0; 1 << 20]);
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return Ok(FileDigest::new(&hash.finalize(), size));
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_what_is_read_is_that_of_its_bytes_however_many_pieces_they_come_in() {
        for length in [0, 1, 1 << 20, (1 << 20) + 1] {
            let bytes = vec![7; length];
            assert_eq!(digest(&mut bytes.as_slice()).unwrap(), FileDigest::of(&bytes));
        }
    }
}
