//! A record of the log: entries of one commit, with a table of where each begins.
//!
//! ```text
//! kind u8 | version u8 | crc u32 | epoch u64 | first i64 | before i64 | commit i64 | at_ms i64
//!   | count u32 | end of each entry u32 x count | the entries, one archive each
//! ```
//!
//! Little-endian. `crc` covers all behind it. The id of an entry is `first` plus its place;
//! `before` is the first id of the record before this one, so that a lost record is missed;
//! `commit` is the first id of the commit, which may take several records.
//!
//! # Invariants
//!
//! * One entry is read without decoding its neighbours.
//! * Ids are dense in a record and rise from one record to the next. A record whose ids are not
//!   positive, or do not end below the greatest `i64`, is damaged, whatever its checksum says.

use crate::id::MessageId;
use crate::store::archive::{Kind, ValueError, access, append, strip};
use crate::store::entry::{Entry, Placed};
use crate::store::inscription::{ArchivedEntryV1, EntryV1};

const VERSION: u8 = 1;
/// Bytes before the table of ends; the number of entries is the last of it.
pub(super) const HEADER: usize = 2 + 4 + 8 * 5 + 4;

/// What a record says of itself and its neighbour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// The log it belongs to.
    pub epoch: u64,
    /// Its first id.
    pub first: MessageId,
    /// The first id of the record before it.
    pub before: MessageId,
    /// The first id of its commit.
    pub commit: MessageId,
    /// When it was committed.
    pub at_ms: i64,
    /// Its entries.
    pub count: u32,
}

impl Header {
    /// It, if its entries have ids that messages can have.
    pub(super) fn checked(self) -> Result<Self, ValueError> {
        let end = self.first.0.checked_add(i64::from(self.count));
        if self.first.0 <= 0 || self.count == 0 || end.is_none() {
            return Err(ValueError::damaged("ids that no message can have"));
        }
        Ok(self)
    }

    /// The id of its last entry.
    pub(super) fn last(&self) -> MessageId {
        MessageId(self.first.0 + i64::from(self.count) - 1)
    }
}

/// Gathers the entries of one commit.
#[derive(Debug, Default)]
pub(super) struct RecordWriter {
    first: MessageId,
    ends: Vec<u32>,
    archives: Vec<u8>,
}

impl RecordWriter {
    /// Bytes the record has so far.
    pub(super) fn bytes(&self) -> usize {
        HEADER + self.ends.len() * 4 + self.archives.len()
    }

    /// Entries so far.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The id of its first entry.
    pub(super) fn first(&self) -> MessageId {
        self.first
    }

    /// Adds the entry `id`, which follows the last one.
    pub(super) fn push(&mut self, id: MessageId, entry: &Entry) {
        if self.ends.is_empty() {
            self.first = id;
        }
        append(&mut self.archives, &EntryV1::new(entry));
        self.ends.push(self.archives.len() as u32);
    }

    /// The finished record; the writer is empty again.
    pub(super) fn finish(&mut self, header: Header) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(&[Kind::Record as u8, VERSION, 0, 0, 0, 0]);
        out.extend_from_slice(&header.epoch.to_le_bytes());
        out.extend_from_slice(&header.first.0.to_le_bytes());
        out.extend_from_slice(&header.before.0.to_le_bytes());
        out.extend_from_slice(&header.commit.0.to_le_bytes());
        out.extend_from_slice(&header.at_ms.to_le_bytes());
        out.extend_from_slice(&(self.ends.len() as u32).to_le_bytes());
        for end in self.ends.drain(..) {
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.append(&mut self.archives);
        let crc = crc32fast::hash(&out[6..]);
        out[2..6].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// A record read back. Its checksum has been verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) header: Header,
    ends: &'a [u8],
    archives: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ValueError> {
        strip(Kind::Record, VERSION, bytes)?;
        let (head, rest) =
            bytes.split_at_checked(HEADER).ok_or_else(|| ValueError::damaged("cut off"))?;
        if crc32fast::hash(&bytes[6..]).to_le_bytes() != head[2..6] {
            return Err(ValueError::damaged("wrong checksum"));
        }
        let i64_at = |at: usize| i64::from_le_bytes(array(&head[at..at + 8]));
        let header = Header {
            epoch: i64_at(6) as u64,
            first: MessageId(i64_at(14)),
            before: MessageId(i64_at(22)),
            commit: MessageId(i64_at(30)),
            at_ms: i64_at(38),
            count: u32::from_le_bytes(array(&head[46..50])),
        };
        let (ends, archives) = rest
            .split_at_checked(header.count as usize * 4)
            .ok_or_else(|| ValueError::damaged("cut off"))?;
        Ok(Self { header: header.checked()?, ends, archives })
    }

    /// The entry with this id.
    pub(super) fn entry(&self, id: MessageId) -> Result<Placed, ValueError> {
        let place = usize::try_from(id.0 - self.header.first.0).unwrap_or(usize::MAX);
        if place >= self.header.count as usize {
            return Err(ValueError::damaged("no such entry"));
        }
        let end = |place: usize| u32::from_le_bytes(array(&self.ends[place * 4..][..4])) as usize;
        let start = if place == 0 { 0 } else { end(place - 1) };
        let bytes = self
            .archives
            .get(start..end(place))
            .ok_or_else(|| ValueError::damaged("entry out of bounds"))?;
        let at_ms = self.header.at_ms;
        Ok(Placed { id, at_ms, entry: access::<ArchivedEntryV1>(bytes)?.entry(id, at_ms)? })
    }

    /// All entries, in order.
    pub(super) fn entries(self) -> impl Iterator<Item = Result<Placed, ValueError>> + 'a {
        let first = self.header.first.0;
        (first..first + i64::from(self.header.count)).map(move |id| self.entry(MessageId(id)))
    }
}

/// The first `N` of some bytes, of which there are as many.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
