//! Integers, texts and byte runs: the alphabet that frames are written in.
//!
//! # Invariants
//!
//! * Reading never panics and never allocates more than the input holds.
//! * Varints are those of QUIC (RFC 9000, section 16): 1, 2, 4 or 8 bytes, up to 2^62 - 1.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::id::{Alias, ConversationId, DeviceId, GroupId, MessageId, PeerId};
use crate::reason::Reason;
use crate::wire::DecodeError;

/// The greatest number a varint can hold.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

pub(crate) const CONVERSATION_PEERS: u8 = 0;
pub(crate) const CONVERSATION_GROUP: u8 = 1;

/// The input ended in the middle of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct UnexpectedEnd;

impl From<UnexpectedEnd> for DecodeError {
    fn from(_: UnexpectedEnd) -> Self {
        Self::new(Reason::BadFrame, "the frame ends in the middle of a field")
    }
}

/// Reads a varint without consuming anything when it is not whole.
pub(crate) fn peek_varint(input: &[u8]) -> Option<(u64, usize)> {
    let first = *input.first()?;
    let len = 1usize << (first >> 6);
    let bytes = input.get(..len)?;
    let value = bytes[1..].iter().fold(u64::from(first & 0x3f), |v, b| v << 8 | u64::from(*b));
    Some((value, len))
}

/// Reads fields off the front of a frame.
pub(crate) struct Reader {
    input: Bytes,
}

