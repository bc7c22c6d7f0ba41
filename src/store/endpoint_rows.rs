//! The rows of the state about webhook endpoints and their letters, and about where the log
//! begins; `state.rs` has the table of all keys.
//!
//! # Invariants
//!
//! * What cannot be read is told and left out where many rows are read, and is an error where one
//!   is.
//! * A letter and what is known of it without reading it are written together.

use std::collections::BTreeMap;

use crate::chain::Chain;
use crate::id::{EndpointId, MessageId};
use crate::store::archive::ValueError;
use crate::store::database::DatabaseError;
use crate::store::endpoint_image::{
    pack_endpoint, pack_gone, pack_letter, pack_slot, unpack_endpoint, unpack_gone, unpack_letter,
    unpack_slot,
};
use crate::store::endpoints::Endpoint;
use crate::store::journal::{Letter, Position};
use crate::store::letters::Slot;
use crate::store::record::array;
use crate::store::state::{Changes, State};

const ENDPOINT: &[u8] = b"e";
const SLOT: &[u8] = b"j";
const LETTER: &[u8] = b"f";
/// The last entry that was removed from the log.
const GONE: &[u8] = b"o";
/// Bytes of a position in a key.
const POSITION_BYTES: usize = 12;

impl State {
    /// How far each endpoint has come. One of which that is lost begins with the log: it is told
    /// again what it was told, rather than not what it was not.
    pub(super) fn endpoints(&self) -> Result<BTreeMap<EndpointId, Endpoint>, DatabaseError> {
        let (mut endpoints, gone) = (BTreeMap::new(), self.gone()?);
        for row in self.database.scan(ENDPOINT, ENDPOINT) {
            let (key, value) = row?;
            match (endpoint_id(&key[1..]), unpack_endpoint(&value)) {
                (Some(id), Ok(endpoint)) => drop(endpoints.insert(id, endpoint)),
                (id, endpoint) => {
                    told(&key, endpoint.err());
                    endpoints.extend(id.map(|id| (id, Endpoint::new(gone))));
                }
            }
        }
        Ok(endpoints)
    }

    /// What is known of all letters without reading them.
    pub(super) fn slots(&self) -> Result<Vec<(EndpointId, Position, Slot)>, DatabaseError> {
        let mut slots = Vec::new();
        for row in self.database.scan(SLOT, SLOT) {
            let (key, value) = row?;
            match (owner_and_position(&key[1..]), unpack_slot(&value)) {
                (Some((id, position)), Ok(slot)) => slots.push((id, position, slot)),
                (_, slot) => told(&key, slot.err()),
            }
        }
        Ok(slots)
    }

    pub(super) fn letter(
        &self,
        endpoint: &EndpointId,
        position: Position,
    ) -> Result<Option<Letter>, DatabaseError> {
        self.unpacked(&letter_key(LETTER, endpoint, position), unpack_letter)
    }

    /// The last entry that was removed from the log.
    pub(super) fn gone(&self) -> Result<MessageId, DatabaseError> {
        Ok(self.unpacked(GONE, unpack_gone)?.unwrap_or_default())
    }
}

impl Changes {
    /// Writes how far an endpoint has come, or that it is no more.
    pub(super) fn endpoint(&mut self, id: &EndpointId, endpoint: Option<&Endpoint>) {
        let key = [ENDPOINT, id.as_str().as_bytes()].concat();
        self.put(&key, endpoint.map(pack_endpoint));
    }

    /// Writes a letter, or that it is no more.
    pub(super) fn letter(
        &mut self,
        endpoint: &EndpointId,
        position: Position,
        letter: Option<(&Slot, &Letter)>,
    ) {
        let slot = letter.map(|(slot, _)| pack_slot(slot));
        self.put(&letter_key(SLOT, endpoint, position), slot);
        let letter = letter.map(|(_, letter)| pack_letter(letter));
        self.put(&letter_key(LETTER, endpoint, position), letter);
    }

    pub(super) fn gone(&mut self, last: MessageId) {
        self.write(GONE, pack_gone(last));
    }
}

fn told(key: &[u8], error: Option<ValueError>) {
    let error = error.unwrap_or_else(|| ValueError::damaged("not a key"));
    let key = String::from_utf8_lossy(key);
    tracing::error!(%key, error = %Chain(&error), "a row about a webhook endpoint is lost");
}

fn letter_key(kind: &[u8], endpoint: &EndpointId, position: Position) -> Vec<u8> {
    let Position { entry, part } = position;
    // An endpoint's id has no control characters, so the zero byte ends it.
    let id = endpoint.as_str().as_bytes();
    [kind, id, &[0], &entry.0.to_be_bytes(), &part.to_be_bytes()].concat()
}

fn endpoint_id(bytes: &[u8]) -> Option<EndpointId> {
    std::str::from_utf8(bytes).ok().and_then(|id| EndpointId::new(id).ok())
}

fn owner_and_position(bytes: &[u8]) -> Option<(EndpointId, Position)> {
    let (id, position) = bytes.split_at_checked(bytes.len().checked_sub(POSITION_BYTES)?)?;
    let entry = MessageId(i64::from_be_bytes(array(&position[..8])));
    let part = u32::from_be_bytes(array(&position[8..]));
    let id = endpoint_id(id.strip_suffix(&[0])?)?;
    Some((id, Position { entry, part }))
}
