//! Looking back: pages of messages, newest first, read from the newest segment to the oldest.
//!
//! # Invariants
//!
//! * What one page reads is bounded. A page that ends before the messages do says where to go on,
//!   even if it has none.
//! * What is damaged is told to the operator and left out; the rest of the page is there.

use std::sync::Arc;

use crate::chain::Chain;
use crate::id::MessageId;
use crate::limits::{HISTORY_READ_BYTES_MAX, HISTORY_SEGMENTS_MAX};
use crate::store::archive::ValueError;
use crate::store::catalog::{Catalog, OpenSegment};
use crate::store::closed::{Closed, ClosedReader};
use crate::store::database::DatabaseError;
use crate::store::entry::{Entry, Message, Past};
use crate::store::index::{Found, HistoryOf, Span};
use crate::store::record::Record;

/// What is looked back at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Look {
    /// Whose messages.
    pub of: HistoryOf,
    /// Only messages with lower ids; `None` for the newest.
    pub before: Option<MessageId>,
    /// Only messages that the server took then or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Only messages that the server took then or earlier, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Messages on the page, 1 at the least.
    pub max: usize,
    /// Bytes of what the messages on the page say and name, unless a single one has more.
    pub bytes_max: usize,
}

/// A page of history.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The messages, newest first.
    pub messages: Vec<Past>,
    /// Where to go on, as the next page's `before`; `None` when there are no more messages.
    pub next: Option<MessageId>,
}

/// Messages found, newest first, and the id below which there may be more.
pub(super) type Read = (Vec<Message>, Option<MessageId>);

/// A segment in one of its forms.
#[derive(Debug)]
pub(super) enum Source {
    Memory(Arc<OpenSegment>),
    Closed(Arc<Closed>),
}

impl Source {
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Memory(open) => open.segment.number,
            Self::Closed(closed) => closed.number,
        }
    }
}

/// A segment that is being read.
enum Records<'a> {
    Memory(&'a OpenSegment),
    Closed(ClosedReader<'a>),
}

impl<'a> Records<'a> {
    fn open(source: &'a Source) -> Result<Self, DatabaseError> {
        Ok(match source {
            Source::Memory(open) => Self::Memory(open),
            Source::Closed(closed) => Self::Closed(closed.open()?),
        })
    }

    fn find(&self, of: &HistoryOf, span: &Span, max: usize) -> Result<Found, DatabaseError> {
        match self {
            Self::Memory(open) => Ok(open.index.find(of, span, max)),
            Self::Closed(closed) => closed.find(of.subject(), span, max),
        }
    }

    fn record(&self, id: MessageId) -> Result<Option<Vec<u8>>, DatabaseError> {
        match self {
            Self::Memory(open) => open.segment.record(id),
            Self::Closed(closed) => closed.record(id),
        }
    }
}

impl Catalog {
    /// A page of messages.
    ///
    /// Blocks on the disk.
    pub(super) fn history(&self, look: &Look) -> Result<Read, DatabaseError> {
        let mut page = Draft::new(look);
        let mut next = self.at_most(self.newest_below(page.span.before));
        let mut segments = 0;
        while let Some(source) = next {
            let mut previous = source.number().saturating_sub(1);
            if let Source::Closed(closed) = &source {
                if !closed.reaches(&page.span) {
                    next = self.at_most(previous);
                    continue;
                }
                if segments == HISTORY_SEGMENTS_MAX {
                    page.go_on_below(MessageId(closed.last().0.saturating_add(1)));
                    return Ok((page.messages, Some(page.span.before)));
                }
                segments += 1;
            }
            let read = page.read(&source);
            if std::mem::take(&mut page.is_hurt) || matches!(read, Err(DatabaseError::Value { .. }))
            {
                self.hurt(source.number());
            }
            match read {
                Ok(Some(before)) => previous = previous.min(before),
                Ok(None) => {}
                // It expired while it was looked for.
                Err(_) if !self.holds(source.number()) => {}
                Err(error @ DatabaseError::Value { .. }) => {
                    let number = source.number();
                    tracing::error!(number, error = %Chain(&error), "a segment is damaged");
                }
                Err(error) => return Err(error),
            }
            if page.is_full {
                return Ok((page.messages, Some(page.span.before)));
            }
            next = self.at_most(previous);
        }
        Ok((page.messages, None))
    }
}

/// A page in the making.
struct Draft<'a> {
    look: &'a Look,
    /// What is still to be looked at: before the last message that was.
    span: Span,
    messages: Vec<Message>,
    /// Bytes of the messages.
    bytes: usize,
    /// Bytes of the records that were read.
    read_bytes: usize,
    is_full: bool,
    /// Something of the segment is damaged.
    is_hurt: bool,
}

