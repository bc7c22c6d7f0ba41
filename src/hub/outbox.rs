//! The bounded queue of what one session has to be told, and how far it has got.
//!
//! # Invariants
//!
//! * Pushing never waits: a slow reader cannot slow a sender.
//! * The ids of persistent messages strictly rise. A full outbox loses nothing: the session is
//!   *behind*, and a feeder reads from the inbox what was passed over.
//! * What the window gave up is told where it would have stood: acknowledging that never
//!   acknowledges a message that has not been put to the session.
//! * Frames leave in the order in which they were pushed. What only the latest matters of stands in
//!   the [`Lane`] beside them, which says where it leaves.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::hub::lane::Lane;
use crate::id::{MessageId, PeerId};
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_FRAMES_MAX, SENDS_REMEMBERED};
use crate::reason::Reason;
use crate::store::Mark;

/// Bytes handed to the writer at once, unless one frame has more or there is a lane beside them.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// The next id of a session that is not open.
const NOT_OPEN: MessageId = MessageId(i64::MAX);

/// How a session gets its messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// From the dispatcher, as they are committed.
    Live,
    /// From the inbox, until it has caught up with the dispatcher.
    Behind,
}

/// What the writer is to do next.
#[derive(Debug)]
pub enum Next {
    /// Write these bytes.
    Write(Bytes),
    /// Read the messages behind this id from the inbox and [`Outbox::feed`] them.
    Feed(MessageId),
    /// Nothing until [`Outbox::changed`].
    Wait,
    /// All is written; end the stream.
    Finish,
}

/// Whether the writer has to be woken for what was pushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Pushed {
    /// It has: there was nothing to write before.
    Wake,
    /// It is on its way already.
    Quiet,
    /// Nothing was pushed.
    Passed,
}

/// What an acknowledgement is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Acked {
    /// It says more than those before.
    New,
    /// It says nothing new.
    Repeated,
    /// It names what was never put to the session.
    Future,
}

/// The outbox of one session.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
    room: Notify,
}

#[derive(Debug)]
struct Queue {
    /// Parts that are full, in front of `last`.
    full: VecDeque<Part>,
    last: Part,
    /// Frames and bytes of all parts.
    frames: usize,
    bytes: usize,
    /// What stands beside them, if there is any.
    lane: Option<Box<Lane>>,
    /// Changes of presence are not written: an answer that they must not overtake is being made.
    is_presence_held: bool,
    mode: Mode,
    /// Messages below this have been put to the session, or are not for it.
    next_id: MessageId,
    /// The last message that the dispatcher passed over.
    passed: MessageId,
    /// The highest id put to the session, which it may acknowledge.
    put: MessageId,
    /// What tells of the messages that the window gave up, and the last of them.
    dropped: Option<(MessageId, Bytes)>,
    /// The last of these that it has acknowledged.
    acked: MessageId,
    /// Requests that await their answer.
    unanswered: usize,
    is_room_wanted: bool,
    end: Option<End>,
}

/// Whole frames that the writer gets at once.
#[derive(Debug, Default)]
struct Part {
    bytes: BytesMut,
    frames: usize,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// When all requests have been answered.
    Answered,
    /// When what has been pushed is written.
    Now(Reason),
}

impl Default for Outbox {
    fn default() -> Self {
        let queue = Queue {
            full: VecDeque::new(),
            last: Part::default(),
            frames: 0,
            bytes: 0,
            lane: None,
            is_presence_held: false,
            mode: Mode::Live,
            next_id: NOT_OPEN,
            passed: MessageId::NONE,
            put: MessageId::NONE,
            acked: MessageId::NONE,
            dropped: None,
            unanswered: 0,
            is_room_wanted: false,
            end: None,
        };
        Self { queue: Mutex::new(queue), changed: Notify::new(), room: Notify::new() }
    }
}

impl Outbox {
    /// The session is open: it has had what is up to `cursor`, and catches up from there.
    /// `dropped` is the frame that tells of what was given up since, and the last id of that.
    pub(super) fn open(&self, cursor: MessageId, dropped: Option<(MessageId, Bytes)>) {
        let mut queue = self.queue.lock();
        queue.mode = Mode::Behind;
        queue.next_id = MessageId(cursor.0 + 1);
        queue.put = cursor;
        // Acknowledging that messages were dropped is news, wherever these would have stood.
        let before_dropped = dropped.as_ref().map(|(id, _)| MessageId(id.0 - 1));
        queue.acked = before_dropped.map_or(cursor, |before| before.min(cursor));
        queue.dropped = dropped;
    }

    /// Pushes a frame that answers a request or tells of the session itself.
    pub(super) fn push(&self, is_answer: bool, encode: impl FnOnce(&mut BytesMut)) -> Pushed {
        let mut queue = self.queue.lock();
        if is_answer {
            queue.unanswered = queue.unanswered.saturating_sub(1);
        }
        queue.push(encode)
    }

