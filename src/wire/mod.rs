//! The wire protocol, version 1 (ALPN `tidings/1`). This page is its specification.
//!
//! # Connection, session, stream
//!
//! A client opens a QUIC connection (RFC 9000) to the server with the ALPN identifier
//! `tidings/1`. Each bidirectional stream that the client opens is **one session**: one peer on
//! one device. Several peers on one device are several streams of one connection, 16 at the
//! most; QUIC grants four of them until the second is opened. Of more than 64 streams opened in a
//! row the further ones wait, and are taken 20 a second. Unidirectional streams are not used.
//! A stream carries frames back to back in both directions until one side ends it.
//!
//! # Frames
//!
//! ```text
//! frame  = length varint | kind u8 | fields
//! ```
//!
//! `length` counts the kind and the fields. A *varint* is QUIC's (RFC 9000, section 16): the two
//! upper bits of the first byte say whether it takes 1, 2, 4 or 8 bytes, the rest is the number,
//! big-endian; it need not be the shortest form. `u8`, `u16` and `u64` are fixed, big-endian. A
//! *text* is a varint length and that many bytes of UTF-8, 255 at the most. A *run* is a varint
//! length and bytes. A *list* is a varint count and its elements. A u8 that answers yes or no
//! (`open`, `more`, `online`, `all`, `accepted`) is 0 for no, and 1 for yes. Bits of a flags byte
//! that are not named here are 0, and ignored. Times are milliseconds since 1970 UTC. A reader
//! skips fields that follow the ones it knows.
//!
//! A peer is named by 1 to 64 bytes of UTF-8 without control characters and without `:`, a device
//! by as many that may have a `:`. Message ids are positive numbers below 2^63 (0: none), and the
//! sequence numbers of a conversation are below 2^32 and count from 1. An app, a client, a
//! client_msg_no and a nonce have 64 bytes at the most, the text of an Error or a GoAway 200, a
//! list of recipients 50 peers, one of peers to watch or to ask about 1,000, one of peers to
//! invite or kick 100. More is refused with a [`Reason`], which has all the numbers of reasons.
//!
//! A frame that asks for an answer begins with a **request number**, a varint that the client
//! chooses, unique among its unanswered requests of this session and not 0 (which stands for the
//! session itself); the answer carries it back. Every request gets exactly one answer: its own
//! kind, or Error. Answers may come in another order than the requests.
//!
//! | kind | frame | from | fields |
//! |---|---|---|---|
//! | `0x01` | [`Open`] | client | version u16, app text, peer text, device text, flag u8, instance u64, client text, epoch u64, cursor u64, watch list of text, *signature* |
//! | `0x02` | [`Close`] | client | request varint |
//! | `0x03` | [`Ping`] | client | request varint |
//! | `0x04` | [`Watch`] | client | request varint, peers list of text, *signature* |
//! | `0x05` | [`Unwatch`] | client | request varint, peers list of text |
//! | `0x06` | [`Status`] | client | request varint, peers list of text |
//! | `0x10` | [`Send`] | client | request varint, flags u8, number varint, answered varint, ttl varint (ms; 0: none), client_msg_no text, target u8, then 0: recipients list of text, 1: group; body run, \[push run\] |
//! | `0x11` | [`Ack`] | client | id u64 |
//! | `0x12` | [`ReadUpTo`] | client | request varint, *conversation*, sequence varint |
//! | `0x13` | [`Recall`] | client | request varint, message u64 |
//! | `0x14` | [`History`] | client | request varint, *conversation*, before u64 (0: the newest), max varint |
//! | `0x15` | [`Conversations`] | client | request varint, before u64 (0: all), max varint |
//! | `0x16` | [`Devices`] | client | request varint |
//! | `0x20` | [`Join`] | client | request varint, *group* (zeroes: a new one), open u8, *rules*, metadata run, *signature* |
//! | `0x21` | [`Leave`] | client | request varint, *group* |
//! | `0x22` | [`Invite`] | client | request varint, *group*, peers list of text, *signature* |
//! | `0x23` | [`Kick`] | client | request varint, *group*, peers list of text, *signature* |
//! | `0x24` | [`Members`] | client | request varint, *group*, after text (empty: from the first), max varint |
//! | `0x25` | [`Edit`] | client | request varint, *group*, flags u8, then for 1: *rules*, for 2: metadata run |
//! | `0x30` | [`BindAlias`] | client | request varint, alias text |
//! | `0x31` | [`UnbindAlias`] | client | request varint, alias text, all u8 |
//! | `0x32` | [`Upstream`] | client | request varint, number varint, answered varint, body run |
//! | `0x81` | [`Opened`] | server | session u64, epoch u64, device text, next number varint, waiting varint, dropped varint, time u64, online list of text, frame max varint, body max varint, recipients max varint, sends max varint |
//! | `0x82` | [`Closed`] | server | request varint |
//! | `0x83` | [`Pong`] | server | request varint, time u64 |
//! | `0x84` | [`Watched`] | server | request varint, online list of text |
//! | `0x85` | [`Unwatched`] | server | request varint |
//! | `0x86` | [`Statuses`] | server | request varint, online list of text |
//! | `0x90` | [`Sent`] | server | request varint, id u64, sequence varint, time u64 |
//! | `0x92` | [`ReadNoted`] | server | request varint |
//! | `0x93` | [`RecallDone`] | server | request varint |
//! | `0x94` | [`HistoryPage`] | server | request varint, more u8, list of: flags u8, id u64, sequence varint, time u64, from text, recipients list of text, client_msg_no text, body run |
//! | `0x95` | [`ConversationPage`] | server | request varint, more u8, list of: flags u8, *conversation*, others list of text, last id u64, last sequence varint, read sequence varint, unread varint |
//! | `0x96` | [`DeviceList`] | server | request varint, list of: device text, flag u8, online u8, seen u64 |
//! | `0xa0` | [`Joined`] | server | request varint, *group*, open u8, version u64, count varint, *rules*, metadata run |
//! | `0xa1` | [`Left`] | server | request varint |
//! | `0xa2` | [`Invited`] | server | request varint, version u64 |
//! | `0xa3` | [`Kicked`] | server | request varint, version u64 |
//! | `0xa4` | [`MemberPage`] | server | request varint, open u8, version u64, creator text (empty: the back end), count varint, *rules*, metadata run, members list of text, more u8 |
//! | `0xa5` | [`Edited`] | server | request varint, version u64 |
//! | `0xb0` | [`AliasBound`] | server | request varint |
//! | `0xb1` | [`AliasUnbound`] | server | request varint |
//! | `0xb2` | [`UpstreamStored`] | server | request varint, id u64, time u64 |
//! | `0xc0` | [`Deliver`] | server | flags u8, id u64, sequence varint, time u64, *conversation*, from text, recipients list of text, client_msg_no text, body run |
//! | `0xc1` | [`Delivered`] | server | *conversation*, peer text, sequence varint, time u64 |
//! | `0xc2` | [`Read`] | server | *conversation*, peer text, sequence varint, time u64 |
//! | `0xc3` | [`Recalled`] | server | flags u8, id u64, *conversation*, message u64, sequence varint, by text (empty: the back end), time u64 |
//! | `0xc4` | [`Presence`] | server | online list of text, offline list of text |
//! | `0xc5` | [`GroupEvent`] | server | flags u8, id u64, *group*, change u8, by text (empty: the back end), peers list of text, time u64 |
//! | `0xc6` | [`Dropped`] | server | count varint, id u64 |
//! | `0xc7` | [`GoAway`] | server | reason u16, wait varint (ms), text |
//! | `0xc8` | [`UpstreamDone`] | server | flags u8, id u64, upstream id u64, accepted u8, time u64 |
//! | `0xff` | [`Error`] | server | request varint (0: the session), reason u16, text |
//!
//! A *signature* is a u8, and if that is 1: nonce text, timestamp u64, signature text. A *group*
//! is 12 bytes. The *flag* of a device is 0 for a phone or tablet, 1 for a browser, 2 for a
//! computer. An alias has 1 to 160 bytes of UTF-8 without control characters. *Rules* are three
//! u8, who may invite, kick and edit: 0 the app's back end alone, 1 the creator too, 2 every
//! member.
//!
//! A *conversation* is a u8 and, for 0, the 16 bytes of the MD5 of its participants' ids, sorted
//! and joined by `:`; for 1, the 12 bytes of a group id.
//!
//! A kind that the server does not know is answered with Error [`Reason::UnknownKind`],
//! carrying the varint its fields begin with; a client skips kinds it does not know.
//!
//! # Opening
//!
//! The first frame of a stream is Open, within 5 seconds. An empty device asks for a random id,
//! which the client keeps and names from then on; who may have to try an Open again had better
//! draw the id (32 hexadecimal digits), for each Open without one is a new device, and messages
//! wait for it even if nobody heard its id. `instance` is a random number that a client
//! draws when its process starts. `epoch` and `cursor` are those of the last time (0: none): the
//! id of the last message that the app has had. The server answers Opened, or Error and the end
//! of the stream. Opened says how many messages wait and how many the window of the device
//! dropped, the next number for a Send, and the limits in force. An Open of a device that has a
//! session replaces it: the older one hears Error [`Reason::Replaced`].
//!
//! # Sending
//!
//! Flags of Send: 1 transient, 2 receipt wanted. `number` rises by one with each persistent Send
//! (and each Upstream, see below) of an instance, from `next number` on; `answered` says that all
//! numbers below it have been answered, so that the server may forget them. The server answers Sent
//! **after the message is on stable storage**: id, the number in its conversation, and the time. A
//! client that got no answer sends the same number with the same content again, on a new connection
//! if need be, and gets the first one's answer; the message is stored once. A number that is used
//! for another content is refused with [`Reason::NumberReused`], one below what the server
//! remembers with [`Reason::TooOld`]. A client has at most `sends max` numbers unanswered.
//!
//! A client that resumes with QUIC's 0-RTT may put an Open and Sends of numbers it knows into it.
//! The Sends act at once if the server knows the device, and their answers may come before Opened;
//! the Open, and everything else, takes effect when the handshake is confirmed.
//!
//! `push` is the text that the app's back end is given for a push service, for those whom the
//! message finds without a session: up to 256 bytes of UTF-8. It is missing, or empty, for what the
//! server is set to. It is no part of the content by which a number is recognised.
//!
//! A transient Send has number 0 and gets no answer unless it is refused; its `push` is ignored. It
//! may ride a QUIC datagram: the stream id of its session as a varint, then the frame. So may its
//! Deliver.
//!
//! # Receiving
//!
//! Flags of Deliver: 1 transient, 2 receipt wanted, 4 it waited for this session. The ids of
//! persistent messages strictly rise within a session. `recipients` is empty in a group. Ack says
//! that the app has had every message up to an id; a client sends it lazily, together with other
//! frames where it can, and at the latest after 32 messages or 200 ms. Four fifths of a round
//! trip, but at least 20 ms, are best: shortly before QUIC acknowledges alone, which is after a
//! round trip, but at least 25 and at most 250 ms. Who says something else more often than every
//! 200 ms may count on its next frame instead. What is not acknowledged is delivered again in
//! the next session. Transient messages have id 0 and are never acknowledged. Dropped tells that
//! the window gave up `count` messages with ids up to `id`; it is acknowledged like a message. So
//! are Recalled, GroupEvent and UpstreamDone, whose flag 4 says that they waited, too.
//!
//! A Send to a group reaches its members, the sender's other devices among them. What a peer sends
//! reaches its other devices that have a session: flag 8 of Deliver says that the peer sent it
//! itself. Such a copy never waits.
//!
//! # Who is online
//!
//! A peer is online while it has a session; one that lost its last session stays so for a short
//! grace (5 s by default), and none after a Close. Watch adds to the list of peers that the
//! session watches, 1,000 at the most, and answers with those of them that are online; Unwatch
//! takes away from it. The list ends with the session: the next Open brings it again. Presence
//! tells of changes, 50 ms of them at once, and names a peer once. Status asks without watching.
//! For 30 s after a start of the server, peers that were online before still count as online.
//!
//! # Receipts, marks, recall
//!
//! Delivered answers flag 2 of a Send to one peer: a device of the recipient has acknowledged all
//! such messages of the conversation up to `sequence`. ReadUpTo says that the peer has read a
//! conversation up to a number; ReadNoted answers when that is on stable storage. Read tells it to
//! the others of a conversation of peers, and to the peer's own other devices (`peer` is the peer
//! itself then); in a group, only to the own devices. Both are marks: a later one takes the place
//! of the one before. They are not acknowledged. After Opened come those that changed after the
//! cursor, which a client may have had before.
//!
//! Recall takes back a message of one's own, within the server's limit of time (2 minutes by
//! default). Everybody who was to have it, the sender's other devices too, hears Recalled, which
//! waits like a message and has an id of its own; in a group, all who are members now. The inbox
//! holds the message no more, history has it without a body. RecallDone answers when that is
//! on stable storage; recalling again is answered likewise.
//!
//! # Looking back
//!
//! History gives messages of a conversation that the peer sent or was to have; of a group, those
//! since it became a member. Newest first, those before an id; flag 16: recalled, no body. A page
//! has `max` messages at the most, and as many as fit a frame; the next one begins before the last
//! id of this one, if `more` is 1. Conversations lists what the peer takes part in, newest message
//! first, the next page before the last id of this one; flag 1: it is a group that the peer is a
//! member of. `unread` is how many messages are newer than the one last read or sent, `read
//! sequence` up to where it was read; `others` are the other participants, none for a group.
//! Devices lists the peer's devices, 16 at the most, and for each when its last session ended
//! (`seen`), or began if it is online. Pages have 1,000 messages, 19 conversations or 500 members
//! at the most, whatever `max` says.
//!
//! # Groups
//!
//! Join of group zero creates a group and makes the peer its creator and first member; the answer
//! tells the group's id. Everyone who knows an id may join. Invite makes peers members at once,
//! Kick removes them; whether the peer may is in the rules. Inviting a member, or kicking who is
//! none, changes nothing and is no error. The version of a group is the id of its last change.
//! GroupEvent tells every member of each change, and those who were members until then: change 1
//! joined, 2 left, 3 invited, 4 kicked, 5 edited, 6 deleted (by the back end; its members are
//! none any more); it waits like a message. Members tells what a
//! group is and who is in it, in the order of the bytes of their ids; the next page comes after
//! the last one of this. Metadata is JSON, 8 KiB at the most, or nothing. Joining a group that
//! there is needs no `open`, rules and metadata: what the frame says of them counts for a new one.
//!
//! An *open group* has no members, no events and only transient messages. A session joins it and
//! is in it until it leaves, joins another open group, or ends; `count` says how many sessions
//! are in it.
//!
//! # The app's back end
//!
//! BindAlias binds a name to the session's device, by which the back end can push to it; a device
//! has one alias, and a new one takes its place; an alias has 10 devices (by default). UnbindAlias
//! takes the name away from the device or, if `all` is 1, from every device that has it; the device
//! itself must have it. Both are answered when that is on stable storage. A server may leave
//! aliases to the back end alone ([`Reason::Unsupported`]).
//!
//! Upstream sends a message to the back end itself. Its `number` is the next of those of Sends,
//! and a repeat is treated alike. UpstreamStored answers when it is on stable storage.
//! UpstreamDone follows when the back end has accepted it (1) or refused it, or has not taken it
//! for 24 hours (0); it goes to all devices of the peer, and waits like a message.
//!
//! The back end may end a session (Error [`Reason::Kicked`], with its own text) and block a peer
//! (Error [`Reason::Blocked`], which also refuses what the peer goes on to send); neither is log
//! out. Its messages come from a peer of its choice; the one that they come from otherwise,
//! `system` by default, nobody else can open. What it pushes to an alias or a device reaches that
//! device of a peer and no other: the others see a gap in the numbers of the conversation, which
//! History fills.
//!
//! # Signatures
//!
//! Where the server asks for signatures, Open, Watch, Join, Invite and Kick carry one: the
//! 40 lower-case hexadecimal digits of the HMAC-SHA1, with the app's signing key, of
//!
//! ```text
//! app:peer:ids:timestamp:nonce                     Open and Watch; the ids to watch
//! app:peer:group:ids:timestamp:nonce:action        join, invite or kick; the ids invited or kicked
//! ```
//!
//! The ids are sorted by UTF-16 code units and joined with `:`; none leave two colons in a row.
//! Creating a group is `join` with an empty group, else the group is 24 lower-case hexadecimal
//! digits; joining has no ids. The app is the one that the server serves, also where Open names
//! none. The timestamp, a decimal number, is in seconds or milliseconds since 1970, and at most
//! 6 hours off; below 100,000,000,000 it is in seconds. A peer uses a nonce once. A nonce has no
//! `:`, and the one of an Open or a Watch is not an action: the text of one request could be read
//! as that of another.
//!
//! # Ending
//!
//! Close is log out: the device gets nothing more until it opens again. Ending the stream or
//! losing the connection is not. GoAway asks the client to reconnect after `wait` milliseconds.
//! Error with request 0 is about the session and precedes the end of its stream. Bytes that are
//! no frames end the stream so, and a connection that breaks QUIC's rules is closed with the
//! reason as its application error code.

