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
use crate::run::{Moment, Run};
use crate::stamp::Stamp;

/// Sends written at a time where more may be due than the server admits.
const FEW: usize = 8;

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
        let ours = run.groups.of(self.index);
        let Some(group) = ours.id() else {
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
        let until = ours.peers.end.min(*invited + INVITED_MAX as u32);
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
            moment.record.asked(due_ns, moment.run);
            moment.run.roster.change(self.index, false, moment.now_ns);
            ClientFrame::from(Close { request: CLOSE }).encode(&mut self.out);
        }
    }

    /// Sends what may be sent, a few at a time where too much is offered: what the server does not
    /// admit yet is to wait unwritten. Says whether there may be more.
    pub(super) fn put_sends(&mut self, due: &mut VecDeque<u64>, moment: &mut Moment<'_>) -> bool {
        let Moment { now_ns, run, record } = moment;
        let mut few = if matches!(self.work, Work::Tide(_)) { FEW } else { usize::MAX };
        while self.talker.flight.len() < self.sends_max {
            if few == 0 {
                return true;
            }
            few -= 1;
            let Some(send) = self.talker.next_send(&mut self.work, *now_ns, due, run) else {
                return false;
            };
            let several: Vec<_>;
            let to = match (send.to, run.groups.of(self.index).id()) {
                (Some(first), _) if run.recipients > 1 => {
                    let all = (0..run.recipients).map(|place| (first + place) % run.talkers);
                    several = all.map(|index| run.names.name(index)).collect();
                    To::Peers(&several)
                }
                (Some(peer), _) => To::Peer(run.names.name(peer)),
                (None, Some(group)) => To::Group(group.0),
                (None, None) => return false,
            };
            let Send { intended_ns, .. } = send;
            let number = self.talker.flight.begin(send);
            let stamp = Stamp { sender: self.index, number, intended_ns };
            frames::put_send(&mut self.out, &stamp, self.talker.flight.first(), &to, run.payload);
            record.asked(intended_ns, run);
        }
        false
    }
}
