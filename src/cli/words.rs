//! What has happened, in plain words.
//!
//! # Invariants
//!
//! * No text of somebody else can do anything to a terminal: bodies, metadata and the words of
//!   the back end go through [`printable`], and ids hold no control characters.

use tidings::client::{Event, GroupChange, GroupNotice, Mark, Recalled, RequestError, SendError};
use tidings::client::{OpenError, Refusal, TooLong, UpstreamDone, UpstreamSent, Who};
use tidings::id::{Alias, PeerId};
use tidings::reason::Reason;

use super::places::Places;

/// Bytes as text that can do nothing to a terminal.
pub(super) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// `ann`, `ann and bob`, `ann, bob and cat`.
pub(super) fn names(peers: &[PeerId]) -> String {
    match peers {
        [] => "nobody".into(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(PeerId::as_str).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

/// Peers, as something has been done to them: `bob is`, `bob and cat are`.
pub(super) fn are(peers: &[PeerId]) -> String {
    let verb = if peers.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names(peers))
}

/// `1 message`, `2 messages`.
pub(super) fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// How many messages wait.
pub(super) fn waiting(count: u64) -> String {
    if count == 1 { "1 message waits".into() } else { format!("{count} messages wait") }
}

/// That peers are on line, or off it.
pub(super) fn presence(peers: &[PeerId], online: bool) -> String {
    let state = if online { "online" } else { "offline" };
    format!("{} {state}", are(peers))
}

/// What has happened in a group, as `own` sees it; `None` for other events.
pub(super) fn group_event(own: &PeerId, event: &Event) -> Option<String> {
    let by = |notice: &GroupNotice| match &notice.by {
        None => "the app has".into(),
        Some(peer) if peer == own => "you have".into(),
        Some(peer) => format!("{peer} has"),
    };
    Some(match event {
        Event::Joined(notice) => format!("you have joined group {}", notice.group),
        Event::Invited(notice) => {
            format!("{} made you a member of group {}", by(notice), notice.group)
        }
        Event::Left(notice) => match (notice.change, &notice.by) {
            (GroupChange::Kicked, _) => {
                format!("{} removed you from group {}", by(notice), notice.group)
            }
            (GroupChange::Deleted, _) => format!("{} deleted group {}", by(notice), notice.group),
            (_, Some(_)) => format!("you have left group {}", notice.group),
            (_, None) => format!("you are not in group {} any more", notice.group),
        },
        Event::MembersJoined(notice) | Event::MembersLeft(notice) => {
            let (by, peers, group) = (by(notice), names(&notice.peers), notice.group);
            let have = if notice.peers.len() == 1 { "has" } else { "have" };
            match notice.change {
                GroupChange::Invited => format!("{by} invited {peers} to group {group}"),
                GroupChange::Kicked => format!("{by} removed {peers} from group {group}"),
                GroupChange::Left => format!("{peers} {have} left group {group}"),
                _ => format!("{peers} {have} joined group {group}"),
            }
        }
        Event::GroupEdited(notice) => {
            format!("{} changed the settings of group {}", by(notice), notice.group)
        }
        _ => return None,
    })
}

/// That somebody has had messages.
pub(super) fn delivered(places: &Places, mark: &Mark) -> String {
    let place = places.suffix(mark.conversation, &mark.peer);
    format!("{} has had your messages up to number {}{place}", mark.peer, mark.sequence)
}

/// That somebody has read messages.
pub(super) fn read(places: &Places, mark: &Mark) -> String {
    let place = places.suffix(mark.conversation, &mark.peer);
    let number = mark.sequence;
    if mark.peer == *places.own() {
        return format!("you have read up to number {number}{place}, on another device");
    }
    format!("{} has read up to number {number}{place}", mark.peer)
}

/// That a message was taken back.
pub(super) fn recalled(places: &Places, recalled: &Recalled) -> String {
    let Recalled { conversation, sequence, by, .. } = recalled;
    let place = places.suffix(*conversation, by.as_ref().unwrap_or(places.own()));
    match by {
        Some(peer) if peer == places.own() => {
            format!("you have taken back number {sequence}{place}, on another device")
        }
        Some(peer) => format!("{peer} has taken back number {sequence}{place}"),
        None => format!("the app has taken back number {sequence}{place}"),
    }
}

/// Who may do something in a group.
pub(super) fn who(who: Who) -> &'static str {
    match who {
        Who::Server => "only the app",
        Who::Creator => "the creator",
        Who::Members => "every member",
    }
}

/// A refused request, and what to do about it.
pub(super) fn request_failed(error: &RequestError) -> String {
    match error {
        RequestError::Refused(refusal) => refused(refusal),
        RequestError::Paused => {
            "there is no connection at the moment: ask again when it is back".into()
        }
        RequestError::TimedOut => {
            "the server did not answer in time; it may have done it: look, and ask again".into()
        }
        RequestError::Full => "too much waits to be sent: ask again in a moment".into(),
        other => other.to_string(),
    }
}

/// A message that was not sent, and what to do about it.
pub(super) fn send_failed(error: &SendError) -> String {
    match error {
        SendError::Refused(refusal) => refused(refusal),
        SendError::MaybeStored => {
            "no answer came; the message may have been stored: look at the history".into()
        }
        SendError::TimedOut => {
            "it could not be sent in time, and is not stored: say it again".into()
        }
        SendError::Paused => {
            "there is no connection at the moment: say it again when it is back".into()
        }
        SendError::TooLong(TooLong { bytes, bytes_max, .. }) => {
            format!("{bytes} bytes are too long for a message: say it in parts of {bytes_max}")
        }
        other => other.to_string(),
    }
}

/// A session that cannot be opened, and what to do about it.
pub(super) fn open_failed(error: &OpenError) -> String {
    match error {
        OpenError::Refused(refusal) => refused(refusal),
        other => other.to_string(),
    }
}

/// What the server refused, and what to do about it; in the words of the back end if it was the
/// back end.
pub(super) fn refused(refusal: &Refusal) -> String {
    let reason = refusal.reason();
    let own_words = match (reason, refusal.text.as_str()) {
        (Some(reason @ (Reason::Kicked | Reason::Blocked | Reason::Vetoed)), text)
            if text != reason.text() =>
        {
            printable(text.as_bytes())
        }
        _ => String::new(),
    };
    match reason.and_then(advice) {
        Some(advice) if own_words.is_empty() => advice.into(),
        Some(advice) => format!("{advice}: {own_words}"),
        None => printable(refusal.to_string().as_bytes()),
    }
}

/// How the back end reaches the device that was just named.
pub(super) const PUSH: &str =
    "push to it by this id, or by --alias NAME: \"The first push\" in the README";

/// That a device has an alias.
pub(super) fn bound(alias: &Alias) -> String {
    format!("this device has the alias {alias}")
}

/// That a message to the back end is stored.
pub(super) fn upstream_sent(sent: &UpstreamSent) -> String {
    format!("message {} to the app: sent", sent.id)
}

/// What has become of a message to the back end.
pub(super) fn upstream_done(done: &UpstreamDone) -> String {
    let upstream = done.upstream;
    if done.accepted {
        format!("the app has accepted message {upstream}")
    } else {
        format!("the app has not accepted message {upstream}")
    }
}

/// What a reason means to somebody at the command line, and what to do. The slash commands are
/// those of `tidings chat`.
fn advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::NotMember => "you are not a member of this group: /join it first",
        Reason::NoSuchGroup => "there is no such group: check its id, or /create one",
        Reason::NotAllowed => "the group does not let you do that: /members says who may",
        Reason::GroupFull => "the group has as many members as it may have",
        Reason::TooManyGroups => "you are in as many groups as you may be: /leave one first",
        Reason::NoSuchMessage => "there is no such message of yours",
        Reason::TooLate => "it is too late: a message can be taken back for a short time only",
        Reason::NotInOpenGroup => {
            "an open group keeps neither members nor messages: that is possible in others only"
        }
        Reason::TooManyWatched => "you watch as many peers as you may: /unwatch some first",
        Reason::NotWatched => "this server wants you to /watch a peer before you write to it",
        Reason::SignatureMissing => {
            "this server wants signatures: start again with --app and --signing-key"
        }
        Reason::BadSignature => {
            "the signature is wrong: --app and --signing-key must be those of the server"
        }
        Reason::StaleSignature => "this computer's clock is too far off: set it, and try again",
        Reason::NonceUsed | Reason::TooManyNonces => "the signature was refused: try again later",
        Reason::WrongApp => "the server serves another app: give its id with --app",
        Reason::Busy | Reason::Restarting => "the server is busy: try again in a moment",
        Reason::StorageFull => "the server's disk is full: its operator has to make room",
        Reason::Unsupported | Reason::UnknownKind => "this server cannot do that",
        Reason::Replaced => "this peer has opened the same device in another place",
        Reason::Kicked => "the app has closed the session",
        Reason::Blocked => "the app has blocked this peer",
        Reason::Reserved => "this peer is the app itself: choose another name",
        Reason::AliasFull => "this alias has as many devices as it may have: choose another one",
        Reason::NoSuchAlias => "this device does not have that alias",
        Reason::TooManyUpstream => "too many messages wait for the app: try again in a while",
        Reason::Vetoed => "the app refuses this message",
        Reason::Unasked => "the app could not be asked about this message: try again in a while",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::client::Cursor;
    use tidings::id::{ConversationId, GroupId};

    fn peer(id: &str) -> PeerId {
        id.parse().unwrap()
    }

    fn notice(change: GroupChange, by: Option<&str>, peers: &[&str]) -> GroupNotice {
        GroupNotice {
            group: GroupId([0xab; 12]),
            change,
            by: by.map(peer),
            peers: peers.iter().map(|id| peer(id)).collect(),
            at_ms: 1,
            waited: false,
            cursor: Cursor::default(),
        }
    }

    #[test]
    fn a_text_can_do_nothing_to_a_terminal() {
        assert_eq!(
            printable("hello, 世界 \u{1b}[2J\n\u{9b}x".as_bytes()),
            "hello, 世界 \\u{1b}[2J\\n\\u{9b}x"
        );
        assert_eq!(printable(b"\xffx"), "\u{fffd}x");
    }

    #[test]
    fn every_change_of_a_group_has_its_words() {
        use GroupChange::{Deleted, Edited, Invited, Joined, Kicked, Left};
        let group = "abababababababababababab";
        let check = |event: Event, words: &str| {
            assert_eq!(group_event(&peer("ann"), &event), Some(words.replace('G', group)));
        };
        let ann = Some("ann");
        check(Event::Joined(notice(Joined, ann, &["ann"])), "you have joined group G");
        check(
            Event::Invited(notice(Invited, None, &["ann"])),
            "the app has made you a member of group G",
        );
        check(Event::Left(notice(Left, ann, &["ann"])), "you have left group G");
        check(Event::Left(notice(Left, None, &["ann"])), "you are not in group G any more");
        check(
            Event::Left(notice(Kicked, Some("bob"), &["ann"])),
            "bob has removed you from group G",
        );
        check(Event::Left(notice(Deleted, None, &[])), "the app has deleted group G");
        let joined = |change, by, peers| Event::MembersJoined(notice(change, by, peers));
        check(joined(Joined, Some("bob"), &["bob"]), "bob has joined group G");
        check(joined(Joined, None, &["bob", "cat"]), "bob and cat have joined group G");
        check(
            joined(Invited, ann, &["bob", "cat", "dan"]),
            "you have invited bob, cat and dan to group G",
        );
        let left = |change, by, peers| Event::MembersLeft(notice(change, by, peers));
        check(left(Left, Some("bob"), &["bob"]), "bob has left group G");
        check(left(Kicked, ann, &["bob"]), "you have removed bob from group G");
        let edited = Event::GroupEdited(notice(Edited, Some("bob"), &[]));
        check(edited, "bob has changed the settings of group G");
        assert_eq!(group_event(&peer("ann"), &Event::Online(vec![])), None);
        assert_eq!(
            (count(1, "message"), count(2, "message")),
            ("1 message".into(), "2 messages".into())
        );
    }

    #[test]
    fn marks_say_who_and_how_far() {
        let places = Places::new(peer("ann"));
        let conversation = ConversationId::of_peers([&peer("ann"), &peer("bob")]);
        let mut mark = Mark { conversation, peer: peer("bob"), sequence: 4, at_ms: 1 };
        assert_eq!(read(&places, &mark), "bob has read up to number 4");
        let had = "bob has had your messages up to number 4";
        assert_eq!(delivered(&places, &mark), had);
        mark.peer = peer("ann");
        let own = format!(
            "you have read up to number 4 in conversation {conversation}, on another device"
        );
        assert_eq!(read(&places, &mark), own);
    }

    #[test]
    fn what_is_refused_says_what_to_do() {
        let refusal = |reason: Reason| {
            RequestError::Refused(Refusal { number: reason as u16, text: Default::default() })
        };
        let member = "you are not a member of this group: /join it first";
        assert_eq!(request_failed(&refusal(Reason::NotMember)), member);
        for reason in Reason::ALL {
            assert!(!request_failed(&refusal(*reason)).is_empty());
        }
    }

    #[test]
    fn the_back_end_says_in_its_own_words_why_it_ends_a_session() {
        let words = |reason: Reason, text: &str| {
            refused(&Refusal { number: reason as u16, text: text.into() })
        };
        let closed = "the app has closed the session";
        assert_eq!(words(Reason::Kicked, ""), closed);
        assert_eq!(words(Reason::Kicked, Reason::Kicked.text()), closed);
        assert_eq!(words(Reason::Kicked, "bye\u{1b}[2J"), format!("{closed}: bye\\u{{1b}}[2J"));
        assert_eq!(words(Reason::Blocked, "spam"), "the app has blocked this peer: spam");
        assert_eq!(
            words(Reason::NotMember, "x"),
            "you are not a member of this group: /join it first"
        );
        assert_eq!(words(Reason::TooOld, "\n").lines().count(), 1);
    }
}
