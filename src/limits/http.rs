//! Bounds of the HTTP API, and of the command line that asks it.
//!
//! # Invariants
//!
//! * A request has a bound in bytes, in time, and in what it may name.

use std::time::Duration;

// The HTTP API.

/// Connections of the HTTP API at once, some 50 KB each; the next one waits in the system's queue.
pub const HTTP_CONNECTIONS_MAX: usize = 4_096;
/// Connections of the HTTP API at once from one address, or one network of version 6: who opens
/// many and asks nothing leaves half to the others. A proxy before the API is one address.
pub const HTTP_CONNECTIONS_PER_ADDRESS_MAX: usize = 2_048;
/// Requests at once on one HTTP/2 connection.
pub const HTTP_STREAMS_MAX: u32 = 128;
/// Bytes of a request's headers.
pub const HTTP_HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Bytes of the body of a request: a group's metadata and 1,000 members are 140 KB.
pub const HTTP_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Messages of one batch.
pub const HTTP_BATCH_MAX: usize = 1_000;
/// Aliases that one request binds to devices, or takes away: as many as Getui allows.
pub const HTTP_BINDINGS_MAX: usize = 1_000;
/// Bytes by which a back end names a request of its own: it may come again with them.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Bytes of the body of a batch: each message 5 KiB, a third more in base64, and 1.3 KB of ids
/// and names beside it. A batch of long texts that JSON has to escape is sent in parts.
pub const HTTP_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Peers that one request asks about.
pub const HTTP_PEERS_MAX: usize = 1_000;
/// Items on one page of a list, unless asked otherwise.
pub const HTTP_PAGE: usize = 100;
/// Items on one page of a list.
pub const HTTP_PAGE_MAX: usize = 1_000;
/// Bytes of the messages on one page of history, which 200 of the longest fill.
pub const HTTP_HISTORY_BYTES_MAX: usize = 1024 * 1024;
/// Exports of history at once: each reads as fast as the other end takes it, and holds a page.
pub const HTTP_EXPORTS_MAX: usize = 4;
/// Dead letters of webhooks on one page, with up to 100 KB each of what was sent.
pub const HTTP_LETTERS_PAGE_MAX: usize = 20;
/// How long a client may take to send a request's headers; an idle connection ends after it.
pub const HTTP_HEADERS_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a request may take, from its headers to those of the answer.
pub const HTTP_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the writing of an answer may make no progress at all.
pub const HTTP_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an HTTP/2 connection is idle before its other end is asked whether it is there, and
/// how long that may take.
pub const HTTP_PING_AFTER: Duration = Duration::from_secs(30);
/// How long the connections of the API have to end, when a drain has used up its time.
pub const HTTP_END_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the id by which a caller names a request.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Keys of the HTTP API: each request is compared with all of them.
pub const API_KEYS_MAX: usize = 64;
/// Bytes of a key's name.
pub const API_KEY_NAME_BYTES_MAX: usize = 64;
/// How long a key's secret may be set to be good after its rotation.
pub const API_KEY_GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Requests without a valid key that an address may make at once.
pub const AUTH_FAILURES_MAX: u32 = 10;
/// After how long an address may make one more.
pub const AUTH_FAILURE_EVERY: Duration = Duration::from_secs(6);
/// Addresses of which such requests are counted, about 60 bytes each; the others share one count.
pub const AUTH_FAILURES_ADDRESSES_MAX: usize = 10_000;
/// How often at the most the addresses are looked through for those that can be forgotten.
pub const AUTH_FAILURES_SWEEP: Duration = Duration::from_secs(1);

// The command line.

/// How long `tidings admin` waits for a connection: two lost packets, and their repetition.
pub const ADMIN_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `tidings admin` waits for an answer, or for more of it: what a server gives a request,
/// and some seconds on the way.
pub const ADMIN_ANSWER_TIMEOUT: Duration =
    HTTP_REQUEST_TIMEOUT.saturating_add(Duration::from_secs(5));
/// Bytes of an answer that `tidings admin` holds. A page of history has 1 MiB of bodies, each byte
/// of which is up to six in JSON.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
