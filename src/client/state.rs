//! What the handles of a session and its driver share.
//!
//! # Invariants
//!
//! * One lock, held for moments, never over an await.
//! * The app gets a message once: `seen` rises with each message queued, within one epoch.
//! * Every send that was queued is settled once: by an answer, by its time, or by the end.
//! * The queue for the app is bounded; what comes from the session itself is kept short.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::connection::Route;
use crate::client::pace::AckPace;
use crate::client::window::{GivenUp, Window, number_of, request_of};
use crate::client::{
    Counts, Cursor, Event, Message, OpenOptions, Opening, Outgoing, Pause, Refusal, RequestError,
    SendError, Sent,
};
use crate::id::{DeviceId, MessageId, PeerId};
use crate::limits::{
    BODY_BYTES_MAX, CLIENT_CONTROL_BYTES_MAX, CLIENT_INCOMING_MAX, CLIENT_INCOMING_SENDING_MAX,
    CLIENT_MSG_NO_BYTES_MAX, CLIENT_SENDS_MAX, FRAME_BYTES_MAX, RECIPIENTS_MAX,
};
use crate::reason::Reason;
use crate::wire::{self, ClientFrame, Decoder, ServerFrame, Target};

pub(super) type Answer = oneshot::Sender<Result<Sent, SendError>>;
type Reply = oneshot::Sender<Result<(), RequestError>>;

/// A send that waits for its turn or its answer.
#[derive(Debug)]
struct Pending {
    frame: ClientFrame,
    answer: Answer,
}

/// How far logging out has come.
#[derive(Debug, Eq, PartialEq)]
enum Closing {
    No,
    Wanted,
    /// Written on the current stream, with this request number.
    Written(u64),
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Work {
    /// Bytes were put into the buffer.
    Write,
    /// Nothing to do until this time, or until woken.
    Wait(Option<Instant>),
    /// Everything is written and the session is to end.
    Finish,
}

/// What a frame means for the session.
#[derive(Debug)]
pub(super) enum Taken {
    /// The session goes on.
    Done,
    /// The app has more to take.
    Queued,
    /// The device is logged out.
    Closed,
    /// The server asks to come back later.
    SentAway { reason: Reason, wait: Duration },
    /// The server ended the session.
    Refused(Refusal),
}

#[derive(Debug)]
struct State {
    peer: PeerId,
    manual_ack: bool,
    device: Option<DeviceId>,
    epoch: u64,
    /// The last message that was put into the queue, in this epoch.
    seen: MessageId,
    ack: AckPace,
    window: Window<Pending>,
    /// Encoded requests that are not sends.
    control: BytesMut,
    requests: Vec<(u64, Reply)>,
    next_request: u64,
    closing: Closing,
    closers: Vec<Reply>,
    /// The way for datagrams; there while the session is open.
    route: Option<Route>,
    open: bool,
    was_open: bool,
    ended: bool,
    /// No handle is left, or one asked for the end.
    ending: bool,
    queue: VecDeque<Event>,
    incoming_gone: bool,
    /// The reader waits for room in the queue.
    stalled: bool,
    /// Answers could not be read before this time.
    reading_since: Instant,
    body_bytes_max: usize,
    recipients_max: usize,
    counts: Counts,
}

/// What the handles of a session and its driver share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    pub(super) writer: Notify,
    /// Wakes the reader when the queue has room again.
    room: Notify,
    /// Wakes the app.
    app: Notify,
    /// Wakes what watches over the times of sends.
    pub(super) sends: Notify,
    /// A permit for each send under way.
    pub(super) permits: Semaphore,
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
            device: options.device.clone(),
            epoch: options.cursor.epoch,
            seen: options.cursor.id,
            ack: AckPace::new(options.cursor.id),
            window: Window::new(),
            control: BytesMut::new(),
            requests: Vec::new(),
            next_request: 1,
            closing: Closing::No,
            closers: Vec::new(),
            route: None,
            open: false,
            was_open: false,
            ended: false,
            ending: false,
            queue: VecDeque::new(),
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
            unanswered: Notify::new(),
            stop: CancellationToken::new(),
            done: CancellationToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
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

