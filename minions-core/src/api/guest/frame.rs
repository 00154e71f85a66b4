//! Frames: a big-endian length of what follows, a kind, a payload. Every cap is checked before memory is set aside.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::json;
use crate::error::{Effect, Error, ErrorKind};

/// Most bytes of a control frame's JSON.
pub const MAX_CONTROL: usize = 64 * 1024;
/// Most bytes of one data frame.
pub const MAX_DATA: usize = 256 * 1024;
/// A payload from so many bytes on is sent as it lies: copying a smaller one costs less than a second slice.
const LARGE: usize = 4 * 1024;
/// Most bytes of a whole frame, its length included.
pub const MAX_FRAME: usize = LENGTH + 2 + MAX_DATA;
/// Stdin, stdout, and the one stream of every other call.
pub const CHANNEL_MAIN: u8 = 0;
/// Stderr.
pub const CHANNEL_STDERR: u8 = 1;

const LENGTH: usize = 4;
const CONTROL: u8 = 0;
const DATA: u8 = 1;
const END: u8 = 2;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One JSON object, at most [`MAX_CONTROL`] bytes.
    Control(Bytes),
    /// Bytes of a stream, at most [`MAX_DATA`].
    Data {
        /// Which stream.
        channel: u8,
        /// What it carries.
        bytes: Bytes,
    },
    /// A stream has ended; nothing of it follows.
    End {
        /// Which stream.
        channel: u8,
    },
}

/// Why bytes are no frame, or a frame is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length leaves no room for a kind.
    #[error("a frame without a kind")]
    Empty,
    /// Longer than its kind may be.
    #[error("a frame of {length} bytes where at most {most} are allowed")]
    TooLong {
        /// What it said.
        length: usize,
        /// What is allowed.
        most: usize,
    },
    /// Shorter than its kind must be, or an end frame with a payload.
    #[error("a frame of kind {kind} with {length} bytes")]
    WrongLength {
        /// Its kind.
        kind: u8,
        /// Its length.
        length: usize,
    },
    /// No such kind.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// A control frame was due.
    #[error("a control frame was due")]
    NotControl,
    /// A control frame that does not read as what was due.
    #[error("a control frame that is not what was due: {0}")]
    BadControl(String),
}

impl From<FrameError> for Error {
    /// A peer that breaks the protocol is unavailable; whether it did what it was asked is not known.
    fn from(error: FrameError) -> Self {
        Error::new(ErrorKind::Unavailable, "the peer broke the agent's protocol")
            .with_effect(Effect::Unknown)
            .with_reason("agent_unhealthy")
            .with_source(error)
    }
}

impl Frame {
    /// A control frame of a message; `InvalidArgument` where it would be too long.
    pub fn control(message: &impl serde::Serialize) -> crate::Result<Self> {
        let text = serde_json::to_vec(message)
            .map_err(|error| Error::internal("cannot spell a message for the agent").with_source(error))?;
        if text.len() > MAX_CONTROL {
            return Err(Error::new(ErrorKind::InvalidArgument, "a message for the agent is longer than 64 KiB"));
        }
        Ok(Self::Control(text.into()))
    }

    /// Reads a control frame as a message.
    pub fn message<T: serde::de::DeserializeOwned>(&self) -> Result<T, FrameError> {
        match self {
            Self::Control(text) => json::parse(text),
            Self::Data { .. } | Self::End { .. } => Err(FrameError::NotControl),
        }
    }

    /// Adds the frame's bytes. A payload beyond the caps is a bug of the caller's: it is cut into several data frames.
    pub fn encode(&self, to: &mut BytesMut) {
        match self {
            Self::Control(text) => {
                to.reserve(LENGTH + 1 + text.len());
                to.put_u32(u32::try_from(1 + text.len()).unwrap_or(u32::MAX));
                to.put_u8(CONTROL);
                to.put_slice(text);
            }
            Self::Data { channel, bytes } => {
                for part in bytes.chunks(MAX_DATA) {
                    to.reserve(LENGTH + 2 + part.len());
                    data_head(*channel, part.len(), to);
                    to.put_slice(part);
                }
            }
            Self::End { channel } => {
                to.put_u32(2);
                to.put_u8(END);
                to.put_u8(*channel);
            }
        }
    }
}

impl Frame {
    /// Adds the frame's bytes but for a large payload, which is given back: it goes behind them.
    pub(super) fn encode_head(&self, to: &mut BytesMut) -> Bytes {
        match self {
            Self::Data { channel, bytes } if (LARGE..=MAX_DATA).contains(&bytes.len()) => {
                data_head(*channel, bytes.len(), to);
                bytes.clone()
            }
            _ => {
                self.encode(to);
                Bytes::new()
            }
        }
    }
}

/// Adds a data frame of bytes that lie elsewhere; at most [`MAX_DATA`] of them.
#[cfg(feature = "proxy")]
pub(crate) fn encode_data(channel: u8, bytes: &[u8], to: &mut BytesMut) {
    debug_assert!(bytes.len() <= MAX_DATA, "a frame has a limit");
    to.reserve(LENGTH + 2 + bytes.len());
    data_head(channel, bytes.len(), to);
    to.put_slice(bytes);
}

/// What stands before the bytes of a data frame.
fn data_head(channel: u8, length: usize, to: &mut BytesMut) {
    to.put_u32(u32::try_from(2 + length).unwrap_or(u32::MAX));
    to.put_u8(DATA);
    to.put_u8(channel);
}

/// Turns bytes into frames, without I/O. Holds at most what it was fed and not asked for.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
    broken: Option<FrameError>,
}

impl FrameDecoder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where a reader may put bytes directly.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many bytes the frame that has begun is still short of; 0 where that is not known yet.
    pub(crate) fn missing(&self) -> usize {
        let length = self.buffer.first_chunk::<LENGTH>().map_or(0, |head| u32::from_be_bytes(*head));
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(MAX_FRAME - LENGTH);
        (LENGTH + length).saturating_sub(self.buffer.len())
    }

    /// The next frame; `None` until more bytes are fed. After an error the stream is lost, and the error repeats.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.decode().inspect_err(|error| {
            self.broken = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// Says at the end of the stream whether it ended between two frames.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.broken {
            Some(error) => Err(error.clone()),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(FrameError::Truncated),
        }
    }

    fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        match length {
            0 => return Err(FrameError::Empty),
            length if length > MAX_FRAME - LENGTH => {
                return Err(FrameError::TooLong { length, most: MAX_FRAME - LENGTH });
            }
            _ => {}
        }
        let Some(&kind) = self.buffer.get(LENGTH) else { return Ok(None) };
        match kind {
            CONTROL if length > 1 + MAX_CONTROL => {
                return Err(FrameError::TooLong { length: length - 1, most: MAX_CONTROL });
            }
            CONTROL => {}
            DATA if length >= 3 => {}
            END if length == 2 => {}
            DATA | END => return Err(FrameError::WrongLength { kind, length }),
            unknown => return Err(FrameError::UnknownKind(unknown)),
        }
        if self.buffer.len() < LENGTH + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH + 1);
        let mut payload = self.buffer.split_to(length - 1).freeze();
        Ok(Some(match kind {
            CONTROL => Frame::Control(payload),
            DATA => Frame::Data { channel: payload.get_u8(), bytes: payload },
            _ => Frame::End { channel: payload.get_u8() },
        }))
    }
}
