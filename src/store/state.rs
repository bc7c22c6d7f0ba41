//! The state database: what is small and lives long. The log can rebuild what came after its
//! checkpoint.
//!
//! ```text
//! state-N/   a generation; CURRENT names the one in force, the one before is kept
//! keys:      c | h | p peer | w peer 00 first-id | t peer 00 conversation | k peer
//!            | s bucket-u16 | g segment-u32 | u group | v deleted-group | n nonce | x message
//!            | d device | a alias | b blocked-peer | i idempotency-key | q upstream-message
//!            | y aliased devices | m waiting messages | z time of the last deletion of a group
//!            | l key-of-a-long-value 00 piece-u16 | o last entry removed from the log
//!            | e endpoint | j endpoint 00 entry part-u32 | f endpoint 00 entry part-u32
//! ```
//!
//! # Invariants
//!
//! * A peer and its rows change together, in one batch. One that is too long for a value is in
//!   [pieces](crate::store::pieces).
//! * [`CURRENT`](crate::store::current) names a generation only when that is on stable storage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::chain::Chain;
use crate::id::{ConversationId, GroupId, MessageId, PeerId};
use crate::limits::RECORD_BYTES_MAX;
use crate::store::ValueError;
use crate::store::current::{read_current, write_current};
use crate::store::database::{Batch, Database, DatabaseError, is_distrusted, remove_database};
use crate::store::entry::Item;
use crate::store::group::Group;
use crate::store::group_image::{
    pack_group, pack_nonce, pack_recalled, unpack_group, unpack_nonce,
};
use crate::store::image::{
    Checkpoint, ConversationKey, LastSequence, SegmentInfo, find_sequence, pack_checkpoint,
    pack_head, pack_peer, pack_segment, pack_sequences, unpack_checkpoint, unpack_head,
    unpack_peer, unpack_row, unpack_segment, unpack_sequences,
};
use crate::store::nonces::NonceKey;
use crate::store::part::Part;
use crate::store::part_image::{pack_part, pack_receipts, unpack_part, unpack_receipts};
use crate::store::peer::Peer;
use crate::store::receipts::Receipts;

const CHECKPOINT: &[u8] = b"c";
const HEAD: &[u8] = b"h";
const PEER: &[u8] = b"p";
const SEGMENT: &[u8] = b"g";
pub(super) const GROUP: &[u8] = b"u";
const NONCE: &[u8] = b"n";
const RECALLED: &[u8] = b"x";
/// Buckets of last sequences: with [`RECORD_BYTES_MAX`] and 25 bytes a conversation, room for
/// 16 million conversations.
const BUCKETS: u16 = 4096;
/// Bytes of a generation above which a start writes a fresh one, rid of what sled leaves behind.
const GENERATION_BYTES_FRESH: u64 = 64 * 1024 * 1024;
/// Bytes of a generation above which a start leaves it as it is: copying takes some 10 ms for each
/// MiB, for which everybody would wait.
const GENERATION_BYTES_COPIED_MAX: u64 = 128 * 1024 * 1024;
/// Rows copied to a fresh generation in one batch.
const COPY_ROWS: usize = 256;

const _: () = assert!(RECORD_BYTES_MAX / 25 * BUCKETS as usize > 15_000_000);

/// One generation of the state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) database: Database,
    pub(super) generation: u32,
}

/// The state a start found.
pub(super) struct OpenedState {
    pub(super) state: State,
    /// The generation in force could not be opened, so an older one was, or a new one made.
    pub(super) fell_back: bool,
}

impl State {
    /// Opens the generation that `CURRENT` names, or the one before it if that will not open, or
    /// an empty one.
    pub(super) fn open(folder: &Path) -> Result<OpenedState, DatabaseError> {
        let current = read_current(folder);
        let mut generations = generations(folder)?;
        generations.retain(|generation| current.is_none_or(|current| *generation <= current));
        // A state that is named but gone is as lost as one that will not open.
        let mut fell_back = current.is_some_and(|current| generations.last() != Some(&current));
        for (older, generation) in generations.iter().enumerate().rev() {
            match Self::open_named(folder, *generation, older > 0) {
                Ok(state) => {
                    write_current(folder, *generation)?;
                    return Ok(OpenedState { state, fell_back });
                }
                Err(error) if error.is_of_the_system() => return Err(error),
                Err(error) => {
                    let error = Chain(&error);
                    tracing::error!(generation, %error, "a generation of the state is damaged");
                    fell_back = true;
                }
            }
        }
        let generation = generations.last().copied().or(current).unwrap_or(0) + 1;
        let state = Self::open_generation(folder, generation)?;
        write_current(folder, generation)?;
        Ok(OpenedState { state, fell_back })
    }

