//! Stream chunks in, whole frames out.
//!
//! # Invariants
//!
//! * However a stream is cut into chunks, the same frames come out.
//! * Nothing beyond one frame's limit is ever buffered; a frame that lies whole in one chunk is
//!   not copied.
//! * A chunk is not held on to once it has been read: it may be a slice of a large packet.

use bytes::{Buf, Bytes, BytesMut};

use crate::reason::Reason;
use crate::wire::DecodeError;
use crate::wire::coding::peek_varint;

/// A frame whose fields have not been read yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawFrame {
    /// What kind of frame it is.
    pub kind: u8,
    /// Its fields.
    pub fields: Bytes,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct Decoder {
    frame_bytes_max: usize,
    /// The beginning of a frame whose end has not come yet.
    partial: BytesMut,
    chunk: Bytes,
}

impl Decoder {
    /// A decoder that refuses frames of more than `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, partial: BytesMut::new(), chunk: Bytes::new() }
    }

    /// Takes the next chunk of the stream. Call [`Self::next_frame`] until it has no more first.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the last chunk was not read to its end");
        self.chunk = chunk;
    }

    /// The next whole frame, or `None` until more of the stream has come.
    ///
    /// # Errors
    ///
    /// [`Reason::FrameTooLong`] as soon as the length is known, [`Reason::BadFrame`] for a frame
    /// without a kind. The stream cannot be read further after that.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, DecodeError> {
        if !self.partial.is_empty() {
            return self.finish_partial();
        }
        match self.frame_len(&self.chunk)? {
            Some(len) if len <= self.chunk.len() => raw(self.chunk.split_to(len)).map(Some),
            _ => {
                self.partial.extend_from_slice(&self.chunk);
                self.chunk = Bytes::new();
                Ok(None)
            }
        }
    }

    /// Completes the frame that an earlier chunk began.
    fn finish_partial(&mut self) -> Result<Option<RawFrame>, DecodeError> {
        loop {
            let wanted = match self.frame_len(&self.partial)? {
                Some(len) if len == self.partial.len() => {
                    // With its memory, which a session that falls silent would keep.
                    return raw(std::mem::take(&mut self.partial).freeze()).map(Some);
                }
                Some(len) => len - self.partial.len(),
                None => 1,
            };
            if self.chunk.is_empty() {
                self.chunk = Bytes::new();
                return Ok(None);
            }
            let taken = wanted.min(self.chunk.len());
            self.partial.extend_from_slice(&self.chunk[..taken]);
            self.chunk.advance(taken);
        }
    }

    /// Bytes of the frame at the front of `input`, its length prefix included, once that is known.
    fn frame_len(&self, input: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some((len, prefix)) = peek_varint(input) else { return Ok(None) };
        if len > self.frame_bytes_max as u64 {
            return Err(DecodeError::new(Reason::FrameTooLong, "the frame exceeds the limit"));
        }
        Ok(Some(prefix + len as usize))
    }
}

fn raw(mut frame: Bytes) -> Result<RawFrame, DecodeError> {
    let prefix = 1usize << (frame[0] >> 6);
    frame.advance(prefix);
    if frame.is_empty() {
        return Err(DecodeError::new(Reason::BadFrame, "a frame has a kind at least"));
    }
    let kind = frame.get_u8();
    Ok(RawFrame { kind, fields: frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_frames_that_have_been_taken() {
        let mut decoder = Decoder::new(1024);
        let frame = [0x40, 101].into_iter().chain([7; 101]).collect::<Vec<u8>>();
        for cut in [1, 2, 50, frame.len()] {
            let (one, other) = frame.split_at(cut);
            let chunks = [one, other].into_iter().filter(|chunk| !chunk.is_empty());
            let chunks: Vec<_> = chunks.map(Bytes::copy_from_slice).collect();
            let mut frames = 0;
            for chunk in &chunks {
                decoder.push(chunk.clone());
                frames += usize::from(decoder.next_frame().unwrap().is_some());
                assert!(decoder.next_frame().unwrap().is_none());
            }
            assert_eq!((frames, decoder.partial.capacity()), (1, 0));
            assert!(chunks.iter().all(Bytes::is_unique), "the decoder keeps no chunk");
        }
    }
}
