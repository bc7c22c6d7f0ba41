//! Messages of the app's back end, on their way in: to peers, a group, an alias, a device.
//!
//! # Invariants
//!
//! * Nothing here asks who may: whoever calls has shown the app's key.
//! * Messages of one call are stored in its order.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use md5::{Digest, Md5};
use tokio::sync::oneshot;

use crate::hub::Hub;
use crate::hub::looking::unread;
use crate::hub::session::{Done, Session};
use crate::id::{Alias, ConversationId, DeviceId, GroupId, MessageId, PeerId};
use crate::limits::{BODY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX, PUSH_TEXT_BYTES_MAX, RECIPIENTS_MAX};
use crate::reason::Reason;
use crate::store::{IdempotencyKey, NewMessage, Origin, Repeat, Request, Route};
use crate::wire::{Deliver, ServerFrame};

/// A message of the back end.
#[derive(Clone, Debug)]
pub struct Post {
    /// Who sends it; the back end itself if there is nobody.
    pub from: Option<PeerId>,
    /// Whom it is for.
    pub to: Audience,
    /// For those online now: never stored.
    pub transient: bool,
    /// The sender is to hear of its delivery.
    pub receipt: bool,
    /// Milliseconds after which it need not be delivered any more; 0 for never.
    pub ttl_ms: i64,
    /// The app's own number for it.
    pub client_msg_no: String,
    /// What it says.
    pub body: Bytes,
    /// What a push service is to show for it; empty for what the settings say.
    pub push: String,
    /// What recognises it when it comes again.
    pub key: Option<IdempotencyKey>,
}

/// Whom a message of the back end is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Audience {
    /// These peers, on all their devices.
    Peers(Vec<PeerId>),
    /// The members of a group, or those in an open one now.
    Group(GroupId),
    /// The devices that have this alias.
    Alias(Alias),
    /// This device, for the peer that opened on it last.
    Device(DeviceId),
}

/// What has become of a message of the back end.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Posted {
    /// What was stored: one message, or one for each peer that has a device of the alias. None if
    /// the message was transient, or everybody ignored.
    pub messages: Vec<PostedMessage>,
    /// Whom it was for; not told for a group.
    pub recipients: Vec<Recipient>,
    /// Recipients that were online.
    pub online: usize,
    /// Recipients for whom it waits.
    pub offline: usize,
    /// Recipients that do not get it.
    pub ignored: usize,
}

/// A message that was stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PostedMessage {
    /// Its id.
    pub id: MessageId,
    /// Its number in its conversation.
    pub sequence: u32,
    /// When it was stored, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its conversation.
    pub conversation: ConversationId,
    /// It had been stored before, by a request with the same key.
    pub repeated: bool,
}

/// A recipient, and what it gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// Who.
    pub peer: PeerId,
    /// On which device; on all if there is none.
    pub device: Option<DeviceId>,
    /// What it gets.
    pub reach: Reach,
    /// The message, if one was stored for it.
    pub message: Option<MessageId>,
}

/// What a recipient gets of a message, as of when the server took it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// It has a session.
    Online,
    /// It has none, and the message waits.
    Offline,
    /// It does not get the message: it is blocked, has logged out on the device, or is not online
    /// for a transient message.
    Ignored,
}

/// One message to be stored, and for whom.
struct Parcel {
    conversation: ConversationId,
    recipients: Vec<Recipient>,
    /// Empty for a group.
    to: Vec<PeerId>,
    devices: Vec<DeviceId>,
    key: Option<IdempotencyKey>,
    /// Members of a group but the sender: online, for whom it waits, and who do not get it.
    members: (usize, usize, usize),
}

type Begun = (Parcel, Option<oneshot::Receiver<Result<Done, Reason>>>);

impl Hub {
    /// Sends messages, in their order. Each has an outcome of its own.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some messages may have been sent.
    pub async fn post(&self, posts: Vec<Post>) -> Vec<Result<Posted, Reason>> {
        let parcels = join_all(posts.iter().map(|post| self.parcels(post))).await;
        let mut begun = Vec::with_capacity(posts.len());
        for (post, parcels) in posts.iter().zip(parcels) {
            begun.push(match parcels {
                Ok(parcels) => self.hand_over(post, parcels).await,
                Err(reason) => Err(reason),
            });
        }
        join_all(begun.into_iter().map(finish)).await
    }