    /// Whether the generation in force was found damaged.
    pub(super) fn is_distrusted(folder: &Path) -> bool {
        let current = read_current(folder);
        current.is_some_and(|current| is_distrusted(&path(folder, current)))
    }

    /// One that is named has all that the one before it had.
    fn open_named(folder: &Path, number: u32, has_older: bool) -> Result<Self, DatabaseError> {
        let state = Self::open_generation(folder, number)?;
        if has_older && state.checkpoint()?.is_none() {
            return Err(DatabaseError::value(&path(folder, number))(ValueError::damaged("empty")));
        }
        Ok(state)
    }

    fn open_generation(folder: &Path, generation: u32) -> Result<Self, DatabaseError> {
        let database = Database::open(&path(folder, generation))?;
        let state = Self { database, generation };
        state.checkpoint()?;
        Ok(state)
    }

    /// Writes a fresh generation when this one is worth it, keeps this one, and removes all before.
    pub(super) fn renew(self, folder: &Path) -> Result<Self, DatabaseError> {
        for old in generations(folder)? {
            if old + 1 < self.generation || old > self.generation {
                remove_database(&path(folder, old))?;
            }
        }
        let worth = GENERATION_BYTES_FRESH..GENERATION_BYTES_COPIED_MAX;
        if !worth.contains(&self.database.bytes()) {
            return Ok(self);
        }
        let fresh = Self::open_generation(folder, self.generation + 1)?;
        let mut batch = Batch::default();
        for (count, row) in self.database.scan(&[], &[]).enumerate() {
            let (key, value) = row?;
            batch.write(&key, value.to_vec());
            if count % COPY_ROWS == COPY_ROWS - 1 {
                fresh.database.write_batch(std::mem::take(&mut batch))?;
            }
        }
        fresh.database.write_batch(batch)?;
        fresh.database.sync()?;
        write_current(folder, fresh.generation)?;
        if self.generation > 1 && path(folder, self.generation - 1).exists() {
            remove_database(&path(folder, self.generation - 1))?;
        }
        Ok(fresh)
    }

    /// Removes the generation before this one, whose part of the log has to go.
    pub(super) fn remove_previous(&self, folder: &Path) -> Result<(), DatabaseError> {
        let previous = path(folder, self.generation.saturating_sub(1));
        if previous.exists() { remove_database(&previous) } else { Ok(()) }
    }

    pub(super) fn checkpoint(&self) -> Result<Option<Checkpoint>, DatabaseError> {
        self.unpacked(CHECKPOINT, unpack_checkpoint)
    }

    /// A peer, with what it takes part in and the receipts that are due.
    pub(super) fn peer(&self, id: &PeerId) -> Result<Option<Peer>, DatabaseError> {
        let key = peer_key(id);
        let Some(value) = self.database.read(&key)? else { return Ok(None) };
        let mut peer = self.stored_peer(&key, &value)?;
        let parts = parts_key(id);
        for row in self.database.scan(&parts, &parts) {
            let (key, value) = row?;
            let conversation = key[parts.len()..].try_into().ok();
            let part = unpack_part(&value).map_err(DatabaseError::value(&self.database.path))?;
            if let Some(key) = conversation {
                peer.parts.restore(ConversationId::from_key(&key), part);
            }
        }
        peer.receipts = self.unpacked(&receipts_key(id), unpack_receipts)?.unwrap_or_default();
        Ok(Some(peer))
    }

    /// A peer without what it takes part in; `None` also if it cannot be read.
    pub(super) fn peer_alone(&self, id: &PeerId) -> Result<Option<Peer>, DatabaseError> {
        let key = peer_key(id);
        let Some(value) = self.database.read(&key)? else { return Ok(None) };
        match self.stored_peer(&key, &value) {
            Err(DatabaseError::Value { .. }) => Ok(None),
            peer => peer.map(Some),
        }
    }

    fn stored_peer(&self, key: &[u8], value: &[u8]) -> Result<Peer, DatabaseError> {
        let (value, pieces) = self.whole(key, value)?;
        let peer = unpack_peer(&value).map_err(DatabaseError::value(&self.database.path))?;
        Ok(Peer { pieces, ..peer })
    }

    pub(super) fn group(&self, id: GroupId) -> Result<Option<Group>, DatabaseError> {
        self.unpacked(&group_key(id), |bytes| unpack_group(id, bytes))
    }

    pub(super) fn group_count(&self) -> Result<usize, DatabaseError> {
        let mut count = 0;
        for row in self.database.scan(GROUP, GROUP) {
            row?;
            count += 1;
        }
        Ok(count)
    }

    /// The nonces that were used, and when each is forgotten. What cannot be read is left out.
    pub(super) fn nonces(&self) -> Result<Vec<(NonceKey, i64)>, DatabaseError> {
        let mut nonces = Vec::new();
        for row in self.database.scan(NONCE, NONCE) {
            let (key, value) = row?;
            if let (Ok(key), Ok(expires_ms)) = (key[1..].try_into(), unpack_nonce(&value)) {
                nonces.push((key, expires_ms));
            }
        }
        Ok(nonces)
    }

