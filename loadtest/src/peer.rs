//! What one peer of the generator says and hears: the protocol without its socket.
//!
//! # Invariants
//!
//! * Every message is checked: whom it is for, who sent it, its number, its place in the
//!   conversation, and whether the app has had it before.
//! * Acknowledgements are lazy, as the protocol has it: after 32 messages, after 20 ms, or with the
//!   next frame out.
//! * No more sends are unanswered than the server allows.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tidings::id::MessageId;
use tidings::limits::{CLIENT_ACK_DELAY, CLIENT_ACK_MESSAGES};
use tidings::wire::{Ack, ClientFrame, Opened, Ping, RawFrame, ServerFrame, kind};

use crate::frames::{self, DeliverView, NAME_BYTES, SentView, Stamp};
use crate::proof::{Arrival, Order};
use crate::record::Record;
use crate::run::{Phase, Run};

/// The request number of the Ping that is a fence; send numbers stay below it.
const FENCE: u64 = 1 << 60;

/// What a peer does besides receiving.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Nothing.
    Listen,
    /// Keeps this many sends to random peers in flight.
    Chat { window: usize },
    /// Sends to a random peer whenever its mail says that one is due.
    Rate,
    /// Sends one message for each number of a share of `0..messages`, to the peer it falls on.
    Store { next: u64, step: u64, messages: u64, first_peer: u32, peers: u32, window: usize },
    /// Receives what waited, then ends. `opened_ns` is when Open was written.
    Drain { opened_ns: u64 },
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    index: u32,
    name: [u8; NAME_BYTES],
    work: Work,
    order: Order,
    flight: Flight,
    acks: Acks,
    random: fastrand::Rng,
    sends_max: usize,
    fence: Fence,
    waiting: Waiting,
    /// Frames to be written.
    pub(crate) out: BytesMut,
}

/// Whether the last sign of life has been asked for and given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fence {
    Ahead,
    Asked,
    Passed,
}

/// What waited for the peer when it opened.
#[derive(Debug, Default)]
struct Waiting {
    messages: u64,
    dropped: u64,
    dropped_told: u64,
    /// The ids of those that came.
    ids: Vec<u64>,
}

impl Peer {
    /// A peer whose session the server has opened.
    pub(crate) fn new(index: u32, run: &Run, work: Work, opened: &Opened) -> Self {
        Self {
            index,
            name: run.names.name(index),
            work,
            order: Order::default(),
            flight: Flight::new(opened.next_number),
            acks: Acks::default(),
            random: fastrand::Rng::new(),
            sends_max: opened.sends_max as usize,
            fence: Fence::Ahead,
            waiting: Waiting {
                messages: opened.waiting,
                dropped: opened.dropped,
                ..Waiting::default()
            },
            out: BytesMut::new(),
        }
    }

    /// Since when a message awaits acknowledgement, in nanoseconds; 0 for none.
    pub(crate) fn unacked_since_ns(&self) -> u64 {
        self.acks.since_ns
    }

