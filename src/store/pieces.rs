//! A value that is longer than one on disk may be, in pieces.
//!
//! Under its key stands how many pieces there are; each has a key of its own. One behind the other
//! they are the value.
//!
//! # Invariants
//!
//! * A value and its pieces change together, in one batch.
//! * A value that becomes shorter leaves no piece behind, if who writes it knows how many it had.

use std::borrow::Cow;
use std::ops::Range;

use rkyv::{Archive, Serialize};

use crate::limits::{RECORD_BYTES_MAX, RECORD_BYTES_TARGET};
use crate::store::archive::{Kind, ValueError, pack, strip, unpack};
use crate::store::database::DatabaseError;
use crate::store::state::{Changes, State};

const VERSION: u8 = 1;
/// Bytes of a piece; the last one may have fewer.
const PIECE_BYTES: usize = RECORD_BYTES_TARGET;
/// What the keys of pieces begin with.
const PIECE: &[u8] = b"l";

#[derive(Archive, Serialize)]
struct PiecesV1 {
    count: u32,
}

/// The stored form of how many pieces a value has.
pub(super) fn pack_pieces(count: usize) -> Vec<u8> {
    pack(Kind::Pieces, VERSION, &PiecesV1 { count: count as u32 })
}

/// Reads what [`pack_pieces`] wrote.
pub(super) fn unpack_pieces(bytes: &[u8]) -> Result<usize, ValueError> {
    Ok(unpack::<ArchivedPiecesV1>(Kind::Pieces, VERSION, bytes)?.count.to_native() as usize)
}

/// The stored form of a piece.
pub(super) fn pack_piece(bytes: &[u8]) -> Vec<u8> {
    [&[Kind::Piece as u8, VERSION], bytes].concat()
}

impl State {
    /// All of a value whose key was read, and how many pieces it is in; 0 if it is whole.
    pub(super) fn whole<'a>(
        &self,
        key: &[u8],
        value: &'a [u8],
    ) -> Result<(Cow<'a, [u8]>, usize), DatabaseError> {
        if value.first() != Some(&(Kind::Pieces as u8)) {
            return Ok((value.into(), 0));
        }
        let damaged = DatabaseError::value(&self.database.path);
        let count = unpack_pieces(value).map_err(&damaged)?;
        let mut whole = Vec::new();
        for index in 0..count {
            let piece = self.database.read(&piece_key(key, index))?;
            let piece = piece.ok_or_else(|| damaged(ValueError::damaged("a piece is missing")))?;
            whole.extend_from_slice(strip(Kind::Piece, VERSION, &piece).map_err(&damaged)?);
        }
        Ok((whole.into(), count))
    }
}

impl Changes {
    /// Writes a value that was in `before` pieces, in pieces if it is too long to be whole; says in
    /// how many.
    pub(super) fn write_long(&mut self, key: &[u8], value: Vec<u8>, before: usize) -> usize {
        let is_long = value.len() > RECORD_BYTES_MAX;
        let count = if is_long { value.len().div_ceil(PIECE_BYTES) } else { 0 };
        for (index, piece) in value.chunks(PIECE_BYTES).take(count).enumerate() {
            self.write(&piece_key(key, index), pack_piece(piece));
        }
        self.remove_pieces(key, count..before);
        self.write(key, if is_long { pack_pieces(count) } else { value });
        count
    }

    /// Removes some of the pieces of a value.
    pub(super) fn remove_pieces(&mut self, key: &[u8], pieces: Range<usize>) {
        pieces.for_each(|index| self.put(&piece_key(key, index), None));
    }
}

fn piece_key(key: &[u8], index: usize) -> Vec<u8> {
    // No key of a long value has a zero byte, so this one ends it.
    [PIECE, key, &[0], &(index as u16).to_be_bytes()].concat()
}
