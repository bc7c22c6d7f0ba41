//! What a command asks of the server, and what comes of it.
//!
//! # Invariants
//!
//! * Nothing here prints or remembers: a request makes one [`Answer`], or words that say why not.

use std::pin::Pin;

use tidings::client::{
    Conversation, Device, Group, MemberPage, NewGroup, Outgoing, Past, RequestError, Sent, Session,
    UpstreamSent,
};
use tidings::id::{Alias, ConversationId, GroupId, PeerId};

use crate::cli::places::Place;
use crate::cli::words;

/// Elements of one page that is asked for; the server gives fewer if it must.
const PAGE: usize = 100;
/// Members and conversations that are shown at the most: some screens full.
const SHOWN_MAX: usize = 1000;

/// A request under way.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send>>;

/// What the server answered.
#[derive(Debug)]
pub(super) enum Answer {
    Sent(Place, Sent),
    /// To an open group, which tells nothing back.
    SentToOpen,
    With {
        place: Place,
        online: Result<Vec<PeerId>, String>,
    },
    Entered {
        group: Group,
        how: Entry,
    },
    Left(GroupId),
    Invited(GroupId, Vec<PeerId>),
    Kicked(GroupId, Vec<PeerId>),
    Members(MemberPage),
    Online {
        asked: Vec<PeerId>,
        online: Vec<PeerId>,
    },
    Unwatched(Vec<PeerId>),
    /// Newest first.
    History(Vec<Past>),
    Conversations(Vec<Conversation>),
    Devices(Vec<Device>),
    Bound(Alias),
    Unbound(Alias),
    Upstream(UpstreamSent),
    Recalled(Sent),
    /// Up to this number; `None`: there is nothing.
    Read(Option<u32>),
    LoggedOut,
    /// Something to read that needed no server.
    Lines(String),
    /// The end of the chat.
    Bye,
}

/// How somebody came to talk in a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    Created,
    Joined,
    Entered,
}

/// Says something at a place; `open`: it is an open group, which takes transient messages only.
pub(super) fn say(session: Session, place: Place, text: String, open: bool) -> Work {
    let message = Outgoing::to(place.recipients(), text);
    Box::pin(async move {
        let failed = |error| words::send_failed(&error);
        if open {
            session.send_transient(message).map_err(failed)?;
            return Ok(Answer::SentToOpen);
        }
        // Groups and several peers have no receipts.
        let message = if place.other().is_some() { message.receipt() } else { message };
        let sent = session.send(message).await.map_err(failed)?;
        Ok(Answer::Sent(place, sent))
    })
}

/// Makes a request of what answers it.
fn ask(answer: impl Future<Output = Result<Answer, RequestError>> + Send + 'static) -> Work {
    Box::pin(async { answer.await.map_err(|error| words::request_failed(&error)) })
}

/// Begins to talk with peers, and watches them.
pub(super) fn with(session: Session, place: Place) -> Work {
    Box::pin(async move {
        let others = place.others().to_vec();
        // Talking goes without watching.
        let online = session.watch(others).await.map_err(|error| words::request_failed(&error));
        Ok(Answer::With { place, online })
    })
}

/// Begins to talk in a group that the peer is in.
pub(super) fn group(session: Session, group: GroupId) -> Work {
    ask(async move {
        let group = session.members(group, None, 1).await?.group;
        Ok(Answer::Entered { group, how: Entry::Entered })
    })
}

pub(super) fn create(session: Session, open: bool) -> Work {
    ask(async move {
        let group = session.create_group(NewGroup { open, ..NewGroup::default() }).await?;
        Ok(Answer::Entered { group, how: Entry::Created })
    })
}

pub(super) fn join(session: Session, group: GroupId) -> Work {
    ask(async move {
        let group = session.join(group).await?;
        Ok(Answer::Entered { group, how: Entry::Joined })
    })
}

pub(super) fn leave(session: Session, group: GroupId) -> Work {
    ask(async move {
        session.leave(group).await?;
        Ok(Answer::Left(group))
    })
}

pub(super) fn invite(session: Session, group: GroupId, peers: Vec<PeerId>) -> Work {
    ask(async move {
        session.invite(group, peers.clone()).await?;
        Ok(Answer::Invited(group, peers))
    })
}

