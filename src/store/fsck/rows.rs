//! The state: each generation is copied to where sled may write, and every row of it is read.
//!
//! # Invariants
//!
//! * One generation is copied at a time, and a row is in memory alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::folder::{Looking, Scratch, bytes_of, generation, listing};
use super::{EndpointFound, Findings, FsckError, StateFound};
use crate::chain::Chain;
use crate::id::{GroupId, MessageId};
use crate::store::archive::{Kind, ValueError, strip};
use crate::store::backend_image::{
    unpack_alias, unpack_aliased, unpack_deleted, unpack_device, unpack_key, unpack_upstream,
    unpack_waiting,
};
use crate::store::current::read_current;
use crate::store::database::{Database, DatabaseError};
use crate::store::endpoint_image::{unpack_endpoint, unpack_gone, unpack_letter, unpack_slot};
use crate::store::group_image::{unpack_group, unpack_nonce};
use crate::store::image::{
    unpack_checkpoint, unpack_head, unpack_peer, unpack_row, unpack_segment, unpack_sequences,
};
use crate::store::part_image::{unpack_part, unpack_receipts};
use crate::store::state::State;

/// Damages of one generation that are told one by one.
const TOLD_MAX: usize = 100;
/// The version of the rows that hold nothing but their being there.
const VERSION: u8 = 1;

/// Looks at all generations, oldest first.
pub(super) fn look(looking: &mut Looking<'_>, findings: &mut Findings) -> Result<(), FsckError> {
    findings.current = read_current(&looking.folder);
    let folders = listing(&looking.folder);
    let mut found: Vec<_> =
        folders.iter().filter_map(|path| Some((generation(path)?, path))).collect();
    found.sort();
    for (generation, path) in found {
        let mut state = StateFound {
            generation,
            file: looking.name(path),
            bytes: bytes_of(path),
            ..StateFound::default()
        };
        look_at_state(looking, path, &mut state)?;
        findings.states.push(state);
    }
    Ok(())
}

fn look_at_state(
    looking: &mut Looking<'_>,
    path: &Path,
    found: &mut StateFound,
) -> Result<(), FsckError> {
    if !path.join("db").is_file() {
        found.damage.push("it has no database".to_owned());
        return Ok(());
    }
    if let Some(error) = unreadable(path) {
        found.damage.push(error);
        return Ok(());
    }
    let scratch = Scratch::make()?;
    let copied = scratch.0.join("state");
    looking.copy(path, &copied)?;
    let opened = Database::open(&copied);
    let read = opened.and_then(|database| {
        let state = State { database, generation: found.generation };
        look_at_rows(&state, found)
    });
    if let Err(error) = read {
        // Where it was copied to is nothing to whom it is told.
        let error = match &error {
            DatabaseError::Disk { source, .. } => source.to_string(),
            DatabaseError::Value { source, .. } => Chain(source).to_string(),
        };
        found.damage.push(format!("it cannot be opened: {error}"));
    }
    Ok(())
}

/// Why a file of the folder cannot be read, if one cannot.
fn unreadable(path: &Path) -> Option<String> {
    listing(path).into_iter().filter(|file| file.is_file()).find_map(|file| {
        let error = fs::File::open(&file).err()?;
        Some(format!("{} cannot be read: {error}", file.file_name()?.display()))
    })
}

