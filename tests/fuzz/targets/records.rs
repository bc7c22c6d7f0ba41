//! Records of the log with any entries, behind a checksum that is good.
//!
//! # Invariants
//!
//! * Nothing panics; what can be read of a record makes a record that reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::store::Placed;
use tidings::store::fuzzing::{read_record, seal_record};

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    seal_record(&mut bytes);
    let Ok((entries, again)) = read_record(&bytes) else { return };
    let (same, last) = read_record(&again).unwrap();
    assert_eq!(shown(&same), shown(&entries));
    assert_eq!(last, again);
});

fn shown(entries: &[Placed]) -> Vec<String> {
    entries.iter().map(|placed| format!("{} {:?}", placed.at_ms, placed.entry)).collect()
}