    /// Queues a send that holds a permit and whose time began at `started`.
    pub(super) fn push_send(
        &self,
        message: Outgoing,
        started: Instant,
        answer: Answer,
    ) -> Result<(), SendError> {
        let mut state = self.lock();
        if state.ended || state.ending || state.closing != Closing::No {
            return Err(SendError::Ended);
        }
        state.check(&message)?;
        let first = state.window.is_empty();
        state.window.push(Pending { frame: send_frame(message).into(), answer }, started);
        let stalled = state.stalled;
        drop(state);
        self.writer.notify_one();
        if first {
            self.sends.notify_one();
        }
        if stalled {
            self.room.notify_one();
        }
        Ok(())
    }

    pub(super) fn send_transient(&self, message: Outgoing) -> Result<(), SendError> {
        let mut state = self.lock();
        if state.ended || state.ending || state.closing != Closing::No {
            return Err(SendError::Ended);
        }
        if !state.open {
            return Err(SendError::Paused);
        }
        state.check(&message)?;
        let request = state.request();
        let frame = wire::Send { request, transient: true, ..send_frame(message) };
        let before = state.control.len();
        ClientFrame::Send(frame).encode(&mut state.control);
        let frame = &state.control[before..];
        if state.route.as_ref().is_some_and(|route| route.send(frame)) {
            state.control.truncate(before);
            return Ok(());
        }
        if state.control.len() > CLIENT_CONTROL_BYTES_MAX {
            state.control.truncate(before);
            return Err(SendError::Full);
        }
        drop(state);
        self.writer.notify_one();
        Ok(())
    }

    /// The app has had everything up to a message.
    pub(super) fn ack(&self, cursor: Cursor) {
        if self.lock().had(cursor) {
            self.writer.notify_one();
        }
    }