impl Reader {
    pub(crate) fn new(input: Bytes) -> Self {
        Self { input }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, UnexpectedEnd> {
        self.input.try_get_u8().map_err(|_| UnexpectedEnd)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, UnexpectedEnd> {
        self.input.try_get_u16().map_err(|_| UnexpectedEnd)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, UnexpectedEnd> {
        self.input.try_get_u64().map_err(|_| UnexpectedEnd)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, UnexpectedEnd> {
        let (value, len) = peek_varint(&self.input).ok_or(UnexpectedEnd)?;
        self.input.advance(len);
        Ok(value)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], UnexpectedEnd> {
        let mut array = [0; N];
        self.input.try_copy_to_slice(&mut array).map_err(|_| UnexpectedEnd)?;
        Ok(array)
    }

    /// A run of bytes with its length before it, refused with `reason` above `bytes_max`.
    pub(crate) fn bytes(&mut self, bytes_max: usize, reason: Reason) -> Result<Bytes, DecodeError> {
        let len = self.varint()?;
        if len > bytes_max as u64 {
            return Err(DecodeError::new(reason, "a field exceeds its length limit"));
        }
        let len = len as usize;
        if len > self.input.len() {
            return Err(UnexpectedEnd.into());
        }
        Ok(self.input.split_to(len))
    }

    /// A text of at most `bytes_max` bytes.
    pub(crate) fn text(&mut self, bytes_max: usize) -> Result<Text, DecodeError> {
        let bytes = self.bytes(bytes_max.min(255), Reason::BadFrame)?;
        Text::new(bytes)
    }

    /// A text at the end of a frame, which may be missing and longer than others.
    pub(crate) fn last_text(&mut self, bytes_max: usize) -> Result<Text, DecodeError> {
        if self.input.is_empty() {
            return Ok(Text::default());
        }
        Text::new(self.bytes(bytes_max, Reason::BadFrame)?)
    }

    pub(crate) fn peer(&mut self) -> Result<PeerId, DecodeError> {
        self.id(PeerId::new)
    }

    /// A device id; an empty text is none.
    pub(crate) fn device(&mut self) -> Result<Option<DeviceId>, DecodeError> {
        self.id(|text| if text.is_empty() { Ok(None) } else { DeviceId::new(text).map(Some) })
    }

    pub(crate) fn alias(&mut self) -> Result<Alias, DecodeError> {
        self.id(Alias::new)
    }

    /// A peer id; an empty text is nobody.
    pub(crate) fn maybe_peer(&mut self) -> Result<Option<PeerId>, DecodeError> {
        self.id(|text| if text.is_empty() { Ok(None) } else { PeerId::new(text).map(Some) })
    }

    fn id<T, E>(&mut self, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, DecodeError> {
        let bytes = self.bytes(255, Reason::BadId)?;
        let bad = DecodeError::new(Reason::BadId, "an id breaks the rules for ids");
        std::str::from_utf8(&bytes).ok().and_then(|text| parse(text).ok()).ok_or(bad)
    }

    pub(crate) fn peers(&mut self, max: usize, over: Reason) -> Result<Vec<PeerId>, DecodeError> {
        let count = self.varint()?;
        if count > max as u64 {
            return Err(DecodeError::new(over, "a list exceeds its limit"));
        }
        // Each id takes two bytes at least, so a short frame cannot ask for a long list.
        let mut peers = Vec::with_capacity((count as usize).min(self.input.len() / 2));
        for _ in 0..count {
            peers.push(self.peer()?);
        }
        Ok(peers)
    }

    pub(crate) fn message_id(&mut self) -> Result<MessageId, DecodeError> {
        let id = i64::try_from(self.u64()?);
        id.map(MessageId)
            .map_err(|_| DecodeError::new(Reason::BadFrame, "a message id is never negative"))
    }

    pub(crate) fn conversation(&mut self) -> Result<ConversationId, DecodeError> {
        match self.u8()? {
            CONVERSATION_PEERS => Ok(ConversationId::Peers(self.array()?)),
            CONVERSATION_GROUP => Ok(ConversationId::Group(GroupId(self.array()?))),
            _ => Err(DecodeError::new(Reason::BadFrame, "unknown kind of conversation")),
        }
    }
}

/// Writes fields behind one another.
pub(crate) trait Write: BufMut {
    fn put_varint(&mut self, value: u64) {
        match value {
            0..=0x3f => self.put_u8(value as u8),
            0x40..=0x3fff => self.put_u16(value as u16 | 0x4000),
            0x4000..=0x3fff_ffff => self.put_u32(value as u32 | 0x8000_0000),
            _ => self.put_u64(value.min(VARINT_MAX) | 0xc000_0000_0000_0000),
        }
    }

    fn put_run(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put_slice(bytes);
    }

    fn put_peers(&mut self, peers: &[PeerId]) {
        self.put_varint(peers.len() as u64);
        for peer in peers {
            self.put_run(peer.as_str().as_bytes());
        }
    }

    fn put_conversation(&mut self, conversation: &ConversationId) {
        match conversation {
            ConversationId::Peers(digest) => {
                self.put_u8(CONVERSATION_PEERS);
                self.put_slice(digest);
            }
            ConversationId::Group(group) => {
                self.put_u8(CONVERSATION_GROUP);
                self.put_slice(&group.0);
            }
        }
    }
}

impl Write for BytesMut {}

/// Writes one frame: its length, its kind, and the fields that `fields` writes.
pub(crate) fn put_frame(out: &mut BytesMut, kind: u8, fields: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_slice(&[0, 0, kind]);
    fields(out);
    let len = out.len() - start - 2;
    if len <= 0x3fff {
        out[start..start + 2].copy_from_slice(&(len as u16 | 0x4000).to_be_bytes());
        return;
    }
    // A rare long frame: make room for a length of four bytes.
    out.put_slice(&[0, 0]);
    let end = out.len();
    out.copy_within(start + 2..end - 2, start + 4);
    out[start..start + 4].copy_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes());
}

/// A short text that shares the bytes it was read from.
#[derive(Clone, Default, Eq, PartialEq, Hash)]
pub struct Text(Bytes);

impl Text {
    fn new(bytes: Bytes) -> Result<Self, DecodeError> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(DecodeError::new(Reason::BadFrame, "a text is not UTF-8")),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text, shared.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
