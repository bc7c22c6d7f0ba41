//! The events that wait for the app.
//!
//! # Invariants
//!
//! * What is queued comes out in the order in which it was queued.
//! * What comes from the session itself takes little room: a connection that comes and goes
//!   leaves one pause, and a peer stands in one list of presence at the most once there is a
//!   backlog, as a mark stands for those before it.

use std::collections::{HashSet, VecDeque};

use crate::client::Event;
use crate::id::{ConversationId, PeerId};
use crate::limits::CLIENT_COALESCE_FROM;

#[derive(Debug, Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Forgets everything; says how many results of sends were among it.
    pub(super) fn clear(&mut self) -> usize {
        let sends = self.events.iter().filter(|event| is_send_result(event)).count();
        self.events = VecDeque::new();
        sends
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Queues a pause, which takes the place of one that nobody saw together with its end.
    pub(super) fn push_pause(&mut self, event: Event) {
        if let Some(resumed) = self.in_tail(|event| matches!(event, Event::Resumed(_))) {
            self.events.remove(resumed);
            if let Some(paused) = self.in_tail(|event| matches!(event, Event::Paused(_))) {
                self.events.remove(paused);
            }
        }
        self.events.push_back(event);
    }

    /// Where the last such event stands, if only what the session itself says stands behind it.
    fn in_tail(&self, wanted: impl Fn(&Event) -> bool) -> Option<usize> {
        let position = self.events.iter().rposition(|event| wanted(event) || !is_own(event))?;
        wanted(&self.events[position]).then_some(position)
    }

    /// Queues a mark, delivered or read. With a backlog, an earlier one of the same peer and
    /// conversation goes.
    pub(super) fn push_mark(&mut self, event: Event) {
        if self.events.len() >= CLIENT_COALESCE_FROM {
            let mark = mark_of(&event);
            if let Some(earlier) = self.events.iter().rposition(|event| mark_of(event) == mark) {
                self.events.remove(earlier);
            }
        }
        self.events.push_back(event);
    }

    /// Queues changes of presence. With a backlog, or when a session resumes, what was queued
    /// about the same peers goes.
    pub(super) fn push_presence(
        &mut self,
        online: Vec<PeerId>,
        offline: Vec<PeerId>,
        resumes: bool,
    ) {
        if resumes || self.events.len() >= CLIENT_COALESCE_FROM {
            let changed: HashSet<&PeerId> = online.iter().chain(&offline).collect();
            self.events.retain_mut(|event| match event {
                Event::Online(peers) | Event::Offline(peers) => {
                    peers.retain(|peer| !changed.contains(peer));
                    !peers.is_empty()
                }
                _ => true,
            });
        }
        if !online.is_empty() {
            self.events.push_back(Event::Online(online));
        }
        if !offline.is_empty() {
            self.events.push_back(Event::Offline(offline));
        }
    }
}

/// The result of a send, which holds a permit until the app has taken it.
pub(super) fn is_send_result(event: &Event) -> bool {
    matches!(event, Event::Sent { .. } | Event::Failed { .. })
}

/// What the session says by itself around a pause, in any order.
fn is_own(event: &Event) -> bool {
    match event {
        Event::Online(_) | Event::Offline(_) => true,
        Event::Left(notice) => notice.cursor.id == crate::id::MessageId::NONE,
        event => is_send_result(event),
    }
}

/// Which mark an event is: whether delivered, the conversation, the peer.
fn mark_of(event: &Event) -> Option<(bool, ConversationId, &PeerId)> {
    match event {
        Event::Delivered(mark) => Some((true, mark.conversation, &mark.peer)),
        Event::Read(mark) => Some((false, mark.conversation, &mark.peer)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Mark, Pause};

    fn peers(ids: &[&str]) -> Vec<PeerId> {
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    fn mark(peer: &str, sequence: u32) -> Mark {
        let conversation = ConversationId::Peers([1; 16]);
        Mark { conversation, peer: peer.parse().unwrap(), sequence, at_ms: 1 }
    }

    fn all(queue: &mut Queue) -> Vec<Event> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    /// A queue with a backlog of pauses, which coalesce with nothing here.
    fn backlog() -> Queue {
        let mut queue = Queue::default();
        (0..CLIENT_COALESCE_FROM).for_each(|_| queue.push(Event::Paused(Pause::Lost)));
        queue
    }

    #[test]
    fn without_a_backlog_every_change_comes_out() {
        let mut queue = Queue::default();
        for sequence in 1..=2 {
            queue.push_mark(Event::Read(mark("bob", sequence)));
            queue.push_presence(peers(&["bob"]), vec![], false);
            queue.push_presence(vec![], peers(&["bob"]), false);
        }
        assert_eq!(queue.len(), 6);
    }

    #[test]
    fn with_a_backlog_the_last_mark_of_each_kind_and_peer_is_left() {
        let mut queue = backlog();
        for sequence in 1..=1000 {
            queue.push_mark(Event::Read(mark("bob", sequence)));
            queue.push_mark(Event::Delivered(mark("bob", sequence)));
            queue.push_mark(Event::Read(mark("cat", sequence)));
        }
        let events = all(&mut queue).split_off(CLIENT_COALESCE_FROM);
        assert_eq!(
            events,
            [
                Event::Read(mark("bob", 1000)),
                Event::Delivered(mark("bob", 1000)),
                Event::Read(mark("cat", 1000)),
            ]
        );
    }

    #[test]
    fn with_a_backlog_the_last_state_of_each_peer_is_left() {
        let mut queue = backlog();
        for _ in 0..1000 {
            queue.push_presence(peers(&["bob", "cat"]), vec![], false);
            queue.push_presence(peers(&["dan"]), peers(&["bob"]), false);
        }
        let events = all(&mut queue).split_off(CLIENT_COALESCE_FROM);
        assert_eq!(
            events,
            [
                Event::Online(peers(&["cat"])),
                Event::Online(peers(&["dan"])),
                Event::Offline(peers(&["bob"])),
            ]
        );
    }
}