    pub(super) fn ping(&self) -> Result<oneshot::Receiver<Result<(), RequestError>>, RequestError> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.ended {
            return Err(RequestError::Ended);
        }
        if !state.open || state.control.len() > CLIENT_CONTROL_BYTES_MAX {
            return Err(RequestError::Paused);
        }
        let request = state.request();
        state.requests.retain(|(_, reply)| !reply.is_closed());
        state.requests.push((request, reply));
        ClientFrame::Ping(wire::Ping { request }).encode(&mut state.control);
        drop(state);
        self.writer.notify_one();
        Ok(answer)
    }

    pub(super) fn close(&self) -> oneshot::Receiver<Result<(), RequestError>> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.ended {
            let _ = reply.send(Err(RequestError::Ended));
            return answer;
        }
        state.closers.push(reply);
        if state.closing == Closing::No {
            state.closing = Closing::Wanted;
        }
        drop(state);
        self.writer.notify_one();
        answer
    }

    /// Ends the session without logging out, when what was queued has been written.
    pub(super) fn end(&self) {
        self.lock().ending = true;
        self.stop.cancel();
        self.writer.notify_one();
        self.room.notify_one();
    }

    /// Says what the app has had, and takes what it gets next. `Err` when nothing will come.
    pub(super) fn pop(&self, had: Option<Cursor>) -> Result<Option<Event>, SessionEnded> {
        let mut state = self.lock();
        let wake_writer = had.is_some_and(|cursor| !state.manual_ack && state.had(cursor));
        let event = state.queue.pop_front();
        let wake_reader = state.stalled && state.queue.len() < CLIENT_INCOMING_MAX / 2;
        let ended = state.ended;
        drop(state);
        if wake_writer {
            self.writer.notify_one();
        }
        if wake_reader {
            self.room.notify_one();
        }
        if event.is_none() && ended { Err(SessionEnded) } else { Ok(event) }
    }

    /// Waits until there may be something to [`Self::pop`].
    pub(super) async fn queued(&self) {
        self.app.notified().await;
    }

    /// Nobody takes messages any more: they stay with the server.
    pub(super) fn drop_incoming(&self) {
        let mut state = self.lock();
        state.incoming_gone = true;
        state.queue = VecDeque::new();
        drop(state);
        self.room.notify_one();
    }

    // For the driver.

    /// What the next Open tells: the device and the cursor.
    pub(super) fn open_from(&self) -> (Option<DeviceId>, Cursor) {
        let state = self.lock();
        let cursor = Cursor { epoch: state.epoch, id: state.ack.had_up_to() };
        (state.device.clone(), cursor)
    }

    /// The session is open; its Open told `told`.
    pub(super) fn opened(&self, frame: &wire::Opened, told: Cursor, route: Option<Route>) {
        let mut state = self.lock();
        state.device = Some(frame.device.clone());
        let mut told = told.id;
        if frame.epoch != state.epoch {
            // Ids of another log mean nothing in this one.
            state.epoch = frame.epoch;
            state.seen = MessageId::NONE;
            state.ack = AckPace::new(MessageId::NONE);
            told = MessageId::NONE;
        }
        state.ack.opened(told);
        let sends_max = usize::try_from(frame.sends_max).unwrap_or(usize::MAX);
        state.window.opened(frame.next_number, sends_max.max(1));
        state.body_bytes_max = limit(frame.body_bytes_max, BODY_BYTES_MAX);
        state.recipients_max = limit(frame.recipients_max, RECIPIENTS_MAX);
        state.route = route;
        state.open = true;
        state.reading_since = Instant::now();
        let opening = Opening::new(frame);
        if !std::mem::replace(&mut state.was_open, true) {
            state.queue_own(Event::Opened(opening));
        } else {
            state.counts.resumes += 1;
            state.queue_own(Event::Resumed(opening));
        }
        drop(state);
        self.app.notify_one();
    }

    /// The stream is gone; the session comes back.
    pub(super) fn paused(&self, why: Pause) {
        let mut state = self.lock();
        state.stream_gone(RequestError::Paused);
        state.queue_own(Event::Paused(why));
        drop(state);
        self.app.notify_one();
    }

    /// The session has ended for good.
    pub(super) fn finish(&self, why: Option<Refusal>) {
        self.permits.close();
        let mut state = self.lock();
        state.stream_gone(RequestError::Ended);
        state.ended = true;
        while let Some(gone) = state.window.give_up() {
            self.settle_given_up(gone, SendError::Ended);
        }
        for reply in state.closers.drain(..) {
            let _ = reply.send(Err(RequestError::Ended));
        }
        if let Some(refusal) = why {
            state.queue_own(Event::Ended(refusal));
        }
        drop(state);
        self.done.cancel();
        self.app.notify_one();
    }

    fn settle(&self, pending: Pending, result: Result<Sent, SendError>) {
        self.permits.add_permits(1);
        // Whoever sent it may have gone.
        let _ = pending.answer.send(result);
    }

    fn settle_given_up(&self, gone: GivenUp<Pending>, not_stored: SendError) {
        let error = if gone.maybe_stored { SendError::MaybeStored } else { not_stored };
        self.settle(gone.item, Err(error));
    }

    /// Fails the sends whose time is over. Says how long the oldest one on this stream has waited
    /// for an answer that could be read, or `None` if no send is left.
    pub(super) fn expire(&self, send_timeout: Duration) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        while let Some(gone) = state.window.expired(now, send_timeout) {
            self.settle_given_up(gone, SendError::TimedOut);
        }
        if state.window.is_empty() {
            return None;
        }
        let readable = state.open && !state.stalled;
        let since = state.window.unanswered_since().filter(|_| readable);
        Some(since.map_or(Duration::ZERO, |since| now - since.max(state.reading_since)))
    }

    /// Puts all there is to say into `out`.
    pub(super) fn compose(&self, out: &mut BytesMut) -> Work {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        let ending = state.ending;
        let due = state.ack.is_due(now) || ending || state.closing == Closing::Wanted;
        if (due || state.window.has_next() || !state.control.is_empty())
            && let Some(id) = state.ack.take()
        {
            ClientFrame::Ack(wire::Ack { id }).encode(out);
        }
        out.extend_from_slice(&state.control);
        state.control.clear();
        while let Some(next) = state.window.next(now) {
            state.counts.resends += u64::from(next.again);
            if let ClientFrame::Send(frame) = &mut next.item.frame {
                frame.request = request_of(next.number);
                frame.number = next.number;
                frame.answered = next.answered;
            }
            next.item.frame.encode(out);
        }
        if state.closing == Closing::Wanted && state.window.all_written() {
            let request = state.request();
            state.closing = Closing::Written(request);
            ClientFrame::Close(wire::Close { request }).encode(out);
        }
        if !out.is_empty() {
            return Work::Write;
        }
        let finishes = ending && state.window.all_written() && state.closing == Closing::No;
        if finishes { Work::Finish } else { Work::Wait(state.ack.look_at()) }
    }

    /// Whether every send has its answer.
    pub(super) fn all_answered(&self) -> bool {
        self.lock().window.is_empty()
    }

    /// Waits until the app has taken enough for another message.
    pub(super) async fn wait_for_room(&self) {
        loop {
            {
                let mut state = self.lock();
                if state.has_room() {
                    if std::mem::take(&mut state.stalled) {
                        state.reading_since = Instant::now();
                    }
                    return;
                }
                state.stalled = true;
            }
            self.wake_app();
            self.room.notified().await;
        }
    }

    pub(super) fn wake_app(&self) {
        self.app.notify_one();
    }

    /// Takes a frame of the stream.
    pub(super) fn take(&self, frame: ServerFrame) -> Taken {
        match frame {
            ServerFrame::Deliver(frame) => return self.take_message(frame),
            ServerFrame::Sent(frame) => {
                let sent = Sent { id: frame.id, sequence: frame.sequence, at_ms: frame.at_ms };
                self.take_answer(frame.request, Ok(sent));
            }
            ServerFrame::Dropped(frame) => return self.take_dropped(frame),
            ServerFrame::Pong(frame) => self.take_reply(frame.request, Ok(())),
            ServerFrame::Closed(_) => {
                for reply in self.lock().closers.drain(..) {
                    let _ = reply.send(Ok(()));
                }
                return Taken::Closed;
            }
            ServerFrame::GoAway(frame) => {
                let wait = Duration::from_millis(frame.wait_ms);
                return Taken::SentAway { reason: frame.reason, wait };
            }
            ServerFrame::Error(frame) => return self.take_error(frame),
            // A second Opened has no meaning.
            ServerFrame::Opened(_) => {}
        }
        Taken::Done
    }

    fn take_message(&self, frame: wire::Deliver) -> Taken {
        let mut state = self.lock();
        let (id, epoch) = (frame.id, state.epoch);
        if frame.transient {
            return state.queue_message(Event::Message(Message::new(frame, epoch)));
        }
        if self.is_repeat(&mut state, id) {
            state.counts.repeats += 1;
            return Taken::Done;
        }
        state.queue_message(Event::Message(Message::new(frame, epoch)))
    }

    fn take_dropped(&self, frame: wire::Dropped) -> Taken {
        let mut state = self.lock();
        // One below what was seen is about messages that the app has or gets.
        if self.is_repeat(&mut state, frame.id) {
            return Taken::Done;
        }
        let cursor = Cursor { epoch: state.epoch, id: frame.id };
        state.queue_message(Event::Dropped { count: frame.count, cursor })
    }

    fn is_repeat(&self, state: &mut State, id: MessageId) -> bool {
        if state.ack.delivered(id, Instant::now()) {
            self.writer.notify_one();
        }
        let repeat = id <= state.seen;
        // What nobody takes is not seen: a session that takes it may come.
        if !repeat && !state.incoming_gone {
            state.seen = id;
        }
        repeat
    }

    fn take_answer(&self, request: u64, result: Result<Sent, SendError>) {
        let Some(number) = number_of(request) else { return };
        let (pending, more) = {
            let mut state = self.lock();
            (state.window.answer(number), state.window.has_next())
        };
        if more {
            self.writer.notify_one();
        }
        if let Some(pending) = pending {
            self.settle(pending, result);
        }
    }

    fn take_reply(&self, request: u64, result: Result<(), RequestError>) {
        let mut state = self.lock();
        if let Some(index) = state.requests.iter().position(|(number, _)| *number == request) {
            let (_, reply) = state.requests.swap_remove(index);
            let _ = reply.send(result);
        }
    }

    fn take_error(&self, frame: wire::Error) -> Taken {
        let request = frame.request;
        let refusal = Refusal::from(frame);
        if request == 0 {
            return Taken::Refused(refusal);
        }
        if number_of(request).is_some() {
            let forgotten = refusal.reason() == Some(Reason::TooOld);
            let error =
                if forgotten { SendError::MaybeStored } else { SendError::Refused(refusal) };
            self.take_answer(request, Err(error));
            return Taken::Done;
        }
        let mut state = self.lock();
        if state.closing == Closing::Written(request) {
            state.closing = Closing::No;
            for reply in state.closers.drain(..) {
                let _ = reply.send(Err(RequestError::Refused(refusal.clone())));
            }
            return Taken::Done;
        }
        drop(state);
        tracing::debug!(%refusal, request, "request refused");
        self.take_reply(request, Err(RequestError::Refused(refusal)));
        Taken::Done
    }

    /// Takes a datagram for this session. It is lost if the app has too much to take already.
    pub(super) fn take_datagram(&self, datagram: Bytes) {
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.push(datagram);
        let Ok(Some(raw)) = decoder.next_frame() else { return };
        let Ok(ServerFrame::Deliver(frame)) = ServerFrame::decode(raw) else { return };
        let mut state = self.lock();
        if !frame.transient || !state.has_room() {
            return;
        }
        let epoch = state.epoch;
        state.queue_message(Event::Message(Message::new(frame, epoch)));
        drop(state);
        self.wake_app();
    }
}

