//! What arrives: messages and events on their way to the app, and answers.
//!
//! # Invariants
//!
//! * The app gets a message once: `seen` rises with each message queued, within one epoch.
//! * The queue for the app is bounded. What does not fit is not read.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::client::queue::is_send_result;
use crate::client::requests::answered_request;
use crate::client::state::{Closing, Shared, State, Stored};
use crate::client::window::number_of;
use crate::client::{
    Cursor, Event, GroupNotice, Mark, Message, Recalled, Refusal, RequestError, SendError,
    UpstreamDone,
};
use crate::id::MessageId;
use crate::limits::{
    CLIENT_AWAY_MAX, CLIENT_INCOMING_MAX, CLIENT_INCOMING_SENDING_MAX, FRAME_BYTES_MAX,
};
use crate::reason::Reason;
use crate::wire::{self, Decoder, ServerFrame};

/// Nothing will come any more.
#[derive(Debug)]
pub(super) struct SessionEnded;

/// What a frame means for the session.
#[derive(Debug)]
pub(super) enum Taken {
    /// The session goes on.
    Done,
    /// The app has more to take.
    Queued,
    /// The same, and there is no room for another message.
    QueuedFull,
    /// The device is logged out.
    Closed,
    /// The server asks to come back later.
    SentAway { reason: Reason, wait: Duration },
    /// The server ended the session.
    Refused(Refusal),
}

impl Shared {
    /// Says what the app has had, and takes what it gets next. `Err` when nothing will come.
    pub(super) fn pop(&self, had: Option<Cursor>) -> Result<Option<Event>, SessionEnded> {
        let mut state = self.lock();
        let wake_writer = had.is_some_and(|cursor| !state.manual_ack && state.had(cursor));
        let event = state.queue.pop();
        if event.as_ref().is_some_and(is_send_result) {
            self.permits.add_permits(1);
        }
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

    pub(super) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// Waits until there may be something to [`Self::pop`].
    pub(super) async fn queued(&self) {
        self.app.notified().await;
    }

    /// Nobody takes messages any more: they stay with the server.
    pub(super) fn drop_incoming(&self) {
        let mut state = self.lock();
        state.incoming_gone = true;
        let send_results = state.queue.clear();
        drop(state);
        self.permits.add_permits(send_results);
        self.room.notify_one();
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
                let wire::Sent { request, id, sequence, at_ms } = frame;
                return self.take_answer(request, Ok(Stored { id, sequence, at_ms }));
            }
            ServerFrame::UpstreamStored(frame) => {
                let wire::UpstreamStored { request, id, at_ms } = frame;
                return self.take_answer(request, Ok(Stored { id, sequence: 0, at_ms }));
            }
            ServerFrame::Dropped(frame) => return self.take_dropped(frame),
            ServerFrame::Recalled(frame) => {
                return self.take_notice(frame.id, |_, epoch| {
                    Event::Recalled(Recalled::new(frame, epoch))
                });
            }
            ServerFrame::GroupEvent(frame) => {
                return self.take_notice(frame.id, |state, epoch| {
                    GroupNotice::new(frame, epoch).into_event(&state.peer)
                });
            }
            ServerFrame::UpstreamDone(frame) => {
                return self.take_notice(frame.id, |_, epoch| {
                    Event::UpstreamDone(UpstreamDone::new(frame, epoch))
                });
            }
            ServerFrame::Delivered(frame) => {
                let wire::Delivered { conversation, peer, sequence, at_ms } = frame;
                let mark = Mark { conversation, peer, sequence, at_ms };
                return self.lock().queue_mark(Event::Delivered(mark));
            }
            ServerFrame::Read(frame) => {
                let wire::Read { conversation, peer, sequence, at_ms } = frame;
                let mark = Mark { conversation, peer, sequence, at_ms };
                return self.lock().queue_mark(Event::Read(mark));
            }
            ServerFrame::Presence(frame) => return self.take_presence(frame),
            ServerFrame::Closed(_) => {
                for reply in self.lock().closers.drain(..) {
                    let _ = reply.send(Ok(()));
                }
                return Taken::Closed;
            }
            ServerFrame::GoAway(frame) => {
                return Taken::SentAway { reason: frame.reason, wait: away_for(&frame) };
            }
            ServerFrame::Error(frame) => return self.take_error(frame),
            frame => {
                // A second Opened has no meaning.
                if let Some(request) = answered_request(&frame) {
                    self.lock().take_answered(request, frame);
                }
            }
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

    /// Takes what has an id and is acknowledged like a message.
    fn take_notice(&self, id: MessageId, event: impl FnOnce(&State, u64) -> Event) -> Taken {
        let mut state = self.lock();
        if self.is_repeat(&mut state, id) {
            state.counts.repeats += 1;
            return Taken::Done;
        }
        let event = event(&state, state.epoch);
        state.queue_message(event)
    }

    fn take_presence(&self, frame: wire::Presence) -> Taken {
        let mut state = self.lock();
        let changes = state.watching.changed(frame);
        if !state.ending {
            state.queue_presence(changes, false);
        }
        state.queued()
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

    fn take_answer(&self, request: u64, result: Result<Stored, SendError>) -> Taken {
        let Some(number) = number_of(request) else { return Taken::Done };
        let mut state = self.lock();
        let Some(pending) = state.window.answer(number, Instant::now()) else { return Taken::Done };
        let more = state.window.has_next() || state.ending;
        let told = self.tell(&mut state, &pending, &result);
        let taken = if told { state.queued() } else { Taken::Done };
        drop(state);
        if more {
            self.writer.notify_one();
        }
        self.settle(pending, told, result);
        taken
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
            return self.take_answer(request, Err(error));
        }
        let mut state = self.lock();
        if state.closing == Closing::Written(request) {
            state.closing = Closing::No;
            for reply in state.closers.drain(..) {
                let _ = reply.send(Err(RequestError::Refused(refusal.clone())));
            }
            return Taken::Done;
        }
        tracing::debug!(%refusal, request, "request refused");
        if state.take_refused(request, refusal) { state.queued() } else { Taken::Done }
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

/// How long to stay away from a server that asks for it.
pub(super) fn away_for(frame: &wire::GoAway) -> Duration {
    Duration::from_millis(frame.wait_ms).min(CLIENT_AWAY_MAX)
}

impl State {
    fn has_room(&self) -> bool {
        // Answers stand behind messages in the stream: an app that awaits one must not wait for
        // ever because it takes no messages meanwhile.
        let waits =
            !self.window.is_empty() || !self.requests.is_empty() || self.closing != Closing::No;
        let max = if waits { CLIENT_INCOMING_SENDING_MAX } else { CLIENT_INCOMING_MAX };
        self.queue.len() < max || self.incoming_gone || self.ending
    }

    fn queue_message(&mut self, event: Event) -> Taken {
        if self.incoming_gone || self.ending {
            return Taken::Done;
        }
        self.queue.push(event);
        self.queued()
    }

    fn queue_mark(&mut self, event: Event) -> Taken {
        if self.incoming_gone || self.ending {
            return Taken::Done;
        }
        self.queue.push_mark(event);
        self.queued()
    }

    /// What it means that something was queued.
    fn queued(&self) -> Taken {
        if self.has_room() { Taken::Queued } else { Taken::QueuedFull }
    }
}
