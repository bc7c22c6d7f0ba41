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

use bytes::BytesMut;
use tidings::wire::{ClientFrame, Opened, Ping, RawFrame, ServerFrame, kind};

use crate::acks::Acks;
use crate::flight::{Flight, Send};
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
        self.acks.since_ns()
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
                Work::Chat { window } if sending && self.flight.unanswered() < *window => {
                    (now_ns, self.random_peer(run))
                }
                Work::Rate => match due.pop_front() {
                    Some(due_ns) => (due_ns, self.random_peer(run)),
                    None => return,
                },
                Work::Store { next, step, messages, first_peer, peers, window }
                    if sending && *next < *messages && self.flight.unanswered() < *window =>
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
            frames::put_send(&mut self.out, &stamp, self.flight.first(), &name, run.payload);
            record.counts.sent += 1;
            record.counts.sent_measured += u64::from(run.is_measured(intended_ns));
        }
    }

    fn random_peer(&mut self, run: &Run) -> u32 {
        let other = self.random.u32(0..run.peers() - 1);
        if other >= self.index { other + 1 } else { other }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings::id::{DeviceId, MessageId, PeerId, SessionId};
    use tidings::wire::{Decoder, Deliver, Dropped, Pong, Sent};

    use super::*;

    const PEERS: u32 = 4;

    struct Play {
        run: Run,
        peer: Peer,
        now_ns: u64,
    }

    impl Play {
        /// A peer with index 0 whose server allows 8 unanswered sends.
        fn new(work: Work, waiting: u64, dropped: u64) -> Self {
            let run = Run::new(PEERS, 64, true);
            run.measure(0, u64::MAX);
            let opened = Opened {
                session: SessionId(1),
                epoch: 1,
                device: DeviceId::random(),
                next_number: 1,
                waiting,
                dropped,
                at_ms: 0,
                online: Vec::new(),
                frame_bytes_max: 1_000,
                body_bytes_max: 1_000,
                recipients_max: 1,
                sends_max: 8,
            };
            let peer = Peer::new(0, &run, work, &opened);
            Self { run, peer, now_ns: 1_000 }
        }

        /// Lets the peer speak and returns what it said.
        fn speak(&mut self) -> Vec<ClientFrame> {
            self.speak_of(&mut VecDeque::new())
        }

        fn speak_of(&mut self, due: &mut VecDeque<u64>) -> Vec<ClientFrame> {
            self.peer.speak(self.now_ns, due, &self.run, &mut self.run.records.own());
            let mut decoder = Decoder::new(1_000);
            decoder.push(self.peer.out.split().freeze());
            let mut said = Vec::new();
            while let Some(frame) = decoder.next_frame().unwrap() {
                said.push(ClientFrame::decode(frame).unwrap());
            }
            said
        }

        fn hear(&mut self, frame: impl Into<ServerFrame>) -> Result<(), String> {
            let mut bytes = BytesMut::new();
            frame.into().encode(&mut bytes);
            let mut decoder = Decoder::new(1_000);
            decoder.push(bytes.freeze());
            let frame = decoder.next_frame().unwrap().unwrap();
            self.peer.take(frame, self.now_ns, &self.run, &mut self.run.records.own())
        }

        fn message(&self, id: u64, sender: u32, number: u64) -> Deliver {
            let peer = |index| {
                let name = self.run.names.name(index);
                PeerId::new(std::str::from_utf8(&name).unwrap()).unwrap()
            };
            let mut body = sender.to_be_bytes().to_vec();
            body.extend_from_slice(&number.to_be_bytes());
            body.extend_from_slice(&self.now_ns.to_be_bytes());
            body.resize(64, 0);
            Deliver {
                transient: false,
                receipt: false,
                waited: false,
                id: MessageId(id as i64),
                sequence: number as u32,
                at_ms: 0,
                conversation: tidings::id::ConversationId::Peers([0; 16]),
                from: peer(sender),
                to: vec![peer(0)],
                client_msg_no: "".into(),
                body: Bytes::from(body),
            }
        }
    }

    fn sent(request: u64) -> Sent {
        Sent { request, id: MessageId(request as i64), sequence: 1, at_ms: 0 }
    }

    fn numbers(said: &[ClientFrame]) -> Vec<(u64, u64)> {
        let sends = said.iter().filter_map(|frame| match frame {
            ClientFrame::Send(send) => Some((send.number, send.answered)),
            _ => None,
        });
        sends.collect()
    }

    #[test]
    fn a_chat_keeps_its_window_in_flight_and_says_what_was_answered() {
        let mut play = Play::new(Work::Chat { window: 3 }, 0, 0);
        assert!(play.speak().is_empty(), "nothing is sent before the run sends");
        play.run.enter(Phase::Send);
        assert_eq!(numbers(&play.speak()), [(1, 1), (2, 1), (3, 1)]);
        play.hear(sent(2)).unwrap();
        assert_eq!(numbers(&play.speak()), [(4, 1)], "the first is not answered");
        play.hear(sent(1)).unwrap();
        play.hear(sent(3)).unwrap();
        assert_eq!(numbers(&play.speak()), [(5, 4), (6, 4)]);
        play.run.enter(Phase::Quiet);
        play.hear(sent(4)).unwrap();
        assert!(numbers(&play.speak()).is_empty());
        assert_eq!(play.run.ledger.verdict().acked, 4);
        assert!(play.hear(sent(4)).is_err(), "an answer must come once");
    }

    #[test]
    fn no_more_sends_are_unanswered_than_the_server_allows() {
        let mut play = Play::new(Work::Rate, 0, 0);
        let mut due: VecDeque<u64> = (1..=20).collect();
        assert_eq!(numbers(&play.speak_of(&mut due)).len(), 8);
        assert_eq!(due.len(), 12, "the rest stays due");
        play.hear(sent(1)).unwrap();
        assert_eq!(numbers(&play.speak_of(&mut due)), [(9, 2)]);
    }

    #[test]
    fn a_message_is_acknowledged_with_the_next_frame_or_after_a_while() {
        let mut play = Play::new(Work::Rate, 0, 0);
        play.hear(play.message(7, 1, 1)).unwrap();
        assert!(play.speak().is_empty(), "an acknowledgement waits for company");
        let said = play.speak_of(&mut VecDeque::from([5]));
        assert!(matches!(said.as_slice(), [ClientFrame::Send(_), ClientFrame::Ack(ack)]
            if ack.id == MessageId(7)));
        play.hear(play.message(8, 1, 2)).unwrap();
        play.now_ns += 19_000_000;
        assert!(matches!(play.speak().as_slice(), [ClientFrame::Ack(ack)]
            if ack.id == MessageId(8)));
        for id in 9..9 + 32 {
            play.hear(play.message(id, 1, id)).unwrap();
        }
        assert!(matches!(play.speak().as_slice(), [ClientFrame::Ack(ack)]
            if ack.id == MessageId(40)));
        assert!(play.speak().is_empty());
    }

    #[test]
    fn every_message_is_checked() {
        let mut play = Play::new(Work::Listen, 0, 0);
        play.hear(play.message(1, 1, 1)).unwrap();
        play.hear(play.message(1, 1, 1)).unwrap();
        play.hear(play.message(2, 1, 1)).unwrap();
        play.hear(play.message(3, 1, 5)).unwrap();
        play.hear(play.message(4, 1, 4)).unwrap();
        let forged = Deliver { from: play.message(5, 2, 1).from, ..play.message(5, 3, 1) };
        play.hear(forged).unwrap();
        let counts = play.run.records.counts();
        assert_eq!(counts.duplicated_on_wire, 1, "the same id");
        assert_eq!(counts.duplicated, 1, "the same message under another id");
        assert_eq!(counts.out_of_order, 1);
        assert_eq!(counts.misdelivered, 1);
    }

    #[test]
    fn a_drained_peer_had_the_newest_and_was_told_of_the_rest() {
        for (told, wrong) in [(1, 0), (2, 1)] {
            let mut play = Play::new(Work::Drain { opened_ns: 0 }, 2, told);
            play.run.stored.as_ref().unwrap()[0].lock().extend([3, 1, 2]);
            play.hear(Dropped { count: told, id: MessageId(1) }).unwrap();
            play.hear(play.message(2, 1, 1)).unwrap();
            assert!(play.speak().is_empty());
            play.hear(play.message(3, 1, 2)).unwrap();
            assert!(
                matches!(play.speak().as_slice(), [ClientFrame::Ack(ack), ClientFrame::Ping(_)]
                if ack.id == MessageId(3))
            );
            assert!(!play.peer.is_done());
            play.hear(Pong { request: FENCE, at_ms: 0 }).unwrap();
            assert!(play.peer.is_done());
            assert_eq!(play.run.wrong_windows.load(Ordering::Relaxed), wrong);
        }
    }
}
