//! What can happen to a file of a data folder, and every place of it where that can.
//!
//! # Invariants
//!
//! * Where records stand is read by what the files say of themselves, not by the store's own code.

use std::fs;
use std::ops::Range;
use std::path::Path;

pub(crate) const PAGE: u64 = 4096;
/// A run of zeroes that is longer is room, or fills a page: of it every so many a byte is tried.
const ROOM: usize = 64;
/// Bytes before the first frame of an open segment, and before each record.
const HEADERS: usize = 4096 + 16;
const FRAME: usize = 16;
/// Bytes of the footer of a closed segment, and of a row of its table of records.
const FOOTER: usize = 106;
const ROW: usize = 32;

/// What happens to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Harm {
    /// A bit of the byte here changes.
    Flip(u64),
    /// It ends here.
    Cut(u64),
    /// The page that begins here is overwritten.
    Page(u64),
    /// The record that stands from here to there is overwritten, with what frames it.
    Record(u64, u64),
}

impl Harm {
    /// What each kind is called.
    pub(crate) const KINDS: [&str; 4] = ["flip", "cut", "page", "record"];

    /// Which of [`Self::KINDS`] it is.
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::Flip(_) => 0,
            Self::Cut(_) => 1,
            Self::Page(_) => 2,
            Self::Record(..) => 3,
        }
    }

    /// The bytes that are hit.
    pub(crate) fn reach(self) -> Range<u64> {
        match self {
            Self::Flip(at) => at..at + 1,
            Self::Cut(at) => at..u64::MAX,
            Self::Page(at) => at..at + PAGE,
            Self::Record(from, to) => from..to,
        }
    }

    pub(crate) fn happen(self, content: &mut Content) {
        let Range { start, end } = self.reach();
        match self {
            Self::Flip(at) => content.used[at as usize] ^= 1 << (at % 8),
            Self::Cut(at) => {
                content.used.truncate(at as usize);
                content.bytes = at;
            }
            Self::Page(_) | Self::Record(..) => {
                let end = end.min(content.bytes) as usize;
                let used = &mut content.used;
                used.resize(used.len().max(end), 0);
                used[start as usize..end].fill(0x5A);
            }
        }
    }

    /// So many of each kind that a file can suffer, spread over it.
    pub(crate) fn some(name: &Path, content: &Content, count: u64) -> Vec<Self> {
        let used = content.used.len() as u64;
        let records = Self::records(name, content);
        let step = |of: u64| (of / count).max(1) as usize;
        let flips = (0..used).step_by(step(used)).map(Self::Flip);
        let cuts = (0..used).step_by(step(used)).map(Self::Cut);
        let pages = (0..used.div_ceil(PAGE)).step_by(step(used / PAGE));
        let pages = pages.map(|page| Self::Page(page * PAGE));
        let each = step(records.len() as u64);
        flips.chain(cuts).chain(pages).chain(records.into_iter().step_by(each)).collect()
    }

    /// All that a file can suffer, `name` by name: each byte changed, the file cut at each byte,
    /// each page and each record overwritten.
    pub(crate) fn all(name: &Path, content: &Content) -> Vec<Self> {
        let places = content.places();
        let flips = places.iter().copied().map(Self::Flip);
        let cuts = places.iter().copied().map(Self::Cut);
        let pages = (0..content.used.len() as u64).step_by(PAGE as usize).map(Self::Page);
        flips.chain(cuts).chain(pages).chain(Self::records(name, content)).collect()
    }

    /// Each record overwritten.
    fn records(name: &Path, content: &Content) -> Vec<Self> {
        let records = content.records(name).into_iter();
        records.map(|record| Self::Record(record.at.start, record.at.end)).collect()
    }
}

/// What is in a file.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Up to the last byte that is not zero, and a few behind it.
    pub(crate) used: Vec<u8>,
    /// How long it is.
    pub(crate) bytes: u64,
}

/// A record of the log in a file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Where it stands, with what frames it.
    pub(crate) at: Range<u64>,
    /// The ids of its entries.
    pub(crate) ids: Range<i64>,
}

impl Content {
    pub(crate) fn of(path: &Path) -> Self {
        let mut used = fs::read(path).unwrap();
        let bytes = used.len() as u64;
        used.truncate(used.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + ROOM));
        Self { used, bytes }
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, &self.used).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(self.bytes).unwrap();
    }

    /// Every byte; of a long run of zeroes, each 64th.
    fn places(&self) -> Vec<u64> {
        let mut zeroes = 0;
        let is_tried = |byte: &u8| {
            zeroes = if *byte == 0 { zeroes + 1 } else { 0 };
            zeroes <= ROOM || zeroes % ROOM == 0
        };
        let tried: Vec<bool> = self.used.iter().map(is_tried).collect();
        (0..).zip(tried).filter_map(|(at, is_tried)| is_tried.then_some(at)).collect()
    }

    /// The records of a segment of the log; none are in any other file.
    pub(crate) fn records(&self, name: &Path) -> Vec<Stored> {
        match name.extension().and_then(|extension| extension.to_str()) {
            Some("open") => self.records_of_open(),
            Some("segment") => self.records_of_closed(),
            _ => Vec::new(),
        }
    }

    fn records_of_open(&self) -> Vec<Stored> {
        let (mut records, mut at) = (Vec::new(), HEADERS);
        while self.used.get(at..at + 8).is_some_and(|mark| mark == &self.used[4..12]) {
            let end = at + FRAME + self.u32(at + 8) as usize;
            records.push(Stored { at: at as u64..end as u64, ids: self.ids(at + FRAME) });
            at = end;
        }
        records
    }

    fn records_of_closed(&self) -> Vec<Stored> {
        let footer = self.bytes as usize - FOOTER;
        let (rows, tables) = (self.i64(footer + 74) as usize, self.i64(footer + 98) as usize);
        assert!(rows < PAGE as usize / ROW, "they are in one block");
        let record = |row: usize| {
            let row = tables + row * ROW;
            let (at, bytes) = (self.u32(row + 24), self.u32(row + 28));
            Stored { at: at.into()..(at + bytes).into(), ids: self.ids(at as usize) }
        };
        (0..rows).map(record).collect()
    }

    /// The ids of the entries of the record that begins here.
    fn ids(&self, record: usize) -> Range<i64> {
        let first = self.i64(record + 14);
        first..first + i64::from(self.u32(record + 46))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.array(at))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|next| self.used.get(at + next).copied().unwrap_or_default())
    }
}
