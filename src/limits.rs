//! Every bound of the server and the protocol, with its unit and its arithmetic.
//!
//! # Invariants
//!
//! * A queue, a frame, an id, a count or a wait that has no bound here has a bug.
//! * Relations between bounds are asserted at compile time, at the end of this file.
//! * Those of each area are in a file of its own; this one has what all of them speak of. All are
//!   named as `limits::NAME`.

mod client;
mod http;
mod hub;
mod net;
mod store;
mod webhook;

use std::time::Duration;

pub use client::*;
pub use http::*;
pub use hub::*;
pub use net::*;
pub use store::*;
pub use webhook::*;

/// Version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;

/// Packets that a QUIC acknowledgement may cover without being due at once, on both sides, where
/// QUIC has one: most travel with data. Fewer than a connection may send at first (8 to 10
/// packets), so that a long answer to a new client does not wait for [`QUIC_ACK_DELAY`].
pub const QUIC_ACK_PACKETS: u32 = 6;
/// The longest that a QUIC acknowledgement waits for company, on both sides. quinn asks for the
/// round trip, though for no less than the 25 ms that QUIC has and no more than this; so this
/// counts where the network is slow or sockets are full. 5,000 sessions with one send in flight
/// each took 6.0 packets a message with 25 ms, 5.2 with 100, 4.7 with this. Who lost the last of
/// what it said may find it so much later.
pub const QUIC_ACK_DELAY: Duration = Duration::from_millis(250);

/// ALPN identifier of the protocol.
pub const ALPN: &[u8] = b"tidings/1";

// Names.

/// Bytes of a peer id. AVOS allowed 64 characters; ids travel in every frame.
pub const PEER_ID_BYTES_MAX: usize = 64;
/// Bytes of a device id.
pub const DEVICE_ID_BYTES_MAX: usize = 64;
/// Bytes of an alias: Getui's 40 characters in any script.
pub const ALIAS_BYTES_MAX: usize = 160;
/// Bytes of a webhook endpoint's id.
pub const ENDPOINT_ID_BYTES_MAX: usize = 64;
/// Bytes of an app id.
pub const APP_ID_BYTES_MAX: usize = 64;
/// Bytes of the text by which a client names itself and its version.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;
/// Bytes of the number that an app gives a message of its own accord.
pub const CLIENT_MSG_NO_BYTES_MAX: usize = 64;
/// Bytes of a signature's nonce.
pub const NONCE_BYTES_MAX: usize = 64;
/// Bytes of a signature: 40 hexadecimal digits of HMAC-SHA1, with room for a longer digest.
pub const SIGNATURE_BYTES_MAX: usize = 128;

// Frames.

/// Bytes of a message body: 5 KB, the limit of AVOS Cloud's realtime service.
pub const BODY_BYTES_MAX: usize = 5 * 1024;
/// Recipients of one send to peers; more people than this are a group.
pub const RECIPIENTS_MAX: usize = 50;
/// Peers one session may watch.
pub const WATCHED_MAX: usize = 1_000;
/// Bytes of a frame, length prefix not counted.
///
/// The largest is an Open with a full watch list: 1,000 ids of 66 bytes, and under 1 KiB beside
/// them.
pub const FRAME_BYTES_MAX: usize = 66 * 1024;
/// Bytes of the kind of a custom content, as Easemob has it.
pub const CUSTOM_EVENT_BYTES_MAX: usize = 32;
/// Names and values of a custom content, as Easemob has it.
pub const CUSTOM_EXTS_MAX: usize = 16;
/// Bytes of the text that goes with a reason.
pub const REASON_TEXT_BYTES_MAX: usize = 200;

/// Peers that one request may invite to a group, or kick.
pub const INVITED_MAX: usize = 100;
/// Bytes of a group's metadata: as much as a body, and room for an icon's address.
pub const GROUP_METADATA_BYTES_MAX: usize = 8 * 1024;
/// Members on one page: 66 bytes each, beside 8 KiB of metadata.
pub const MEMBERS_PAGE_MAX: usize = 500;
/// Conversations on one page: 51 ids at the most each.
pub const CONVERSATIONS_PAGE_MAX: usize = 19;
/// Bytes of the messages on one page of history.
pub const HISTORY_PAGE_BYTES_MAX: usize = 60 * 1024;

// What settings may be.

