//! The stream of a backup: what a running server sends, and what the copy is made from.
//!
//! ```text
//! frame: kind u8 | bytes u32 | crc u32 of the content | the content
//! 1 plan:  about how many bytes will come u64
//! 2 rows:  of the state: (bytes of the key u32 | key | bytes of the value u32 | value), or
//!          0xFFFFFFFF in place of a value, which says that there is no such row; a later row
//!          counts, not an earlier one
//! 3 file:  its name in the folder; its bytes follow
//! 4 bytes: of the file
//! 5 end:   epoch u64 | the last entry i64; a stream without it was cut
//! ```
//!
//! Little-endian.
//!
//! # Invariants
//!
//! * A frame has [`FRAME_BYTES_MAX`] bytes of content at the most, so who reads holds no more.

use crate::store::archive::ValueError;
use crate::store::record::array;

/// Bytes of a frame before its content.
const HEADER: usize = 9;
/// Bytes of the content of a frame: a batch of rows that was written to the state together.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What stands in place of a value where there is none.
const NO_VALUE: u32 = u32::MAX;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    Plan = 1,
    Rows = 2,
    File = 3,
    Bytes = 4,
    End = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Plan, Self::Rows, Self::File, Self::Bytes, Self::End];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Appends a frame.
pub(super) fn frame(out: &mut Vec<u8>, kind: Kind, content: &[u8]) {
    debug_assert!(content.len() <= FRAME_BYTES_MAX);
    out.push(kind as u8);
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
    out.extend_from_slice(content);
}

/// Appends a row, or that there is none, to the content of a frame.
pub(super) fn row(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    let bytes = value.map_or(NO_VALUE, |value| value.len() as u32);
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(value.unwrap_or_default());
}

/// The rows of a frame.
pub(super) fn rows(content: &[u8]) -> impl Iterator<Item = Result<Row<'_>, ValueError>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let row = next_row(&mut rest);
        if row.is_none() {
            rest = &[];
        }
        Some(row.ok_or_else(|| ValueError::damaged("a row is cut off")))
    })
}

/// A key, and its value if it has one.
pub(super) type Row<'a> = (&'a [u8], Option<&'a [u8]>);

fn next_row<'a>(rest: &mut &'a [u8]) -> Option<Row<'a>> {
    let key_bytes = take_u32(rest)?;
    let key = rest.split_off(..key_bytes as usize)?;
    let value = match take_u32(rest)? {
        NO_VALUE => None,
        bytes => Some(rest.split_off(..bytes as usize)?),
    };
    Some((key, value))
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    rest.split_off(..4).map(|bytes| u32::from_le_bytes(array(bytes)))
}

/// A frame, with its content and the bytes that it takes.
pub(super) type Framed<'a> = (Kind, &'a [u8], usize);

/// The first frame of some bytes; none if it is not whole yet.
pub(super) fn first(bytes: &[u8]) -> Result<Option<Framed<'_>>, ValueError> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
    let kind = Kind::of(header[0]).ok_or_else(|| ValueError::damaged("no frame of a backup"))?;
    let len = u32::from_le_bytes(array(&header[1..5])) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(ValueError::damaged("a frame that is too long"));
    }
    let Some(content) = rest.get(..len) else { return Ok(None) };
    if crc32fast::hash(content).to_le_bytes() != header[5..] {
        return Err(ValueError::damaged("wrong checksum of a frame"));
    }
    Ok(Some((kind, content, HEADER + len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let (mut content, mut out) = (Vec::new(), Vec::new());
        row(&mut content, b"key", Some(b"value"));
        row(&mut content, b"gone", None);
        row(&mut content, b"", Some(b""));
        frame(&mut out, Kind::Rows, &content);
        frame(&mut out, Kind::End, &[7; 16]);
        for cut in 0..out.len() {
            let whole = first(&out[..cut]).unwrap();
            assert_eq!(whole.is_some(), cut >= HEADER + content.len());
        }
        let (kind, found, bytes) = first(&out).unwrap().unwrap();
        assert_eq!((kind, found), (Kind::Rows, &content[..]));
        let found: Vec<_> = rows(found).map(Result::unwrap).collect();
        let expected: [Row<'_>; 3] = [(b"key", Some(b"value")), (b"gone", None), (b"", Some(b""))];
        assert_eq!(found, expected);
        assert_eq!(first(&out[bytes..]).unwrap().unwrap().0, Kind::End);
    }

    #[test]
    fn no_changed_byte_is_taken_for_what_was_sent() {
        let mut out = Vec::new();
        frame(&mut out, Kind::Bytes, b"what was sent");
        for at in 0..out.len() {
            let mut bytes = out.clone();
            bytes[at] ^= 1;
            let taken = matches!(first(&bytes), Ok(Some((Kind::Bytes, ..))));
            assert!(!taken, "byte {at}");
        }
        let mut long = vec![Kind::Bytes as u8];
        long.extend_from_slice(&(FRAME_BYTES_MAX as u32 + 1).to_le_bytes());
        long.extend_from_slice(&[0; 4]);
        assert!(first(&long).is_err());
    }

    #[test]
    fn rows_that_are_cut_off_are_damaged() {
        let mut content = Vec::new();
        row(&mut content, b"key", Some(b"value"));
        for cut in 1..content.len() {
            assert!(rows(&content[..cut]).any(|row| row.is_err()), "{cut}");
        }
    }
}
