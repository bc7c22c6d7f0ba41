//! The stored form of entries: one type for each version.
//!
//! # Invariants
//!
//! * Reading gives back what was written, or an error; it never panics.

use bytes::Bytes;
use rkyv::with::Map;
use rkyv::{Archive, Serialize};

use crate::group::GroupChange;
use crate::id::{
    Alias, ConversationId, DeviceFlag, DeviceId, EndpointId, GroupId, MessageId, PeerId, SessionId,
};
use crate::store::archive::{AsText, ValueError};
use crate::store::endpoint_image::EndpointChangeV1;
use crate::store::entry::{
    Counts, Ending, Entry, GroupAction, Message, NewUpstream, Opening, Origin, Repeat,
};
use crate::store::group::Change;
use crate::store::inscribed::{
    AbsentV1, ArchivedAbsentV1, MessageV1, RecallV1, SendNumberV1, alias, device, maybe_peer, name,
    peer, peers, rules_bytes, rules_of,
};

#[derive(Archive, Serialize)]
pub(super) enum EntryV1 {
    Message {
        message: MessageV1,
        send: SendNumberV1,
        hash: u32,
        push: Bytes,
        absent: Vec<AbsentV1>,
    },
    Opened {
        #[rkyv(with = AsText)]
        peer: PeerId,
        #[rkyv(with = AsText)]
        device: DeviceId,
        flag: u8,
        instance: u64,
        client: String,
        address: String,
        cursor: i64,
        counts: (u32, u32),
    },
    Ended {
        #[rkyv(with = AsText)]
        peer: PeerId,
        #[rkyv(with = AsText)]
        device: DeviceId,
        flag: u8,
        session: i64,
        ending: u8,
        counts: (u32, u32),
    },
    Acked {
        #[rkyv(with = AsText)]
        peer: PeerId,
        #[rkyv(with = AsText)]
        device: DeviceId,
        id: i64,
    },
    Started {
        run: u32,
    },
    Read {
        #[rkyv(with = AsText)]
        peer: PeerId,
        conversation: [u8; 17],
        sequence: u32,
        #[rkyv(with = Map<AsText>)]
        others: Vec<PeerId>,
    },
    Delivered {
        #[rkyv(with = AsText)]
        to: PeerId,
        #[rkyv(with = AsText)]
        by: PeerId,
        #[rkyv(with = AsText)]
        device: DeviceId,
        conversation: [u8; 17],
        sequence: u32,
        messages: Vec<i64>,
    },
    Recalled {
        recall: RecallV1,
    },
    GroupCreated {
        group: [u8; 12],
        /// An empty text is nobody.
        by: String,
        open: bool,
        rules: [u8; 3],
        metadata: Bytes,
        #[rkyv(with = Map<AsText>)]
        members: Vec<PeerId>,
    },
    GroupChanged {
        group: [u8; 12],
        by: String,
        change: u8,
        #[rkyv(with = Map<AsText>)]
        peers: Vec<PeerId>,
        rules: Option<[u8; 3]>,
        metadata: Option<Bytes>,
        sequence: u32,
    },
    Nonce {
        #[rkyv(with = AsText)]
        peer: PeerId,
        nonce: Bytes,
        expires_ms: i64,
    },
    /// A message of the app's back end.
    Pushed {
        message: MessageV1,
        key: Option<[u8; 16]>,
        system: bool,
        hash: u32,
        push: Bytes,
        absent: Vec<AbsentV1>,
    },
    Alias {
        #[rkyv(with = AsText)]
        alias: Alias,
        #[rkyv(with = AsText)]
        device: DeviceId,
        bound: bool,
    },
    Forgotten {
        #[rkyv(with = AsText)]
        peer: PeerId,
        #[rkyv(with = AsText)]
        device: DeviceId,
    },
    Blocked {
        #[rkyv(with = AsText)]
        peer: PeerId,
        blocked: bool,
    },
    Upstream {
        #[rkyv(with = AsText)]
        from: PeerId,
        send: SendNumberV1,
        body: Bytes,
    },
    UpstreamDone {
        upstream: i64,
        #[rkyv(with = AsText)]
        peer: PeerId,
        accepted: bool,
    },
    Unacknowledged {
        #[rkyv(with = AsText)]
        peer: PeerId,
        waiting: u32,
        messages: Vec<i64>,
    },
    Endpoint {
        #[rkyv(with = AsText)]
        endpoint: EndpointId,
        change: EndpointChangeV1,
    },
}

