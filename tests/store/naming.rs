//! What is said of a damage, held against what it has hit.
//!
//! # Invariants
//!
//! * Words are taken as who runs the server reads them: a file, the number of a segment, an id.

use std::path::Path;

use tidings::id::MessageId;
use tidings::store::Findings;

use super::harms::Stored;

/// The number that stands behind some words.
fn behind(line: &str, words: &str) -> Option<i64> {
    let (_, rest) = line.split_once(words)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The number of the segment that a file is, if it is one.
pub(crate) fn segment(name: &Path) -> Option<i64> {
    name.starts_with("log").then(|| name.file_stem()?.to_str()?.parse().ok()).flatten()
}

/// Whether what a start says is about this segment, or about what is missing before the next one.
pub(crate) fn is_about(line: &str, number: i64) -> bool {
    behind(line, "segment ").is_none_or(|named| (number..=number + 1).contains(&named))
}

/// Whether what a start says names a lost message of this segment, of which these records are hit:
/// by its id where it gives any, or else by the segment.
pub(crate) fn names(line: &str, number: i64, id: MessageId, hit: &[Stored]) -> bool {
    let between = |after: Option<i64>, up_to: Option<i64>| {
        after.is_some_and(|after| after < id.0) && up_to.is_some_and(|up_to| id.0 <= up_to)
    };
    if line.starts_with("the log ends at ") {
        return between(behind(line, "ends at "), behind(line, "on the disk up to "));
    }
    if let Some(last) = behind(line, "the record at ") {
        let is_hit = hit.iter().any(|record| record.ids.contains(&last));
        return is_about(line, number) && is_hit && id.0 <= last;
    }
    if behind(line, "segment ") != Some(number) {
        return false;
    }
    if let Some(after) = behind(line, "what stood behind ") {
        return between(Some(after), behind(line, ", up to "));
    }
    let mut lost = line.match_indices("the record of the entries from ").peekable();
    let is_of = |record: &Stored| record.ids.contains(&id.0);
    lost.peek().is_none()
        || lost.any(|(at, words)| {
            let first = behind(&line[at..], words);
            hit.iter().any(|record| is_of(record) && first == Some(record.ids.start))
        })
}

/// Whether who looked at the folder before the start has seen that a message of this file is lost.
pub(crate) fn is_seen(findings: &Findings, name: &Path, id: MessageId) -> bool {
    let is_behind = |before: Option<MessageId>| before.is_none_or(|before| id < before);
    let is_between = findings.lost.iter().any(|lost| lost.after < id && is_behind(lost.before));
    !findings.sound
        && (is_between || findings.damage.iter().any(|damage| Path::new(&damage.file) == name))
}
