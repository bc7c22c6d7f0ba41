//! `tidings fsck`: what is in a data folder that no server uses, and whether all of it is there.
//!
//! # Invariants
//!
//! * Nothing in the folder is changed.
//! * The exit code says whether it is sound; with `--json` all that is known is one object.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use tidings::store::{Findings, Lost, SegmentFound, Stage, StateFound, fsck};

use super::progress::Progress;
use super::words::{count, printable};
use super::{Exit, Failure, Outcome};

#[derive(Args, Debug)]
pub(super) struct FsckArgs {
    /// The data folder of a server that does not run, or a backup.
    #[arg(long, value_name = "FOLDER", default_value = "./tidings-data", env = "TIDINGS_DATA")]
    data: PathBuf,
    /// Print all that was found as JSON.
    #[arg(long)]
    json: bool,
}

impl FsckArgs {
    pub(super) fn run(self) -> Outcome {
        let progress = Progress::new("looking");
        let found = fsck(&self.data, &mut |done, total| progress.reach(done, total));
        progress.end();
        let findings = found.map_err(|error| Failure::new(Exit::ServerFailed, error))?;
        let mut out = io::stdout().lock();
        match self.json {
            true => {
                serde_json::to_writer_pretty(&mut out, &findings)?;
                out.write_all(b"\n")?;
            }
            false => out.write_all(words(&findings).as_bytes())?,
        }
        out.flush()?;
        Ok(if findings.sound { Exit::Done } else { Exit::Failed })
    }
}

/// All findings, a line each.
fn words(findings: &Findings) -> String {
    let mut lines: Vec<String> = findings.segments.iter().map(segment).collect();
    let log = &findings.log;
    let range = log.first.zip(log.last);
    let range = range.map_or_else(String::new, |(first, last)| format!(", {first} to {last}"));
    let (entries, messages) = (log.entries, count(log.messages, "message"));
    lines.push(format!("log: {entries} entries, {messages}{range}"));
    lines.extend(findings.states.iter().flat_map(|state| states(state, findings.current)));
    for leftover in &findings.leftovers {
        let (file, bytes) = (&leftover.file, count(leftover.bytes, "byte"));
        lines.push(format!("left over: {file}, {bytes}: {}", leftover.what));
    }
    lines.extend(findings.backup.map(backup));
    for damage in &findings.damage {
        lines.push(format!("damaged: {}: {}", damage.file, damage.what));
    }
    lines.extend(findings.lost.iter().map(lost));
    lines.push(verdict(findings));
    lines.iter().map(|line| printable(line.as_bytes()) + "\n").collect()
}

fn segment(found: &SegmentFound) -> String {
    let SegmentFound { file, form, bytes, records, entries, .. } = found;
    let messages = count(found.messages, "message");
    let records = count(*records, "record");
    let range = found.first.zip(found.last);
    let range = range.map_or_else(String::new, |(first, last)| format!(", {first} to {last}"));
    let epoch = found.epoch.map_or_else(String::new, |epoch| format!(", epoch {epoch}"));
    let torn = match found.torn {
        true => "; its end was not finished, or is damaged",
        false => "",
    };
    format!(
        "segment: {file}, {form}: {bytes} bytes, {records}, {entries} entries, {messages}{range}\
         {epoch}{torn}"
    )
}

fn states(state: &StateFound, current: Option<u32>) -> Vec<String> {
    let StateFound { file, bytes, starts, .. } = state;
    let in_force = if current == Some(state.generation) { "in force" } else { "kept" };
    let id = |id: Option<tidings::id::MessageId>| id.unwrap_or_default();
    let mut lines = vec![format!(
        "state: {file}, {in_force}: {bytes} bytes, {}, epoch {}, shows the log up to {}; the log \
         was on the disk up to {}",
        count((*starts).into(), "start"),
        state.epoch.unwrap_or_default(),
        id(state.applied),
        id(state.head),
    )];
    if !state.rows.is_empty() {
        let rows = state.rows.iter().map(|(kind, rows)| format!("{rows} {kind}"));
        lines.push(format!("  rows: {}", rows.collect::<Vec<_>>().join(", ")));
    }
    for endpoint in &state.endpoints {
        let letters = count(endpoint.letters, "dead letter");
        let halted = endpoint.halted.as_deref().map(|why| format!("; halted: {why}"));
        let (id, told) = (&endpoint.id, endpoint.told);
        let halted = halted.unwrap_or_default();
        lines.push(format!("  endpoint {id}: told up to {told}, {letters}{halted}"));
    }
    lines
}

fn backup(stage: Stage) -> String {
    match stage {
        Stage::Incomplete => "a backup that was cut: it is not complete, no server starts on it",
        Stage::Complete => "a complete backup: the first start on it begins a new epoch",
    }
    .to_owned()
}

fn lost(lost: &Lost) -> String {
    let told = match lost.told {
        true => "; a start has told of it and begun a new epoch",
        false => "",
    };
    match lost.before {
        Some(before) => format!("lost: entries behind {} and before {before}{told}", lost.after),
        None => format!("lost: entries behind {}{told}", lost.after),
    }
}

fn verdict(findings: &Findings) -> String {
    if findings.sound {
        return "sound".to_owned();
    }
    let damage = count(findings.damage.len() as u64, "damage");
    match findings.backup {
        Some(Stage::Incomplete) => format!("not sound: not complete, {damage}"),
        _ => format!("not sound: {damage}; a start goes on without what is lost, in a new epoch"),
    }
}