impl EntryV1 {
    pub(super) fn new(entry: &Entry) -> Self {
        match entry.clone() {
            Entry::Message { message, origin, hash, push, absent } => {
                Self::message((&message, hash), &origin, push, AbsentV1::all(absent))
            }
            Entry::Opened { opening, counts } => Self::opened(opening, counts),
            Entry::Ended { peer, device, flag, session, ending, counts } => Self::Ended {
                peer,
                device,
                flag: flag as u8,
                session: session.0,
                ending: ending as u8,
                counts: (counts.same_flag, counts.all),
            },
            Entry::Unacknowledged { peer, waiting, messages } => {
                Self::Unacknowledged { peer, waiting, messages: numbers(&messages) }
            }
            Entry::Acked { peer, device, id } => Self::Acked { peer, device, id: id.0 },
            Entry::Started { run } => Self::Started { run },
            Entry::Read { peer, conversation, sequence, others } => {
                Self::Read { peer, conversation: conversation.key(), sequence, others }
            }
            Entry::Delivered { to, by, device, conversation, sequence, messages } => {
                let (conversation, messages) = (conversation.key(), numbers(&messages));
                Self::Delivered { to, by, device, conversation, sequence, messages }
            }
            Entry::Recalled(recall) => Self::Recalled { recall: RecallV1::new(&recall) },
            Entry::GroupCreated { group, by, action } => Self::created(group, by.as_ref(), action),
            Entry::GroupChanged { group, by, change, sequence } => Self::GroupChanged {
                group: group.0,
                by: name(by.as_ref()),
                change: change.change as u8,
                peers: change.peers,
                rules: change.rules.map(rules_bytes),
                metadata: change.metadata,
                sequence,
            },
            Entry::Nonce { peer, nonce, expires_ms } => Self::Nonce { peer, nonce, expires_ms },
            Entry::Alias { alias, device, bound } => Self::Alias { alias, device, bound },
            Entry::Forgotten { peer, device } => Self::Forgotten { peer, device },
            Entry::Blocked { peer, blocked } => Self::Blocked { peer, blocked },
            Entry::Upstream(NewUpstream { from, number, body }) => {
                Self::Upstream { from, send: SendNumberV1::new(&number), body }
            }
            Entry::UpstreamDone { upstream, peer, accepted } => {
                Self::UpstreamDone { upstream: upstream.0, peer, accepted }
            }
            Entry::Endpoint { endpoint, change } => {
                Self::Endpoint { endpoint, change: EndpointChangeV1::new(change) }
            }
        }
    }

    fn message(
        (message, hash): (&Message, u32),
        origin: &Origin,
        push: Bytes,
        absent: Vec<AbsentV1>,
    ) -> Self {
        let message = MessageV1::new(message);
        match origin {
            Origin::Client(send) => {
                let send = SendNumberV1::new(send);
                Self::Message { message, send, hash, push, absent }
            }
            Origin::Backend { repeat, system } => {
                let (key, system) = (repeat.map(|repeat| repeat.key), *system);
                Self::Pushed { message, key, system, hash, push, absent }
            }
        }
    }

    fn opened(opening: Opening, counts: Counts) -> Self {
        let Opening { peer, device, flag, instance, client, address, cursor } = opening;
        let (flag, cursor) = (flag as u8, cursor.0);
        let counts = (counts.same_flag, counts.all);
        Self::Opened { peer, device, flag, instance, client, address, cursor, counts }
    }

    /// A group is only created by the action of that name; another would create an empty one.
    fn created(group: GroupId, by: Option<&PeerId>, action: GroupAction) -> Self {
        let (open, rules, metadata, members) = match action {
            GroupAction::Create { open, rules, metadata, members } => {
                (open, rules, metadata, members)
            }
            _ => Default::default(),
        };
        let (group, by, rules) = (group.0, name(by), rules_bytes(rules));
        Self::GroupCreated { group, by, open, rules, metadata, members }
    }
}

impl ArchivedEntryV1 {
    pub(super) fn entry(&self, id: MessageId, at_ms: i64) -> Result<Entry, ValueError> {
        Ok(match self {
            Self::Message { message, send, hash, push, absent } => Entry::Message {
                message: message.message(id, at_ms)?.into(),
                origin: Origin::Client(send.send()?),
                hash: hash.to_native(),
                push: Bytes::copy_from_slice(push),
                absent: ArchivedAbsentV1::list(absent)?,
            },
            Self::Pushed { message, key, system, hash, push, absent } => Entry::Message {
                message: message.message(id, at_ms)?.into(),
                origin: Origin::Backend {
                    repeat: key.as_ref().map(|key| Repeat { key: *key, content: hash.to_native() }),
                    system: *system,
                },
                hash: hash.to_native(),
                push: Bytes::copy_from_slice(push),
                absent: ArchivedAbsentV1::list(absent)?,
            },
            Self::Opened {
                peer: who,
                device: on,
                flag,
                instance,
                client,
                address,
                cursor,
                counts: then,
            } => Entry::Opened {
                opening: Opening {
                    peer: peer(who)?,
                    device: device(on)?,
                    flag: DeviceFlag::from_number(*flag).unwrap_or_default(),
                    instance: instance.to_native(),
                    client: client.as_str().to_owned(),
                    address: address.as_str().to_owned(),
                    cursor: MessageId(cursor.to_native()),
                },
                counts: counts(then.0.to_native(), then.1.to_native()),
            },
            Self::Ended { peer: who, device: on, flag, session, ending, counts: then } => {
                Entry::Ended {
                    peer: peer(who)?,
                    device: device(on)?,
                    flag: DeviceFlag::from_number(*flag).unwrap_or_default(),
                    session: SessionId(session.to_native()),
                    ending: Ending::from_number(*ending)
                        .ok_or_else(|| ValueError::damaged("unknown end of a session"))?,
                    counts: counts(then.0.to_native(), then.1.to_native()),
                }
            }
            Self::Acked { peer: who, device: on, id } => Entry::Acked {
                peer: peer(who)?,
                device: device(on)?,
                id: MessageId(id.to_native()),
            },
            Self::Started { run } => Entry::Started { run: run.to_native() },
            _ => self.later_entry()?,
        })
    }

