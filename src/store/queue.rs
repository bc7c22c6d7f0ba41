//! The commit queue: what sessions want to last, on its way to the commit thread.
//!
//! # Invariants
//!
//! * A byte permit is taken before an item enters and given back after it is handed out, so the
//!   queue, the commit and the dispatcher hold [`COMMIT_QUEUE_BYTES_MAX`] bytes between them.
//! * An item never enters a full channel: each holds [`ITEM_BYTES_MIN`] permits at least, and the
//!   channel has a place for each such share.
//! * Nobody waits for an answer from a commit thread that has ended: what it left, and what came
//!   after, is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use crossbeam::sync::{Parker, Unparker};
use tokio::sync::{Semaphore, oneshot};

use crate::id::{
    Alias, ConversationId, DeviceId, EndpointId, GroupId, MessageId, PeerId, SessionId,
};
use crate::limits::{COMMIT_FEW, COMMIT_MANY, COMMIT_QUEUE_BYTES_MAX, COMMIT_QUEUE_ENTRIES_MAX};
use crate::reason::Reason;
use crate::store::backup::Moment;
use crate::store::entry::{
    AliasChange, GroupAction, Message, NewUpstream, Opening, Origin, Upstream, content_hash,
};
use crate::store::group::Group;
use crate::store::journal::{EndpointChange, EndpointState, Letter, Position};
use crate::store::outcome::{KnownDevice, Route, WaitingPage};
use crate::store::part::Part;
use crate::store::progress::Progress;

/// Permits that the smallest item takes.
const ITEM_BYTES_MIN: usize = COMMIT_QUEUE_BYTES_MAX / COMMIT_QUEUE_ENTRIES_MAX;
/// Acknowledgements that wait for company.
const LAZY_MAX: usize = 16 * 1024;
/// Questions that may wait beside the items.
const QUESTIONS_MAX: usize = 4096;

/// A message that wants to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Who sends it.
    pub from: PeerId,
    /// Which send it is.
    pub origin: Origin,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// For whom it is; nobody twice. Empty in a group, whose members get it.
    pub to: Vec<PeerId>,
    /// On which devices of its recipients it is wanted; empty for all.
    pub devices: Vec<DeviceId>,
    /// The sender wants to hear of its delivery.
    pub receipt: bool,
    /// Milliseconds after which it need not be delivered any more; 0 for never.
    pub ttl_ms: i64,
    /// The app's own number for it, a text.
    pub client_msg_no: Bytes,
    /// What it says.
    pub body: Bytes,
    /// What a push service is to show for it, a text; empty for what the settings say.
    pub push: Bytes,
}

impl NewMessage {
    /// The fingerprint by which it is told from another one of the same number.
    pub fn content(&self) -> u32 {
        content_hash(&self.conversation, &self.client_msg_no, &self.body)
    }
}

/// What is to be put into the log.
#[derive(Clone, Debug)]
pub enum Request {
    /// A message.
    Message(NewMessage),
    /// A message of a client that the app's back end was asked about. A resend is known by what
    /// the client sends, whatever the back end makes of it, and is answered like the first one.
    Vetted {
        /// It, as it is to be stored.
        message: NewMessage,
        /// [`NewMessage::content`] of it as the client sent it.
        content: u32,
        /// Why it is not to be stored, unless it has been already.
        refused: Option<Reason>,
    },
    /// A session that opens.
    Open(Opening),
    /// A session that has ended; `closed` if the device logged out.
    End {
        /// Whose.
        peer: PeerId,
        /// On which device.
        device: DeviceId,
        /// Which.
        session: SessionId,
        /// The device logged out.
        closed: bool,
    },
    /// A device has had every message up to `id`.
    Ack {
        /// Whose.
        peer: PeerId,
        /// Which device.
        device: DeviceId,
        /// The last of them.
        id: MessageId,
    },
    /// A peer has read a conversation.
    Read {
        /// Who.
        peer: PeerId,
        /// The conversation.
        conversation: ConversationId,
        /// Up to which number.
        sequence: u32,
    },
    /// A message is taken back.
    Recall {
        /// The message, as [`Store::message`](crate::store::Store::message) gave it.
        message: Arc<Message>,
        /// Who does it; nobody for the app's back end.
        by: Option<PeerId>,
    },
    /// A group is to change.
    Group {
        /// Which; a new id to create one.
        group: GroupId,
        /// Who asks; nobody for the app's back end.
        by: Option<PeerId>,
        /// For what.
        action: GroupAction,
    },
    /// An alias is to be bound or taken away.
    Alias {
        /// What is to change.
        change: AliasChange,
        /// The device that asks, which may only give away what it has; none for the back end.
        by: Option<DeviceId>,
    },
    /// A peer is to be blocked, or blocked no more.
    Block {
        /// Who.
        peer: PeerId,
        /// Whether it is blocked from now on.
        blocked: bool,
    },
    /// A message to the app's back end.
    Upstream(NewUpstream),
    /// What has become of one.
    UpstreamDone {
        /// Which.
        upstream: MessageId,
        /// The back end has accepted it.
        accepted: bool,
    },
    /// A signature's nonce is used.
    Nonce {
        /// By whom.
        peer: PeerId,
        /// The nonce.
        nonce: Bytes,
        /// From when its signature is too old anyway, in milliseconds since 1970.
        expires_ms: i64,
    },
}

