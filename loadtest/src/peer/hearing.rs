//! What a peer makes of the frames that are neither Sent nor Deliver.
//!
//! # Invariants
//!
//! * An answer that nobody asked for, or asked for only once, ends the session.

use std::sync::atomic::Ordering;

use tidings::group::GroupChange;
use tidings::id::PeerId;
use tidings::wire::{GroupEvent, Presence, RawFrame, ServerFrame};

use super::{CLOSE, FENCE, FOUND, Fence, Leaving, MOVED, Peer, Work};
use crate::run::{Moment, Run};

impl Peer {
    pub(super) fn take_rare(
        &mut self,
        frame: RawFrame,
        moment: &mut Moment<'_>,
    ) -> Result<(), String> {
        let (now_ns, run) = (moment.now_ns, moment.run);
        match ServerFrame::decode(frame).map_err(|error| error.to_string())? {
            ServerFrame::Pong(pong) if pong.request == FENCE => {
                self.fence = Fence::Passed;
                match self.work {
                    Work::Drain { .. } => self.check_window(run),
                    _ => drop(run.fenced.fetch_add(1, Ordering::Relaxed)),
                }
            }
            ServerFrame::Pong(pong) => self.answered_move(pong.request, moment)?,
            ServerFrame::Dropped(dropped) => {
                run.ledger.dropped(self.index, dropped.count);
                self.waiting.dropped_told += dropped.count;
                self.acks.add(dropped.id.0 as u64, now_ns);
            }
            ServerFrame::GroupEvent(event) => self.group_changed(&event, moment),
            ServerFrame::Presence(presence) => self.hear(&presence, moment),
            ServerFrame::Joined(joined) if joined.request == FOUND => {
                run.groups.of(self.index).created(joined.group);
                run.groups.of(self.index).joined(self.index);
                self.founded();
            }
            ServerFrame::Invited(invited) if invited.request == FOUND => self.founded(),
            ServerFrame::Closed(closed) if closed.request == CLOSE => {
                let Leaving::Asked(due_ns) = self.leaving else {
                    return Err("a Closed answers no request".into());
                };
                self.leaving = Leaving::Done;
                moment.record.answered(due_ns, now_ns, run);
            }
            ServerFrame::Error(error) if (1..FENCE).contains(&error.request) => {
                let why = format!("a send was refused: {} (reason {})", error.text, error.reason);
                self.talker.flight.answered(error.request).ok_or("an Error answers no request")?;
                moment.record.counts.refused += 1;
                run.trouble(why);
            }
            ServerFrame::Error(error) if error.request != 0 => {
                return Err(format!("a request was refused: {}", error.text));
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

    /// What the session has had, and what it has said, at a change of its socket has got through.
    fn answered_move(&mut self, request: u64, moment: &mut Moment<'_>) -> Result<(), String> {
        let Moment { now_ns, run, record } = moment;
        let is_next = self.moves_answered < self.moves_asked;
        if !is_next || request != MOVED + self.moves_answered {
            return Err("a Pong answers no Ping".into());
        }
        self.moves_answered += 1;
        let moved_ns = self.moved.pop_front().ok_or("a Pong answers no Ping")?;
        record.counts.rebinds_answered += 1;
        if run.is_measured(moved_ns) {
            record.gap.add_ns(now_ns.saturating_sub(moved_ns));
        }
        Ok(())
    }

    fn group_changed(&mut self, event: &GroupEvent, moment: &mut Moment<'_>) {
        let Moment { now_ns, run, record } = moment;
        let id = event.id.0 as u64;
        self.acks.add(id, *now_ns);
        let ours = run.groups.of(self.index);
        let is_ours = ours.id().is_none_or(|group| group == event.group);
        let is_own = |peer: &PeerId| peer.as_str().as_bytes() == self.name;
        let is_expected = match event.change {
            GroupChange::Invited => true,
            // Nobody but the founder joins by itself.
            GroupChange::Joined => self.index == ours.peers.start && event.peers.iter().all(is_own),
            _ => false,
        };
        if !self.order.is_new(id) {
            record.counts.duplicated_on_wire += 1;
        } else if !is_expected || !is_ours {
            record.counts.misdelivered += 1;
        } else if event.peers.iter().any(is_own) {
            ours.joined(self.index);
        }
    }

    /// Hears who has gone on or off line.
    fn hear(&mut self, presence: &Presence, moment: &mut Moment<'_>) {
        let Moment { now_ns, run, record } = moment;
        let Presence { online, offline } = presence;
        record.counts.offline_notices += offline.len() as u64;
        let online = online.iter().map(|peer| (peer, true));
        for (peer, is_online) in online.chain(offline.iter().map(|peer| (peer, false))) {
            let index = run.names.index(peer.as_str().as_bytes());
            let heard = index.and_then(|peer| run.roster.hear(self.index, peer, is_online));
            let Some(asked_ns) = heard else {
                record.counts.unasked_notices += 1;
                let way = if is_online { "on" } else { "off" };
                run.trouble(format!("a notice that {peer} went {way} line tells nothing new"));
                continue;
            };
            record.counts.delivered += 1;
            record.counts.delivered_within += u64::from(run.is_measured(*now_ns));
            if run.is_measured(asked_ns) {
                record.counts.delivered_measured += 1;
                record.latency.add_ns(now_ns.saturating_sub(asked_ns));
            }
        }
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
}
