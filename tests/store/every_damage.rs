//! Every damage of a sample folder, one at a time: a bit of it changes, a file ends early, a page
//! or a record is overwritten. The store starts, loses only what was hit, and says so.
//!
//! Without being asked, a few of each kind are tried for each file, spread over it. All of them are
//! some 65,000 to 80,000: each byte changed, the file cut at each byte, each page and each record
//! overwritten; of a long run of zeroes each 64th byte. One takes 50 ms of a processor, so that all
//! take half an hour of two that do nothing else.
//!
//! ```sh
//! TMPDIR=/dev/shm cargo test --release -p tidings --test store \
//!     every_single_damage -- --ignored --nocapture
//! ```
//!
//! `TIDINGS_EACH=20` tries every 20th of them: they are spread over all files and kinds.
//! `TIDINGS_SAMPLE` with the folder that a run has left goes on with its sample; then
//! `TIDINGS_ONE_DAMAGE` with what a complaint begins with, such as `log/0000000001.segment
//! Page(0)`, has the tests that try a few try that one alone.

use std::path::{Path, PathBuf};

use tidings::id::MessageId;

use super::harms::Harm;
use super::naming::{is_about, is_seen, names, segment};
use super::sample::{Outcome, outcome, sample};

/// What is wrong about what came of a damage, if anything is.
pub(crate) fn judge(name: &Path, harm: Harm, found: &Outcome) -> Option<String> {
    let Outcome { lost, left, is_told, damage, seen } = found;
    let (sample, hit) = (sample(), sample().hit(name, harm));
    let is_open = name.extension().is_some_and(|extension| extension == "open");
    // What waits is in the state, too, but for what came last.
    let may_leave = if is_open { &hit[..] } else { &[] };
    let is_too_much = lost.iter().any(|id| !hit.contains(id));
    let is_left = left.iter().any(|id| !may_leave.contains(id));
    // The very last one may be one that was never finished.
    let mut promised = lost.iter().filter(|id| **id != sample.last()).copied();
    let is_silent = !is_told && promised.clone().next().is_some();
    let is_misnamed = is_misnamed(name, harm, damage, promised.clone());
    let is_seen = |id| seen.as_ref().is_none_or(|seen| is_seen(seen, name, id));
    let is_unseen = !promised.all(is_seen);
    (is_too_much || is_left || is_silent || is_misnamed || is_unseen).then(|| {
        let seen = seen.as_ref().map(|seen| (&seen.damage, &seen.lost));
        let said = format!("told: {is_told}, {damage:?}, seen before: {seen:?}");
        format!("lost {lost:?}, left {left:?}, hit {hit:?}, {said}")
    })
}

/// Whether a start that has found damage speaks of another segment than the one that is hit, or
/// does not name one of the messages that are lost. What is found in a closed segment later on is
/// in no report.
fn is_misnamed(
    name: &Path,
    harm: Harm,
    damage: &[String],
    mut lost: impl Iterator<Item = MessageId>,
) -> bool {
    let Some(number) = segment(name).filter(|_| !damage.is_empty()) else { return false };
    let hit = sample().hit_records(name, harm);
    let is_named = |id| damage.iter().any(|line| names(line, number, id, &hit));
    !damage.iter().all(|line| is_about(line, number)) || !lost.all(is_named)
}

/// Tries one damage; says what came of it, and what is wrong about that.
pub(crate) fn try_one(name: &Path, harm: Harm) -> (Option<Outcome>, Option<String>) {
    let of = |what: &str| format!("{} {harm:?}: {what}", name.display());
    match outcome(name, harm) {
        Ok(found) => {
            let wrong = judge(name, harm, &found).map(|what| of(&what));
            (Some(found), wrong)
        }
        Err(failure) => (None, Some(of(failure))),
    }
}

/// Tries so many damages of each kind of the files with this in their name.
fn try_some(of: &str, count: u64) {
    let is_one = |(name, _): &&(PathBuf, _)| name.display().to_string().contains(of);
    let files: Vec<_> = sample().files.iter().filter(is_one).collect();
    assert!(!files.is_empty());
    let one = std::env::var("TIDINGS_ONE_DAMAGE").ok();
    let mut complaints = Vec::new();
    for (name, content) in files {
        let mut harms = Harm::some(name, content, count);
        if let Some(one) = &one {
            harms = Harm::all(name, content);
            harms.retain(|harm| *one == format!("{} {harm:?}", name.display()));
        }
        complaints.extend(harms.into_iter().filter_map(|harm| try_one(name, harm).1));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_damage_of_the_open_segment_costs_what_it_hits() {
    try_some(".open", 8);
}

#[test]
fn a_damage_of_a_closed_segment_costs_what_it_hits() {
    try_some(".segment", 6);
}

#[test]
fn a_damage_of_the_state_costs_nothing_that_the_log_has() {
    try_some("state-", 8);
}

#[test]
fn a_damage_of_a_small_file_costs_nothing() {
    try_some("CURRENT", 4);
}
