//! Tables of entries of one width, in blocks that are checked as they are read: what a closed
//! segment is searched by where it lies, without holding any of it in memory.
//!
//! ```text
//! block: entries, as many as fit | zeroes | crc u32 of all before it        4096 bytes
//! ```
//!
//! # Invariants
//!
//! * No bytes of a file make a reader panic, or read more than it asks for.
//! * A block is used only after its checksum has been verified.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::store::archive::ValueError;
use crate::store::database::DatabaseError;

/// Bytes of a block: a page of the kernel's cache.
pub(super) const BLOCK_BYTES: usize = 4096;
const CRC_BYTES: usize = 4;

/// A file that is read at positions.
#[derive(Debug)]
pub(super) struct DiskFile {
    path: PathBuf,
    file: File,
}

impl DiskFile {
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let file = File::open(path).map_err(DatabaseError::disk("open", path))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    pub(super) fn bytes(&self) -> Result<u64, DatabaseError> {
        let disk = DatabaseError::disk("read", &self.path);
        let metadata = self.file.metadata().map_err(&disk)?;
        if metadata.is_dir() {
            // How long it is depends on the file system, and says nothing.
            return Err(disk(io::ErrorKind::IsADirectory.into()));
        }
        Ok(metadata.len())
    }

    pub(super) fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, DatabaseError> {
        let mut read = vec![0; bytes];
        match self.file.read_exact_at(&mut read, offset) {
            Ok(()) => Ok(read),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("cut off"))
            }
            Err(error) => Err(DatabaseError::reading(&self.path)(error)),
        }
    }

    pub(super) fn damaged(&self, what: &str) -> DatabaseError {
        DatabaseError::value(&self.path)(ValueError::damaged(what))
    }
}

/// Where the blocks of a table lie in a file, and how many entries of `WIDTH` bytes they hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Blocks<const WIDTH: usize> {
    pub(super) start: u64,
    pub(super) len: u64,
}

impl<const WIDTH: usize> Blocks<WIDTH> {
    const PER_BLOCK: u64 = ((BLOCK_BYTES - CRC_BYTES) / WIDTH) as u64;

    /// Where the blocks end; the greatest number if that is nowhere.
    pub(super) fn end(&self) -> u64 {
        let blocks = self.len.div_ceil(Self::PER_BLOCK);
        self.start.saturating_add(blocks.saturating_mul(BLOCK_BYTES as u64))
    }

    /// One entry.
    pub(super) fn entry(&self, file: &DiskFile, index: u64) -> Result<[u8; WIDTH], DatabaseError> {
        let entries = self.entries(file, index..index.saturating_add(1))?;
        entries.first().copied().ok_or_else(|| file.damaged("no such entry"))
    }

    /// The entries from `index` on that are in the same block, or those of them that there are.
    pub(super) fn rest_of_block(
        &self,
        file: &DiskFile,
        index: u64,
    ) -> Result<Vec<[u8; WIDTH]>, DatabaseError> {
        self.entries(file, index..Self::next(index))
    }

    /// The first entry that is not in the same block as this one.
    pub(super) fn next(index: u64) -> u64 {
        (index / Self::PER_BLOCK + 1) * Self::PER_BLOCK
    }

    /// The entries of a range, or those of them that there are.
    pub(super) fn entries(
        &self,
        file: &DiskFile,
        range: Range<u64>,
    ) -> Result<Vec<[u8; WIDTH]>, DatabaseError> {
        let mut entries = Vec::new();
        let end = range.end.min(self.len);
        let mut next = range.start;
        while next < end {
            let number = next / Self::PER_BLOCK;
            entries.extend_from_slice(self.block(file, number, next..end)?.as_chunks().0);
            next = Self::next(next);
        }
        Ok(entries)
    }

    /// Of a sorted range, the first entry that is not `below` what one looks for.
    ///
    /// The search begins at `guess`: a good one is found in two or three blocks.
    pub(super) fn partition_point(
        &self,
        file: &DiskFile,
        range: Range<u64>,
        guess: u64,
        below: impl Fn(&[u8; WIDTH]) -> bool,
    ) -> Result<u64, DatabaseError> {
        let range = range.start..range.end.min(self.len);
        if range.is_empty() {
            return Ok(range.start);
        }
        // Blocks before `low` are below, those from `high` on are not.
        let (mut low, mut high) =
            (range.start / Self::PER_BLOCK, range.end.div_ceil(Self::PER_BLOCK));
        let (mut next, mut step) = (guess / Self::PER_BLOCK, 1_u64);
        let (mut rose, mut fell) = (false, false);
        while low < high {
            let number = next.clamp(low, high - 1);
            let block = self.block(file, number, range.clone())?;
            let entries: &[[u8; WIDTH]] = block.as_chunks().0;
            let is_below = |entry: Option<&[u8; WIDTH]>| entry.is_some_and(&below);
            if !is_below(entries.first()) {
                (high, fell) = (number, true);
                next = number.saturating_sub(step);
            } else if is_below(entries.last()) {
                (low, rose) = (number + 1, true);
                next = number.saturating_add(step);
            } else {
                let first = range.start.max(number * Self::PER_BLOCK);
                return Ok(first + entries.partition_point(&below) as u64);
            }
            step = step.saturating_mul(2);
            if rose && fell {
                next = low + (high - low) / 2;
            }
        }
        Ok((low * Self::PER_BLOCK).clamp(range.start, range.end))
    }

