//! What a peer makes of the messages that come, and of the answers to its own.
//!
//! # Invariants
//!
//! * A message is acknowledged whatever is wrong with it, as an app would.

use super::{Peer, Work};
use crate::frames::{DeliverView, SentView};
use crate::group::Taken;
use crate::proof::Arrival;
use crate::run::{Moment, Run};
use crate::stamp::Stamp;

impl Peer {
    /// A message has come.
    pub(super) fn delivered(&mut self, view: &DeliverView<'_>, moment: &mut Moment<'_>) {
        let Moment { now_ns, run, record } = moment;
        let now_ns = *now_ns;
        self.acks.add(view.id, now_ns);
        if !self.order.is_new(view.id) {
            record.counts.duplicated_on_wire += 1;
            return;
        }
        let Some(stamp) = run.stamp(view) else {
            record.counts.misdelivered += 1;
            return;
        };
        let taken = self.taken(view, &stamp, run);
        if !record.had(taken, stamp.intended_ns, now_ns, run) {
            return;
        }
        if let Work::Drain { opened_ns } = self.work {
            self.waiting.ids.push(view.id);
            if self.waiting.ids.len() as u64 == self.waiting.messages {
                record.open_to_last.add_ns(now_ns.saturating_sub(opened_ns));
            }
        }
    }

    /// Hands a message to the app.
    fn taken(&mut self, view: &DeliverView<'_>, stamp: &Stamp, run: &Run) -> Taken {
        let Stamp { sender, number, .. } = *stamp;
        if let Some(group) = view.group {
            let is_ours = run.groups.of(self.index).id().is_some_and(|id| id.0 == group);
            return match is_ours {
                true => {
                    run.groups.of(self.index).delivered(self.index, sender, number, view.sequence)
                }
                false => Taken::Foreign,
            };
        }
        if run.recipients > 1 {
            return self.taken_with_others(view, sender, number, run);
        }
        if view.to_count != 1 || view.to != self.name || run.from_backend && sender != self.index {
            Taken::Foreign
        } else if !run.ledger.delivered(sender, number, self.index) {
            Taken::Repeated
        } else if self.order.arrive(sender, number, view.sequence) == Arrival::OutOfOrder {
            Taken::OutOfOrder
        } else {
            Taken::InOrder
        }
    }

    /// The same of a message to several peers.
    fn taken_with_others(
        &mut self,
        view: &DeliverView<'_>,
        sender: u32,
        number: u64,
        run: &Run,
    ) -> Taken {
        let is_for = view.to_count == u64::from(run.recipients) && view.is_to(&self.name);
        let Some(place) = run.place(sender, self.index).filter(|_| is_for) else {
            return Taken::Foreign;
        };
        if !run.ledger.delivered(sender, run.entry(number, place), self.index) {
            Taken::Repeated
        } else if self.order.arrive(sender, number, view.sequence) == Arrival::OutOfOrder {
            Taken::OutOfOrder
        } else {
            Taken::InOrder
        }
    }

    /// A send was answered.
    ///
    /// # Errors
    ///
    /// When there is no such send.
    pub(super) fn sent(&mut self, view: &SentView, moment: &mut Moment<'_>) -> Result<(), String> {
        let Moment { now_ns, run, record } = moment;
        let now_ns = *now_ns;
        let send = self.talker.flight.answered(view.request).ok_or("a Sent answers no request")?;
        let counts = &mut record.counts;
        if let Some(first) = send.to.filter(|_| run.recipients > 1) {
            counts.due += u64::from(run.recipients);
            for place in 0..run.recipients {
                let to = (first + place) % run.talkers;
                run.ledger.acked(self.index, run.entry(view.request, place), to);
            }
        } else if let Some(to) = send.to {
            counts.due += 1;
            run.ledger.acked(self.index, view.request, to);
            if let Some(stored) = &run.stored {
                stored[to as usize].lock().push(view.id);
            }
        } else {
            counts.due += u64::from(run.groups.of(self.index).size() - 1);
            let agreed = run.groups.of(self.index).acked(self.index, view.request, view.sequence);
            counts.misdelivered += u64::from(!agreed);
        }
        record.answered(send.intended_ns, now_ns, run);
        Ok(())
    }
}