/// Nothing will come any more.
#[derive(Debug)]
pub(super) struct SessionEnded;

impl State {
    /// The next request number for what is not a send.
    fn request(&mut self) -> u64 {
        let request = self.next_request;
        self.next_request += 2;
        request
    }

    fn check(&self, message: &Outgoing) -> Result<(), SendError> {
        if let Target::Peers(peers) = &message.target {
            let (count, count_max) = (peers.len(), self.recipients_max);
            if count == 0 {
                return Err(SendError::NoRecipient);
            }
            if count > count_max {
                return Err(SendError::TooManyRecipients { count, count_max });
            }
        }
        let number = message.client_msg_no.as_bytes().len();
        check_length("body", message.body.len(), self.body_bytes_max)?;
        check_length("client_msg_no", number, CLIENT_MSG_NO_BYTES_MAX)
    }

    fn had(&mut self, cursor: Cursor) -> bool {
        cursor.epoch == self.epoch && self.ack.had(cursor.id, Instant::now())
    }

    fn has_room(&self) -> bool {
        // Answers stand behind messages in the stream: an app that awaits one must not wait for
        // ever because it takes no messages meanwhile.
        let sending = !self.window.is_empty();
        let max = if sending { CLIENT_INCOMING_SENDING_MAX } else { CLIENT_INCOMING_MAX };
        self.queue.len() < max || self.incoming_gone || self.ending
    }