/// Shards of the router: more than the threads of any box it runs on.
pub const SHARDS_MAX: usize = 1024;
/// Connections: one address has 65,536 ports, and a connection takes at least 30 KB.
pub const CONNECTIONS_SETTING_MAX: usize = 1_000_000;
/// Handshakes at once: each holds up to 64 KiB of what came before it was accepted.
pub const HANDSHAKES_SETTING_MAX: usize = 65_536;
/// Bytes of a segment: a smaller one would be closed more than once in a second of full load.
pub const SEGMENT_BYTES_SETTING_MIN: u64 = 16 * 1024 * 1024;
/// Bytes of a segment: while it is open, the index of one of 1 GiB holds some 300 MiB of memory.
pub const SEGMENT_BYTES_SETTING_MAX: u64 = 1024 * 1024 * 1024;
/// How long a peer without a session may be set to count as online: who is gone for longer is.
pub const PRESENCE_GRACE_SETTING_MAX: Duration = Duration::from_secs(600);
/// How long a sender may be set to have for a recall: as long as history is likely to be kept.
pub const RECALL_WITHIN_SETTING_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long a drain may be set to take.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);

const _: () = assert!(WATCHED_MAX * (PEER_ID_BYTES_MAX + 2) + 1024 < FRAME_BYTES_MAX);
const _: () = assert!(
    MEMBERS_PAGE_MAX * (PEER_ID_BYTES_MAX + 2) + GROUP_METADATA_BYTES_MAX + 1024 < FRAME_BYTES_MAX
);
const _: () = assert!(
    CONVERSATIONS_PAGE_MAX * ((RECIPIENTS_MAX + 1) * (PEER_ID_BYTES_MAX + 2) + 48)
        < FRAME_BYTES_MAX
);
const _: () = assert!(HISTORY_PAGE_BYTES_MAX + 1024 < FRAME_BYTES_MAX);
const _: () = assert!(CHANGED_MEMBERS_MAX * (PEER_ID_BYTES_MAX + 2) + 1024 < FRAME_BYTES_MAX);
const _: () = assert!(
    CHANGED_MEMBERS_MAX * STORED_PEER_BYTES_MAX + GROUP_METADATA_BYTES_MAX + 1024
        < RECORD_BYTES_MAX
);
const _: () = assert!(
    GROUP_MEMBERS_SETTING_MAX * (STORED_PEER_BYTES_MAX + 4) + 2 * BODY_BYTES_MAX + 512
        <= RECORD_BYTES_MAX
);
/// A client's timer may fire just before its app has the message, and begins anew then.
const _: () =
    assert!(CLIENT_ACK_DELAY.as_millis() * 2 + ACK_COMPANY.as_millis() < SETTLE_AFTER.as_millis());
const _: () = assert!(UNACKNOWLEDGED_MAX * 8 + 1024 < RECORD_BYTES_TARGET);
const _: () = assert!(DEVICES_PER_ALIAS_SETTING_MAX * (DEVICE_ID_BYTES_MAX + 8) < RECORD_BYTES_MAX);
const _: () = assert!(GROUP_STINTS_MAX * 88 + GROUP_METADATA_BYTES_MAX + 1024 < RECORD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX + RECIPIENTS_MAX * (PEER_ID_BYTES_MAX + 2) < FRAME_BYTES_MAX);
const _: () = assert!(CLIENT_SENDS_MAX < SENDS_REMEMBERED);
const _: () = assert!(SENDS_UNANSWERED < SENDS_REMEMBERED);
const _: () = assert!(RECORD_BYTES_TARGET + 2 * BODY_BYTES_MAX < RECORD_BYTES_MAX);
const _: () = assert!(FEED_MESSAGES_MAX * 2 <= OUTBOX_FRAMES_MAX);
const _: () = assert!(CLIENT_SENDS_MAX * BODY_BYTES_MAX < CLIENT_SEND_WINDOW as usize);
const _: () = assert!(SESSIONS_PER_CONNECTION_MAX < STREAMS_AT_ONCE);
const _: () = assert!(CONNECTIONS_MAX * TICKETS_PER_CONNECTION <= TICKETS_MAX);
const _: () = assert!(
    FRAME_BYTES_MAX + CLIENT_EARLY_BYTES_MAX + BODY_BYTES_MAX + 4096 < CLIENT_SEND_WINDOW as usize
);
const _: () = assert!(CLIENT_INCOMING_MAX < CLIENT_INCOMING_SENDING_MAX);
const _: () = assert!(CLIENT_COALESCE_FROM < CLIENT_INCOMING_MAX);
const _: () =
    assert!(HTTP_BATCH_MAX * (BODY_BYTES_MAX.div_ceil(3) * 4 + 1300) < HTTP_BATCH_BYTES_MAX);