impl Request {
    /// Permits that it takes: its bytes, about.
    fn permits(&self) -> usize {
        let bytes = match self {
            Self::Message(new) | Self::Vetted { message: new, .. } => {
                256 + new.body.len() + 32 * new.to.len()
            }
            Self::Open(_) | Self::End { .. } => 256,
            Self::Ack { .. } | Self::Read { .. } | Self::Nonce { .. } => 128,
            Self::Alias { .. } | Self::Block { .. } | Self::UpstreamDone { .. } => 256,
            Self::Upstream(new) => 256 + new.body.len(),
            Self::Recall { .. } => 256,
            Self::Group { action, .. } => 512 + action.bytes(),
        };
        bytes.max(ITEM_BYTES_MIN)
    }
}

/// What readers ask the commit thread.
pub(super) enum Question {
    Waiting {
        peer: PeerId,
        /// Only what is for this device.
        on: Option<DeviceId>,
        after: MessageId,
        max: usize,
        answer: oneshot::Sender<WaitingPage>,
    },
    Group {
        group: GroupId,
        answer: oneshot::Sender<Option<Arc<Group>>>,
    },
    Conversations {
        peer: PeerId,
        before: MessageId,
        max: usize,
        answer: oneshot::Sender<(Vec<(ConversationId, Part)>, bool)>,
    },
    Devices {
        peer: PeerId,
        answer: oneshot::Sender<Vec<KnownDevice>>,
    },
    /// Whether a device is one of the peer's.
    Knows {
        peer: PeerId,
        device: DeviceId,
        answer: oneshot::Sender<bool>,
    },
    /// The devices of an alias, and where they are.
    Alias {
        alias: Alias,
        answer: oneshot::Sender<Vec<Route>>,
    },
    /// Where a device is; its alias too.
    Device {
        device: DeviceId,
        answer: oneshot::Sender<Option<(Route, Option<Alias>)>>,
    },
    Groups {
        after: GroupId,
        max: usize,
        answer: oneshot::Sender<(Vec<Arc<Group>>, bool)>,
    },
    Upstream {
        after: MessageId,
        max: usize,
        answer: oneshot::Sender<(Vec<Upstream>, bool)>,
    },
    WereOnline {
        peers: Vec<PeerId>,
        answer: oneshot::Sender<Vec<PeerId>>,
    },
    Endpoints {
        answer: oneshot::Sender<Vec<EndpointId>>,
    },
    Endpoint {
        endpoint: EndpointId,
        answer: oneshot::Sender<Option<EndpointState>>,
    },
    Letters {
        endpoint: EndpointId,
        after: Option<Position>,
        max: usize,
        answer: oneshot::Sender<LetterPage>,
    },
    /// The moment that a backup is of.
    Backup {
        /// Of which one.
        number: u64,
        answer: oneshot::Sender<Moment>,
    },
}

/// The places of some letters, each with the letter unless it is in the state, and whether there
/// are more.
pub(super) type LetterPage = (Vec<(Position, Option<Arc<Letter>>)>, bool);

/// That an endpoint has come further.
pub(super) struct Note {
    pub(super) endpoint: EndpointId,
    pub(super) change: EndpointChange,
    /// Who waits until it is on stable storage.
    pub(super) kept: oneshot::Sender<()>,
}

pub(super) enum Item<T> {
    Request { caller: Option<T>, request: Request, permits: usize },
    Note { note: Box<Note>, permits: usize },
    Question(Question),
}