pub(super) fn kick(session: Session, group: GroupId, peers: Vec<PeerId>) -> Work {
    ask(async move {
        session.kick(group, peers.clone()).await?;
        Ok(Answer::Kicked(group, peers))
    })
}

pub(super) fn members(session: Session, group: GroupId) -> Work {
    ask(async move {
        let mut all = session.members(group, None, PAGE).await?;
        while all.more && all.members.len() < SHOWN_MAX {
            let last = all.members.last().cloned();
            let page = session.members(group, last, PAGE).await?;
            all.more = page.more && !page.members.is_empty();
            all.members.extend(page.members);
        }
        Ok(Answer::Members(all))
    })
}

pub(super) fn watch(session: Session, asked: Vec<PeerId>) -> Work {
    ask(async move {
        let online = session.watch(asked.clone()).await?;
        Ok(Answer::Online { asked, online })
    })
}

pub(super) fn unwatch(session: Session, peers: Vec<PeerId>) -> Work {
    ask(async move {
        session.unwatch(peers.clone()).await?;
        Ok(Answer::Unwatched(peers))
    })
}

pub(super) fn who(session: Session, asked: Vec<PeerId>) -> Work {
    ask(async move {
        let online = session.status(asked.clone()).await?;
        Ok(Answer::Online { asked, online })
    })
}

/// The last `count` messages.
pub(super) fn history(session: Session, conversation: ConversationId, count: usize) -> Work {
    ask(async move {
        let mut messages: Vec<Past> = Vec::new();
        loop {
            let before = messages.last().map(|message| message.id);
            let wanted = (count - messages.len()).min(PAGE);
            let page = session.history(conversation, before, wanted).await?;
            let done = !page.more || page.messages.is_empty();
            messages.extend(page.messages.into_iter().take(wanted));
            if done || messages.len() == count {
                return Ok(Answer::History(messages));
            }
        }
    })
}

pub(super) fn conversations(session: Session) -> Work {
    ask(async move {
        let mut all: Vec<Conversation> = Vec::new();
        loop {
            let before = all.last().map(|conversation| conversation.last);
            let page = session.conversations(before, PAGE).await?;
            let done = !page.more || page.conversations.is_empty();
            all.extend(page.conversations);
            if done || all.len() >= SHOWN_MAX {
                return Ok(Answer::Conversations(all));
            }
        }
    })
}

pub(super) fn devices(session: Session) -> Work {
    ask(async move { Ok(Answer::Devices(session.devices().await?)) })
}

pub(super) fn bind(session: Session, alias: Alias) -> Work {
    ask(async move {
        session.bind_alias(&alias).await?;
        Ok(Answer::Bound(alias))
    })
}

pub(super) fn unbind(session: Session, alias: Alias) -> Work {
    ask(async move {
        session.unbind_alias(&alias).await?;
        Ok(Answer::Unbound(alias))
    })
}

/// Says something to the back end.
pub(super) fn upstream(session: Session, text: String) -> Work {
    Box::pin(async move {
        let sent = session.send_upstream(text).await;
        Ok(Answer::Upstream(sent.map_err(|error| words::send_failed(&error))?))
    })
}

pub(super) fn recall(session: Session, sent: Sent) -> Work {
    ask(async move {
        session.recall(sent.id).await?;
        Ok(Answer::Recalled(sent))
    })
}

/// Says that everything of a conversation is read.
pub(super) fn read_all(session: Session, conversation: ConversationId) -> Work {
    ask(async move {
        let newest = session.history(conversation, None, 1).await?.messages;
        let sequence = newest.first().map(|message| message.sequence);
        if let Some(sequence) = sequence {
            session.read_up_to(conversation, sequence).await?;
        }
        Ok(Answer::Read(sequence))
    })
}

pub(super) fn log_out(session: Session) -> Work {
    ask(async move {
        session.close().await?;
        Ok(Answer::LoggedOut)
    })
}

/// What needs nothing of the server.
pub(super) fn done(answer: Answer) -> Work {
    Box::pin(std::future::ready(Ok(answer)))
}
