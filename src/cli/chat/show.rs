//! Answers in plain words, a line for each thing.
//!
//! # Invariants
//!
//! * Pure: a text is made of what it is given, and of nothing else.

use std::fmt::Write;

use tidings::client::{Conversation, Device, Group, MemberPage};
use tidings::id::{ConversationId, DeviceFlag, DeviceId, PeerId};

use super::clock::Clock;
use super::request::Entry;
use crate::cli::places::Places;
use crate::cli::words::{self, names, printable};

/// Which of the peers are online, and which are not.
pub(super) fn online(asked: &[PeerId], online: &[PeerId]) -> String {
    let (there, gone): (Vec<PeerId>, Vec<PeerId>) =
        asked.iter().cloned().partition(|peer| online.contains(peer));
    let mut text = String::new();
    for (peers, online) in [(there, true), (gone, false)] {
        if !peers.is_empty() {
            text.push_str(&words::presence(&peers, online));
            text.push('\n');
        }
    }
    text
}

/// How somebody came into a group, and what to know about it.
pub(super) fn entered(group: &Group, how: Entry) -> String {
    let Group { id, count, .. } = group;
    let kind = if group.open { "open group" } else { "group" };
    let what = if group.open { "session" } else { "member" };
    let there = words::count(*count, what);
    match how {
        Entry::Created => {
            format!("you have created {kind} {id}, and talk in it: others come in by /join {id}")
        }
        Entry::Joined => format!("you have joined {kind} {id}, and talk in it: {there}"),
        Entry::Entered => format!("you talk in {kind} {id}: {there}"),
    }
}

/// Who is in a group, and who may do what in it.
pub(super) fn members(page: &MemberPage) -> String {
    let MemberPage { group, creator, members, more } = page;
    let creator = creator.as_ref().map_or("the app".into(), PeerId::to_string);
    let mut text = format!("group {}, created by {creator}, ", group.id);
    if group.open {
        let _ = writeln!(text, "open: {} in it", words::count(group.count, "session"));
    } else {
        let beyond = if *more { ", and more" } else { "" };
        let count = words::count(group.count, "member");
        let _ = writeln!(text, "{count}: {}{beyond}", names(members));
    }
    let [invite, kick, edit] =
        [group.rules.invite, group.rules.kick, group.rules.edit].map(words::who);
    if !group.open {
        let _ = write!(text, "{invite} may invite, {kick} may kick, ");
    }
    let _ = writeln!(text, "{edit} may edit");
    if !group.metadata.is_empty() {
        let _ = writeln!(text, "metadata: {}", printable(&group.metadata));
    }
    text
}

/// Where the peer has talked, and how much it has not read.
pub(super) fn conversations(places: &Places, all: &[Conversation]) -> String {
    if all.is_empty() {
        return "you have talked nowhere yet".into();
    }
    let mut text = String::new();
    for found in all {
        let place = match found.conversation {
            ConversationId::Group(group) if found.member => format!("in group {group}"),
            ConversationId::Group(group) => format!("in group {group}, which you have left"),
            conversation => match places.place(conversation, places.own()) {
                Some(place) => place.to_string(),
                None => format!("in conversation {conversation}"),
            },
        };
        let messages = words::count(found.sequence.into(), "message");
        let _ = writeln!(text, "{place}: {messages}, {} unread", found.unread);
    }
    text
}

/// The peer's devices; `own` is this one.
pub(super) fn devices(devices: &[Device], own: &DeviceId, clock: Clock) -> String {
    let mut text = String::new();
    for device in devices {
        let kind = match device.flag {
            DeviceFlag::App => "app",
            DeviceFlag::Web => "web",
            DeviceFlag::Pc => "pc",
        };
        let seen = match (device.device == *own, device.online) {
            (true, _) => "this one".into(),
            (false, true) => "online".into(),
            (false, false) => {
                format!("last seen {}", clock.time_and_date(device.seen_ms, Clock::now_ms()))
            }
        };
        let _ = writeln!(text, "{} ({kind}): {seen}", device.device);
    }
    text
}