    /// Whether the peer has done all that it will do.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.work, Work::Drain { .. }) && self.fence == Fence::Passed
    }

    /// Takes a frame that came at `now_ns`.
    ///
    /// # Errors
    ///
    /// Why the session is over.
    pub(crate) fn take(
        &mut self,
        frame: RawFrame,
        now_ns: u64,
        run: &Run,
        record: &mut Record,
    ) -> Result<(), String> {
        match frame.kind {
            kind::DELIVER => {
                let view = DeliverView::read(&frame.fields).ok_or("a Deliver cannot be read")?;
                self.delivered(&view, now_ns, run, record);
            }
            kind::SENT => {
                let view = SentView::read(&frame.fields).ok_or("a Sent cannot be read")?;
                self.sent(&view, now_ns, run, record)?;
            }
            _ => self.take_rare(frame, now_ns, run, record)?,
        }
        Ok(())
    }

    fn take_rare(
        &mut self,
        frame: RawFrame,
        now_ns: u64,
        run: &Run,
        record: &mut Record,
    ) -> Result<(), String> {
        match ServerFrame::decode(frame).map_err(|error| error.to_string())? {
            ServerFrame::Pong(pong) if pong.request == FENCE => {
                self.fence = Fence::Passed;
                match self.work {
                    Work::Drain { .. } => self.check_window(run),
                    _ => drop(run.fenced.fetch_add(1, Ordering::Relaxed)),
                }
            }
            ServerFrame::Dropped(dropped) => {
                run.ledger.dropped(self.index, dropped.count);
                self.waiting.dropped_told += dropped.count;
                self.acks.add(dropped.id.0 as u64, now_ns);
            }
            ServerFrame::Error(error) if error.request != 0 => {
                let why = format!("a send was refused: {} (reason {})", error.text, error.reason);
                self.flight.answered(error.request).ok_or("an Error answers no request")?;
                record.counts.refused += 1;
                run.trouble(why);
            }
            ServerFrame::Error(error) => {
                return Err(format!("the server ended a session: {}", error.text));
            }
            ServerFrame::GoAway(away) => {
                return Err(format!("the server sent a session away: {}", away.text));
            }
            other => return Err(format!("a frame that nobody asked for: {other:?}")),
        }
        Ok(())
    }

    fn delivered(&mut self, view: &DeliverView<'_>, now_ns: u64, run: &Run, record: &mut Record) {
        let counts = &mut record.counts;
        self.acks.add(view.id, now_ns);
        if !self.order.is_new(view.id) {
            counts.duplicated_on_wire += 1;
            return;
        }
        let stamp = Stamp::of(view.body).filter(|stamp| {
            view.to == self.name
                && view.from == run.names.name(stamp.sender)
                && view.body.len() == run.payload
        });
        let Some(Stamp { sender, number, intended_ns }) = stamp else {
            counts.misdelivered += 1;
            return;
        };
        if !run.ledger.delivered(sender, number, self.index) {
            counts.duplicated += 1;
        } else if self.order.arrive(sender, number, view.sequence) == Arrival::OutOfOrder {
            counts.out_of_order += 1;
        }
        counts.delivered += 1;
        counts.delivered_within += u64::from(run.is_measured(now_ns));
        if run.is_measured(intended_ns) {
            counts.delivered_measured += 1;
            record.latency.add_ns(now_ns.saturating_sub(intended_ns));
        }
        if let Work::Drain { opened_ns } = self.work {
            self.waiting.ids.push(view.id);
            if self.waiting.ids.len() as u64 == self.waiting.messages {
                record.open_to_last.add_ns(now_ns.saturating_sub(opened_ns));
            }
        }
    }

    fn sent(
        &mut self,
        view: &SentView,
        now_ns: u64,
        run: &Run,
        record: &mut Record,
    ) -> Result<(), String> {
        let send = self.flight.answered(view.request).ok_or("a Sent answers no request")?;
        run.ledger.acked(self.index, view.request, send.to);
        if let Some(stored) = &run.stored {
            stored[send.to as usize].lock().push(view.id);
        }
        let counts = &mut record.counts;
        counts.acked += 1;
        counts.acked_within += u64::from(run.is_measured(now_ns));
        if run.is_measured(send.intended_ns) {
            counts.acked_measured += 1;
            record.ack.add_ns(now_ns.saturating_sub(send.intended_ns));
        }
        Ok(())
    }

    /// What waited must be the newest of what was stored, and the rest told as dropped.
    fn check_window(&self, run: &Run) {
        let Some(stored) = &run.stored else { return };
        let waiting = &self.waiting;
        let mut stored = stored[self.index as usize].lock().clone();
        stored.sort_unstable();
        let newest = &stored[stored.len().saturating_sub(waiting.ids.len())..];
        let dropped = (stored.len() - newest.len()) as u64;
        let told = (waiting.dropped, waiting.dropped_told) == (dropped, dropped);
        if newest != waiting.ids || !told || waiting.messages != newest.len() as u64 {
            run.wrong_windows.fetch_add(1, Ordering::Relaxed);
            run.trouble(format!(
                "of {} stored messages {} waited and {} came, which {} the newest; {} and {} were \
                 told as dropped",
                stored.len(),
                waiting.messages,
                waiting.ids.len(),
                if newest == waiting.ids { "are" } else { "are not" },
                waiting.dropped,
                waiting.dropped_told,
            ));
        }
    }

    /// Puts what there is to say into [`Self::out`].
    pub(crate) fn speak(
        &mut self,
        now_ns: u64,
        due: &mut VecDeque<u64>,
        run: &Run,
        record: &mut Record,
    ) {
        let phase = run.phase();
        self.put_sends(now_ns, phase, due, run, record);
        let drained = matches!(self.work, Work::Drain { .. })
            && self.waiting.ids.len() as u64 >= self.waiting.messages;
        if self.fence == Fence::Ahead && (phase >= Phase::Fence || drained) {
            self.fence = Fence::Asked;
            self.acks.put(&mut self.out);
            ClientFrame::from(Ping { request: FENCE }).encode(&mut self.out);
        }
        if self.acks.is_due(now_ns) || !self.out.is_empty() {
            self.acks.put(&mut self.out);
        }
    }

    fn put_sends(
        &mut self,
        now_ns: u64,
        phase: Phase,
        due: &mut VecDeque<u64>,
        run: &Run,
        record: &mut Record,
    ) {
        let sending = phase == Phase::Send;
        while self.flight.len() < self.sends_max {
            let (intended_ns, to) = match &mut self.work {
                Work::Chat { window } if sending && self.flight.unanswered < *window => {
                    (now_ns, self.random_peer(run))
                }
                Work::Rate => match due.pop_front() {
                    Some(due_ns) => (due_ns, self.random_peer(run)),
                    None => return,
                },
                Work::Store { next, step, messages, first_peer, peers, window }
                    if sending && *next < *messages && self.flight.unanswered < *window =>
                {
                    let to = *first_peer + (*next % u64::from(*peers)) as u32;
                    *next += *step;
                    (now_ns, to)
                }
                _ => return,
            };
            let number = self.flight.begin(Send { intended_ns, to });
            let stamp = Stamp { sender: self.index, number, intended_ns };
            let name = run.names.name(to);
            frames::put_send(&mut self.out, &stamp, self.flight.first, &name, run.payload);
            record.counts.sent += 1;
            record.counts.sent_measured += u64::from(run.is_measured(intended_ns));
        }
    }

    fn random_peer(&mut self, run: &Run) -> u32 {
        let other = self.random.u32(0..run.peers() - 1);
        if other >= self.index { other + 1 } else { other }
    }
}

