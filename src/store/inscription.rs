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
    Alias, ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId,
};
use crate::store::archive::{AsText, ValueError};
use crate::store::entry::{Entry, GroupAction, Message, NewUpstream, Opening, Origin, Repeat};
use crate::store::group::Change;
use crate::store::inscribed::{
    MessageV1, RecallV1, SendNumberV1, alias, device, maybe_peer, name, peer, peers, rules_bytes,
    rules_of,
};

#[derive(Archive, Serialize)]
pub(super) enum EntryV1 {
    Message {
        message: MessageV1,
        send: SendNumberV1,
        hash: u32,
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
    },
    Ended {
        #[rkyv(with = AsText)]
        peer: PeerId,
        #[rkyv(with = AsText)]
        device: DeviceId,
        session: i64,
        closed: bool,
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
        conversation: [u8; 17],
        sequence: u32,
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
}

impl EntryV1 {
    pub(super) fn new(entry: &Entry) -> Self {
        match entry {
            Entry::Message { message, origin, hash } => Self::message(message, origin, *hash),
            Entry::Opened(opening) => Self::opened(opening),
            Entry::Ended { peer, device, session, closed } => Self::Ended {
                peer: peer.clone(),
                device: device.clone(),
                session: session.0,
                closed: *closed,
            },
            Entry::Acked { peer, device, id } => {
                Self::Acked { peer: peer.clone(), device: device.clone(), id: id.0 }
            }
            Entry::Started { run } => Self::Started { run: *run },
            Entry::Read { peer, conversation, sequence, others } => Self::Read {
                peer: peer.clone(),
                conversation: conversation.key(),
                sequence: *sequence,
                others: others.clone(),
            },
            Entry::Delivered { to, by, conversation, sequence } => Self::Delivered {
                to: to.clone(),
                by: by.clone(),
                conversation: conversation.key(),
                sequence: *sequence,
            },
            Entry::Recalled(recall) => Self::Recalled { recall: RecallV1::new(recall) },
            Entry::GroupCreated { group, by, action } => Self::created(group, by.as_ref(), action),
            Entry::GroupChanged { group, by, change, sequence } => Self::GroupChanged {
                group: group.0,
                by: name(by.as_ref()),
                change: change.change as u8,
                peers: change.peers.clone(),
                rules: change.rules.map(rules_bytes),
                metadata: change.metadata.clone(),
                sequence: *sequence,
            },
            Entry::Nonce { peer, nonce, expires_ms } => {
                Self::Nonce { peer: peer.clone(), nonce: nonce.clone(), expires_ms: *expires_ms }
            }
            Entry::Alias { alias, device, bound } => {
                Self::Alias { alias: alias.clone(), device: device.clone(), bound: *bound }
            }
            Entry::Forgotten { peer, device } => {
                Self::Forgotten { peer: peer.clone(), device: device.clone() }
            }
            Entry::Blocked { peer, blocked } => {
                Self::Blocked { peer: peer.clone(), blocked: *blocked }
            }
            Entry::Upstream(NewUpstream { from, number, body }) => Self::Upstream {
                from: from.clone(),
                send: SendNumberV1::new(number),
                body: body.clone(),
            },
            Entry::UpstreamDone { upstream, peer, accepted } => {
                Self::UpstreamDone { upstream: upstream.0, peer: peer.clone(), accepted: *accepted }
            }
        }
    }

    fn message(message: &Message, origin: &Origin, hash: u32) -> Self {
        let message = MessageV1::new(message);
        match origin {
            Origin::Client(send) => Self::Message { message, send: SendNumberV1::new(send), hash },
            Origin::Backend { repeat, system } => {
                let (key, system) = (repeat.map(|repeat| repeat.key), *system);
                Self::Pushed { message, key, system, hash }
            }
        }
    }

    fn opened(opening: &Opening) -> Self {
        Self::Opened {
            peer: opening.peer.clone(),
            device: opening.device.clone(),
            flag: opening.flag as u8,
            instance: opening.instance,
            client: opening.client.clone(),
            address: opening.address.clone(),
            cursor: opening.cursor.0,
        }
    }

    /// A group is only created by the action of that name; another would create an empty one.
    fn created(group: &GroupId, by: Option<&PeerId>, action: &GroupAction) -> Self {
        let (open, rules, metadata, members) = match action {
            GroupAction::Create { open, rules, metadata, members } => {
                (*open, *rules, metadata.clone(), members.clone())
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
            Self::Message { message, send, hash } => Entry::Message {
                message: message.message(id, at_ms)?.into(),
                origin: Origin::Client(send.send()?),
                hash: hash.to_native(),
            },
            Self::Pushed { message, key, system, hash } => Entry::Message {
                message: message.message(id, at_ms)?.into(),
                origin: Origin::Backend {
                    repeat: key.as_ref().map(|key| Repeat { key: *key, content: hash.to_native() }),
                    system: *system,
                },
                hash: hash.to_native(),
            },
            Self::Opened { peer: who, device: on, flag, instance, client, address, cursor } => {
                Entry::Opened(Opening {
                    peer: peer(who)?,
                    device: device(on)?,
                    flag: DeviceFlag::from_number(*flag).unwrap_or_default(),
                    instance: instance.to_native(),
                    client: client.as_str().to_owned(),
                    address: address.as_str().to_owned(),
                    cursor: MessageId(cursor.to_native()),
                })
            }
            Self::Ended { peer: who, device: on, session, closed } => Entry::Ended {
                peer: peer(who)?,
                device: device(on)?,
                session: SessionId(session.to_native()),
                closed: *closed,
            },
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
            Self::Delivered { to, by, conversation, sequence } => Entry::Delivered {
                to: peer(to)?,
                by: peer(by)?,
                conversation: ConversationId::from_key(conversation),
                sequence: sequence.to_native(),
            },
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
            _ => return Err(ValueError::damaged("no entry")),
        })
    }
}
