//! What a peer has to say.
//!
//! # Invariants
//!
//! * No more sends are unanswered than the server allows.
//! * A group is made by one request after another.

use std::collections::VecDeque;

use tidings::group::Rules;
use tidings::id::PeerId;
use tidings::limits::INVITED_MAX;
use tidings::wire::{ClientFrame, Close, Invite, Join, Ping};

use super::{CLOSE, FOUND, Leaving, MOVED, Peer, Work};
use crate::flight::Send;
use crate::frames::{self, To};
use crate::run::{Moment, Phase, Run};
use crate::stamp::Stamp;

impl Peer {
    /// Asks for an answer after each change of the socket.
    pub(super) fn put_pings(&mut self) {
        while self.moves_asked - self.moves_answered < self.moved.len() as u64 {
            let request = MOVED + self.moves_asked;
            ClientFrame::from(Ping { request }).encode(&mut self.out);
            self.moves_asked += 1;
        }
    }

    /// Makes the group, one request after another.
    pub(super) fn put_founding(&mut self, run: &Run) {
        let Work::Found { asked, invited } = &mut self.work else { return };
        if std::mem::replace(asked, true) {
            return;
        }
        let Some(group) = run.group.id() else {
            let join = Join {
                request: FOUND,
                group: Join::NEW,
                open: false,
                rules: Rules::default(),
                metadata: bytes::Bytes::new(),
                signature: None,
            };
            return ClientFrame::from(join).encode(&mut self.out);
        };
        let until = run.group.size().min(*invited + INVITED_MAX as u32);
        let peers: Vec<PeerId> = (*invited..until).map(|index| run.names.peer(index)).collect();
        *invited = until;
        if peers.is_empty() {
            self.work = Work::Member;
            return;
        }
        let invite = Invite { request: FOUND, group, peers, signature: None };
        ClientFrame::from(invite).encode(&mut self.out);
    }

    /// What was asked for to make the group is done.
    pub(super) fn founded(&mut self) {
        if let Work::Found { asked, .. } = &mut self.work {
            *asked = false;
        }
    }

    /// Logs out when that is due.
    pub(super) fn put_close(&mut self, due: &mut VecDeque<u64>, moment: &mut Moment<'_>) {
        if !matches!(self.work, Work::Restless { .. }) || self.leaving != Leaving::No {
            return;
        }
        if let Some(due_ns) = due.pop_front() {
            self.leaving = Leaving::Asked(due_ns);
            moment.record.asked_change(due_ns, moment.run);
            moment.run.roster.change(self.index, false, moment.now_ns);
            ClientFrame::from(Close { request: CLOSE }).encode(&mut self.out);
        }
    }

    /// Sends what may be sent.
    pub(super) fn put_sends(
        &mut self,
        phase: Phase,
        due: &mut VecDeque<u64>,
        moment: &mut Moment<'_>,
    ) {
        let Moment { now_ns, run, record } = moment;
        while self.flight.len() < self.sends_max {
            let Some(send) = self.next_send(*now_ns, phase == Phase::Send, due, run) else {
                return;
            };
            let to = match (send.to, run.group.id()) {
                (Some(peer), _) => To::Peer(run.names.name(peer)),
                (None, Some(group)) => To::Group(group.0),
                (None, None) => return,
            };
            let Send { intended_ns, .. } = send;
            let number = self.flight.begin(send);
            let stamp = Stamp { sender: self.index, number, intended_ns };
            frames::put_send(&mut self.out, &stamp, self.flight.first(), &to, run.payload);
            record.counts.sent += 1;
            record.counts.sent_measured += u64::from(run.is_measured(intended_ns));
        }
    }

    /// What to send next, if anything.
    fn next_send(
        &mut self,
        now_ns: u64,
        sending: bool,
        due: &mut VecDeque<u64>,
        run: &Run,
    ) -> Option<Send> {
        let (intended_ns, to) = match &mut self.work {
            Work::Chat { window } if sending && self.flight.unanswered() < *window => {
                (now_ns, Some(self.random_peer(run)))
            }
            Work::Rate => (due.pop_front()?, Some(self.random_peer(run))),
            Work::Member => (due.pop_front()?, None),
            Work::Store { next, step, messages, first_peer, peers, window }
                if sending && *next < *messages && self.flight.unanswered() < *window =>
            {
                let to = *first_peer + (*next % u64::from(*peers)) as u32;
                *next += *step;
                (now_ns, Some(to))
            }
            _ => return None,
        };
        Some(Send { intended_ns, to })
    }

    fn random_peer(&mut self, run: &Run) -> u32 {
        let other = self.random.u32(0..run.talkers - 1);
        if other >= self.index { other + 1 } else { other }
    }
}