impl<'a> Draft<'a> {
    fn new(look: &'a Look) -> Self {
        let span = Span {
            before: look.before.unwrap_or(MessageId(i64::MAX)),
            since_ms: look.since_ms.unwrap_or(i64::MIN),
            until_ms: look.until_ms.unwrap_or(i64::MAX),
        };
        let (messages, is_full, is_hurt) = (Vec::new(), false, false);
        Self { look, span, messages, bytes: 0, read_bytes: 0, is_full, is_hurt }
    }

    fn go_on_below(&mut self, id: MessageId) {
        self.span.before = self.span.before.min(id);
    }

    /// Adds what one segment has; says which segment has what a conversation had before.
    fn read(&mut self, source: &Source) -> Result<Option<u32>, DatabaseError> {
        let records = Records::open(source)?;
        let mut previous = None;
        loop {
            let wanted = self.look.max.saturating_sub(self.messages.len()).max(1);
            let found = records.find(&self.look.of, &self.span, wanted)?;
            if let HistoryOf::Conversation(_) = self.look.of {
                previous = found.previous.or(previous);
            }
            self.add_all(&records, &found.ids)?;
            if self.is_full || found.ids.len() < wanted {
                return Ok(previous);
            }
        }
    }

    /// Adds messages, newest first, until the page is full.
    fn add_all(&mut self, records: &Records<'_>, ids: &[MessageId]) -> Result<(), DatabaseError> {
        let mut ids = ids.iter().copied().peekable();
        while let Some(id) = ids.next_if(|_| !self.is_full) {
            let bytes = match records.record(id) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    self.go_on_below(id);
                    continue;
                }
                Err(DatabaseError::Value { source, .. }) => {
                    self.leave_out(id, &source);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.read_bytes += bytes.len();
            match Record::parse(&bytes) {
                Ok(record) => {
                    self.add(&record, id);
                    // Neighbours often stand in the same record, which has been checked now.
                    let first = record.header.first;
                    while let Some(id) = ids.next_if(|id| *id >= first && !self.is_full) {
                        self.add(&record, id);
                    }
                }
                Err(error) => self.leave_out(id, &error),
            }
            self.is_full |= self.read_bytes >= HISTORY_READ_BYTES_MAX;
        }
        Ok(())
    }

    fn leave_out(&mut self, id: MessageId, error: &ValueError) {
        tracing::error!(%id, %error, "a message of history is damaged");
        self.is_hurt = true;
        self.go_on_below(id);
    }

    fn add(&mut self, record: &Record<'_>, id: MessageId) {
        let message = match record.entry(id).map(|placed| placed.entry) {
            Ok(Entry::Message { message, .. }) => message,
            Ok(_) => return self.go_on_below(id),
            Err(error) => return self.leave_out(id, &error),
        };
        if self.is_asked_for(&message) {
            let bytes = said_bytes(&message);
            if !self.messages.is_empty() && self.bytes + bytes > self.look.bytes_max {
                self.is_full = true;
                return;
            }
            self.bytes += bytes;
            self.messages.push(Arc::unwrap_or_clone(message));
            self.is_full = self.messages.len() >= self.look.max;
        }
        self.go_on_below(id);
    }

    fn is_asked_for(&self, message: &Message) -> bool {
        let is_of = match &self.look.of {
            HistoryOf::Conversation(conversation) => message.conversation == *conversation,
            HistoryOf::Sender(peer) => message.from == *peer,
            HistoryOf::App => true,
        };
        is_of && (self.span.since_ms..=self.span.until_ms).contains(&message.at_ms)
    }
}

/// Bytes of what a message says and names.
fn said_bytes(message: &Message) -> usize {
    let to: usize = message.to.iter().map(|peer| peer.as_str().len()).sum();
    message.body.len() + message.client_msg_no.len() + message.from.as_str().len() + to
}