    /// The messages that were taken back.
    pub(super) fn recalled(&self) -> Result<BTreeSet<MessageId>, DatabaseError> {
        let mut recalled = BTreeSet::new();
        for row in self.database.scan(RECALLED, RECALLED) {
            let (key, _) = row?;
            recalled.extend(key[1..].try_into().map(|id| MessageId(i64::from_be_bytes(id))).ok());
        }
        Ok(recalled)
    }

    /// What `of` says of up to `max` peers from a key on, and the key to go on from. Peers of which
    /// it says nothing, or that cannot be read, are left out.
    #[allow(clippy::type_complexity, reason = "a page and where the next one begins")]
    pub(super) fn peers_from<R>(
        &self,
        from: &[u8],
        max: usize,
        of: impl Fn(&Peer) -> Option<R>,
    ) -> Result<(Vec<(PeerId, R)>, Option<Vec<u8>>), DatabaseError> {
        let from = if from.is_empty() { PEER } else { from };
        let mut peers = Vec::new();
        for (seen, row) in self.database.scan(PEER, from).enumerate() {
            let (key, value) = row?;
            if seen == max {
                return Ok((peers, Some(key.to_vec())));
            }
            let id = std::str::from_utf8(&key[1..]).ok().and_then(|id| PeerId::new(id).ok());
            let peer = self.stored_peer(&key, &value).ok();
            peers.extend(id.zip(peer.as_ref().and_then(&of)));
        }
        Ok((peers, None))
    }

    /// Those messages of a row whose id is wanted; none if the row is gone.
    pub(super) fn row(
        &self,
        peer: &PeerId,
        first: MessageId,
        wanted: impl Fn(MessageId) -> bool,
    ) -> Result<Vec<Item>, DatabaseError> {
        let row = self.unpacked(&row_key(peer, first), |bytes| unpack_row(bytes, wanted))?;
        Ok(row.unwrap_or_default())
    }

    pub(super) fn sequence(
        &self,
        conversation: &ConversationKey,
    ) -> Result<Option<LastSequence>, DatabaseError> {
        let key = bucket_key(bucket(conversation));
        Ok(self.unpacked(&key, |bytes| find_sequence(bytes, conversation))?.flatten())
    }

    pub(super) fn bucket(
        &self,
        bucket: u16,
    ) -> Result<Vec<(ConversationKey, LastSequence)>, DatabaseError> {
        Ok(self.unpacked(&bucket_key(bucket), unpack_sequences)?.unwrap_or_default())
    }

    /// The segments that were closed, and not removed since. What cannot be read is left out.
    pub(super) fn segments(&self) -> Result<BTreeMap<u32, SegmentInfo>, DatabaseError> {
        let mut segments = BTreeMap::new();
        for row in self.database.scan(SEGMENT, SEGMENT) {
            let (key, value) = row?;
            let number = key.get(1..).and_then(|number| number.try_into().ok());
            if let (Some(number), Ok(info)) = (number, unpack_segment(&value)) {
                segments.insert(u32::from_be_bytes(number), info);
            }
        }
        Ok(segments)
    }

    /// How far the log was once seen to be on stable storage.
    pub(super) fn head(&self) -> Result<MessageId, DatabaseError> {
        Ok(self.unpacked(HEAD, unpack_head)?.unwrap_or_default())
    }

    pub(super) fn unpacked<T>(
        &self,
        key: &[u8],
        unpack: impl FnOnce(&[u8]) -> Result<T, ValueError>,
    ) -> Result<Option<T>, DatabaseError> {
        let Some(bytes) = self.database.read(key)? else { return Ok(None) };
        unpack(&bytes).map(Some).map_err(DatabaseError::value(&self.database.path))
    }
}

/// What is to change in the state.
#[derive(Debug, Default)]
pub(super) struct Changes {
    batch: Batch,
    pub(super) count: usize,
}

impl Changes {
    pub(super) fn write(&mut self, key: &[u8], value: Vec<u8>) {
        self.batch.write(key, value);
        self.count += 1;
    }

    pub(super) fn peer(&mut self, id: &PeerId, peer: &mut Peer) {
        peer.pieces = self.write_long(&peer_key(id), pack_peer(peer), peer.pieces);
    }

    pub(super) fn remove_peer(&mut self, id: &PeerId, peer: &mut Peer) {
        let key = peer_key(id);
        self.remove_pieces(&key, 0..std::mem::take(&mut peer.pieces));
        self.put(&key, None);
    }

    pub(super) fn row(&mut self, peer: &PeerId, first: MessageId, row: Vec<u8>) {
        self.write(&row_key(peer, first), row);
    }

