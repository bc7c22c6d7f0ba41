//! Looking at a data folder that no server uses: what is in it, what is damaged, what is lost.
//!
//! # Invariants
//!
//! * Nothing in the folder is written, made or removed. sled cannot read without writing, so the
//!   state is looked at in a copy beside the system's temporary files.
//! * What it takes in memory is a record, and a few words for each segment and each damage.
//! * No bytes of a folder make it panic.

mod chain;
mod files;
mod folder;
mod rows;
mod segments;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::id::MessageId;
use crate::store::backup::Stage;
use chain::Chain;
use folder::Looking;

/// Why a folder cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// There is no such folder, or there is no data in it.
    #[error("{0} is not a data folder: it holds no log and no state")]
    NoData(PathBuf),
    /// A server has it.
    #[error("a server is using the data folder {0}: stop it first, or look at a backup of it")]
    InUse(PathBuf),
    /// The folder, or the place for the copy of its state, cannot be used.
    #[error("cannot {action} {path}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// What was found in a folder.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Nothing is damaged, and nothing is missing that no start has told of.
    pub sound: bool,
    /// It is a backup, which is not complete or from which no server has started yet.
    pub backup: Option<Stage>,
    /// What is damaged, cannot be read or is missing.
    pub damage: Vec<Damage>,
    /// Entries of the log that are not there.
    pub lost: Vec<Lost>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentFound>,
    /// The log as a whole.
    pub log: LogFound,
    /// The generations of the state, oldest first.
    pub states: Vec<StateFound>,
    /// The generation that `CURRENT` names.
    pub current: Option<u32>,
    /// Files that no server looks at any more, or that the next start finishes or removes.
    pub leftovers: Vec<Leftover>,
}

/// Something that is damaged, cannot be read or is missing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Damage {
    /// The file, from the data folder on.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// Entries that are not there: some of those between two that are.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Lost {
    /// The last entry before them.
    #[serde(serialize_with = "text")]
    pub after: MessageId,
    /// The first entry behind them; none if they are the end of the log.
    #[serde(serialize_with = "text_of_some")]
    pub before: Option<MessageId>,
    /// A start has told of it, and began a new epoch.
    pub told: bool,
}

/// A segment of the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SegmentFound {
    /// Its number.
    pub number: u32,
    /// Its file, from the data folder on.
    pub file: String,
    /// `closed`; `open`: written to when the server stopped; `ready`: made, and not written to.
    pub form: &'static str,
    /// Bytes of the file.
    pub bytes: u64,
    /// Records that can be read.
    pub records: u64,
    /// Entries in them.
    pub entries: u64,
    /// Messages among them.
    pub messages: u64,
    /// The random number of the log, as the last record says it.
    #[serde(serialize_with = "text_of_some")]
    pub epoch: Option<u64>,
    /// Its first entry.
    #[serde(serialize_with = "text_of_some")]
    pub first: Option<MessageId>,
    /// Its last entry.
    #[serde(serialize_with = "text_of_some")]
    pub last: Option<MessageId>,
    /// What is wrong with it.
    pub damage: Vec<String>,
    /// Behind its last record stands one that was not finished when the server stopped, or that
    /// is damaged: what was promised tells which.
    pub torn: bool,
}

/// The log as a whole: entries that stand in two segments are counted once.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogFound {
    /// Entries.
    pub entries: u64,
    /// Messages among them.
    pub messages: u64,
    /// The first entry.
    #[serde(serialize_with = "text_of_some")]
    pub first: Option<MessageId>,
    /// The last entry.
    #[serde(serialize_with = "text_of_some")]
    pub last: Option<MessageId>,
}

/// A generation of the state.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StateFound {
    /// Its number.
    pub generation: u32,
    /// Its folder, from the data folder on.
    pub file: String,
    /// Bytes of the folder.
    pub bytes: u64,
    /// The log's random number.
    #[serde(serialize_with = "text_of_some")]
    pub epoch: Option<u64>,
    /// Every entry up to here shows in it.
    #[serde(serialize_with = "text_of_some")]
    pub applied: Option<MessageId>,
    /// The log was on the disk up to here.
    #[serde(serialize_with = "text_of_some")]
    pub head: Option<MessageId>,
    /// Up to here the log was removed.
    #[serde(serialize_with = "text_of_some")]
    pub gone: Option<MessageId>,
    /// How often the server has started.
    pub starts: u32,
    /// The closed segments that it knows.
    pub segments: BTreeSet<u32>,
    /// Rows of each kind.
    pub rows: BTreeMap<&'static str, u64>,
    /// How far each webhook endpoint has come.
    pub endpoints: Vec<EndpointFound>,
    /// What is wrong with it.
    pub damage: Vec<String>,
}

/// How far a webhook endpoint has come.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointFound {
    /// Which.
    pub id: String,
    /// It has been told of everything up to here.
    #[serde(serialize_with = "text")]
    pub told: MessageId,
    /// Why it halted, if it has.
    pub halted: Option<String>,
    /// Its dead letters.
    pub letters: u64,
}

/// A file that no server looks at any more, or that the next start finishes or removes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Leftover {
    /// The file, from the data folder on.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// What it is.
    pub what: &'static str,
}

/// Looks at everything in a data folder. `progress` hears how many bytes of how many have been
/// read.
///
/// Blocks on the disk.
///
/// # Errors
///
/// [`FsckError`], when the folder cannot be looked at. Damage is none: [`Findings`] tells of it.
pub fn fsck(folder: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Findings, FsckError> {
    let (mut looking, _lock) = Looking::begin(folder, progress)?;
    let mut findings = Findings { backup: Stage::of(folder), ..Findings::default() };
    rows::look(&mut looking, &mut findings)?;
    let in_force = in_force(&findings).cloned().unwrap_or_default();
    let mut chain = Chain::new(in_force.gone);
    segments::look(&mut looking, &in_force, &mut chain, &mut findings);
    chain.end(&in_force, &mut findings);
    files::look(&mut looking, &mut findings);
    for segment in &findings.segments {
        let damage = |what: &String| Damage { file: segment.file.clone(), what: what.clone() };
        findings.damage.extend(segment.damage.iter().map(damage));
    }
    for state in &findings.states {
        let damage = |what: &String| Damage { file: state.file.clone(), what: what.clone() };
        findings.damage.extend(state.damage.iter().map(damage));
    }
    // The first start is killed before it has one when there is no log yet, either.
    let newest = opened(&findings).next();
    if findings.log.first.is_some() && newest.is_none_or(|newest| newest.epoch.is_none()) {
        let file = newest.map_or_else(|| "state".to_owned(), |newest| newest.file.clone());
        let what = "does not say how far it has come: it is empty".to_owned();
        findings.damage.push(Damage { file, what });
    }
    let is_cut = findings.backup == Some(Stage::Incomplete);
    let are_told = findings.lost.iter().all(|lost| lost.told);
    findings.sound = findings.damage.is_empty() && are_told && !is_cut;
    Ok(findings)
}

/// The generation that a start would go on with.
fn in_force(findings: &Findings) -> Option<&StateFound> {
    opened(findings).find(|state| state.epoch.is_some())
}

/// The generations that a start would open, one after the other.
fn opened(findings: &Findings) -> impl Iterator<Item = &StateFound> {
    let is_meant =
        |state: &&StateFound| findings.current.is_none_or(|current| state.generation <= current);
    findings.states.iter().rev().filter(is_meant)
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[allow(clippy::ref_option, reason = "serde hands a reference to the field")]
fn text_of_some<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