    /// Pushes a message that has just been committed.
    pub(super) fn deliver(&self, id: MessageId, frame: &[u8]) -> Pushed {
        let mut queue = self.queue.lock();
        if queue.end.is_some() {
            // It could not be acknowledged any more, and would only hold up the end.
            return Pushed::Passed;
        }
        if queue.mode == Mode::Behind || !queue.has_room(frame.len()) {
            queue.mode = Mode::Behind;
            queue.passed = id;
            return Pushed::Passed;
        }
        if id < queue.next_id {
            return Pushed::Passed;
        }
        queue.next_id = MessageId(id.0 + 1);
        queue.put = id;
        queue.push(|buffer| buffer.extend_from_slice(frame))
    }

    /// Pushes a copy of what the peer itself has just sent from another device. A session that is
    /// behind or has no room does without it, for it waits in no inbox.
    pub(super) fn echo(&self, id: MessageId, frame: &[u8]) -> Pushed {
        let mut queue = self.queue.lock();
        let is_live = queue.end.is_none() && queue.mode == Mode::Live;
        if !is_live || id < queue.next_id || !queue.has_room(frame.len()) {
            return Pushed::Passed;
        }
        queue.next_id = MessageId(id.0 + 1);
        queue.put = id;
        queue.push(|buffer| buffer.extend_from_slice(frame))
    }

    /// Pushes a mark, which takes the place of the one before it, whether there is room or not.
    pub(super) fn mark(&self, mark: Mark) -> Pushed {
        let mut queue = self.queue.lock();
        if queue.next_id == NOT_OPEN {
            return Pushed::Passed;
        }
        let before = queue.bytes;
        queue.push_beside(|lane| lane.mark(mark, before))
    }

    /// Pushes that a peer has gone on or off line, unlike what was pushed or answered before,
    /// whether there is room or not. A session that is not open yet has its watch list already,
    /// and hears of it behind Opened.
    pub(super) fn presence(&self, peer: &PeerId, online: bool) -> Pushed {
        self.queue.lock().push_beside(|lane| lane.presence(peer, online))
    }

    /// Takes back what waits to be told of a peer: an answer tells it, or it is not watched any
    /// more.
    pub(super) fn forget_presence(&self, peer: &PeerId) {
        if let Some(lane) = &mut self.queue.lock().lane {
            lane.forget(peer);
        }
    }

    /// Writes no change of presence until [`Self::release_presence`], so that none overtakes an
    /// answer that tells the state before it.
    pub(super) fn hold_presence(&self) {
        self.queue.lock().is_presence_held = true;
    }

    /// Writes changes of presence again, behind what has been pushed meanwhile.
    pub(super) fn release_presence(&self) {
        let mut queue = self.queue.lock();
        let was_idle = queue.is_idle();
        queue.is_presence_held = false;
        let is_due = was_idle && !queue.is_idle();
        drop(queue);
        if is_due {
            self.wake();
        }
    }

    /// Pushes a transient message; a session without room does without it.
    pub(super) fn transient(&self, frame: &[u8]) -> Pushed {
        let mut queue = self.queue.lock();
        if queue.end.is_some() || !queue.has_room(frame.len()) {
            return Pushed::Passed;
        }
        queue.push(|buffer| buffer.extend_from_slice(frame))
    }

    /// Pushes what was read from the inbox: frames by rising id, the last id that was looked at,
    /// and the head of the log if nothing more waited below it.
    pub fn feed<'a>(
        &self,
        frames: impl Iterator<Item = (MessageId, &'a [u8])>,
        last: MessageId,
        caught_up: Option<MessageId>,
    ) {
        let mut queue = self.queue.lock();
        for (id, frame) in frames.filter(|(id, _)| *id >= queue.next_id).collect::<Vec<_>>() {
            queue.tell_dropped(id);
            queue.put = id;
            // The writer is the one who feeds, so nobody has to be woken.
            let _ = queue.push(|buffer| buffer.extend_from_slice(frame));
        }
        let last = caught_up.unwrap_or(last).max(last);
        queue.tell_dropped(MessageId(last.0 + 1));
        queue.next_id = queue.next_id.max(MessageId(last.0 + 1));
        if caught_up.is_some_and(|head| queue.passed <= head) {
            queue.mode = Mode::Live;
        }
    }

    /// What the writer is to do. What it has been given to write counts as gone.
    pub fn next(&self) -> Next {
        let mut queue = self.queue.lock();
        if !queue.is_idle() {
            let batch = queue.take();
            if std::mem::take(&mut queue.is_room_wanted) {
                self.room.notify_one();
            }
            return Next::Write(batch);
        }
        match queue.end {
            Some(End::Now(_)) => Next::Finish,
            Some(End::Answered) if queue.unanswered == 0 => Next::Finish,
            None if queue.mode == Mode::Behind => Next::Feed(MessageId(queue.next_id.0 - 1)),
            _ => Next::Wait,
        }
    }

