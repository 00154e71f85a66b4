//! The content of a simulated file.

use std::sync::Arc;

use hmac_sha256::Hash;

/// Bytes that are kept in one piece.
const PIECE: usize = 64 << 10;

/// The content of a file. Runs of one byte cost nothing, so that a file of zeros may be as large as it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blob {
    pieces: Vec<Piece>,
    len: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Run { byte: u8, len: usize },
    Bytes(Arc<Vec<u8>>),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Run { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl Blob {
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut blob = Self::default();
        blob.append(bytes);
        blob
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn append(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        let mut rest = bytes;
        if let Some(Piece::Bytes(last)) = self.pieces.last_mut() {
            let fits = rest.len().min(PIECE.saturating_sub(last.len()));
            Arc::make_mut(last).extend_from_slice(&rest[..fits]);
            rest = &rest[fits..];
        }
        for chunk in rest.chunks(PIECE) {
            let byte = chunk[0];
            let is_run = chunk.len() == PIECE && chunk.iter().all(|other| *other == byte);
            self.pieces.push(match is_run {
                true => Piece::Run { byte, len: chunk.len() },
                false => Piece::Bytes(Arc::new(chunk.to_vec())),
            });
        }
    }

    /// One piece from `offset` on; empty at the end.
    pub fn read(&self, offset: u64, max: usize) -> Vec<u8> {
        let mut skip = offset;
        for piece in &self.pieces {
            let len = piece.len() as u64;
            if skip >= len {
                skip -= len;
                continue;
            }
            let from = usize::try_from(skip).unwrap_or(usize::MAX);
            let take = (piece.len() - from).min(max);
            return match piece {
                Piece::Run { byte, .. } => vec![*byte; take],
                Piece::Bytes(bytes) => bytes[from..from + take].to_vec(),
            };
        }
        Vec::new()
    }

    pub fn feed(&self, hash: &mut Hash) {
        hash.update(self.len.to_be_bytes());
        let mut offset = 0;
        while offset < self.len {
            let piece = self.read(offset, PIECE);
            hash.update(&piece);
            offset += piece.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_reads_back_what_was_appended_in_any_pieces() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let mut blob = Blob::default();
        for chunk in bytes.chunks(777) {
            blob.append(chunk);
        }
        blob.append(&vec![0; 3 * PIECE]);
        let mut read = Vec::new();
        while (read.len() as u64) < blob.len() {
            read.extend(blob.read(read.len() as u64, 1000));
        }
        assert_eq!(&read[..bytes.len()], &bytes[..]);
        assert!(read[bytes.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(read.len(), bytes.len() + 3 * PIECE);
    }

    #[test]
    fn a_large_file_of_zeros_costs_next_to_nothing() {
        let mut blob = Blob::default();
        for _ in 0..1024 {
            blob.append(&[0; 1 << 20]);
        }
        assert_eq!(blob.len(), 1 << 30);
        assert!(blob.pieces.iter().all(|piece| matches!(piece, Piece::Run { .. })));
    }
}