mod app;
pub(crate) mod coding;
mod decoder;
mod field;
mod frame;
mod group;
mod history;
mod opening;
mod receipt;
mod watching;

pub use app::{
    AliasBound, AliasUnbound, BindAlias, UnbindAlias, Upstream, UpstreamDone, UpstreamStored,
};
pub use coding::{Text, VARINT_MAX};
pub use decoder::{Decoder, RawFrame};
pub use frame::{
    Ack, ClientFrame, Close, Closed, Deliver, Dropped, Error, GoAway, Ping, Pong, Send, Sent,
    ServerFrame, Target, kind,
};
pub use group::{
    Edit, Edited, GroupEvent, Invite, Invited, Join, Joined, Kick, Kicked, Leave, Left, MemberPage,
    Members,
};
pub use history::{
    Conversation, ConversationPage, Conversations, Device, DeviceList, Devices, History,
    HistoryPage, Past,
};
pub use opening::{Open, Opened, Signature};
pub use receipt::{Delivered, Read, ReadNoted, ReadUpTo, Recall, RecallDone, Recalled};
pub use watching::{Presence, Status, Statuses, Unwatch, Unwatched, Watch, Watched};

use crate::reason::Reason;

/// Bytes that are not a frame of this protocol, or a frame over a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct DecodeError {
    /// What the sender of the bytes is told.
    pub reason: Reason,
    /// What is wrong with them.
    pub detail: &'static str,
}

impl DecodeError {
    pub(crate) fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail }
    }
}

/// The request number of a frame, as far as it can be told: what its fields begin with.
pub fn request_of(frame: &RawFrame) -> u64 {
    match frame.kind {
        kind::OPEN | kind::ACK => 0,
        _ => coding::peek_varint(&frame.fields).map_or(0, |(request, _)| request),
    }
}

/// Reads the stream id at the front of a datagram; what follows it is a frame.
///
/// # Errors
///
/// [`Reason::BadFrame`] when the datagram has no whole stream id.
pub fn datagram_stream(datagram: &mut bytes::Bytes) -> Result<u64, DecodeError> {
    let (stream, len) = coding::peek_varint(datagram).ok_or(coding::UnexpectedEnd)?;
    bytes::Buf::advance(datagram, len);
    Ok(stream)
}

/// Begins a datagram of the session on stream `stream`.
pub fn put_datagram_stream(out: &mut bytes::BytesMut, stream: u64) {
    coding::Write::put_varint(out, stream);
}