    pub(super) fn remove_row(&mut self, peer: &PeerId, first: MessageId) {
        self.batch.remove(&row_key(peer, first));
        self.count += 1;
    }

    pub(super) fn bucket(&mut self, bucket: u16, rows: &[(ConversationKey, LastSequence)]) {
        self.write(&bucket_key(bucket), pack_sequences(rows));
    }

    pub(super) fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.write(CHECKPOINT, pack_checkpoint(checkpoint));
    }

    pub(super) fn head(&mut self, id: MessageId) {
        self.write(HEAD, pack_head(id));
    }

    pub(super) fn segment(&mut self, number: u32, info: &SegmentInfo) {
        self.write(&segment_key(number), pack_segment(info));
    }

    pub(super) fn remove_segment(&mut self, number: u32) {
        self.batch.remove(&segment_key(number));
        self.count += 1;
    }

    pub(super) fn part(&mut self, peer: &PeerId, conversation: &ConversationId, part: &Part) {
        self.write(&part_key(peer, conversation), pack_part(part));
    }

    pub(super) fn remove_part(&mut self, peer: &PeerId, conversation: &ConversationId) {
        self.batch.remove(&part_key(peer, conversation));
        self.count += 1;
    }

    /// Writes the receipts that are due, or that none are.
    pub(super) fn receipts(&mut self, peer: &PeerId, receipts: &Receipts) {
        if receipts.due.is_empty() {
            self.batch.remove(&receipts_key(peer));
            self.count += 1;
        } else {
            self.write(&receipts_key(peer), pack_receipts(receipts));
        }
    }

    pub(super) fn group(&mut self, group: &Group) {
        self.write(&group_key(group.id), pack_group(group));
    }

    pub(super) fn nonce(&mut self, key: &NonceKey, expires_ms: i64) {
        self.write(&[NONCE, key].concat(), pack_nonce(expires_ms));
    }

    pub(super) fn remove_nonce(&mut self, key: &NonceKey) {
        self.batch.remove(&[NONCE, key].concat());
        self.count += 1;
    }

    pub(super) fn recalled(&mut self, message: MessageId, entry: MessageId) {
        self.write(&recalled_key(message), pack_recalled(entry));
    }

    pub(super) fn remove_recalled(&mut self, message: MessageId) {
        self.batch.remove(&recalled_key(message));
        self.count += 1;
    }

    /// Writes a value, or removes it.
    pub(super) fn put(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.batch.write(key, value),
            None => self.batch.remove(key),
        }
        self.count += 1;
    }

    /// Makes all changes, or none.
    pub(super) fn apply(self, state: &State) -> Result<(), DatabaseError> {
        if self.count == 0 { Ok(()) } else { state.database.write_batch(self.batch) }
    }
}

/// The bucket that holds a conversation.
pub(super) fn bucket(conversation: &ConversationKey) -> u16 {
    u16::from_be_bytes([conversation[1], conversation[2]]) % BUCKETS
}

fn peer_key(peer: &PeerId) -> Vec<u8> {
    [PEER, peer.as_str().as_bytes()].concat()
}

fn row_key(peer: &PeerId, first: MessageId) -> Vec<u8> {
    // A peer's id has no control characters, so the zero byte ends it.
    [b"w", peer.as_str().as_bytes(), &[0], &first.0.to_be_bytes()].concat()
}

fn parts_key(peer: &PeerId) -> Vec<u8> {
    [b"t", peer.as_str().as_bytes(), &[0]].concat()
}

fn part_key(peer: &PeerId, conversation: &ConversationId) -> Vec<u8> {
    [&parts_key(peer)[..], &conversation.key()].concat()
}

fn receipts_key(peer: &PeerId) -> Vec<u8> {
    [b"k", peer.as_str().as_bytes()].concat()
}

pub(super) fn group_key(group: GroupId) -> Vec<u8> {
    [GROUP, &group.0].concat()
}

fn recalled_key(message: MessageId) -> Vec<u8> {
    [RECALLED, &message.0.to_be_bytes()].concat()
}

fn bucket_key(bucket: u16) -> [u8; 3] {
    let [high, low] = bucket.to_be_bytes();
    [b's', high, low]
}

fn segment_key(number: u32) -> Vec<u8> {
    [SEGMENT, &number.to_be_bytes()].concat()
}

fn path(folder: &Path, generation: u32) -> PathBuf {
    folder.join(format!("state-{generation}"))
}

/// The generations there are, by rising number.
fn generations(folder: &Path) -> Result<Vec<u32>, DatabaseError> {
    let entries = fs::read_dir(folder).map_err(DatabaseError::disk("read", folder))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut generations: Vec<u32> =
        names.filter_map(|name| name.strip_prefix("state-")?.parse().ok()).collect();
    generations.sort_unstable();
    Ok(generations)
}
