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
            let full = Arc::make_mut(last);
            full.extend_from_slice(&rest[..fits]);
            rest = &rest[fits..];
            let byte = full.first().copied().unwrap_or_default();
            if fits > 0 && full.len() == PIECE && full.iter().all(|other| *other == byte) {
                self.pieces.pop();
                self.pieces.push(Piece::Run { byte, len: PIECE });
            }
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

    /// Writes over what is there; zeros fill a gap before it.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let rest = self.part(offset.saturating_add(bytes.len() as u64), self.len);
        self.set_len(offset);
        self.append(bytes);
        self.len += rest.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.pieces.extend(rest);
    }

    /// Cuts it, or fills it up with zeros.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pieces = self.part(0, len);
        } else if let Some(len) = usize::try_from(len - self.len).ok().filter(|len| *len > 0) {
            self.pieces.push(Piece::Run { byte: 0, len });
        }
        self.len = len;
    }

    /// What lies between two offsets.
    fn part(&self, from: u64, to: u64) -> Vec<Piece> {
        let (mut part, mut end) = (Vec::new(), 0);
        for piece in &self.pieces {
            let start = end;
            end += piece.len() as u64;
            let (first, last) = (from.max(start), to.min(end));
            if first >= last {
                continue;
            }
            let index = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
            let (first, last) = (index(first), index(last));
            part.push(match piece {
                whole if last - first == whole.len() => whole.clone(),
                Piece::Run { byte, .. } => Piece::Run { byte: *byte, len: last - first },
                Piece::Bytes(bytes) => Piece::Bytes(Arc::new(bytes[first..last].to_vec())),
            });
        }
        part
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
    fn a_blob_is_written_over_and_cut_like_a_file() {
        let (mut blob, mut plain) = (Blob::default(), Vec::new());
        let mut state = 7u64;
        for round in 0..400u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
            let at = usize::try_from(state >> 45).unwrap() % 300_000;
            if round % 5 == 0 {
                blob.set_len(at as u64);
                plain.resize(at, 0);
            } else {
                let bytes = vec![state.to_le_bytes()[3]; usize::try_from(state >> 40).unwrap() % 100_000];
                blob.write(at as u64, &bytes);
                plain.resize(plain.len().max(at + bytes.len()).max(at), 0);
                plain[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            assert_eq!(blob.len(), plain.len() as u64);
        }
        let mut read = Vec::new();
        while (read.len() as u64) < blob.len() {
            read.extend(blob.read(read.len() as u64, 9_999));
        }
        assert!(read == plain);
    }

    #[test]
    fn a_large_file_of_zeros_costs_next_to_nothing() {
        let mut blob = Blob::default();
        for _ in 0..1024 {
            blob.append(&[0; 1 << 20]);
            blob.append(&[0; 100]);
        }
        assert_eq!(blob.len(), (1 << 30) + 102_400);
        let bytes = blob.pieces.iter().filter(|piece| matches!(piece, Piece::Bytes(_)));
        assert!(bytes.count() <= 1, "only the end may be short of a run");
    }
}
