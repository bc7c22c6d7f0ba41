//! A file of the model: what a disk surely holds of it, and what it may hold.
//!
//! # Invariants
//!
//! * What was written before a sync began is on the disk when the sync has returned.
//! * Of what was not synced, each page of 4 KiB is as it was at any one time since, or each of its
//!   sectors is; the length is as it was at any one time since. Where nothing is, there are zeroes.
//! * A file that was cut off has new bytes behind the cut only if the disk knows of the cut, and
//!   then none of the old.

use std::collections::BTreeMap;

use fastrand::Rng;

const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// How much of what was not synced reached the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mood {
    /// Of the pages, from 0 to 1.
    pub(crate) pages: f64,
    /// Of the pages on the disk, how many are torn.
    pub(crate) torn: f64,
    /// Of the names, from 0 to 1.
    pub(crate) names: f64,
    /// Names reached it in the order of their changes.
    pub(crate) in_order: bool,
}

impl Mood {
    pub(crate) fn draw(random: &mut Rng) -> Self {
        let mut share = || match random.u8(..4) {
            0 => 0.0,
            1 => 1.0,
            _ => random.f64(),
        };
        let (pages, names, torn) = (share(), share(), share() / 2.0);
        Self { pages, torn, names, in_order: random.bool() }
    }
}

/// Something that was done to a file.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Bytes were written at a place.
    Wrote(u64, Vec<u8>),
    /// It was made so long.
    Length(u64),
    /// It was made at least so long.
    Room(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Wrote(at, new) => {
                let (at, end) = (*at as usize, *at as usize + new.len());
                bytes.resize(bytes.len().max(end), 0);
                bytes[at..end].copy_from_slice(new);
            }
            Self::Length(len) => bytes.resize(*len as usize, 0),
            Self::Room(len) => bytes.resize(bytes.len().max(*len as usize), 0),
        }
    }
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// What is surely on the disk.
    synced: Vec<u8>,
    /// What was done since, and when.
    changes: Vec<(u64, Change)>,
    /// What the server sees.
    pub(crate) now: Vec<u8>,
}

impl Content {
    pub(crate) fn new(synced: Vec<u8>) -> Self {
        Self { now: synced.clone(), synced, changes: Vec::new() }
    }

    pub(crate) fn change(&mut self, at: u64, change: Change) {
        change.apply(&mut self.now);
        self.changes.push((at, change));
    }

    /// What was done before is on the disk.
    pub(crate) fn sync(&mut self, before: u64) {
        let count = self.changes.partition_point(|(at, _)| *at < before);
        for (_, change) in self.changes.drain(..count) {
            change.apply(&mut self.synced);
        }
    }

    /// What a disk holds when the power goes.
    pub(crate) fn cut(&self, mood: Mood, random: &mut Rng) -> Vec<u8> {
        // The length is as it was behind so many of the changes.
        let known = match mood.pages {
            0.0 => 0,
            1.0 => self.changes.len(),
            _ => random.usize(..=self.changes.len()),
        };
        let (pages, len) = self.versions(known);
        let mut left = self.synced.clone();
        left.resize(left.len().max(len).next_multiple_of(PAGE), 0);
        for (number, versions) in pages {
            let at = number * PAGE;
            left.resize(left.len().max(at + PAGE), 0);
            let page = versions.choose(mood, random);
            left[at..at + PAGE].copy_from_slice(&page);
        }
        left.truncate(len);
        left
    }

    /// Every page that is not only as it was synced, with what it has been since; and the length.
    fn versions(&self, known: usize) -> (BTreeMap<usize, Versions>, usize) {
        let (mut bytes, mut len) = (self.synced.clone(), self.synced.len());
        let mut pages: BTreeMap<usize, Versions> = BTreeMap::new();
        for (index, (_, change)) in self.changes.iter().enumerate() {
            let before = bytes.len();
            let cuts = matches!(change, Change::Length(to) if (*to as usize) < before);
            if cuts && index >= known {
                break;
            }
            let touched = match change {
                Change::Wrote(at, new) => *at as usize..*at as usize + new.len(),
                Change::Length(to) if cuts => *to as usize..before,
                Change::Length(_) | Change::Room(_) => 0..0,
            };
            for number in touched.start / PAGE..touched.end.div_ceil(PAGE) {
                let old = || Versions(vec![page(&bytes, number)]);
                pages.entry(number).or_insert_with(old);
            }
            change.apply(&mut bytes);
            for number in touched.start / PAGE..touched.end.div_ceil(PAGE) {
                let versions = &mut pages.entry(number).or_default().0;
                if cuts {
                    versions.clear();
                }
                versions.push(page(&bytes, number));
            }
            if index < known {
                len = bytes.len();
            }
        }
        (pages, len)
    }
}

