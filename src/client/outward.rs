//! What leaves: sends, requests, acknowledgements, and the times of their answers.
//!
//! # Invariants
//!
//! * All there is to say goes into one write.
//! * An acknowledgement never leaves alone when something else is about to leave.
//! * Every send that was queued is settled once: by an answer, by its time, or by the end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::state::{Answer, Closing, Pending, Shared, State, Stored};
use crate::client::window::{GivenUp, request_of};
use crate::client::{Cursor, Event, Outgoing, RequestError, SendError, TooLong};
use crate::limits::{
    CLIENT_CONTROL_BYTES_MAX, CLIENT_EARLY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX,
    CLIENT_WATCH_INTERVAL, PUSH_TEXT_BYTES_MAX,
};
use crate::wire::{self, ClientFrame, Target};

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Work {
    /// Bytes were put into the buffer.
    Write,
    /// Nothing to do until this time, or until woken.
    Wait(Option<Instant>),
    /// Everything is written and answered, and the session is to end.
    Finish,
}

impl Shared {
    /// Queues a send that holds a permit and whose time began at `started`.
    pub(super) fn push_send(
        &self,
        message: Outgoing,
        started: Instant,
        answer: Answer,
    ) -> Result<(), SendError> {
        self.push(started, answer, |state| {
            state.check(&message)?;
            Ok(send_frame(message).into())
        })
    }

    /// Queues a message to the back end, as [`Self::push_send`] queues one to others.
    pub(super) fn push_upstream(
        &self,
        body: Bytes,
        started: Instant,
        answer: Answer,
    ) -> Result<(), SendError> {
        self.push(started, answer, |state| {
            state.check_body(&body)?;
            Ok(wire::Upstream { request: 0, number: 0, answered: 0, body }.into())
        })
    }