    /// Whom a message is for, and as how many messages it is stored.
    async fn parcels(&self, post: &Post) -> Result<Vec<Parcel>, Reason> {
        if post.body.len() > BODY_BYTES_MAX {
            return Err(Reason::BodyTooLong);
        }
        if post.client_msg_no.len() > CLIENT_MSG_NO_BYTES_MAX {
            return Err(Reason::BadId);
        }
        if post.push.len() > PUSH_TEXT_BYTES_MAX {
            return Err(Reason::BodyTooLong);
        }
        match &post.to {
            Audience::Peers(peers) => self.to_peers(post, peers).map(|parcel| vec![parcel]),
            Audience::Group(group) => Ok(vec![self.to_group(post, *group).await?]),
            Audience::Alias(alias) => {
                let routes = self.store.alias(alias).await.map_err(unread)?;
                if routes.is_empty() {
                    return Err(Reason::NoSuchAlias);
                }
                Ok(self.to_devices(post, routes))
            }
            Audience::Device(device) => {
                let found = self.store.device(device).await.map_err(unread)?;
                let (route, _) = found.ok_or(Reason::NoSuchDevice)?;
                Ok(self.to_devices(post, vec![route]))
            }
        }
    }

    fn sender<'a>(&'a self, post: &'a Post) -> &'a PeerId {
        post.from.as_ref().unwrap_or(&self.options.system)
    }

    fn to_peers(&self, post: &Post, peers: &[PeerId]) -> Result<Parcel, Reason> {
        let mut to = peers.to_vec();
        to.sort_unstable();
        to.dedup();
        match to.len() {
            0 => return Err(Reason::NoRecipient),
            1..=RECIPIENTS_MAX => {}
            _ => return Err(Reason::TooManyRecipients),
        }
        // Nobody opens a session as it, so what waits for it would never be taken.
        if to.contains(&self.options.system) {
            return Err(Reason::Reserved);
        }
        let conversation = ConversationId::of_peers(to.iter().chain([self.sender(post)]));
        let recipient = |peer: &PeerId| {
            let reach = match self.router.has(peer) {
                _ if self.store.is_blocked(peer) => Reach::Ignored,
                true => Reach::Online,
                false if post.transient => Reach::Ignored,
                false => Reach::Offline,
            };
            Recipient { peer: peer.clone(), device: None, reach, message: None }
        };
        let recipients = to.iter().map(recipient).collect();
        Ok(Parcel::new(conversation, recipients, Vec::new(), post.key))
    }

    /// A message for devices: one for each peer that has some of them.
    fn to_devices(&self, post: &Post, mut routes: Vec<Route>) -> Vec<Parcel> {
        routes.sort_unstable_by(|a, b| (&a.peer, &a.device).cmp(&(&b.peer, &b.device)));
        let parcel = |routes: &[Route]| {
            let peer = &routes[0].peer;
            let recipient = |route: &Route| {
                let reach = match route.online {
                    _ if route.gone || self.store.is_blocked(peer) => Reach::Ignored,
                    true => Reach::Online,
                    false if post.transient => Reach::Ignored,
                    false => Reach::Offline,
                };
                let device = Some(route.device.clone());
                Recipient { peer: peer.clone(), device, reach, message: None }
            };
            let recipients: Vec<_> = routes.iter().map(recipient).collect();
            let reached = recipients.iter().filter(|recipient| recipient.reach != Reach::Ignored);
            let devices = reached.filter_map(|recipient| recipient.device.clone()).collect();
            let conversation = ConversationId::of_peers([peer, self.sender(post)]);
            let key = post.key.map(|key| {
                let digest = Md5::new().chain_update(key).chain_update(peer.as_str());
                digest.finalize().into()
            });
            Parcel::new(conversation, recipients, devices, key)
        };
        routes.chunk_by(|a, b| a.peer == b.peer).map(parcel).collect()
    }

    async fn to_group(&self, post: &Post, group: GroupId) -> Result<Parcel, Reason> {
        let group = self.group(group).await?;
        let conversation = ConversationId::Group(group.id);
        let mut parcel = Parcel::new(conversation, Vec::new(), Vec::new(), post.key);
        let others = || group.members().filter(|peer| *peer != self.sender(post));
        let online = others().filter(|peer| self.router.has(peer)).count();
        let away = others().count() - online;
        parcel.members = match (group.open, post.transient) {
            (true, _) => (self.open_groups.count(group.id), 0, 0),
            (false, true) => (online, 0, away),
            (false, false) => (online, away, 0),
        };
        Ok(parcel)
    }

