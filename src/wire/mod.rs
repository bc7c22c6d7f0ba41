//! The wire protocol, version 1 (ALPN `tidings/1`). This page is its specification.
//!
//! # Connection, session, stream
//!
//! A client opens a QUIC connection (RFC 9000) to the server with the ALPN identifier
//! `tidings/1`. Each bidirectional stream that the client opens is **one session**: one peer on
//! one device. Several peers on one device are several streams of one connection, 16 at the
//! most. Unidirectional streams are not used. A stream carries frames back to back in both
//! directions until one side ends it.
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
//! length and bytes. A *list* is a varint count and its elements. Times are milliseconds since
//! 1970 UTC. A reader skips fields that follow the ones it knows.
//!
//! A frame that asks for an answer begins with a **request number**, a varint that the client
//! chooses, unique among its unanswered requests of this session and not 0 (which stands for the
//! session itself); the answer carries it back. Every request gets exactly one answer: its own
//! kind, or Error. Answers may come in another order than the requests.
//!
//! | kind | frame | from | fields |
//! |---|---|---|---|
//! | `0x01` | [`Open`] | client | version u16, app text, peer text, device text, flag u8, instance u64, client text, epoch u64, cursor u64, watch list of text, signed u8, then if 1: nonce text, timestamp u64, signature text |
//! | `0x02` | [`Close`] | client | request varint |
//! | `0x03` | [`Ping`] | client | request varint |
//! | `0x10` | [`Send`] | client | request varint, flags u8, number varint, answered varint, ttl varint (ms; 0: none), client_msg_no text, target u8, then 0: recipients list of text, 1: group 12 bytes; body run |
//! | `0x11` | [`Ack`] | client | id u64 |
//! | `0x81` | [`Opened`] | server | session u64, epoch u64, device text, next number varint, waiting varint, dropped varint, time u64, online list of text, frame max varint, body max varint, recipients max varint, sends max varint |
//! | `0x82` | [`Closed`] | server | request varint |
//! | `0x83` | [`Pong`] | server | request varint, time u64 |
//! | `0x90` | [`Sent`] | server | request varint, id u64, sequence varint, time u64 |
//! | `0xc0` | [`Deliver`] | server | flags u8, id u64, sequence varint, time u64, conversation, from text, recipients list of text, client_msg_no text, body run |
//! | `0xc6` | [`Dropped`] | server | count varint, id u64 |
//! | `0xc7` | [`GoAway`] | server | reason u16, wait varint (ms), text |
//! | `0xff` | [`Error`] | server | request varint (0: the session), reason u16, text |
//!
//! A *conversation* is a u8 and, for 0, the 16 bytes of the MD5 of its participants' ids, sorted
//! and joined by `:`; for 1, the 12 bytes of a group id.
//!
//! Kinds `0x04..=0x06` (Watch, Unwatch, Status), `0x12..=0x14` (Read, Recall, History),
//! `0x20..=0x24` (Join, Leave, Invite, Kick, Members) and `0x30..=0x32` (BindAlias, UnbindAlias,
//! Upstream), their answers (`0x80` higher) and `0xc1..=0xc5` (Delivered, Read, Recalled,
//! Presence, GroupEvent) are reserved. A kind that the server does not know is answered with
//! Error [`Reason::UnknownKind`], carrying the varint its fields begin with; a client skips kinds
//! it does not know.
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
//! of an instance, from `next number` on; `answered` says that all numbers below it have been
//! answered, so that the server may forget them. The server answers Sent **after the message is
//! on stable storage**: id, the number in its conversation, and the time. A client that got no
//! answer sends the same number with the same content again, on a new connection if need be, and
//! gets the first one's answer; the message is stored once. A number that is used for another
//! content is refused with [`Reason::NumberReused`], one below what the server remembers with
//! [`Reason::TooOld`]. At most `sends max` numbers may be unanswered.
//!
//! A transient Send has number 0 and gets no answer unless it is refused. It may ride a QUIC
//! datagram: the stream id of its session as a varint, then the frame. So may its Deliver.
//!
//! # Receiving
//!
//! Flags of Deliver: 1 transient, 2 receipt wanted, 4 it waited for this session. The ids of
//! persistent messages strictly rise within a session. Ack says that the app has had every
//! message up to an id; a client sends it lazily, together with other frames where it can, and at
//! the latest after 32 messages or 20 ms. What is not acknowledged is delivered again in the next
//! session. Transient messages have id 0 and are never acknowledged. Dropped tells that the
//! window gave up `count` messages with ids up to `id`; it is acknowledged like a message.
//!
//! # Ending
//!
//! Close is log out: the device gets nothing more until it opens again. Ending the stream or
//! losing the connection is not. GoAway asks the client to reconnect after `wait` milliseconds.
//! Error with request 0 is about the session and precedes the end of its stream. Bytes that are
//! no frames end the stream so, and a connection that breaks QUIC's rules is closed with the
//! reason as its application error code.

pub(crate) mod coding;
mod decoder;
mod frame;
mod opening;

pub use coding::{Text, VARINT_MAX};
pub use decoder::{Decoder, RawFrame};
pub use frame::{
    Ack, ClientFrame, Close, Closed, Deliver, Dropped, Error, GoAway, Ping, Pong, Send, Sent,
    ServerFrame, Target, kind,
};
pub use opening::{Open, Opened, Signature};

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
