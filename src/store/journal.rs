//! What webhooks need of the store: to read the log behind a cursor, and to keep how far each
//! endpoint has come.
//!
//! # Invariants
//!
//! * What is read is on stable storage, and so is what [`Journal::note`] has returned from.
//! * An endpoint's events are spread over lanes by what has an order. Within a lane they go out one
//!   after another, so how far each lane has come is all that has to be kept, with the bounds of
//!   the batches that are on their way.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::id::{EndpointId, MessageId};
use crate::limits::{ENDPOINT_LANES, LETTERS_PAGE_MAX};
use crate::store::asking::{ReadError, blocking};
use crate::store::entry::Placed;
use crate::store::queue::{Closed, Question, Request};
use crate::store::{DatabaseError, Reader, Store};

/// A place among the events that the log makes: an entry, and which of its events.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// The entry.
    pub entry: MessageId,
    /// Which of its events, from 0.
    pub part: u32,
}

impl Position {
    /// Behind all events of an entry.
    pub fn end_of(entry: MessageId) -> Self {
        Self { entry, part: u32::MAX }
    }
}

/// What of a lane a batch has: the events behind `from`, up to `to`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// Which lane.
    pub lane: u8,
    /// Where the lane had come when the batch was formed.
    pub from: Position,
    /// The batch's last event of the lane.
    pub to: Position,
}

/// The bounds of a batch: with them its bytes follow from the log, at every try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// Its number among those of its endpoint.
    pub number: u64,
    /// When it was formed, in milliseconds since 1970.
    pub formed_ms: i64,
    /// What it has; a lane at most once, by rising lane.
    pub spans: Vec<Span>,
}

/// An event that could not be delivered, with the bytes that were sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// The event's place; an endpoint has one letter at most for it.
    pub position: Position,
    /// The event's id.
    pub event: String,
    /// What kind of event it is.
    pub kind: String,
    /// When it was given up, in milliseconds since 1970.
    pub at_ms: i64,
    /// What the endpoint answered last; 0 for nothing.
    pub status: u16,
    /// Why it was given up.
    pub why: String,
    /// How often it was tried.
    pub tries: u32,
    /// The id of the request.
    pub request: String,
    /// What the request's URL has behind the endpoint's.
    pub query: String,
    /// The body of the request.
    pub body: Bytes,
}

/// How an endpoint has come further.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EndpointChange {
    /// All its lanes go on behind this entry; what was on its way is forgotten. The first of an
    /// endpoint makes it known.
    Began {
        /// The entry.
        after: MessageId,
    },
    /// A batch is about to be tried for the first time.
    Formed(Batch),
    /// A batch is done: its lanes have come to the ends of its spans.
    Done {
        /// Which.
        number: u64,
    },
    /// A batch was refused, and goes out in parts instead.
    Split {
        /// Which.
        number: u64,
        /// The parts, in the order in which they go out.
        parts: Vec<Batch>,
    },
    /// Nothing up to here is for it that is not done or on its way.
    Passed {
        /// The last entry.
        through: MessageId,
    },
    /// It takes nothing any more, for this reason; or goes on, if there is none.
    Halted {
        /// Why.
        why: Option<String>,
    },
    /// An event was given up.
    Kept(Letter),
    /// Letters are not needed any more.
    Dropped {
        /// The places of their events.
        letters: Vec<Position>,
    },
    /// It is no more, and its letters neither.
    Removed,
}

impl Batch {
    /// Bytes that it takes on disk at the most.
    pub(super) fn bytes_max(&self) -> usize {
        32 + 32 * self.spans.len()
    }
}

impl EndpointChange {
    /// Bytes that it takes in a record at the most.
    pub(super) fn bytes_max(&self) -> usize {
        64 + match self {
            Self::Formed(formed) => formed.bytes_max(),
            Self::Split { parts, .. } => parts.iter().map(Batch::bytes_max).sum(),
            Self::Halted { why } => why.as_ref().map_or(0, String::len),
            Self::Kept(letter) => letter.bytes(),
            Self::Dropped { letters } => 16 * letters.len(),
            Self::Began { .. } | Self::Done { .. } | Self::Passed { .. } | Self::Removed => 0,
        }
    }
}

impl Letter {
    /// Bytes it takes, about.
    pub fn bytes(&self) -> usize {
        let texts = [&self.event, &self.kind, &self.why, &self.request, &self.query];
        128 + texts.iter().map(|text| text.len()).sum::<usize>() + self.body.len()
    }
}

/// How far an endpoint has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointState {
    /// The last event of each lane that is done.
    pub lanes: [Position; ENDPOINT_LANES],
    /// What is on its way, by rising number.
    pub batches: Vec<Batch>,
    /// The number of the next batch.
    pub next_number: u64,
    /// Why it takes nothing, if it does not.
    pub halted: Option<String>,
    /// Letters kept for it.
    pub letters: usize,
    /// Bytes of these.
    pub letter_bytes: u64,
}

impl EndpointState {
    /// The last entry of which nothing is needed any more.
    pub fn behind(&self) -> MessageId {
        behind(&self.lanes, &self.batches)
    }
}

/// The last entry of which an endpoint needs nothing any more that has come so far.
pub(super) fn behind(lanes: &[Position], batches: &[Batch]) -> MessageId {
    let spans = batches.iter().flat_map(|batch| &batch.spans);
    let oldest = lanes.iter().copied().chain(spans.map(|span| span.from)).min().unwrap_or_default();
    if oldest.part == u32::MAX { oldest.entry } else { MessageId(oldest.entry.0.saturating_sub(1)) }
}