    /// Waits until [`Self::next`] has something else to say.
    ///
    /// # Cancel safety
    ///
    /// No wake-up is lost if the future is dropped.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the writer.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Takes a place for a request that will be answered, or says that there is none.
    pub(super) fn reserve_answer(&self) -> bool {
        let mut queue = self.queue.lock();
        let has_place = queue.unanswered < SENDS_REMEMBERED && queue.has_room(0);
        queue.unanswered += usize::from(has_place);
        queue.is_room_wanted |= !has_place;
        has_place
    }

    /// Waits until there may be a place for another request.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// Wakes who waits for a place, when an answer has made one.
    pub(super) fn wake_room(&self) {
        if std::mem::take(&mut self.queue.lock().is_room_wanted) {
            self.room.notify_one();
        }
    }

    /// The session has had everything up to `id`, or says so.
    pub(super) fn acknowledge(&self, id: MessageId) -> Acked {
        let mut queue = self.queue.lock();
        if id > queue.put {
            return Acked::Future;
        }
        if id <= queue.acked {
            return Acked::Repeated;
        }
        queue.acked = id;
        Acked::New
    }

    /// The last message that the session has acknowledged.
    pub(super) fn acked(&self) -> MessageId {
        self.queue.lock().acked
    }

    /// Ends the session when what has been pushed is written; the first reason stays.
    pub fn end(&self, reason: Reason) {
        let mut queue = self.queue.lock();
        if !matches!(queue.end, Some(End::Now(_))) {
            queue.end = Some(End::Now(reason));
        }
        drop(queue);
        self.wake();
    }

    /// Ends the session when every request has been answered.
    pub fn finish(&self) {
        self.queue.lock().end.get_or_insert(End::Answered);
        self.wake();
    }

    /// Why the session was ended, if it was.
    pub fn ended(&self) -> Option<Reason> {
        match self.queue.lock().end {
            Some(End::Now(reason)) => Some(reason),
            _ => None,
        }
    }
}

impl Queue {
    fn has_room(&self, bytes: usize) -> bool {
        self.frames < OUTBOX_FRAMES_MAX && self.bytes + bytes <= OUTBOX_BYTES_MAX
    }

    /// Whether there is nothing to write.
    fn is_idle(&self) -> bool {
        let held = self.is_presence_held;
        self.bytes == 0 && !self.lane.as_ref().is_some_and(|lane| lane.is_due(held))
    }

    fn push(&mut self, encode: impl FnOnce(&mut BytesMut)) -> Pushed {
        if matches!(self.end, Some(End::Now(_))) {
            return Pushed::Passed;
        }
        let was_idle = self.is_idle();
        let start = self.last.bytes.len();
        encode(&mut self.last.bytes);
        let len = self.last.bytes.len();
        if start > 0 && len > BATCH_BYTES_MAX {
            let rest = Part { bytes: self.last.bytes.split_off(start), frames: 0 };
            self.full.push_back(std::mem::replace(&mut self.last, rest));
        }
        self.last.frames += 1;
        self.frames += 1;
        self.bytes += len - start;
        if was_idle { Pushed::Wake } else { Pushed::Quiet }
    }

    /// Adds to the lane.
    fn push_beside(&mut self, add: impl FnOnce(&mut Lane)) -> Pushed {
        if self.end.is_some() {
            return Pushed::Passed;
        }
        let was_idle = self.is_idle();
        add(self.lane.get_or_insert_default());
        if was_idle && !self.is_idle() { Pushed::Wake } else { Pushed::Quiet }
    }

    /// Tells of what was given up, once all before `next` that was not has been put.
    fn tell_dropped(&mut self, next: MessageId) {
        if let Some((id, frame)) = self.dropped.take_if(|(id, _)| *id < next) {
            self.put = self.put.max(id);
            let _ = self.push(|buffer| buffer.extend_from_slice(&frame));
        }
    }

    /// The next bytes to write, and the memory they are in.
    fn take(&mut self) -> Bytes {
        let next = self.full.pop_front().unwrap_or_else(|| std::mem::take(&mut self.last));
        if self.full.is_empty() {
            self.full.shrink_to_fit();
        }
        let Part { mut bytes, frames } = next;
        self.frames -= frames;
        self.bytes -= bytes.len();
        let is_last = self.bytes == 0;
        if let Some(lane) = &mut self.lane {
            lane.put_marks(&mut bytes);
            if is_last && !self.is_presence_held {
                lane.put_presence(&mut bytes);
            }
            if lane.is_empty() {
                self.lane = None;
            }
        }
        bytes.freeze()
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
