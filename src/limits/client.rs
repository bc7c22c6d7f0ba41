//! Bounds of the client.
//!
//! # Invariants
//!
//! * Whatever an app does or leaves undone, its client holds no more than this.

use std::time::Duration;

/// Sends of one session that await their answer; the next one waits. Below
/// [`SENDS_REMEMBERED`](super::SENDS_REMEMBERED), so that a resend is always recognised.
pub const CLIENT_SENDS_MAX: usize = 128;
/// Messages and events that wait for the app; then the session stops reading.
pub const CLIENT_INCOMING_MAX: usize = 256;
/// Messages after which a client acknowledges without waiting for company.
pub const CLIENT_ACK_MESSAGES: usize = 32;
/// The longest that an acknowledgement waits for another frame to travel with: four fifths of a
/// round trip, within this and [`CLIENT_ACK_DELAY_MIN`], which is four fifths of what QUIC waits
/// with an acknowledgement of its own (see [`QUIC_ACK_DELAY`](super::QUIC_ACK_DELAY)). So that one
/// finds company, instead of leaving alone before it. All of it where other frames leave more often
/// than that, for the next is company. This is long before what was not
/// acknowledged goes to the disk; who is lost meanwhile is told of as not having had the message.
pub const CLIENT_ACK_DELAY: Duration = Duration::from_millis(200);
/// The shortest; QUIC waits 25 ms where a round trip takes less than that.
pub const CLIENT_ACK_DELAY_MIN: Duration = Duration::from_millis(20);
/// A send unanswered for this long, while none before it is answered either, means that the
/// connection is broken. A client looks every second.
pub const CLIENT_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one session that await their answer; the next one waits. A screen of an app asks
/// for a dozen things at once.
pub const CLIENT_REQUESTS_MAX: usize = 64;
/// Messages and events that wait for the app, from which on marks and changes of presence take
/// the place of earlier ones: half of [`CLIENT_INCOMING_MAX`].
pub const CLIENT_COALESCE_FROM: usize = 128;
/// How long a signer may take: as long as an answer of the server.
pub const CLIENT_SIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often in a row a session that comes back is opened with a fresh signature after the server
/// refused the one before.
pub const CLIENT_SIGNATURES_REFUSED_MAX: u32 = 3;
/// The first wait before a reconnection; it doubles up to the next.
pub const CLIENT_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait before a reconnection.
pub const CLIENT_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The longest that a client stays away because a server asked it to: twenty times what ours asks.
pub const CLIENT_AWAY_MAX: Duration = Duration::from_secs(60);
/// How long a send is tried before it fails, unless set otherwise: six answer times.
pub const CLIENT_SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the first opening of a session is tried, unless set otherwise: three answer times.
pub const CLIENT_OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a client looks for sends that are out of time, and after which it pings a server
/// that does not answer: one that was started anew says at once that it lost the connection.
pub const CLIENT_WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of a session may take to reach the server.
pub const CLIENT_END_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages and events that wait for the app while sends or requests await their answers.
///
/// Answers stand behind messages in the stream, so an app that awaits an answer and does not
/// take messages meanwhile would wait for ever at [`CLIENT_INCOMING_MAX`]. What can stand before
/// an answer is an outbox (256 frames) and what QUIC has in flight ([`CLIENT_STREAM_WINDOW`]
/// each way, 3,400 frames of 150 bytes).
pub const CLIENT_INCOMING_SENDING_MAX: usize = 8 * 1024;
/// Bytes of transient messages and small requests that wait to be written.
pub const CLIENT_CONTROL_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a server may send on one stream ahead of the client's reading.
pub const CLIENT_STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes that a server may send on all streams ahead of the client's reading.
pub const CLIENT_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes that a client sends ahead of the server's acknowledgement: more than all the sends that
/// one session can have in flight (128 of 5 KB).
pub const CLIENT_SEND_WINDOW: u64 = 1024 * 1024;
/// Bytes of datagrams that wait in each direction; the oldest give way.
pub const CLIENT_DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// Tickets that a client keeps for its server; the newest is used first.
pub const CLIENT_TICKETS_MAX: usize = 8;
/// Bytes of sends that go with an Open into the first packets of a connection: what QUIC's first
/// congestion window (ten packets of 1,200 bytes) takes at once, and one send more.
pub const CLIENT_EARLY_BYTES_MAX: usize = 12 * 1024;
/// The round trip that a client assumes first: a lost first packet is sent again after 300 ms.
pub const CLIENT_INITIAL_RTT: Duration = Duration::from_millis(100);
