//! Messages on their way in: what is stored, and what is for those online only.
//!
//! # Invariants
//!
//! * A transient message to peers, or in an open group, never waits for the disk; one to the
//!   members of a group waits until the commit thread has told who they are.

use std::sync::Arc;

use bytes::BytesMut;

use crate::hub::Hub;
use crate::hub::session::{Asks, Caller, Session};
use crate::hub::vetting::Veto;
use crate::id::{ConversationId, GroupId, MessageId, PeerId};
use crate::reason::Reason;
use crate::signature::Signatures;
use crate::store::{NewMessage, Origin, Request, SendNumber};
use crate::wire::{Deliver, Send, ServerFrame, Target};

impl Hub {
    /// Hands a message to the store, whose outcome answers it.
    ///
    /// # Errors
    ///
    /// The reason for which the session has to end.
    pub(super) async fn send(&self, session: &Arc<Session>, mut send: Send) -> Result<(), Reason> {
        session.reserve_answer().await;
        let (conversation, to) = match self.addressed(session, &mut send.target) {
            Ok(addressed) => addressed,
            Err(reason) => {
                self.refuse(session, send.request, reason);
                return Ok(());
            }
        };
        if self.options.pre_send.is_some() {
            return Box::pin(self.send_vetted(session, (conversation, to), send)).await;
        }
        let request = send.request;
        let message = new_message(session, (conversation, to), send);
        let caller = Caller::session(session, request, Asks::Send);
        self.submit(Some(caller), Request::Message(message)).await
    }

    /// Asks about a message, and hands it to the store, which knows whether it came before.
    async fn send_vetted(
        &self,
        session: &Arc<Session>,
        (conversation, to): (ConversationId, Vec<PeerId>),
        send: Send,
    ) -> Result<(), Reason> {
        // The client sends again, by its next session, what this one does not answer.
        if session.outbox().ended().is_some() {
            return Ok(());
        }
        let request = send.request;
        let vetted = self.vet(session, (conversation, &to), &send).await;
        if session.outbox().ended().is_some() {
            return Ok(());
        }
        let mut message = new_message(session, (conversation, to), send);
        let content = message.content();
        let (refused, asks) = match vetted {
            Ok(body) => {
                message.body = body.unwrap_or(message.body);
                (None, Asks::Send)
            }
            Err(Veto { reason, text }) => (Some(reason), Asks::Vetoed(text)),
        };
        let caller = Caller::session(session, request, asks);
        self.submit(Some(caller), Request::Vetted { message, content, refused }).await
    }

    /// Whether sends of a session may act before it is open. They have to be recognised when they
    /// come again, for which the log must know the device; and where only those may be sent to
    /// who are watched, the session must be open to watch them.
    pub async fn hears_early(&self, session: &Session) -> bool {
        if self.options.watch_before_send && self.options.signatures == Signatures::Enforced {
            return false;
        }
        self.store.knows(session.peer(), session.device()).await.unwrap_or(false)
    }

    /// The conversation of a send, and its recipients, each once; a group's members are the
    /// store's to know.
    fn addressed(
        &self,
        session: &Session,
        target: &mut Target,
    ) -> Result<(ConversationId, Vec<PeerId>), Reason> {
        let mut to = match target {
            Target::Group(group) => return Ok((ConversationId::Group(*group), Vec::new())),
            Target::Peers(to) => std::mem::take(to),
        };
        if to.is_empty() {
            return Err(Reason::NoRecipient);
        }
        if to.len() > 1 {
            to.sort_unstable();
            to.dedup();
        }
        if self.options.watch_before_send && self.options.signatures == Signatures::Enforced {
            let may = |to: &PeerId| to == session.peer() || self.presence.watches(session, to);
            if !to.iter().all(may) {
                return Err(Reason::NotWatched);
            }
        }
        Ok((ConversationId::of_peers(to.iter().chain([session.peer()])), to))
    }

    /// Puts a transient message to those of its recipients who are online.
    ///
    /// # Errors
    ///
    /// Why it is for nobody, or not sent.
    pub async fn send_transient(
        &self,
        session: &Arc<Session>,
        mut send: Send,
        by_datagram: bool,
    ) -> Result<(), Veto> {
        let (conversation, to) = self.addressed(session, &mut send.target)?;
        if let Some(body) = self.vet(session, (conversation, &to), &send).await? {
            send.body = body;
        }
        let mut deliver = Deliver {
            transient: true,
            receipt: false,
            waited: false,
            own: false,
            id: MessageId::NONE,
            sequence: 0,
            at_ms: self.store.clock().now_ms() as u64,
            conversation,
            from: session.peer().clone(),
            to: to.clone(),
            client_msg_no: send.client_msg_no,
            body: send.body,
        };
        let mut frame = BytesMut::new();
        ServerFrame::Deliver(deliver.clone()).encode(&mut frame);
        if let ConversationId::Group(group) = conversation {
            if !self.transient_to_group(session, group, &frame, by_datagram).await? {
                return Ok(());
            }
        } else {
            to.iter().for_each(|peer| self.put_transient(peer, None, &frame, by_datagram));
            if to.contains(session.peer()) {
                return Ok(());
            }
        }
        deliver.own = true;
        frame.clear();
        ServerFrame::Deliver(deliver).encode(&mut frame);
        self.put_transient(session.peer(), Some(session), &frame, by_datagram);
        Ok(())
    }

    /// Puts a transient message to a group; says whether the sender's other devices are still to
    /// get it.
    async fn transient_to_group(
        &self,
        session: &Arc<Session>,
        group: GroupId,
        frame: &[u8],
        by_datagram: bool,
    ) -> Result<bool, Reason> {
        if session.open_group() == Some(group) {
            self.open_groups.visit(group, |other| {
                if !Arc::ptr_eq(other, session) && other.transient(frame, by_datagram) {
                    self.metrics.transients.inc();
                }
            });
            return Ok(false);
        }
        let group = self.group(group).await?;
        group.member_since(session.peer()).ok_or(Reason::NotMember)?;
        for peer in group.members().filter(|peer| *peer != session.peer()) {
            self.put_transient(peer, None, frame, by_datagram);
        }
        Ok(true)
    }

    /// Puts a transient message to all sessions of a peer but one.
    pub(super) fn put_transient(
        &self,
        peer: &PeerId,
        but: Option<&Arc<Session>>,
        frame: &[u8],
        by_datagram: bool,
    ) {
        self.router.visit(peer, |session| {
            let is_left_out = but.is_some_and(|but| Arc::ptr_eq(session, but));
            if !is_left_out && session.transient(frame, by_datagram) {
                self.metrics.transients.inc();
            }
        });
    }
}

/// What a client wants to have stored.
fn new_message(
    session: &Session,
    (conversation, to): (ConversationId, Vec<PeerId>),
    send: Send,
) -> NewMessage {
    NewMessage {
        conversation,
        from: session.peer().clone(),
        origin: Origin::Client(SendNumber {
            device: session.device().clone(),
            instance: session.instance(),
            number: send.number,
            answered: send.answered,
        }),
        to,
        devices: Vec::new(),
        receipt: send.receipt,
        ttl_ms: i64::try_from(send.ttl_ms).unwrap_or(i64::MAX),
        client_msg_no: send.client_msg_no.as_bytes().clone(),
        body: send.body,
        push: send.push.as_bytes().clone(),
    }
}