/// What a page has been, from what was synced on.
#[derive(Debug, Default)]
struct Versions(Vec<Vec<u8>>);

impl Versions {
    fn choose(&self, mood: Mood, random: &mut Rng) -> Vec<u8> {
        let one = |random: &mut Rng| match random.f64() < mood.pages {
            true if random.bool() => self.0.last(),
            true => self.0.get(random.usize(..self.0.len())),
            false => self.0.first(),
        };
        let mut chosen = one(random).cloned().unwrap_or_default();
        if mood.pages > 0.0 && random.f64() < mood.torn {
            for at in (0..PAGE).step_by(SECTOR) {
                let other = self.0.get(random.usize(..self.0.len()));
                let other = other.filter(|_| random.bool());
                if let Some(other) = other {
                    chosen[at..at + SECTOR].copy_from_slice(&other[at..at + SECTOR]);
                }
            }
        }
        chosen
    }
}

/// A page of a file, with zeroes behind its end.
fn page(bytes: &[u8], number: usize) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let there = bytes.get(number * PAGE..).unwrap_or_default();
    let there = &there[..there.len().min(PAGE)];
    page[..there.len()].copy_from_slice(there);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moods(random: &mut Rng) -> Vec<Mood> {
        (0..200).map(|_| Mood::draw(random)).collect()
    }

    #[test]
    fn what_was_synced_is_there_and_the_rest_is_any_of_its_pages() {
        let mut random = Rng::with_seed(1);
        let mut file = Content::default();
        file.change(1, Change::Wrote(0, vec![1; 3 * PAGE]));
        file.sync(2);
        file.change(2, Change::Wrote(PAGE as u64, vec![2; 3 * PAGE]));
        let (mut torn, mut mixed, mut short) = (0, 0, 0);
        for mood in moods(&mut random) {
            let left = file.cut(mood, &mut random);
            assert!(left.len() == 3 * PAGE || left.len() == 4 * PAGE);
            assert!(left[..PAGE].iter().all(|byte| *byte == 1));
            let pages: Vec<&[u8]> = left[PAGE..3 * PAGE].chunks(PAGE).collect();
            let whole = |page: &[u8]| page.iter().all(|byte| *byte == page[0]);
            torn += usize::from(!whole(pages[0]));
            mixed += usize::from(whole(pages[0]) && whole(pages[1]) && pages[0] != pages[1]);
            short += usize::from(left.len() == 3 * PAGE && pages[0][0] == 2);
            assert!(left.chunks(SECTOR).all(whole));
        }
        assert!(torn > 0 && mixed > 0 && short > 0, "{torn} {mixed} {short}");
    }

    #[test]
    fn a_sync_that_began_before_a_write_does_not_count_for_it() {
        let mut file = Content::default();
        file.change(5, Change::Wrote(0, vec![1]));
        file.sync(5);
        let mood = Mood { pages: 0.0, torn: 0.0, names: 0.0, in_order: true };
        assert!(file.cut(mood, &mut Rng::with_seed(1)).is_empty());
        file.sync(6);
        assert_eq!(file.cut(mood, &mut Rng::with_seed(1)), [1]);
    }

    #[test]
    fn a_cut_off_file_is_never_old_in_front_and_new_behind() {
        let mut random = Rng::with_seed(2);
        let mut file = Content::new(vec![1; 2 * PAGE]);
        file.change(1, Change::Length(0));
        file.change(2, Change::Wrote(0, vec![2; 2 * PAGE]));
        for mood in moods(&mut random) {
            let left = file.cut(mood, &mut random);
            let has = |byte: u8| left.contains(&byte);
            assert!(!(has(1) && has(2)), "{left:?}");
            assert!(!has(1) || left.len() == 2 * PAGE);
        }
    }
}
