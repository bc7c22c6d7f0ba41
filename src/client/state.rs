//! What the handles of a session and its driver share.
//!
//! # Invariants
//!
//! * One lock, held for moments, never over an await.
//! * What comes from the session itself takes little room in the queue for the app.
//! * What leaves is in `outward.rs`, what arrives in `inward.rs`; here is what both need, and how
//!   a session opens, pauses and ends.

use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::connection::Route;
use crate::client::groups::Rejoin;
use crate::client::pace::AckPace;
use crate::client::presence::{Changes, Watching};
use crate::client::queue::Queue;
use crate::client::requests::{Effect, Requests};
use crate::client::signer::Signing;
use crate::client::window::Window;
use crate::client::{
    Counts, Cursor, Event, OpenOptions, Opening, Pause, Refusal, RequestError, SendError, Sent,
};
use crate::id::{DeviceId, GroupId, MessageId, PeerId};
use crate::limits::{BODY_BYTES_MAX, CLIENT_REQUESTS_MAX, CLIENT_SENDS_MAX, RECIPIENTS_MAX};
use crate::wire::{self, ClientFrame};

pub(super) type Answer = oneshot::Sender<Result<Stored, SendError>>;
pub(super) type Reply = oneshot::Sender<Result<(), RequestError>>;

/// What the server says of a send that it has stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stored {
    pub(super) id: MessageId,
    /// Its number in its conversation; 0 to the app's back end, which is none.
    pub(super) sequence: u32,
    pub(super) at_ms: u64,
}

impl From<Stored> for Sent {
    fn from(Stored { id, sequence, at_ms }: Stored) -> Self {
        Self { id, sequence, at_ms }
    }
}

/// A send, to others or to the back end, that waits for its turn or its answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// A Send or an Upstream.
    pub(super) frame: ClientFrame,
    pub(super) answer: Answer,
}

/// What an Open told the server, and what it could not tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) cursor: Cursor,
    /// Who was to be watched.
    pub(super) asked: Vec<PeerId>,
    /// Who is watched: the signer may have left some out.
    pub(super) watch: Vec<PeerId>,
    /// The open group to be in again.
    pub(super) rejoin: Option<Rejoin>,
}

/// How far logging out has come.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Closing {
    No,
    Wanted,
    /// Written on the current stream, with this request number.
    Written(u64),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) peer: PeerId,
    pub(super) manual_ack: bool,
    pub(super) device: DeviceId,
    pub(super) epoch: u64,
    /// The last message that was put into the queue, in this epoch.
    pub(super) seen: MessageId,
    pub(super) ack: AckPace,
    pub(super) window: Window<Pending>,
    /// Encoded requests that are not sends.
    pub(super) control: BytesMut,
    pub(super) requests: Requests,
    pub(super) next_request: u64,
    pub(super) closing: Closing,
    pub(super) closers: Vec<Reply>,
    /// The way for datagrams; there while the session is open.
    pub(super) route: Option<Route>,
    pub(super) open: bool,
    pub(super) was_open: bool,
    pub(super) ended: bool,
    /// No handle is left, or one asked for the end.
    pub(super) ending: bool,
    pub(super) queue: Queue,
    /// The results of sends are events too.
    pub(super) send_events: bool,
    pub(super) watching: Watching,
    /// The open group that the session is in.
    pub(super) open_group: Option<GroupId>,
    pub(super) incoming_gone: bool,
    /// The reader waits for room in the queue.
    pub(super) stalled: bool,
    /// Answers could not be read before this time.
    pub(super) reading_since: Instant,
    pub(super) body_bytes_max: usize,
    pub(super) recipients_max: usize,
    pub(super) counts: Counts,
}

