//! rkyv, and the frame that every value on disk has around its archive.
//!
//! # Invariants
//!
//! * A value is `[kind u8][version u8] ++ archive`; a type is never changed, only followed by the
//!   type of the next version.
//! * Archives hold integers, arrays, texts and vectors, and are only read through checked access.

use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error, Fallible, Source};
use rkyv::ser::Writer;
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::with::{ArchiveWith, SerializeWith};
use rkyv::{Place, Portable, SerializeUnsized};

/// Why a value on disk cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// It is of another kind, or of a version that this server does not know.
    #[error(
        "value of kind {kind}, version {version}, which this version of the server cannot read"
    )]
    Unknown {
        /// The kind found.
        kind: u8,
        /// The version found.
        version: u8,
    },
    /// Its bytes are not what was written.
    #[error("damaged value: {0}")]
    Damaged(String),
}

impl ValueError {
    pub(super) fn damaged(what: impl ToString) -> Self {
        Self::Damaged(what.to_string())
    }
}

/// What kind of value it is. Numbers are never used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A record of the log.
    Record = 1,
    /// What the store knows of a peer.
    Peer = 2,
    /// Messages that wait for a peer.
    Row = 3,
    /// Last sequences of conversations.
    Sequences = 4,
    /// How far the state has come.
    Checkpoint = 5,
    /// The end of a closed segment's file.
    Closed = 6,
    /// What is known of a closed segment.
    Segment = 7,
    /// How far the log was on stable storage.
    Head = 8,
    /// A peer's part in a conversation.
    Part = 9,
    /// Receipts that are due when a peer has its messages.
    Receipts = 10,
    /// A group.
    Group = 11,
    /// A nonce that was used.
    Nonce = 12,
    /// A message that was taken back.
    Recalled = 13,
    /// Where a device is.
    Device = 14,
    /// The devices of an alias.
    Alias = 15,
    /// How many devices have an alias.
    Aliased = 16,
    /// A blocked peer.
    Blocked = 17,
    /// What was stored for an idempotency key.
    Key = 18,
    /// A message that waits for the app's back end.
    Upstream = 19,
    /// When a group was deleted last.
    Deleted = 20,
    /// How much waits in all inboxes.
    Waiting = 21,
    /// How many pieces a long value has.
    Pieces = 22,
    /// A piece of a long value.
    Piece = 23,
    /// How far a webhook endpoint has come.
    Endpoint = 24,
    /// An event that a webhook endpoint has not got.
    Letter = 25,
    /// When such an event was given up, and how long it is.
    LetterSlot = 26,
    /// Up to where the log was removed.
    Gone = 27,
    /// The beginning of the file of a segment that is written to.
    OpenSegment = 28,
}

/// A value that rkyv can write at the end of a vector.
pub(super) trait Pack:
    for<'a> rkyv::Serialize<
        rkyv::api::high::HighSerializer<Vec<u8>, rkyv::ser::allocator::ArenaHandle<'a>, Error>,
    >
{
}

impl<T> Pack for T where
    T: for<'a> rkyv::Serialize<
            rkyv::api::high::HighSerializer<Vec<u8>, rkyv::ser::allocator::ArenaHandle<'a>, Error>,
        >
{
}

/// Appends the archive of `value` to `out`.
pub(super) fn append(out: &mut Vec<u8>, value: &impl Pack) {
    let taken = std::mem::take(out);
    // Writing to a vector fails only for lengths beyond 32 bits, which limits.rs rules out.
    *out = rkyv::api::high::to_bytes_in::<_, Error>(value, taken).unwrap_or_default();
}

/// A whole value: its kind, its version and its archive.
pub(super) fn pack(kind: Kind, version: u8, value: &impl Pack) -> Vec<u8> {
    let mut out = vec![kind as u8, version];
    append(&mut out, value);
    out
}

/// Reads an archive, checking every byte that is followed.
pub(super) fn access<T>(bytes: &[u8]) -> Result<&T, ValueError>
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>,
{
    rkyv::access::<T, Error>(bytes).map_err(ValueError::damaged)
}

/// Reads a whole value of one kind and version.
pub(super) fn unpack<T>(kind: Kind, version: u8, bytes: &[u8]) -> Result<&T, ValueError>
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>,
{
    access(strip(kind, version, bytes)?)
}

/// The bytes behind the kind and the version.
pub(super) fn strip(kind: Kind, version: u8, bytes: &[u8]) -> Result<&[u8], ValueError> {
    match bytes {
        [k, v, rest @ ..] if *k == kind as u8 && *v == version => Ok(rest),
        [kind, version, ..] => Err(ValueError::Unknown { kind: *kind, version: *version }),
        _ => Err(ValueError::damaged("no header")),
    }
}

/// Archives anything that is a text as a text.
pub(super) struct AsText;

impl<T: AsRef<str>> ArchiveWith<T> for AsText {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    fn resolve_with(field: &T, resolver: StringResolver, out: Place<ArchivedString>) {
        ArchivedString::resolve_from_str(field.as_ref(), resolver, out);
    }
}

impl<T: AsRef<str>, S> SerializeWith<T, S> for AsText
where
    S: Fallible<Error: Source> + Writer + ?Sized,
    str: SerializeUnsized<S>,
{
    fn serialize_with(field: &T, serializer: &mut S) -> Result<StringResolver, S::Error> {
        ArchivedString::serialize_from_str(field.as_ref(), serializer)
    }
}
