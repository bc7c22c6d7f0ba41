//! A door for fuzzers, which is there under `--cfg fuzzing` alone: values on disk, and files of
//! segments, without a store.

use std::ops::Range;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::id::{GroupId, MessageId, PeerId};
use crate::store::archive::{Kind, ValueError};
use crate::store::backend_image::*;
use crate::store::endpoint_image::*;
use crate::store::entry::{Entry, Placed};
use crate::store::group_image::*;
use crate::store::image::*;
use crate::store::part_image::*;
use crate::store::pieces::{pack_pieces, unpack_pieces};
use crate::store::record::{Header, Record, RecordWriter};
use crate::store::scan::{self, HEADER_BYTES, Mark, SECOND_HEADER};

/// The group of values that do not name theirs.
const GROUP: GroupId = GroupId([7; 12]);

/// Gives bytes what a record of this version begins with: its kind, and a good checksum.
pub fn seal_record(bytes: &mut [u8]) {
    if bytes.len() > 6 {
        bytes[..2].copy_from_slice(&[Kind::Record as u8, 1]);
        let crc = crc32fast::hash(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The entries of a record up to the first that cannot be read, and the record that they make.
///
/// # Errors
///
/// [`ValueError`], if it is no record.
pub fn read_record(bytes: &[u8]) -> Result<(Vec<Placed>, Vec<u8>), ValueError> {
    let record = Record::parse(bytes)?;
    let entries: Vec<Placed> = record.entries().map_while(Result::ok).collect();
    let (mut writer, mut next) = (RecordWriter::default(), record.header.first);
    for placed in &entries {
        writer.push(next, &placed.entry);
        next = MessageId(next.0.wrapping_add(1));
    }
    let count = entries.len() as u32;
    Ok((entries, writer.finish(Header { count, ..record.header })))
}

/// Reads any bytes as a value of each kind; what can be read is written and read again. Numbers
/// that no server has written may be cut by that, but only once.
///
/// # Panics
///
/// If what was written cannot be read, or not as the same.
pub fn check_value(bytes: &[u8]) {
    macro_rules! check {
        ($($read:expr => $write:expr,)*) => {
            $(if let Ok(value) = $read(bytes) {
                let value = $read(&$write(&value)).expect("what was written can be read");
                let (again, shown) = ($read(&$write(&value)), format!("{value:?}"));
                assert_eq!(again.map(|again| format!("{again:?}")), Ok(shown));
            })*
        };
    }
    check! {
        unpack_peer => pack_peer,
        |bytes: &_| unpack_row(bytes, |_| true) => |row: &Vec<_>| {
            pack_row(&row.iter().collect::<Vec<_>>())
        },
        unpack_sequences => |rows: &Vec<_>| pack_sequences(rows),
        unpack_checkpoint => pack_checkpoint,
        unpack_head => |id: &_| pack_head(*id),
        unpack_segment => pack_segment,
        unpack_part => pack_part,
        unpack_receipts => pack_receipts,
        |bytes: &_| unpack_group(GROUP, bytes) => pack_group,
        unpack_nonce => |ms: &_| pack_nonce(*ms),
        unpack_device => pack_device,
        unpack_alias => |devices: &Vec<_>| pack_alias(devices),
        unpack_aliased => |count: &_| pack_aliased(*count),
        unpack_key => pack_key,
        |bytes: &_| unpack_upstream(MessageId(1), bytes) => pack_upstream,
        unpack_deleted => |ms: &_| pack_deleted(*ms),
        unpack_waiting => |count: &_| pack_waiting(*count),
        unpack_pieces => |count: &_| pack_pieces(*count),
        unpack_endpoint => pack_endpoint,
        unpack_letter => pack_letter,
        unpack_slot => pack_slot,
        unpack_gone => |id: &_| pack_gone(*id),
    }
    let _ = find_sequence(bytes, &[0; 17]);
    let _ = upstream_at_ms(bytes);
}

/// The file of a segment that is written to, and where the frame of each of its records lies.
///
/// The records have the ids 1, 2, ...; each has one entry with some bytes in it, and says whether
/// a commit begins with it.
pub fn segment(mark: Mark, records: &[(bool, &[u8])]) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut file = vec![0; HEADER_BYTES as usize];
    for at in [0, SECOND_HEADER as usize] {
        let header = scan::file_header(mark);
        file[at..at + header.len()].copy_from_slice(&header);
    }
    let (mut frames, mut commit) = (Vec::new(), 1);
    for (first, (begins, content)) in (1..).zip(records) {
        commit = if *begins { first } else { commit };
        let mut writer = RecordWriter::default();
        let peer = PeerId::new("alice").expect("a name of five letters is one");
        let nonce = content.to_vec().into();
        writer.push(MessageId(first), &Entry::Nonce { peer, nonce, expires_ms: 0 });
        let [before, id, commit] = [first - 1, first, commit].map(MessageId);
        let header = Header { epoch: 7, first: id, before, commit, at_ms: 1_000, count: 1 };
        let (record, start) = (writer.finish(header), file.len());
        file.extend_from_slice(&scan::frame_header(mark, record.len() as u32));
        file.extend_from_slice(&record);
        frames.push(start..file.len());
    }
    (file, frames)
}

/// What was found in the file of a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The first id of each record, and where its frame ends.
    pub records: Vec<(i64, usize)>,
    /// Where the last record ends.
    pub end: usize,
    /// Something before the last record cannot be read.
    pub is_damaged: bool,
    /// Something behind it cannot.
    pub is_torn: bool,
}

/// Whether bytes are the header of a file of a segment, whatever its mark is.
pub fn is_segment_header(bytes: &[u8]) -> bool {
    let mark = bytes.get(4..12).and_then(|mark| mark.try_into().ok());
    mark.is_some_and(|mark| bytes == scan::file_header(mark))
}

/// Looks for the records in the file of a segment, of which those up to `head` have been synced.
///
/// # Panics
///
/// If there can be no file in memory.
pub fn scan_segment(bytes: &[u8], head: i64) -> Option<Found> {
    let file = memfd_create("segment", MFdFlags::empty()).expect("a file in memory can be made");
    let mut file = std::fs::File::from(file);
    std::io::Write::write_all(&mut file, bytes).expect("a file in memory can be written");
    let scanned = scan::scan(&file, bytes.len() as u64, MessageId(head));
    let scanned = scanned.expect("a file in memory can be read")?;
    let end_of = |offset, bytes| offset as usize + bytes as usize;
    let records = scanned.rows.iter().map(|row| (row.first.0, end_of(row.offset, row.bytes)));
    let (is_damaged, is_torn) = (scanned.is_damaged, scanned.is_torn);
    Some(Found { records: records.collect(), end: scanned.end as usize, is_damaged, is_torn })
}
