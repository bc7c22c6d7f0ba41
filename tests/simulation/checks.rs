//! What must be so after each step, and at the end.

use tidings::id::{ConversationId, MessageId, PeerId};
use tidings::store::{Item, Past};
use tidings::wire::Ack;

use crate::client::peer;
use crate::world::{PEERS, World};

/// Whether a conversation is a peer's, too: that of some of them, or of the group.
pub(crate) fn is_in(name: &str, conversation: ConversationId) -> bool {
    let pairs = [&["ann", "bob"][..], &["ann", "cat"], &["bob", "cat"], &PEERS];
    let of = |names: &&&[&str]| {
        let peers: Vec<PeerId> = names.iter().map(|name| peer(name)).collect();
        ConversationId::of_peers(&peers) == conversation
    };
    let names = pairs.iter().find(of).copied().unwrap_or(&PEERS);
    names.contains(&name)
}

impl World {
    pub(crate) fn items(&self, name: &str) -> Vec<Item> {
        let (mut all, mut after) = (Vec::new(), MessageId::NONE);
        loop {
            let name = peer(name);
            let asked = self.hub().store().waiting(&name, None, after, 100);
            let page = self.runtime.block_on(asked).unwrap();
            all.extend(page.items);
            after = page.last;
            if page.is_all {
                return all;
            }
        }
    }

    pub(crate) fn waiting(&self, name: &str) -> Vec<i64> {
        self.items(name).iter().map(|item| item.id().0).collect()
    }

    pub(crate) fn compare(&self) {
        for (name, inbox) in &self.model.inboxes {
            assert_eq!(self.waiting(name), inbox.ids(), "what waits for {name}");
        }
    }

    /// Everybody comes, hears all there is and acknowledges it: nothing is left.
    pub(crate) fn finish(&mut self) {
        for at in 0..self.clients.len() {
            self.open(at);
        }
        for at in 0..self.clients.len() {
            self.read(at);
            let (id, client) = (self.clients[at].cursor, &self.clients[at]);
            assert_eq!(client.unanswered(), [0; 0], "{} has sends without answers", client.peer);
            let (name, on) = (client.peer, client.device);
            if self.clients[at].live.as_ref().is_some_and(|live| live.put() >= id && id > 0) {
                self.handle(at, Ack { id: MessageId(id) });
                self.model.inboxes.get_mut(name).unwrap().acknowledge(on, id);
            }
        }
        self.barrier();
        self.compare();
        self.check_marks();
        self.check_history();
        self.hub().store().close();
    }

    /// Each device knows how far the others have read.
    fn check_marks(&self) {
        for ((conversation, reader), sequence) in &self.model.read {
            let ConversationId::Peers(_) = conversation else { continue };
            for client in self.clients.iter().filter(|client| client.peer != *reader) {
                if is_in(client.peer, *conversation) {
                    let told = client.marks.get(&(*conversation, (*reader).to_owned()));
                    let who = (client.peer, client.device);
                    assert_eq!(told, Some(sequence), "{who:?}: how far {reader} has read");
                }
            }
        }
    }

    fn check_history(&self) {
        let all = self.history(0);
        assert_eq!(all.len(), self.model.messages.len());
        for Past { message, recalled } in all {
            let stored = &self.model.messages[&message.id.0];
            assert_eq!((message.sequence, recalled), (stored.sequence, stored.recalled.is_some()));
            let body = if recalled { "" } else { &stored.body };
            assert_eq!(message.body, body.as_bytes());
        }
    }
}
