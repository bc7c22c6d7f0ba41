//! What every message of a run carries at the front of its body.
//!
//! # Invariants
//!
//! * The two forms say the same: bytes for what goes over QUIC, hexadecimal digits for what a back
//!   end sends as text.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

/// Bytes of a [`Stamp`].
pub(crate) const STAMP_BYTES: usize = 20;
/// Bytes of a [`Stamp`] as text.
pub(crate) const STAMP_TEXT_BYTES: usize = 2 * STAMP_BYTES;

/// What every message carries, so that its delivery proves something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    /// Index of the sender.
    pub(crate) sender: u32,
    /// The sender's number for it.
    pub(crate) number: u64,
    /// When it should have been sent, in nanoseconds of the generator's clock.
    pub(crate) intended_ns: u64,
}

impl Stamp {
    /// The stamp at the front of a body.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        let (sender, rest) = body.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (intended_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            sender: u32::from_be_bytes(*sender),
            number: u64::from_be_bytes(*number),
            intended_ns: u64::from_be_bytes(*intended_ns),
        })
    }

    /// Appends a body of `payload` bytes, the stamp at its front.
    pub(crate) fn put(&self, out: &mut BytesMut, payload: usize) {
        out.put_u32(self.sender);
        out.put_u64(self.number);
        out.put_u64(self.intended_ns);
        out.put_bytes(0, payload.saturating_sub(STAMP_BYTES));
    }

    /// The stamp at the front of a body that is text.
    pub(crate) fn of_text(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body.get(..STAMP_TEXT_BYTES)?).ok()?;
        let part = |from, to| u64::from_str_radix(text.get(from..to)?, 16).ok();
        let sender = u32::try_from(part(0, 8)?).ok()?;
        Some(Self { sender, number: part(8, 24)?, intended_ns: part(24, 40)? })
    }

    /// A body of `payload` bytes of text, the stamp at its front.
    pub(crate) fn text(&self, payload: usize) -> String {
        let mut text = String::with_capacity(payload.max(STAMP_TEXT_BYTES));
        let Self { sender, number, intended_ns } = self;
        // Writing to a string cannot fail.
        let _ = write!(text, "{sender:08x}{number:016x}{intended_ns:016x}");
        text.extend(std::iter::repeat_n('.', payload.saturating_sub(STAMP_TEXT_BYTES)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_from_bytes_and_from_text() {
        let stamp = Stamp { sender: 3, number: 1 << 40, intended_ns: u64::MAX - 1 };
        let mut bytes = BytesMut::new();
        stamp.put(&mut bytes, STAMP_BYTES + 3);
        assert_eq!(bytes.len(), STAMP_BYTES + 3);
        assert_eq!(Stamp::of(&bytes), Some(stamp));
        assert_eq!(Stamp::of(&bytes[..STAMP_BYTES - 1]), None);
        let text = stamp.text(256);
        assert_eq!(text.len(), 256);
        assert_eq!(Stamp::of_text(text.as_bytes()), Some(stamp));
        assert_eq!(Stamp::of_text(&text.as_bytes()[..STAMP_TEXT_BYTES - 1]), None);
        assert_eq!(Stamp::of_text("ü".repeat(30).as_bytes()), None);
        assert_eq!(Stamp::of_text(&[0xff; 60]), None);
    }
}
