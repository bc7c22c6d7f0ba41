//! The log as one endpoint reads it: entries in order, with what they need.
//!
//! # Invariants
//!
//! * At most one stretch of the log is in memory, and a few of the messages that an entry names.
//! * What is read is handed on in the order of the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::event;
use crate::id::MessageId;
use crate::limits::{WEBHOOK_FOUND_MAX, WEBHOOK_READ_BYTES};
use crate::store::{Journal, Placed, ReadError, Stretch};

/// The next of the log.
#[derive(Debug)]
pub(super) enum Next {
    /// An entry, or some of what one makes.
    Entry {
        /// The entry.
        placed: Arc<Placed>,
        /// Some of the messages that it names.
        found: Vec<Placed>,
        /// How many of these the log does not have any more.
        missing: usize,
        /// Nothing more comes of the entry.
        is_last: bool,
    },
    /// Some entries are lost.
    Lost {
        /// Those behind this one,
        from: MessageId,
        /// up to this one.
        through: MessageId,
        /// When the next one was made, if there is one yet: the same whenever it is read.
        at_ms: Option<i64>,
    },
    /// Nothing more up to this entry.
    Passed(MessageId),
}

/// What is being read.
enum Fetched {
    Stretch { after: MessageId, stretch: Stretch },
    Found { placed: Arc<Placed>, found: Vec<Placed>, missing: usize, is_last: bool },
}

/// Reads the log for one endpoint.
pub(super) struct Source {
    journal: Arc<dyn Journal>,
    /// Whether messages that entries name are needed.
    finds: bool,
    /// The least time between two readings that find little.
    pause: Duration,
    ready: VecDeque<Next>,
    entries: VecDeque<Arc<Placed>>,
    /// What is damaged between these.
    holes: VecDeque<(MessageId, MessageId)>,
    /// How many of the messages that the first entry names have been looked up.
    looked_up: usize,
    /// The end of the stretch.
    through: Option<MessageId>,
    /// The last stretch ended at the end of the log.
    is_at_head: bool,
    fetching: Option<BoxFuture<'static, Result<Fetched, ReadError>>>,
}

impl Source {
    /// Of this log. `finds` says whether messages that entries name are needed.
    pub(super) fn new(journal: Arc<dyn Journal>, finds: bool, pause: Duration) -> Self {
        Self {
            journal,
            finds,
            pause,
            ready: VecDeque::new(),
            entries: VecDeque::new(),
            holes: VecDeque::new(),
            looked_up: 0,
            through: None,
            is_at_head: false,
            fetching: None,
        }
    }

    /// Forgets what was read, for it is to be read again from elsewhere.
    pub(super) fn rewind(&mut self) {
        self.ready.clear();
        self.entries.clear();
        self.holes.clear();
        (self.looked_up, self.through, self.fetching) = (0, None, None);
        self.is_at_head = false;
    }

    /// What comes next of what has been read; `None` if something has to be fetched first.
    pub(super) fn next(&mut self) -> Option<Next> {
        if let Some(next) = self.ready.pop_front() {
            return Some(next);
        }
        let next = self.entries.front();
        let is_next = |hole: &(MessageId, MessageId)| next.is_none_or(|next| hole.1 < next.id);
        if let Some((from, through)) = self.holes.pop_front_if(|hole| is_next(hole)) {
            return Some(Next::Lost { from, through, at_ms: next.map(|next| next.at_ms) });
        }
        let Some(first) = self.entries.front() else {
            return self.through.take().map(Next::Passed);
        };
        if self.finds && !event::needs(first).is_empty() {
            return None;
        }
        let placed = self.entries.pop_front()?;
        Some(Next::Entry { placed, found: Vec::new(), missing: 0, is_last: true })
    }

    /// Fetches what has to be fetched, when there is something; on behind `after` if that is the
    /// log itself.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed or the disk cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost if the future is dropped: the next call goes on.
    pub(super) async fn fetch(&mut self, after: MessageId) -> Result<(), ReadError> {
        let fetching = match self.fetching.take() {
            Some(fetching) => fetching,
            None => self.begin(after),
        };
        let fetched = self.fetching.insert(fetching).await;
        self.fetching = None;
        match fetched? {
            Fetched::Stretch { after, stretch } => self.add(after, stretch),
            Fetched::Found { placed, found, missing, is_last } => {
                if is_last {
                    self.entries.pop_front();
                    self.looked_up = 0;
                } else {
                    self.looked_up += WEBHOOK_FOUND_MAX;
                }
                self.ready.push_back(Next::Entry { placed, found, missing, is_last });
            }
        }
        Ok(())
    }

    fn begin(&self, after: MessageId) -> BoxFuture<'static, Result<Fetched, ReadError>> {
        let journal = self.journal.clone();
        let Some(placed) = self.entries.front().cloned() else {
            let pause = if self.is_at_head { self.pause } else { Duration::ZERO };
            return Box::pin(async move {
                tokio::time::sleep(pause).await;
                journal.past(after).await;
                let stretch = journal.read(after, WEBHOOK_READ_BYTES).await?;
                Ok(Fetched::Stretch { after, stretch })
            });
        };
        let from = self.looked_up;
        Box::pin(async move {
            let named = event::needs(&placed);
            let is_last = from + WEBHOOK_FOUND_MAX >= named.len();
            let some: Vec<MessageId> =
                named.iter().skip(from).take(WEBHOOK_FOUND_MAX).copied().collect();
            let named = some.len();
            let found = journal.entries(some).await?;
            let missing = named.saturating_sub(found.len());
            Ok(Fetched::Found { placed, found, missing, is_last })
        })
    }

    fn add(&mut self, after: MessageId, stretch: Stretch) {
        let Stretch { entries, through, lost, holes } = stretch;
        self.is_at_head = through >= self.journal.head();
        let (from, at_ms) = (after, entries.first().map(|next| next.at_ms));
        self.ready.extend(lost.map(|through| Next::Lost { from, through, at_ms }));
        self.entries.extend(entries.into_iter().map(Arc::new));
        self.holes.extend(holes);
        self.through = Some(through);
    }
}