    /// Hands what is to be stored to the store, and puts to sessions what is not.
    async fn hand_over(&self, post: &Post, parcels: Vec<Parcel>) -> Result<Vec<Begun>, Reason> {
        let system = *self.sender(post) == self.options.system;
        let content = post.key.map_or(0, |_| post.content());
        let mut begun = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            if post.transient {
                self.post_transient(post, &parcel).await?;
                begun.push((parcel, None));
                continue;
            }
            let is_group = matches!(parcel.conversation, ConversationId::Group(_));
            if !is_group && parcel.to.is_empty() {
                begun.push((parcel, None));
                continue;
            }
            let repeat = parcel.key.map(|key| Repeat { key, content });
            let message = NewMessage {
                from: self.sender(post).clone(),
                origin: Origin::Backend { repeat, system },
                conversation: parcel.conversation,
                to: parcel.to.clone(),
                devices: parcel.devices.clone(),
                receipt: post.receipt,
                ttl_ms: post.ttl_ms,
                client_msg_no: Bytes::copy_from_slice(post.client_msg_no.as_bytes()),
                body: post.body.clone(),
                push: Bytes::copy_from_slice(post.push.as_bytes()),
            };
            let done = self.begin(Request::Message(message)).await?;
            begun.push((parcel, Some(done)));
        }
        Ok(begun)
    }

    async fn post_transient(&self, post: &Post, parcel: &Parcel) -> Result<(), Reason> {
        let mut deliver = Deliver {
            transient: true,
            receipt: false,
            waited: false,
            own: false,
            id: MessageId::NONE,
            sequence: 0,
            at_ms: self.store.clock().now_ms() as u64,
            conversation: parcel.conversation,
            from: self.sender(post).clone(),
            to: parcel.to.clone(),
            client_msg_no: post.client_msg_no.as_str().into(),
            body: post.body.clone(),
        };
        let mut frame = BytesMut::new();
        ServerFrame::Deliver(deliver.clone()).encode(&mut frame);
        let put = |session: &Arc<Session>| {
            let is_for = parcel.devices.is_empty() || parcel.devices.contains(session.device());
            if is_for && session.transient(&frame, false) {
                self.metrics.transients.inc();
            }
        };
        let sender = self.sender(post);
        if let ConversationId::Group(group) = parcel.conversation {
            let group = self.group(group).await?;
            if group.open {
                self.open_groups.visit(group.id, put);
                return Ok(());
            }
            let others = group.members().filter(|peer| *peer != sender);
            others.for_each(|peer| self.router.visit(peer, put));
        } else {
            parcel.to.iter().for_each(|peer| self.router.visit(peer, put));
            if parcel.to.is_empty() || parcel.to.contains(sender) {
                return Ok(());
            }
        }
        if post.from.is_some() {
            deliver.own = true;
            frame.clear();
            ServerFrame::Deliver(deliver).encode(&mut frame);
            self.put_transient(sender, None, &frame, false);
        }
        Ok(())
    }
}

impl Post {
    /// What tells it from another message under the same key. Whom it reaches is no part of that:
    /// an alias may have other devices by the time that it comes again.
    fn content(&self) -> u32 {
        let Self { from, to, transient: _, receipt, ttl_ms, client_msg_no, body, push, key: _ } =
            self;
        let asked = format!("{from:?} {to:?} {receipt} {ttl_ms} {client_msg_no:?} ");
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(asked.as_bytes());
        hasher.update(body);
        hasher.update(push.as_bytes());
        hasher.finalize()
    }
}

impl Parcel {
    fn new(
        conversation: ConversationId,
        recipients: Vec<Recipient>,
        devices: Vec<DeviceId>,
        key: Option<IdempotencyKey>,
    ) -> Self {
        let reached = recipients.iter().filter(|recipient| recipient.reach != Reach::Ignored);
        let mut to: Vec<_> = reached.map(|recipient| recipient.peer.clone()).collect();
        to.dedup();
        Self { conversation, recipients, to, devices, key, members: (0, 0, 0) }
    }
}

/// Waits for what has become of a message.
async fn finish(begun: Result<Vec<Begun>, Reason>) -> Result<Posted, Reason> {
    let mut posted = Posted::default();
    for (mut parcel, done) in begun? {
        if let Some(done) = done {
            // It is dropped only when the store fails.
            let done = done.await.unwrap_or(Err(Reason::Restarting))?;
            let Done::Stored { id, sequence, at_ms, repeated } = done else { continue };
            let conversation = parcel.conversation;
            let message = PostedMessage { id, sequence, at_ms, conversation, repeated };
            posted.messages.push(message);
            let reached = parcel.recipients.iter_mut().filter(|r| r.reach != Reach::Ignored);
            reached.for_each(|recipient| recipient.message = Some(id));
        }
        let count = |reach| parcel.recipients.iter().filter(|r| r.reach == reach).count();
        posted.online += count(Reach::Online) + parcel.members.0;
        posted.offline += count(Reach::Offline) + parcel.members.1;
        posted.ignored += count(Reach::Ignored) + parcel.members.2;
        posted.recipients.append(&mut parcel.recipients);
    }
    Ok(posted)
}