fn look_at_rows(state: &State, found: &mut StateFound) -> Result<(), DatabaseError> {
    let mut more = 0;
    let mut letters: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for row in state.database.scan(&[], &[]) {
        let (key, value) = row?;
        match look_at_row(state, &key, &value, found) {
            Ok(kind) => {
                *found.rows.entry(kind).or_default() += 1;
                if let [b'f', owner @ ..] = &key[..] {
                    let end = owner.iter().position(|byte| *byte == 0).unwrap_or(owner.len());
                    *letters.entry(owner[..end].to_vec()).or_default() += 1;
                }
            }
            Err(error) if found.damage.len() < TOLD_MAX => {
                let key = key.escape_ascii();
                found.damage.push(format!("its row {key}: {}", Chain(&error)));
            }
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        found.damage.push(format!("and {more} rows more"));
    }
    for endpoint in &mut found.endpoints {
        endpoint.letters = letters.get(endpoint.id.as_bytes()).copied().unwrap_or(0);
    }
    Ok(())
}

/// Reads a row; says of what kind it is.
fn look_at_row(
    state: &State,
    key: &[u8],
    value: &[u8],
    found: &mut StateFound,
) -> Result<&'static str, DatabaseError> {
    let damaged = DatabaseError::value(&state.database.path);
    let Some((kind, key_rest)) = key.split_first() else {
        return Err(damaged(ValueError::damaged("no key")));
    };
    let (whole, _) = state.whole(key, value)?;
    let read = match kind {
        b'c' | b'h' | b'o' | b'g' | b'e' => look_at_figure(*kind, key_rest, &whole, found),
        _ => check(*kind, key_rest, &whole),
    };
    read.map_err(damaged)
}

/// Keeps what the rows say that are told one by one.
fn look_at_figure(
    kind: u8,
    key: &[u8],
    value: &[u8],
    found: &mut StateFound,
) -> Result<&'static str, ValueError> {
    match kind {
        b'c' => {
            let checkpoint = unpack_checkpoint(value)?;
            found.epoch = Some(checkpoint.epoch);
            found.applied = Some(checkpoint.applied);
            found.starts = checkpoint.run;
        }
        b'h' => found.head = Some(unpack_head(value)?),
        b'o' => found.gone = Some(unpack_gone(value)?),
        b'g' => {
            unpack_segment(value)?;
            let number = key.try_into().map_err(|_| ValueError::damaged("not a key"))?;
            found.segments.insert(u32::from_be_bytes(number));
            return Ok("segments");
        }
        _ => {
            let endpoint = unpack_endpoint(value)?;
            let told = endpoint.lanes.iter().map(|lane| lane.entry).min().unwrap_or_default();
            let id = String::from_utf8_lossy(key).into_owned();
            let halted = endpoint.halted;
            found.endpoints.push(EndpointFound { id, told, halted, letters: 0 });
            return Ok("endpoints");
        }
    }
    Ok("figures")
}

/// Reads a value as what its key says.
fn check(kind: u8, key: &[u8], value: &[u8]) -> Result<&'static str, ValueError> {
    let group = || key.try_into().map_or(GroupId([0; 12]), GroupId);
    Ok(match kind {
        b'p' => unpack_peer(value).map(|_| "peers")?,
        b'w' => unpack_row(value, |_| true).map(|_| "rows of inboxes")?,
        b't' => unpack_part(value).map(|_| "parts in conversations")?,
        b'k' => unpack_receipts(value).map(|_| "receipts that are due")?,
        b's' => unpack_sequences(value).map(|_| "tables of last numbers")?,
        b'u' => unpack_group(group(), value).map(|_| "groups")?,
        b'v' => unpack_group(group(), value).map(|_| "deleted groups")?,
        b'n' => unpack_nonce(value).map(|_| "nonces")?,
        b'x' => strip(Kind::Recalled, VERSION, value).map(|_| "recalled messages")?,
        b'd' => unpack_device(value).map(|_| "devices")?,
        b'a' => unpack_alias(value).map(|_| "aliases")?,
        b'b' => strip(Kind::Blocked, VERSION, value).map(|_| "blocked peers")?,
        b'i' => unpack_key(value).map(|_| "idempotency keys")?,
        b'q' => unpack_upstream(MessageId::NONE, value).map(|_| "messages for the back end")?,
        b'y' => unpack_aliased(value).map(|_| "figures")?,
        b'm' => unpack_waiting(value).map(|_| "figures")?,
        b'z' => unpack_deleted(value).map(|_| "figures")?,
        b'l' => strip(Kind::Piece, VERSION, value).map(|_| "pieces of long rows")?,
        b'j' => unpack_slot(value).map(|_| "places of dead letters")?,
        b'f' => unpack_letter(value).map(|_| "dead letters")?,
        _ => return Err(ValueError::damaged("a key of no kind that is known")),
    })
}
