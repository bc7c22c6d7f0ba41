//! What one peer of the generator says and hears: the protocol without its socket.
//!
//! # Invariants
//!
//! * Every message is checked: whom it is for, who sent it, its number, its place in the
//!   conversation, and whether the app has had it before.
//! * Acknowledgements are lazy, as the protocol has it: after 32 messages, after 20 to 200 ms, or
//!   with the next frame out.

mod hearing;
mod receiving;
mod speaking;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use tidings::wire::{ClientFrame, Opened, Ping, RawFrame, kind};

use crate::acks::Acks;
use crate::frames::{DeliverView, SentView};
use crate::names::NAME_BYTES;
use crate::proof::Order;
use crate::run::{Moment, Phase, Run};
use crate::talker::Talker;
use crate::tide::Mark;

/// The request number of the Ping that is a fence; send numbers stay below it.
const FENCE: u64 = 1 << 60;
/// The request number of what makes the group, one request at a time.
const FOUND: u64 = FENCE + 1;
/// The request number of Close.
const CLOSE: u64 = FENCE + 2;
/// The request number of the first Ping after a change of the socket; later ones have higher ones.
const MOVED: u64 = FENCE + 3;

/// What a peer does besides receiving.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Nothing.
    Listen,
    /// Keeps this many sends to random peers in flight.
    Chat { window: usize },
    /// Sends to a random peer whenever its mail says that one is due.
    Rate,
    /// Sends to random peers as the tide of the run says.
    Tide(Mark),
    /// Sends one message for each number of a share of `0..messages`, to the peer it falls on.
    Store { next: u64, step: u64, messages: u64, first_peer: u32, peers: u32, window: usize },
    /// Receives what waited, then ends. `opened_ns` is when Open was written.
    Drain { opened_ns: u64 },
    /// Makes the group, invites the others, and then does as they do.
    Found { asked: bool, invited: u32 },
    /// Sends to the group whenever its mail says that a message is due.
    Member,
    /// Watches whom the roster says, and checks every notice.
    Watch,
    /// Subscribes, so that a broker keeps messages for it, and ends.
    Enrol,
    /// Makes a broker forget its session, and ends.
    Forget,
    /// Logs out when its mail says so. `due_ns` is when its opening was due, if it had been on
    /// line before.
    Restless { due_ns: Option<u64> },
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    index: u32,
    name: [u8; NAME_BYTES],
    work: Work,
    order: Order,
    talker: Talker,
    acks: Acks,
    sends_max: usize,
    fence: Fence,
    waiting: Waiting,
    leaving: Leaving,
    /// When its socket was changed, of what the server has not answered since.
    moved: VecDeque<u64>,
    /// How many changes of its socket the server has been asked about, or has answered.
    moves_asked: u64,
    moves_answered: u64,
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

/// Whether the peer logs out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Leaving {
    No,
    /// It has asked; when that was due.
    Asked(u64),
    Done,
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
            talker: Talker::new(index, opened.next_number),
            acks: Acks::new(),
            sends_max: opened.sends_max as usize,
            fence: Fence::Ahead,
            waiting: Waiting {
                messages: opened.waiting,
                dropped: opened.dropped,
                ..Waiting::default()
            },
            leaving: Leaving::No,
            moved: VecDeque::new(),
            moves_asked: 0,
            moves_answered: 0,
            out: BytesMut::new(),
        }
    }

    /// When an acknowledgement goes out alone, in nanoseconds; 0 if none is owed.
    pub(crate) fn ack_due_ns(&self) -> u64 {
        self.acks.due_ns()
    }

    /// Whether the peer has done all that it will do.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.work, Work::Drain { .. }) && self.fence == Fence::Passed
            || self.leaving == Leaving::Done
    }

    /// A round trip takes `rtt` by now.
    pub(crate) fn follow(&mut self, rtt: Duration) {
        self.acks.follow(rtt);
    }

    /// The peer's socket was changed at these times.
    pub(crate) fn move_at(&mut self, times_ns: &mut VecDeque<u64>) {
        self.moved.append(times_ns);
    }

    /// Takes a frame that has come.
    ///
    /// # Errors
    ///
    /// Why the session is over.
    pub(crate) fn take(&mut self, frame: RawFrame, moment: &mut Moment<'_>) -> Result<(), String> {
        match frame.kind {
            kind::DELIVER => {
                let view = DeliverView::read(&frame.fields).ok_or("a Deliver cannot be read")?;
                self.delivered(&view, moment);
            }
            kind::SENT => {
                let view = SentView::read(&frame.fields).ok_or("a Sent cannot be read")?;
                self.sent(&view, moment)?;
            }
            _ => self.take_rare(frame, moment)?,
        }
        Ok(())
    }

    /// Puts what there is to say into [`Self::out`]; says whether there may be more, once that is
    /// written.
    pub(crate) fn speak(&mut self, due: &mut VecDeque<u64>, moment: &mut Moment<'_>) -> bool {
        let (now_ns, phase) = (moment.now_ns, moment.run.phase());
        self.put_pings();
        self.put_founding(moment.run);
        self.put_close(due, moment);
        let has_more = self.put_sends(due, moment);
        let drained = matches!(self.work, Work::Drain { .. })
            && self.waiting.ids.len() as u64 >= self.waiting.messages;
        if self.fence == Fence::Ahead && (phase >= Phase::Fence || drained) {
            self.fence = Fence::Asked;
            self.acks.put(&mut self.out);
            ClientFrame::from(Ping { request: FENCE }).encode(&mut self.out);
        }
        let has_company = !self.out.is_empty();
        if has_company {
            self.acks.accompany(now_ns);
        }
        if self.acks.is_due(now_ns) || has_company {
            self.acks.put(&mut self.out);
        }
        has_more
    }
}

#[cfg(test)]
mod tests;
