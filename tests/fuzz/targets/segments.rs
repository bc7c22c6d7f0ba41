//! The file of a segment that was damaged in any places, held to what must be found in it.
//!
//! # Invariants
//!
//! * Every record whose frame is whole is found, but for those of the last commit that stand
//!   behind a hole and are not known to have been synced. Nothing else is.
//! * What is missing is told: as damage before the last record, as torn behind it.

#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tidings::store::fuzzing::{Found, is_segment_header, scan_segment, segment};

/// Where the second header stands, and where the first frame does.
const HEADERS: [usize; 2] = [0, 4096];
const START: usize = 4112;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Whether a commit begins with the record, and what it says.
    records: Vec<(bool, &'a [u8])>,
    damages: Vec<Damage<'a>>,
    /// Zeroes behind the last record.
    room: u16,
    /// The file is cut off here.
    cut: Option<u16>,
    head: u8,
}

#[derive(Arbitrary, Debug)]
enum Damage<'a> {
    /// These bytes are written over what was there.
    Over(u16, &'a [u8]),
    /// So many zeroes are.
    Zeroes(u16, u16),
    /// One bit is another.
    Bit(u16, u8),
    /// A part is written to another place.
    Copy(u16, u16, u16),
}

fuzz_target!(|input: Input<'_>| {
    if input.records.len() > 200 {
        return;
    }
    // Nobody outside knows the mark, so the input must not hold it.
    let mut hasher = DefaultHasher::new();
    format!("{input:?}").hash(&mut hasher);
    let (whole, frames) = segment(hasher.finish().to_le_bytes(), &input.records);
    let mut file = whole.clone();
    file.resize(file.len() + usize::from(input.room), 0);
    for damage in &input.damages {
        apply(damage, &mut file, START);
    }
    if let Some(cut) = input.cut {
        file.truncate(usize::from(cut));
    }
    let is_whole =
        |range: &std::ops::Range<usize>| file.get(range.clone()) == whole.get(range.clone());
    let found = scan_segment(&file, i64::from(input.head));
    let headers = HEADERS.map(|at| is_whole(&(at..at + 16)));
    let is_forged = |at: usize| file.get(at..at + 16).is_some_and(is_segment_header);
    if HEADERS.iter().zip(headers).any(|(at, is_whole)| !is_whole && is_forged(*at)) {
        // Damage does not make the checksum of another mark; who compares with it can.
        return;
    }
    if headers == [false; 2] {
        return assert_eq!(found, None);
    }
    let is_there: Vec<bool> = frames.iter().map(is_whole).collect();
    let ends: Vec<usize> = frames.iter().map(|frame| frame.end).collect();
    let mut expected = expected(&input, &is_there, &ends, &file);
    expected.is_damaged |= headers != [true; 2];
    assert_eq!(found, Some(expected));
});

fn apply(damage: &Damage<'_>, file: &mut [u8], start: usize) {
    let len = file.len();
    let place = |at: &u16, count: usize| {
        let from = usize::from(*at).min(len);
        from..(from + count).min(len)
    };
    match damage {
        Damage::Over(at, bytes) => {
            let place = place(at, bytes.len());
            let count = place.len();
            file[place].copy_from_slice(&bytes[..count]);
        }
        Damage::Zeroes(at, count) => file[place(at, usize::from(*count))].fill(0),
        Damage::Bit(at, bit) => {
            file[place(at, 1)].iter_mut().for_each(|byte| *byte ^= 1 << (bit % 8));
        }
        Damage::Copy(from, count, to) => {
            // A whole frame in another place is another file; a part of one is damage.
            let part = file[place(from, usize::from(*count).min(15))].to_vec();
            let place = place(to, part.len());
            if place.start >= start {
                let count = place.len();
                file[place].copy_from_slice(&part[..count]);
            }
        }
    }
}

/// What must be found if these records are there.
fn expected(input: &Input<'_>, is_there: &[bool], ends: &[usize], file: &[u8]) -> Found {
    let there: Vec<usize> = (0..is_there.len()).filter(|at| is_there[*at]).collect();
    let commits: Vec<usize> = (0..is_there.len())
        .map(|at| (0..=at).rev().find(|first| input.records[*first].0).unwrap_or(0))
        .collect();
    let is_hole = |at: usize| at > 0 && !is_there[at - 1];
    let commit = there.last().map(|last| commits[*last]);
    let misses = |at: &usize| {
        let is_synced = *at < usize::from(input.head);
        Some(commits[*at]) == commit && is_hole(*at) && commit != Some(*at) && !is_synced
    };
    let kept = there.iter().position(|at| misses(at)).unwrap_or(there.len());
    let behind = there.last().map_or(START, |last| ends[*last]);
    let has_rest = file.get(behind..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
    Found {
        records: there[..kept].iter().map(|at| (*at as i64 + 1, ends[*at])).collect(),
        end: kept.checked_sub(1).map_or(START, |last| ends[there[last]]),
        is_damaged: there[..kept].iter().any(|at| is_hole(*at)),
        is_torn: kept < there.len() || has_rest,
    }
}