/// What the handles of a session and its driver share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Wakes the writer.
    pub(super) writer: Notify,
    /// Wakes the reader when the queue has room again.
    pub(super) room: Notify,
    /// Wakes the app.
    pub(super) app: Notify,
    /// Wakes what watches over the times of sends.
    pub(super) sends: Notify,
    /// A permit for each send under way.
    pub(super) permits: Semaphore,
    /// A permit for each request under way.
    pub(super) slots: Arc<Semaphore>,
    /// Wakes who waits for the next opening, or for the end.
    pub(super) resumed: Notify,
    pub(super) signing: Signing,
    /// The session is to end.
    pub(super) stop: CancellationToken,
    /// The server does not answer.
    pub(super) unanswered: Notify,
    /// The session has ended.
    pub(super) done: CancellationToken,
}

impl Shared {
    pub(super) fn new(options: &OpenOptions) -> Self {
        let state = State {
            peer: options.peer.clone(),
            manual_ack: options.manual_ack,
            // An Open may have to be tried again when its answer was lost. If the server chose the
            // id, each try would leave a device behind, for which messages wait.
            device: options.device.clone().unwrap_or_else(DeviceId::random),
            epoch: options.cursor.epoch,
            seen: options.cursor.id,
            ack: AckPace::new(options.cursor.id),
            window: Window::new(),
            control: BytesMut::new(),
            requests: Requests::default(),
            next_request: 1,
            closing: Closing::No,
            closers: Vec::new(),
            route: None,
            open: false,
            was_open: false,
            ended: false,
            ending: false,
            queue: Queue::default(),
            send_events: options.send_events,
            watching: Watching::new(&options.watch),
            open_group: None,
            incoming_gone: false,
            stalled: false,
            reading_since: Instant::now(),
            body_bytes_max: BODY_BYTES_MAX,
            recipients_max: RECIPIENTS_MAX,
            counts: Counts::default(),
        };
        Self {
            state: Mutex::new(state),
            writer: Notify::new(),
            room: Notify::new(),
            app: Notify::new(),
            sends: Notify::new(),
            permits: Semaphore::new(CLIENT_SENDS_MAX),
            slots: Arc::new(Semaphore::new(CLIENT_REQUESTS_MAX)),
            resumed: Notify::new(),
            signing: options.signing.clone(),
            unanswered: Notify::new(),
            stop: CancellationToken::new(),
            done: CancellationToken::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    // For the handles.

    pub(super) fn peer(&self) -> PeerId {
        self.lock().peer.clone()
    }

    pub(super) fn cursor(&self) -> Cursor {
        let state = self.lock();
        Cursor { epoch: state.epoch, id: state.ack.had_up_to() }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Ends the session without logging out, when what was queued has been written.
    pub(super) fn end(&self) {
        self.lock().ending = true;
        self.stop.cancel();
        self.writer.notify_one();
        self.room.notify_one();
    }

    // For the driver.

    /// What the next Open tells: the device and the cursor.
    pub(super) fn open_from(&self) -> (DeviceId, Cursor) {
        let state = self.lock();
        let cursor = Cursor { epoch: state.epoch, id: state.ack.had_up_to() };
        (state.device.clone(), cursor)
    }

    /// The session is open; its Open told `told`.
    pub(super) fn opened(&self, frame: &wire::Opened, told: Told, route: Option<Route>) {
        let mut state = self.lock();
        state.device = frame.device.clone();
        let mut cursor = told.cursor.id;
        if frame.epoch != state.epoch {
            // Ids of another log mean nothing in this one.
            state.epoch = frame.epoch;
            state.seen = MessageId::NONE;
            state.ack = AckPace::new(MessageId::NONE);
            cursor = MessageId::NONE;
        }
        state.ack.opened(cursor);
        let sends_max = usize::try_from(frame.sends_max).unwrap_or(usize::MAX);
        state.window.opened(frame.next_number, sends_max.max(1));
        state.body_bytes_max = limit(frame.body_bytes_max, BODY_BYTES_MAX);
        state.recipients_max = limit(frame.recipients_max, RECIPIENTS_MAX);
        state.route = route;
        state.open = true;
        state.reading_since = Instant::now();
        let (changes, unwanted) = state.watching.opened(&told.asked, &told.watch, &frame.online);
        state.unwatch(unwanted);
        let opening = Opening::new(frame);
        if std::mem::replace(&mut state.was_open, true) {
            state.counts.resumes += 1;
            state.queue_own(Event::Resumed(opening));
            state.queue_presence(changes, true);
        } else {
            state.queue_own(Event::Opened(opening));
        }
        if let Some(rejoin) = told.rejoin {
            state.rejoin(rejoin);
        }
        drop(state);
        self.resumed.notify_waiters();
        self.app.notify_one();
    }

    /// The stream is gone; the session comes back.
    pub(super) fn paused(&self, why: Pause) {
        let mut state = self.lock();
        state.stream_gone(&RequestError::Paused);
        state.queue_own(Event::Paused(why));
        drop(state);
        self.app.notify_one();
    }

    /// The session has ended for good.
    pub(super) fn finish(&self, why: Option<Refusal>) {
        self.permits.close();
        self.slots.close();
        let mut state = self.lock();
        state.stream_gone(&RequestError::Ended);
        state.ended = true;
        while let Some(gone) = state.window.give_up() {
            self.settle_given_up(&mut state, gone, SendError::Ended);
        }
        for reply in state.closers.drain(..) {
            let _ = reply.send(Err(RequestError::Ended));
        }
        if let Some(refusal) = why {
            state.queue_own(Event::Ended(refusal));
        }
        drop(state);
        self.done.cancel();
        self.resumed.notify_waiters();
        self.app.notify_one();
    }
}

impl State {
    /// The next request number for what is not a send.
    pub(super) fn request(&mut self) -> u64 {
        let request = self.next_request;
        self.next_request += 2;
        request
    }

    /// Nothing more can be asked for.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.ending || self.closing != Closing::No
    }

    /// Queues an event of the session itself.
    pub(super) fn queue_own(&mut self, event: Event) {
        match event {
            _ if self.incoming_gone => {}
            Event::Paused(_) => self.queue.push_pause(event),
            _ => self.queue.push(event),
        }
    }

    /// Queues what has changed about watched peers.
    pub(super) fn queue_presence(&mut self, changes: Changes, resumes: bool) {
        if !self.incoming_gone {
            self.queue.push_presence(changes.online, changes.offline, resumes);
        }
    }

    /// Tells the server whom it is not to watch, though the last Open said so.
    fn unwatch(&mut self, peers: Vec<PeerId>) {
        if !peers.is_empty() {
            let request = self.request();
            ClientFrame::Unwatch(wire::Unwatch { request, peers }).encode(&mut self.control);
        }
    }

    /// Asks for the open group that the session was in, unless it is to be in another one now.
    fn rejoin(&mut self, rejoin: Rejoin) {
        let group = rejoin.group;
        if self.open_group != Some(group) {
            return;
        }
        let Ok(signature) = rejoin.signature else {
            self.not_rejoined(group);
            return;
        };
        let request = self.request();
        self.requests.push_own(request, Effect::Rejoin(group));
        let join = wire::Join { request, group, signature, ..Rejoin::join() };
        ClientFrame::Join(join).encode(&mut self.control);
    }

    fn stream_gone(&mut self, error: &RequestError) {
        self.open = false;
        self.route = None;
        self.stalled = false;
        self.control.clear();
        // The session that was in it is gone, and it is not to come back.
        self.open_group.take_if(|group| self.requests.leaves(*group));
        self.requests.fail(error);
        self.watching.forgotten();
        if let Closing::Written(_) = self.closing {
            self.closing = Closing::Wanted;
        }
    }
}

/// The server's limit, if it is lower than ours.
fn limit(theirs: u64, ours: usize) -> usize {
    usize::try_from(theirs).map_or(ours, |theirs| theirs.min(ours))
}

/// Ends a session when its last handle is dropped.
#[derive(Debug)]
pub(super) struct EndGuard(pub(super) Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}