/// The end that sessions hold.
pub(super) struct Queue<T> {
    items: Sender<Item<T>>,
    /// The same items, for when nobody else takes them any more: crossbeam keeps what is in a
    /// bounded channel until both of its ends are gone.
    left: Receiver<Item<T>>,
    lazy: Arc<ArrayQueue<Item<T>>>,
    shared: Arc<Shared>,
    questions: Semaphore,
    unparker: Unparker,
}

/// The end that the commit thread holds.
pub(super) struct Taker<T> {
    pub(super) items: Receiver<Item<T>>,
    /// Acknowledgements, which wake nobody.
    pub(super) lazy: Arc<ArrayQueue<Item<T>>>,
    pub(super) parker: Parker,
    pub(super) progress: Arc<Progress>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    permits: Semaphore,
    /// Requests that make the next commit start; the most there is while nobody waits for them.
    enough: AtomicUsize,
    /// The commit thread has ended.
    over: AtomicBool,
}

/// The store does not take requests any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;

pub(super) fn queue<T>() -> (Queue<T>, Taker<T>) {
    let (items_tx, items) = bounded(COMMIT_QUEUE_ENTRIES_MAX + QUESTIONS_MAX);
    let lazy = Arc::new(ArrayQueue::new(LAZY_MAX));
    let shared = Arc::new(Shared {
        permits: Semaphore::new(COMMIT_QUEUE_BYTES_MAX),
        enough: AtomicUsize::new(usize::MAX),
        over: AtomicBool::new(false),
    });
    let parker = Parker::new();
    let queue = Queue {
        items: items_tx,
        left: items.clone(),
        lazy: lazy.clone(),
        shared: shared.clone(),
        questions: Semaphore::new(QUESTIONS_MAX),
        unparker: parker.unparker().clone(),
    };
    let progress = Arc::new(Progress::default());
    (queue, Taker { items, lazy, parker, progress, shared })
}

impl<T> Queue<T> {
    /// Waits for room, then hands a request to the commit thread. An acknowledgement may wait for
    /// company there.
    ///
    /// Every session keeps the room of this future.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has handed over nothing.
    #[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
    pub(super) fn submit(
        &self,
        caller: Option<T>,
        request: Request,
    ) -> impl Future<Output = Result<(), Closed>> {
        async move {
            let permits = request.permits();
            let permit = self.shared.permits.acquire_many(permits as u32).await;
            permit.map_err(|_| Closed)?.forget();
            let is_lazy = matches!(request, Request::Ack { .. });
            let item = Item::Request { caller, request, permits };
            if is_lazy { self.push_lazily(item) } else { self.push(item) }
        }
    }

    /// Whether so much waits that those who hand over should take turns.
    pub(super) fn is_crowded(&self) -> bool {
        self.shared.permits.available_permits() < COMMIT_QUEUE_BYTES_MAX / 2
    }

    /// Hands over what may wait for company.
    fn push_lazily(&self, item: Item<T>) -> Result<(), Closed> {
        match self.lazy.push(item) {
            Ok(()) => Ok(()),
            Err(item) => self.enter(item),
        }
    }

