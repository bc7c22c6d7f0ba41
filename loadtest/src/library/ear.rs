//! What one client hears, over all the sessions that it has had.
//!
//! # Invariants
//!
//! * The library drops repeats, so a message that its app is handed twice breaks the promise.
//! * What nobody asked for breaks it, too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings::client::{Event, Incoming, Message};
use tidings::id::{ConversationId, PeerId};

use super::Lives;
use super::books::Books;
use crate::group::Taken;
use crate::proof::{Arrival, Order};
use crate::run::Run;
use crate::stamp::Stamp;

/// What the app of one peer has heard.
pub(crate) struct Ear {
    index: u32,
    own: PeerId,
    run: Arc<Run>,
    books: Arc<Books>,
    lives: Arc<Lives>,
    order: Order,
}

impl Ear {
    pub(crate) fn new(run: &Arc<Run>, index: u32, books: &Arc<Books>, lives: &Arc<Lives>) -> Self {
        Self {
            index,
            own: run.names.peer(index),
            run: run.clone(),
            books: books.clone(),
            lives: lives.clone(),
            order: Order::default(),
        }
    }

    /// Takes all that comes, until the session has ended; it counts as open meanwhile.
    pub(crate) async fn listen(&mut self, mut incoming: Incoming) {
        self.run.open.fetch_add(1, Ordering::Relaxed);
        while let Some(event) = incoming.next().await {
            self.take(event);
        }
        self.run.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn take(&mut self, event: Event) {
        let run = &self.run;
        match event {
            Event::Message(message) => self.take_message(&message),
            Event::Paused(_) => {
                self.lives.pauses.fetch_add(1, Ordering::Relaxed);
            }
            Event::Resumed(_) => {
                self.lives.resumes.fetch_add(1, Ordering::Relaxed);
            }
            Event::Dropped { count, .. } => run.ledger.dropped(self.index, count),
            Event::Ended(why) => run.broke(format!("the server ended a session: {why:?}")),
            Event::Opened(_) => {}
            Event::Joined(_) | Event::Invited(_) | Event::MembersJoined(_) => {}
            Event::Online(peers) | Event::Offline(peers) => {
                self.lives.notices.fetch_add(peers.len() as u64, Ordering::Relaxed);
            }
            // Who sends has read what was before, and hears so when it comes back.
            Event::Read(mark) if mark.peer == self.own => {}
            other => {
                run.records.own().counts.misdelivered += 1;
                run.trouble(format!("an event that nobody asked for: {other:?}"));
            }
        }
    }

    /// The app has had a message.
    fn take_message(&mut self, message: &Message) {
        let run = &*self.run.clone();
        let stamp = Stamp::of(&message.body)
            .filter(|stamp| message.from == run.names.peer(stamp.sender))
            .filter(|_| message.body.len() == run.payload && !message.transient);
        let now_ns = run.now_ns();
        let Some(stamp) = stamp else {
            run.records.own().counts.misdelivered += 1;
            return run.trouble("a message that nobody of this run has sent".into());
        };
        let taken = match message.conversation {
            ConversationId::Group(group) => {
                let Stamp { sender, number, .. } = stamp;
                self.books.delivered(group, self.index, sender, number, message.sequence)
            }
            ConversationId::Peers(_) => self.taken(message, &stamp),
        };
        if taken != Taken::InOrder {
            run.trouble(format!(
                "{taken:?}: message {} of peer {} to peer {}, number {} of its conversation",
                stamp.number, stamp.sender, self.index, message.sequence
            ));
        }
        run.records.own().had(taken, stamp.intended_ns, now_ns, run);
    }

    fn taken(&mut self, message: &Message, stamp: &Stamp) -> Taken {
        let Stamp { sender, number, .. } = *stamp;
        if message.to.as_slice() != std::slice::from_ref(&self.own) {
            return Taken::Foreign;
        }
        if !self.run.ledger.delivered(sender, number, self.index) {
            return Taken::Repeated;
        }
        match self.order.arrive(sender, number, u64::from(message.sequence)) {
            Arrival::InOrder => Taken::InOrder,
            Arrival::OutOfOrder => Taken::OutOfOrder,
        }
    }
}