    /// The entries about marks, groups and nonces.
    fn later_entry(&self) -> Result<Entry, ValueError> {
        Ok(match self {
            Self::Read { peer: who, conversation, sequence, others } => Entry::Read {
                peer: peer(who)?,
                conversation: ConversationId::from_key(conversation),
                sequence: sequence.to_native(),
                others: peers(others)?,
            },
            Self::Delivered { to, by, device: on, conversation, sequence, messages } => {
                Entry::Delivered {
                    to: peer(to)?,
                    by: peer(by)?,
                    device: device(on)?,
                    conversation: ConversationId::from_key(conversation),
                    sequence: sequence.to_native(),
                    messages: messages.iter().map(|id| MessageId(id.to_native())).collect(),
                }
            }
            Self::Recalled { recall } => Entry::Recalled(recall.recall()?),
            Self::GroupCreated { group, by, open, rules, metadata, members } => {
                Entry::GroupCreated {
                    group: GroupId(*group),
                    by: maybe_peer(by)?,
                    action: GroupAction::Create {
                        open: *open,
                        rules: rules_of(*rules)?,
                        metadata: Bytes::copy_from_slice(metadata),
                        members: peers(members)?,
                    },
                }
            }
            Self::GroupChanged { group, by, change, peers: who, rules, metadata, sequence } => {
                Entry::GroupChanged {
                    group: GroupId(*group),
                    by: maybe_peer(by)?,
                    change: Change {
                        change: GroupChange::from_number(*change)
                            .ok_or_else(|| ValueError::damaged("unknown change of a group"))?,
                        peers: peers(who)?,
                        rules: rules.as_ref().map(|rules| rules_of(*rules)).transpose()?,
                        metadata: metadata.as_ref().map(|m| Bytes::copy_from_slice(m)),
                    },
                    sequence: sequence.to_native(),
                }
            }
            Self::Nonce { peer: who, nonce, expires_ms } => Entry::Nonce {
                peer: peer(who)?,
                nonce: Bytes::copy_from_slice(nonce),
                expires_ms: expires_ms.to_native(),
            },
            _ => self.entry_of_backend()?,
        })
    }

    /// The entries about what the app's back end does, and what is for it.
    fn entry_of_backend(&self) -> Result<Entry, ValueError> {
        Ok(match self {
            Self::Alias { alias: name, device: on, bound } => {
                Entry::Alias { alias: alias(name)?, device: device(on)?, bound: *bound }
            }
            Self::Forgotten { peer: who, device: on } => {
                Entry::Forgotten { peer: peer(who)?, device: device(on)? }
            }
            Self::Blocked { peer: who, blocked } => {
                Entry::Blocked { peer: peer(who)?, blocked: *blocked }
            }
            Self::Upstream { from, send, body } => Entry::Upstream(NewUpstream {
                from: peer(from)?,
                number: send.send()?,
                body: Bytes::copy_from_slice(body),
            }),
            Self::UpstreamDone { upstream, peer: who, accepted } => Entry::UpstreamDone {
                upstream: MessageId(upstream.to_native()),
                peer: peer(who)?,
                accepted: *accepted,
            },
            Self::Unacknowledged { peer: who, waiting, messages } => Entry::Unacknowledged {
                peer: peer(who)?,
                waiting: waiting.to_native(),
                messages: messages.iter().map(|id| MessageId(id.to_native())).collect(),
            },
            Self::Endpoint { endpoint, change } => Entry::Endpoint {
                endpoint: EndpointId::new(endpoint).map_err(ValueError::damaged)?,
                change: change.change(),
            },
            _ => return Err(ValueError::damaged("no entry")),
        })
    }
}

fn counts(same_flag: u32, all: u32) -> Counts {
    Counts { same_flag, all }
}

/// Ids as they are stored.
fn numbers(ids: &[MessageId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}