    fn queue_message(&mut self, event: Event) -> Taken {
        if self.incoming_gone || self.ending {
            return Taken::Done;
        }
        self.queue.push_back(event);
        Taken::Queued
    }

    /// Queues an event of the session itself. A connection that comes and goes while the app
    /// takes nothing leaves one pause in the queue, not many.
    fn queue_own(&mut self, event: Event) {
        if self.incoming_gone {
            return;
        }
        if let (Event::Paused(_), Some(Event::Resumed(_))) = (&event, self.queue.back()) {
            self.queue.pop_back();
            if let Some(Event::Paused(_)) = self.queue.back() {
                self.queue.pop_back();
            }
        }
        self.queue.push_back(event);
    }

    fn stream_gone(&mut self, error: RequestError) {
        self.open = false;
        self.route = None;
        self.stalled = false;
        self.control.clear();
        for (_, reply) in self.requests.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
        if let Closing::Written(_) = self.closing {
            self.closing = Closing::Wanted;
        }
    }
}

fn send_frame(message: Outgoing) -> wire::Send {
    wire::Send {
        request: 0,
        transient: false,
        receipt: message.receipt,
        number: 0,
        answered: 0,
        ttl_ms: message.ttl_ms,
        client_msg_no: message.client_msg_no,
        target: message.target,
        body: message.body,
    }
}

fn check_length(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), SendError> {
    if bytes > bytes_max { Err(SendError::TooLong { what, bytes, bytes_max }) } else { Ok(()) }
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