    /// The bytes of those entries of a block that are in a range.
    fn block(
        &self,
        file: &DiskFile,
        number: u64,
        range: Range<u64>,
    ) -> Result<Vec<u8>, DatabaseError> {
        let offset = self.start.saturating_add(number.saturating_mul(BLOCK_BYTES as u64));
        let mut bytes = file.read(offset, BLOCK_BYTES)?;
        let crc = bytes.split_off(BLOCK_BYTES - CRC_BYTES);
        if crc != crc32fast::hash(&bytes).to_le_bytes() {
            return Err(file.damaged("wrong checksum of a block"));
        }
        let first = number * Self::PER_BLOCK;
        let inside = |index: u64| index.saturating_sub(first).min(Self::PER_BLOCK) as usize;
        bytes.truncate(inside(range.end.min(self.len)) * WIDTH);
        bytes.drain(..(inside(range.start) * WIDTH).min(bytes.len()));
        Ok(bytes)
    }
}

/// Writes a table; says how many entries it has.
pub(super) fn write_blocks<const WIDTH: usize>(
    out: &mut impl Write,
    entries: impl IntoIterator<Item = [u8; WIDTH]>,
) -> io::Result<u64> {
    let mut entries = entries.into_iter().peekable();
    let mut len = 0;
    while entries.peek().is_some() {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        for entry in entries.by_ref().take(Blocks::<WIDTH>::PER_BLOCK as usize) {
            block.extend_from_slice(&entry);
            len += 1;
        }
        block.resize(BLOCK_BYTES - CRC_BYTES, 0);
        block.extend_from_slice(&crc32fast::hash(&block).to_le_bytes());
        out.write_all(&block)?;
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: impl IntoIterator<Item = u64>) -> (tempfile::NamedTempFile, Blocks<8>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"before it").unwrap();
        let len = write_blocks(&mut file, entries.into_iter().map(u64::to_be_bytes)).unwrap();
        (file, Blocks { start: 9, len })
    }

    #[test]
    fn a_sorted_table_is_searched_from_any_guess_in_any_range() {
        for len in [0, 1, 510, 511, 512, 5_000] {
            let (file, blocks) = table((0..len).map(|entry| entry * 2));
            let file = DiskFile::open(file.path()).unwrap();
            assert_eq!(blocks.end(), 9 + len.div_ceil(511) * 4096);
            for wanted in [0, 1, 2, 511, 1_022, 1_023, 4_567, 9_999, 20_000] {
                for range in [0..len, 0..len / 3, len / 3..len, len / 2..len / 2 + 1, 7..7] {
                    for guess in [0, wanted / 2, len, u64::MAX] {
                        let below = |entry: &[u8; 8]| u64::from_be_bytes(*entry) < wanted;
                        let found = blocks.partition_point(&file, range.clone(), guess, below);
                        let end = range.end.min(len).max(range.start);
                        let expected = wanted.div_ceil(2).clamp(range.start, end);
                        assert_eq!(found.unwrap(), expected, "{wanted} of {len} in {range:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_range_of_entries_is_read_over_blocks_and_not_beyond_the_end() {
        let (file, blocks) = table(0..2_000);
        let file = DiskFile::open(file.path()).unwrap();
        for range in [0..0, 0..1, 500..1_600, 1_999..5_000, 3_000..4_000] {
            let entries = blocks.entries(&file, range.clone()).unwrap();
            let entries: Vec<u64> = entries.into_iter().map(u64::from_be_bytes).collect();
            let expected: Vec<u64> = (range.start..range.end.min(2_000)).collect();
            assert_eq!(entries, expected);
        }
        assert!(blocks.entry(&file, 1_999).is_ok() && blocks.entry(&file, 2_000).is_err());
    }

    #[test]
    fn a_changed_byte_is_found_out_and_costs_its_block_only() {
        let (file, blocks) = table(0..2_000);
        let mut bytes = std::fs::read(file.path()).unwrap();
        bytes[9 + 4096 + 77] ^= 1;
        std::fs::write(file.path(), &bytes[..bytes.len() - 1]).unwrap();
        let file = DiskFile::open(file.path()).unwrap();
        let is_whole = |index| blocks.entry(&file, index).is_ok();
        assert!(is_whole(0) && is_whole(510) && is_whole(1_022));
        assert!(!is_whole(511) && !is_whole(1_021), "the block with the changed byte");
        assert!(is_whole(1_532) && !is_whole(1_533), "the block that is cut off");
    }
}
