//! Bounds of connections, and of the sessions on them.
//!
//! # Invariants
//!
//! * The memory of a session has a bound, and so has the number of connections.

use std::time::Duration;

// The endpoint.

/// Bytes of the socket's buffers, if the system grants them: what cannot be sent at once waits in
/// the server, what is not received is lost. On Linux they are some
/// 13,000 small packets, more than 5,000 clients that all answer at once have on the way: with
/// half of it these lost 3.4 percent of their packets, and their p99 was 1.5 s instead of 0.5.
pub const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Connections at once, all addresses together.
pub const CONNECTIONS_MAX: usize = 50_000;
/// Connections at once from one address (a network behind one address may be large).
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 20_000;
/// Handshakes at once, those among them that are kept for clients with a proven address (see
/// [`HANDSHAKES_PROVEN_PART`]): who comes above 192 must first prove its own.
pub const HANDSHAKES_MAX: usize = 256;
/// One of so many handshakes, of all and of a network's, is kept for clients that have proven their
/// address: first packets from spoofed addresses hold their handshakes until these time out, and
/// with all of them an honest client would wait as long.
pub const HANDSHAKES_PROVEN_PART: usize = 4;
/// One of so many handshakes at once may be of one network (an address, or 2^64 of version 6): who
/// proves an address and then says no more leaves half of them to the others. The network behind
/// one address may be large, and comes back all at once.
pub const HANDSHAKES_NETWORK_PART: usize = 2;
/// Handshakes of one network that wait for their turn; what comes above is not heard, and comes
/// again. The endpoint has room for twice as many.
pub const HANDSHAKES_WAITING_PER_NETWORK_MAX: usize = 2048;
/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Tickets given to each connection: it comes back with one, and is given the next.
pub const TICKETS_PER_CONNECTION: usize = 1;
/// Tickets remembered, each about 300 bytes (20 MB in all): those of all the connections there can
/// be at once, and of some that were before.
pub const TICKETS_MAX: usize = 64 * 1024;
/// How long a drain may take before the rest is cut.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time after which a client that was sent away comes back; each draws its own.
pub const RECONNECT_JITTER: Duration = Duration::from_secs(3);
/// Clients of a run that was killed that the next one tells at a time, and how often: 2,000 a
/// second, twice each, which is about as many as can shake hands.
pub const RESETS_AT_ONCE: usize = 100;
/// See [`RESETS_AT_ONCE`].
pub const RESET_INTERVAL: Duration = Duration::from_millis(50);

// Sessions.

/// Sends of one session that a client is told to leave unanswered at the most. Of 200 sessions that
/// offer all they can, so many are 35 ms of work at 90,000 messages a second; over a round trip of
/// 50 ms they let 320 messages a second through. Who says more is read no further than
/// [`SENDS_REMEMBERED`](super::SENDS_REMEMBERED), nor than the windows of QUIC allow.
pub const SENDS_UNANSWERED: usize = 16;
/// Sessions (streams) of one connection.
pub const SESSIONS_PER_CONNECTION_MAX: u32 = 16;
/// Streams that a connection may open at once: four times its sessions, so that all of them may end
/// and come back. Who opens and breaks off streams without end costs 15 us for each: a tenth of a
/// core at 7,000 a second.
pub const STREAMS_AT_ONCE: u32 = 64;
/// After how long it may open another: 20 a second, which is nothing to a core. Until then its
/// stream waits.
pub const STREAM_INTERVAL: Duration = Duration::from_millis(50);
/// Devices of a peer; opening one more forgets the one not seen for longest.
pub const DEVICES_PER_PEER_MAX: usize = 16;
/// Frames waiting in one outbox.
pub const OUTBOX_FRAMES_MAX: usize = 256;
/// Bytes waiting in one outbox. 20,000 sessions that all read nothing hold 5 GiB, which is why
/// connections are bounded too.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;
/// Messages a feeder asks for at once: a quarter of an outbox, so that reading the next part
/// overlaps with writing this one.
pub const FEED_MESSAGES_MAX: usize = 64;
/// Marks that wait beside one outbox, about 120 bytes each; the oldest are forgotten, for they are
/// told when the session opens anew.
pub const MARKS_WAITING_MAX: usize = 1_000;
/// Milliseconds within which a client opens the first session of its connection.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a write to a client may make no progress at all before its session is ended.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that says nothing for this long is gone (RFC 9308, section 3.2, advises 30 s).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How often a client keeps its connection alive: two may be lost before the idle time is over.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