/// A stretch of the log.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// Its entries, by rising id.
    pub entries: Vec<Placed>,
    /// The last entry of the stretch, whether it could be read or not; go on behind it.
    pub through: MessageId,
    /// The last entry that was asked for and that the log does not have any more, because it grew
    /// too large; the entries from the asked one to this are lost.
    pub lost: Option<MessageId>,
    /// What of it is damaged: the entries behind the first up to the second, by rising id.
    pub holes: Vec<(MessageId, MessageId)>,
}

/// The log, as webhooks see it.
pub trait Journal: Send + Sync {
    /// The last entry on stable storage.
    fn head(&self) -> MessageId;

    /// Returns when the head is past `id`, or the store is closed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has done nothing.
    fn past(&self, id: MessageId) -> BoxFuture<'_, ()>;

    /// The entries behind `after`, until their records have `bytes_max` bytes; one record at the
    /// least. What is damaged is told to the operator and left out.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    fn read(&self, after: MessageId, bytes_max: usize)
    -> BoxFuture<'_, Result<Stretch, ReadError>>;

    /// Those of the entries with these ids, by rising id, that the log still has.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    fn entries(&self, ids: Vec<MessageId>) -> BoxFuture<'_, Result<Vec<Placed>, ReadError>>;

    /// The last entry before a time, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    fn before(&self, at_ms: i64) -> BoxFuture<'_, Result<MessageId, ReadError>>;

    /// The endpoints that have begun and have not been removed.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<EndpointId>, ReadError>>;

    /// How far an endpoint has come; `None` if it has not begun.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    fn endpoint(
        &self,
        endpoint: EndpointId,
    ) -> BoxFuture<'_, Result<Option<EndpointState>, ReadError>>;

    /// Keeps that an endpoint has come further. Returns when that is on stable storage. What
    /// makes no sense for the endpoint's state, such as a batch that is not on its way, is ignored.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the store is closed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have kept it, or not.
    fn note(
        &self,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> BoxFuture<'_, Result<(), Closed>>;

    /// Up to `max` letters of an endpoint behind `after`, by their places, and whether there are
    /// more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed or the disk cannot be read.
    fn letters(
        &self,
        endpoint: EndpointId,
        after: Option<Position>,
        max: usize,
    ) -> BoxFuture<'_, Result<(Vec<Letter>, bool), ReadError>>;

    /// Says what the app's back end has made of a message to it; its sender is told. One that
    /// waits no more is ignored.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the store is closed.
    fn settle_upstream(
        &self,
        upstream: MessageId,
        accepted: bool,
    ) -> BoxFuture<'_, Result<(), Closed>>;
}

impl<T: Send + 'static> Store<T> {
    /// Reads what lies on the disk, up to the head.
    async fn look<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader, MessageId) -> Result<R, DatabaseError> + Send + 'static,
    ) -> Result<R, ReadError> {
        let (reader, head) = (self.reader.clone(), *self.head.borrow());
        blocking(&self.journal_reads, move || read(&reader, head)).await
    }
}

impl<T: Send + 'static> Journal for Store<T> {
    fn head(&self) -> MessageId {
        *self.head.borrow()
    }

    fn past(&self, id: MessageId) -> BoxFuture<'_, ()> {
        let mut head = self.head.clone();
        // It fails when the store is closed.
        async move { drop(head.wait_for(|head| *head > id).await) }.boxed()
    }

    fn read(
        &self,
        after: MessageId,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Stretch, ReadError>> {
        self.look(move |reader, head| reader.stretch(after, head, bytes_max)).boxed()
    }

    fn entries(&self, mut ids: Vec<MessageId>) -> BoxFuture<'_, Result<Vec<Placed>, ReadError>> {
        let found = move |reader: &Reader, head| {
            ids.retain(|id| *id <= head);
            reader.entries(&ids)
        };
        self.look(found).boxed()
    }

    fn before(&self, at_ms: i64) -> BoxFuture<'_, Result<MessageId, ReadError>> {
        self.look(move |reader, head| reader.before(at_ms, head)).boxed()
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<EndpointId>, ReadError>> {
        async { Ok(self.queue.ask(|answer| Question::Endpoints { answer }).await?) }.boxed()
    }

    fn endpoint(
        &self,
        endpoint: EndpointId,
    ) -> BoxFuture<'_, Result<Option<EndpointState>, ReadError>> {
        let ask = self.queue.ask(|answer| Question::Endpoint { endpoint, answer });
        async { Ok(ask.await?) }.boxed()
    }

    fn note(
        &self,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> BoxFuture<'_, Result<(), Closed>> {
        self.queue.note(endpoint, change.cut()).boxed()
    }

    fn letters(
        &self,
        endpoint: EndpointId,
        after: Option<Position>,
        max: usize,
    ) -> BoxFuture<'_, Result<(Vec<Letter>, bool), ReadError>> {
        let max = max.min(LETTERS_PAGE_MAX);
        async move {
            let of = endpoint.clone();
            let ask = |answer| Question::Letters { endpoint: of, after, max, answer };
            let page = self.queue.ask(ask).await?;
            self.look(move |reader, _| reader.letters(&endpoint, page)).await
        }
        .boxed()
    }

    fn settle_upstream(
        &self,
        upstream: MessageId,
        accepted: bool,
    ) -> BoxFuture<'_, Result<(), Closed>> {
        self.submit(None, Request::UpstreamDone { upstream, accepted }).boxed()
    }
}