/// A send that awaits its answer.
#[derive(Clone, Copy, Debug)]
struct Send {
    intended_ns: u64,
    to: u32,
}

/// The sends that await their answers, by their numbers.
#[derive(Debug)]
struct Flight {
    /// All numbers below this have been answered.
    first: u64,
    /// From `first` on; `None` is answered.
    sends: VecDeque<Option<Send>>,
    unanswered: usize,
}

impl Flight {
    fn new(first: u64) -> Self {
        Self { first, sends: VecDeque::new(), unanswered: 0 }
    }

    /// Numbers from the oldest unanswered to the newest.
    fn len(&self) -> usize {
        self.sends.len()
    }

    /// Gives a send its number.
    fn begin(&mut self, send: Send) -> u64 {
        self.sends.push_back(Some(send));
        self.unanswered += 1;
        self.first + self.sends.len() as u64 - 1
    }

    /// The send that an answer is for; `None` if there is none, or it was answered.
    fn answered(&mut self, number: u64) -> Option<Send> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let send = self.sends.get_mut(at)?.take()?;
        self.unanswered -= 1;
        while let Some(None) = self.sends.front() {
            self.sends.pop_front();
            self.first += 1;
        }
        Some(send)
    }
}

/// What the peer owes the server by way of acknowledgement.
#[derive(Debug, Default)]
struct Acks {
    last_id: u64,
    messages: usize,
    since_ns: u64,
}

impl Acks {
    fn add(&mut self, id: u64, now_ns: u64) {
        self.last_id = self.last_id.max(id);
        self.messages += 1;
        if self.since_ns == 0 {
            self.since_ns = now_ns;
        }
    }

    fn is_due(&self, now_ns: u64) -> bool {
        // Half the delay before its end: the ticker comes by only now and then.
        const SOON: Duration = CLIENT_ACK_DELAY.saturating_sub(Duration::from_millis(8));
        self.messages >= CLIENT_ACK_MESSAGES
            || self.messages > 0 && now_ns.saturating_sub(self.since_ns) >= SOON.as_nanos() as u64
    }

    fn put(&mut self, out: &mut BytesMut) {
        if self.messages > 0 {
            ClientFrame::from(Ack { id: MessageId(self.last_id as i64) }).encode(out);
            self.messages = 0;
            self.since_ns = 0;
        }
    }
}