    /// Waits for room, hands over that an endpoint has come further, and waits until that is on
    /// stable storage.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have handed it over, or not.
    pub(super) async fn note(
        &self,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> Result<(), Closed> {
        let permits = change.bytes_max().clamp(ITEM_BYTES_MIN, COMMIT_QUEUE_BYTES_MAX);
        let permit = self.shared.permits.acquire_many(permits as u32).await.map_err(|_| Closed)?;
        permit.forget();
        let (kept_tx, kept) = oneshot::channel();
        let note = Box::new(Note { endpoint, change, kept: kept_tx });
        self.push(Item::Note { note, permits })?;
        kept.await.map_err(|_| Closed)
    }

    /// Asks the commit thread something and waits for the answer.
    pub(super) async fn ask<R>(
        &self,
        question: impl FnOnce(oneshot::Sender<R>) -> Question,
    ) -> Result<R, Closed> {
        // Held until the answer has come, so that the channel has a place for every question.
        let _permit = self.questions.acquire().await.map_err(|_| Closed)?;
        let (answer_tx, answer) = oneshot::channel();
        self.enter(Item::Question(question(answer_tx)))?;
        answer.await.map_err(|_| Closed)
    }

    fn push(&self, item: Item<T>) -> Result<(), Closed> {
        self.enter(item)?;
        let enough = &self.shared.enough;
        let wanted = enough.load(Ordering::SeqCst);
        if self.items.len() >= wanted
            && enough
                .compare_exchange(wanted, usize::MAX, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        {
            self.unparker.unpark();
        }
        Ok(())
    }

    /// Puts an item into the channel. Either the commit thread takes it, or drops it when it ends,
    /// or it is found to have ended here.
    fn enter(&self, item: Item<T>) -> Result<(), Closed> {
        self.items.try_send(item).map_err(|_| Closed)?;
        if self.shared.over.load(Ordering::SeqCst) {
            drop_all(&self.left);
            return Err(Closed);
        }
        Ok(())
    }

    /// Gives back the permits of what has been handed out.
    pub(super) fn release(&self, permits: usize) {
        self.shared.permits.add_permits(permits);
    }

    /// Takes nothing more; what waits for room fails.
    pub(super) fn close(&self) {
        self.shared.permits.close();
        self.questions.close();
    }
}

fn drop_all<T>(items: &Receiver<Item<T>>) {
    while items.try_recv().is_ok() {}
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.permits.close();
        drop_all(&self.items);
    }
}

impl<T> Taker<T> {
    /// Whether nothing more is taken; what was taken before may still wait.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.permits.is_closed()
    }

    /// Waits until as many requests wait as the last commit took, but no longer than `until`. A few
    /// are not waited for: see [`COMMIT_FEW`].
    pub(super) fn pace(&self, taken: usize, until: Instant) {
        let enough = if taken < COMMIT_FEW { COMMIT_MANY } else { taken.min(COMMIT_MANY) };
        self.shared.enough.store(enough, Ordering::SeqCst);
        while self.items.len() < enough {
            let Some(rest) = until.checked_duration_since(Instant::now()) else { break };
            self.parker.park_timeout(rest);
        }
        self.shared.enough.store(usize::MAX, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_commit_starts_as_soon_as_as_many_ask_as_the_last_one_took() {
        let (queue, taker) = queue::<()>();
        let until = Instant::now() + Duration::from_secs(60);
        let pacing = std::thread::spawn(move || {
            taker.pace(COMMIT_FEW, until);
            (taker.items.len(), Instant::now() < until)
        });
        for number in 0..COMMIT_FEW {
            let peer = PeerId::new(&number.to_string()).unwrap();
            let request = Request::Block { peer, blocked: true };
            queue.push(Item::Request { caller: None, request, permits: 1 }).unwrap();
        }
        assert_eq!(pacing.join().unwrap(), (COMMIT_FEW, true));
    }

    #[tokio::test]
    async fn who_waits_for_a_commit_thread_that_has_ended_hears_of_it() {
        let (queue, taker) = queue::<()>();
        let endpoint = EndpointId::new("shop").unwrap();
        let why = "x".repeat(COMMIT_QUEUE_BYTES_MAX);
        let halted = || EndpointChange::Halted { why: Some(why.clone()) };
        let note = || queue.note(endpoint.clone(), halted());
        let known = || queue.ask(|answer| Question::Endpoints { answer });
        let end = async {
            assert_eq!(taker.items.len(), 2, "a note and a question; the request waits for room");
            drop(taker);
        };
        let request = Request::Block { peer: PeerId::new("ann").unwrap(), blocked: true };
        let submit = || queue.submit(None, request.clone());
        let (noted, submitted, asked, ()) = tokio::join!(note(), submit(), known(), end);
        assert_eq!((noted, submitted, asked), (Err(Closed), Err(Closed), Err(Closed)));
        let (noted, submitted, asked) = tokio::join!(note(), submit(), known());
        assert_eq!((noted, submitted, asked), (Err(Closed), Err(Closed), Err(Closed)));
    }

    #[tokio::test]
    async fn a_queue_is_crowded_when_more_than_half_of_its_room_is_taken() {
        let (queue, _taker) = queue::<()>();
        let peer = PeerId::new("ann").unwrap();
        let request = || Request::Block { peer: peer.clone(), blocked: true };
        let half = COMMIT_QUEUE_BYTES_MAX / 2 / request().permits();
        for _ in 0..half {
            queue.submit(None, request()).await.unwrap();
        }
        assert!(!queue.is_crowded());
        queue.submit(None, request()).await.unwrap();
        assert!(queue.is_crowded());
    }
}