    fn push(
        &self,
        started: Instant,
        answer: Answer,
        frame: impl FnOnce(&State) -> Result<ClientFrame, SendError>,
    ) -> Result<(), SendError> {
        let mut state = self.lock();
        if state.is_over() {
            return Err(SendError::Ended);
        }
        let frame = frame(&state)?;
        let first = state.window.is_empty();
        state.window.push(Pending { frame, answer }, started);
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
        if state.is_over() {
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

    /// A Ping that nobody waits for: a server that was started anew answers it with a reset.
    pub(super) fn poke(&self) -> Bytes {
        let mut out = BytesMut::new();
        let request = self.lock().request();
        ClientFrame::Ping(wire::Ping { request }).encode(&mut out);
        out.freeze()
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
        // An app that logs out need not take messages meanwhile.
        let stalled = state.stalled;
        drop(state);
        self.writer.notify_one();
        if stalled {
            self.room.notify_one();
        }
        answer
    }

    /// Fails the sends whose time is over. Says how long an answer to the oldest one on this stream
    /// could have been read, since it was written or the one before it was answered, or `None` if
    /// no send is left. Pings a server that takes
    /// its time.
    pub(super) fn expire(&self, send_timeout: Duration) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        while let Some(gone) = state.window.expired(now, send_timeout) {
            self.settle_given_up(&mut state, gone, SendError::TimedOut);
            self.app.notify_one();
        }
        if state.window.is_empty() {
            return None;
        }
        let readable = state.open && !state.stalled;
        let since = state.window.unanswered_since().filter(|_| readable);
        let unanswered = since.map_or(Duration::ZERO, |since| now - since.max(state.reading_since));
        if unanswered >= CLIENT_WATCH_INTERVAL && state.control.is_empty() {
            let request = state.request();
            ClientFrame::Ping(wire::Ping { request }).encode(&mut state.control);
            self.writer.notify_one();
        }
        Some(unanswered)
    }

    /// Begins a stream, whose Open is in `out`. One that is `early` gets the first sends with it:
    /// their numbers are known if the session was open before.
    pub(super) fn begin(&self, early: bool, out: &mut BytesMut) {
        let now = Instant::now();
        let mut state = self.lock();
        state.window.begin();
        let enough = out.len() + CLIENT_EARLY_BYTES_MAX;
        while early && out.len() < enough && state.put_send(now, out) {}
    }

    /// Puts all there is to say into `out`. A round trip of the connection takes `rtt`.
    pub(super) fn compose(&self, rtt: Duration, out: &mut BytesMut) -> Work {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        state.ack.follow(rtt);
        let ending = state.ending;
        let due = state.ack.is_due(now) || ending || state.closing == Closing::Wanted;
        let has_company = state.window.has_next() || !state.control.is_empty();
        if has_company {
            state.ack.accompany(now);
        }
        if (due || has_company)
            && let Some(id) = state.ack.take()
        {
            ClientFrame::Ack(wire::Ack { id }).encode(out);
        }
        out.extend_from_slice(&state.control);
        state.control.clear();
        while state.put_send(now, out) {}
        if state.closing == Closing::Wanted && state.window.all_written() {
            let request = state.request();
            state.closing = Closing::Written(request);
            ClientFrame::Close(wire::Close { request }).encode(out);
        }
        if !out.is_empty() {
            return Work::Write;
        }
        let finishes = ending && state.window.is_empty() && state.closing == Closing::No;
        if finishes { Work::Finish } else { Work::Wait(state.ack.look_at()) }
    }

    /// Tells the app by an event, if it wants that, how a send went. The event then holds the
    /// permit of the send until the app takes it, so that few of them can wait.
    pub(super) fn tell(
        &self,
        state: &mut State,
        pending: &Pending,
        result: &Result<Stored, SendError>,
    ) -> bool {
        // A message to the back end has no number of the app's to tell it by.
        let ClientFrame::Send(frame) = &pending.frame else { return false };
        if !state.send_events || state.incoming_gone {
            return false;
        }
        let client_msg_no = frame.client_msg_no.clone();
        state.queue_own(match result {
            Ok(stored) => Event::Sent { client_msg_no, sent: (*stored).into() },
            Err(error) => Event::Failed { client_msg_no, error: error.clone() },
        });
        true
    }

    /// Answers a send; `told` if an event holds its permit.
    pub(super) fn settle(&self, pending: Pending, told: bool, result: Result<Stored, SendError>) {
        if !told {
            self.permits.add_permits(1);
        }
        // Whoever sent it may have gone.
        let _ = pending.answer.send(result);
    }

    pub(super) fn settle_given_up(
        &self,
        state: &mut State,
        gone: GivenUp<Pending>,
        not_stored: SendError,
    ) {
        let error = if gone.maybe_stored { SendError::MaybeStored } else { not_stored };
        let told = self.tell(state, &gone.item, &Err(error.clone()));
        self.settle(gone.item, told, Err(error));
    }
}

impl State {
    /// Puts the next send into `out`, if one may be written.
    fn put_send(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let Some(next) = self.window.next(now) else { return false };
        self.counts.resends += u64::from(next.again);
        let (request, number, answered) = (request_of(next.number), next.number, next.answered);
        match &mut next.item.frame {
            ClientFrame::Send(send) => {
                (send.request, send.number, send.answered) = (request, number, answered);
            }
            ClientFrame::Upstream(message) => {
                (message.request, message.number, message.answered) = (request, number, answered);
            }
            // Nothing else stands in this row.
            _ => {}
        }
        next.item.frame.encode(out);
        true
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
        self.check_body(&message.body)?;
        TooLong::check("client_msg_no", number, CLIENT_MSG_NO_BYTES_MAX)?;
        let push = message.push_text.as_bytes().len();
        Ok(TooLong::check("push_text", push, PUSH_TEXT_BYTES_MAX)?)
    }

    fn check_body(&self, body: &Bytes) -> Result<(), TooLong> {
        TooLong::check("body", body.len(), self.body_bytes_max)
    }

    pub(super) fn had(&mut self, cursor: Cursor) -> bool {
        cursor.epoch == self.epoch && self.ack.had(cursor.id, Instant::now())
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
        push: message.push_text,
    }
}
