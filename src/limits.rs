//! Every bound of the server and the protocol, with its unit and its arithmetic.
//!
//! # Invariants
//!
//! * A queue, a frame, an id, a count or a wait that has no bound here has a bug.
//! * Relations between bounds are asserted at compile time, at the end of this file.

use std::time::Duration;

/// Version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;

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
pub const RECIPIENTS_MAX: usize = 20;
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
/// Conversations on one page: 21 ids at the most each.
pub const CONVERSATIONS_PAGE_MAX: usize = 40;
/// Bytes of the messages on one page of history.
pub const HISTORY_PAGE_BYTES_MAX: usize = 60 * 1024;

// Groups and conversations.

/// Members of a group, unless set otherwise: each message is put into as many inboxes.
pub const GROUP_MEMBERS_MAX: usize = 1_000;
/// Members that a group may be set to have: each takes 88 bytes of one value on disk.
pub const GROUP_MEMBERS_SETTING_MAX: usize = 1_000;
/// Memberships of a group that are remembered, those among them that have ended since the last
/// flush; a group that has more takes nobody until the next one.
pub const GROUP_STINTS_MAX: usize = GROUP_MEMBERS_SETTING_MAX + 128;
/// Groups of one peer.
pub const GROUPS_PER_PEER_MAX: usize = 500;
/// Groups of the server; each takes about 200 bytes on disk, and as much for each member.
pub const GROUPS_MAX: usize = 1_000_000;
/// Conversations remembered for a peer, its groups among them; the one longest silent goes first.
pub const CONVERSATIONS_PER_PEER_MAX: usize = 1_000;
/// Marks told when a session opens: fewer than an outbox holds; the newest if there are more.
pub const MARKS_AT_OPEN_MAX: usize = 200;
/// Receipts that are due when a peer has its messages; the oldest are forgotten. 110 bytes each.
pub const RECEIPTS_PER_PEER_MAX: usize = 500;
/// Groups kept in memory though nothing of theirs is going on; the largest take 100 KB.
pub const GROUPS_CACHED_MAX: usize = 1_000;
/// How long a sender may recall a message, unless set otherwise.
pub const RECALL_WITHIN: Duration = Duration::from_secs(120);
/// Recalled messages that are remembered, 8 bytes each; the log's segments forget them as they
/// go.
pub const RECALLED_MAX: usize = 1_000_000;

// The app's back end.

/// The peer that a back end speaks as when it names none, unless set otherwise.
pub const SYSTEM_PEER: &str = "system";
/// Devices of one alias, unless set otherwise: as many as Getui allows.
pub const DEVICES_PER_ALIAS_MAX: usize = 10;
/// Devices that an alias may be set to have: each takes up to 70 bytes of one value on disk.
pub const DEVICES_PER_ALIAS_SETTING_MAX: usize = 1_000;
/// Devices that have an alias; each takes about 200 bytes on disk.
pub const ALIASED_DEVICES_MAX: usize = 10_000_000;
/// Devices and aliases kept in memory though nothing of theirs is going on; about 200 bytes each.
pub const DIRECTORY_CACHED_MAX: usize = 50_000;
/// Peers that may be blocked at once, about 80 bytes of memory each.
pub const BLOCKED_MAX: usize = 1_000_000;
/// Idempotency keys that are remembered, about 80 bytes of memory each: at 2,000 requests a second,
/// those of the last four minutes. The oldest are forgotten first.
pub const IDEMPOTENCY_KEYS_MAX: usize = 500_000;
/// How long an idempotency key is remembered, if no more than [`IDEMPOTENCY_KEYS_MAX`] came since.
pub const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Messages to the back end that wait for it, with up to 5 KiB each on disk; then no more are
/// taken.
pub const UPSTREAM_WAITING_MAX: usize = 100_000;
/// How long a message waits for the back end before it counts as refused: what webhooks are tried.
pub const UPSTREAM_AGE: Duration = Duration::from_secs(24 * 3600);
/// Messages on one page of those that wait for the back end.
pub const UPSTREAM_PAGE_MAX: usize = 100;
/// Groups on one page of all groups.
pub const GROUPS_PAGE_MAX: usize = 100;
/// Bytes of a peer's id among others on disk: with where it is and how long.
pub const STORED_PEER_BYTES_MAX: usize = PEER_ID_BYTES_MAX + 8;
/// Peers that one request of the back end adds to a group, or removes from it.
pub const CHANGED_MEMBERS_MAX: usize = GROUP_MEMBERS_SETTING_MAX;

// Webhooks.

/// Endpoints of the server; each holds up the log for what it has not been told.
pub const ENDPOINTS_MAX: usize = 32;
/// Lanes of an endpoint: what has an order among itself goes through one of them, so this many
/// things can be on their way at once. How far they have come takes 12 bytes each on disk.
pub const ENDPOINT_LANES: usize = 64;
/// Peers that one event names at the most; more make several events. With ids of 64 bytes that JSON
/// has to escape they are 64 KB, beside a body of which each byte is escaped with five more.
pub const EVENT_PEERS_MAX: usize = 400;
/// Bytes of a dead letter's body, as long as an event of [`EVENT_PEERS_MAX`] recipients and a body
/// that JSON has to escape can be.
pub const LETTER_BYTES_MAX: usize = 100 * 1024;
/// Dead letters of one endpoint; the oldest go first.
pub const LETTERS_MAX: usize = 10_000;
/// Bytes of the dead letters of one endpoint; the oldest go first.
pub const LETTERS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long dead letters are kept: as long as history.
pub const LETTERS_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Dead letters on one page.
pub const LETTERS_PAGE_MAX: usize = 100;
/// Places of dead letters that one entry drops, 12 bytes each.
pub const LETTERS_DROPPED_MAX: usize = 4_096;
/// Bytes of dead letters in memory, at which they are written without a segment's closing.
pub const LETTERS_MEMORY_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the text by which an endpoint is halted, or a letter was given up.
pub const ENDPOINT_WHY_BYTES_MAX: usize = 1024;
/// Bytes of the bounds of all batches of an endpoint that are on their way: 32 for each and for
/// each of its lanes. If all 64 lanes are in batches that were split in halves nine times, they are
/// 40 KB.
pub const ENDPOINT_BATCHES_BYTES_MAX: usize = 96 * 1024;
/// Bytes of the key in a secret of Standard Webhooks, at the least: what its specification says.
pub const WEBHOOK_KEY_BYTES_MIN: usize = 24;
/// Bytes of the key in a secret of Standard Webhooks: what its specification says.
pub const WEBHOOK_KEY_BYTES_MAX: usize = 64;
/// Bytes of a webhook's secret that is any text.
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 256;
/// Signatures of one request that are looked at: one for each secret of a rotation, and more.
pub const WEBHOOK_SIGNATURES_MAX: usize = 16;
/// How long a back end may take that is asked about a message, unless set otherwise: as long as
/// Easemob waits.
pub const HOOK_TIMEOUT: Duration = Duration::from_millis(200);
/// How long it may be set to take: half of what a client waits for the answer to a send.
pub const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// Messages about which a back end is asked at once, unless set otherwise: at 20 ms each these are
/// 12,800 a second. One takes some 20 KB.
pub const HOOK_IN_FLIGHT: usize = 256;
/// Messages about which a back end may be set to be asked at once; each holds a connection.
pub const HOOK_IN_FLIGHT_MAX: usize = 4_096;
/// Messages that one entry names as not acknowledged; more make several entries.
pub const UNACKNOWLEDGED_MAX: usize = 1_000;
/// Bytes of the text that a push service is to show for a message.
pub const PUSH_TEXT_BYTES_MAX: usize = 256;

// What is on its way to a webhook endpoint.

/// Events that an endpoint has in memory, read from the log and not delivered: what 10,000 a second
/// make in one.
pub const WEBHOOK_EVENTS_MAX: usize = 10_000;
/// Bytes of these; 32 endpoints that are all down hold half a gigabyte.
pub const WEBHOOK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the log that an endpoint reads at once: some 1,000 messages.
pub const WEBHOOK_READ_BYTES: usize = 256 * 1024;
/// Messages of which that they wait is told at once, each read from the log.
pub const WEBHOOK_FOUND_MAX: usize = 64;
/// The least time between two readings that find little: it makes one of many small commits.
pub const WEBHOOK_READ_PAUSE: Duration = Duration::from_millis(25);
/// Events of one request.
pub const WEBHOOK_BATCH_EVENTS_MAX: usize = 500;
/// Bytes of the events of one request, unless one alone has more.
pub const WEBHOOK_BATCH_BYTES_MAX: usize = 256 * 1024;
/// How long an event waits for others to share a request with, unless an endpoint says otherwise:
/// what WuKongIM's receivers are used to.
pub const WEBHOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long an endpoint may have an event wait for others at the least.
pub const WEBHOOK_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How long an endpoint may have an event wait for others at the most.
pub const WEBHOOK_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// How long a request may take, unless an endpoint says otherwise.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an endpoint may have a request take at the most.
pub const WEBHOOK_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Requests of an endpoint that are on their way at once, unless it says otherwise: with answers
/// that take 400 ms these are 10,000 events a second.
pub const WEBHOOK_IN_FLIGHT: usize = 8;
/// Requests of an endpoint that may be on their way at once: one for each lane.
pub const WEBHOOK_IN_FLIGHT_MAX: usize = ENDPOINT_LANES;
/// How long the first retry waits; each further one waits twice as long.
pub const WEBHOOK_BACKOFF_MIN: Duration = Duration::from_millis(250);
/// How long a retry waits at the most.
pub const WEBHOOK_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// How long an endpoint may ask to be left alone.
pub const WEBHOOK_RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Failures in a row after which one request at a time finds out whether an endpoint is back.
pub const WEBHOOK_BREAKER_FAILURES: u32 = 5;
/// Tries of a batch after which it is split though nothing was said against it, for the endpoint
/// may stumble over one event of it: after some 3 s.
pub const WEBHOOK_SPLIT_TRIES: u32 = 5;
/// How long a batch is tried before its events become dead letters.
pub const WEBHOOK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Refused events in a row after which an endpoint is halted, for it refuses everything.
pub const WEBHOOK_REFUSALS_MAX: u32 = 100;
/// Attempts of an endpoint that are remembered, about 400 bytes each.
pub const WEBHOOK_ATTEMPTS_MAX: usize = 1_000;
/// Bytes of a text that tells of an attempt.
pub const WEBHOOK_ERROR_BYTES_MAX: usize = 200;
/// Bytes of an endpoint's answer that are read.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How often it is kept that an endpoint has passed what is not for it.
pub const WEBHOOK_PASS_INTERVAL: Duration = Duration::from_secs(5);
/// How long an endpoint whose events cannot be read or kept waits before it goes on.
pub const WEBHOOK_PAUSE: Duration = Duration::from_secs(1);
/// How long what is on its way may take when the server stops.
pub const WEBHOOK_STOP_MAX: Duration = Duration::from_secs(4);
/// URLs of one endpoint.
pub const WEBHOOK_URLS_MAX: usize = 8;
/// Bytes of an endpoint's URL.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// Secrets of one endpoint: its own, and those that are being replaced.
pub const WEBHOOK_SECRETS_MAX: usize = 4;
/// Dead letters that are sent anew at once.
pub const WEBHOOK_RESEND_MAX: usize = 100;

// Signatures and presence.

/// How far the timestamp of a signature may be off: what LeanCloud allows.
pub const SIGNATURE_AGE_MAX: Duration = Duration::from_secs(6 * 3600);
/// Nonces remembered, about 80 bytes of memory each; they are forgotten when their signatures are
/// too old. Signed in the present, that is 46 signatures a second for six hours.
pub const NONCES_MAX: usize = 1_000_000;
/// How long a peer that lost its last session still counts as online, unless set otherwise.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(5);
/// How long after a start those who were online before it still count as online: a client that is
/// idle notices it with its next [`KEEP_ALIVE`], and has as long again to come back.
pub const PRESENCE_RESTART_GRACE: Duration = Duration::from_secs(30);
/// How long changes of presence wait for others to travel with.
pub const PRESENCE_COMPANY: Duration = Duration::from_millis(50);

// Sessions.

/// Sessions (streams) of one connection.
pub const SESSIONS_PER_CONNECTION_MAX: u32 = 16;
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

// Sending.

/// Send numbers remembered for one sender; a client has fewer unanswered sends than this.
pub const SENDS_REMEMBERED: usize = 256;
/// Client instances remembered for one device.
pub const INSTANCES_REMEMBERED: usize = 4;
/// Bytes of entries that wait for their commit or its hand-out, all sessions together.
///
/// At 60,000 messages of 400 bytes a second this is 170 ms of work, so that what is accepted
/// under overload is still answered within a quarter of a second.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries that wait for their commit: the bytes above at 256 bytes an entry, and room for
/// acknowledgements.
pub const COMMIT_QUEUE_ENTRIES_MAX: usize = 64 * 1024;
/// Commits that wait for their hand-out.
pub const DISPATCH_QUEUE_COMMITS_MAX: usize = 64;

// The log.

/// Bytes at which a commit takes no further entry: some 1,300 messages of 256 bytes, an eighth of
/// the queue, so that under load one sync and one wake-up of each writer serve many messages.
pub const COMMIT_BYTES_MAX: usize = 512 * 1024;
/// How long a commit takes entries, whatever their bytes: questions and refusals have none, and
/// as many as come while others are dealt with would keep what waits from ever being stored.
pub const COMMIT_GATHER_MAX: Duration = Duration::from_millis(20);
/// Bytes at which a record takes no further entry. sled keeps a leaf of up to 16 values in one
/// page, and a page over a quarter of its 8 MiB segments would leave the log file: 16 x 112 KiB is
/// 1.75 MiB, below the 2 MiB where that begins.
pub const RECORD_BYTES_TARGET: usize = 64 * 1024;
/// Bytes of a record of the log, or of any other value on disk; the longest is a group. A peer for
/// whom 10,000 messages wait, at 11 to 45 bytes each, is in several values.
pub const RECORD_BYTES_MAX: usize = 112 * 1024;
/// Bytes that make a commit start without waiting for company.
pub const COMMIT_BYTES_EAGER: usize = 32 * 1024;
/// The least time between the starts of two commits that are not full: 1,000 syncs a second.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(1);
/// How long acknowledgements alone wait for company.
pub const ACK_COMPANY: Duration = Duration::from_millis(200);
/// Bytes of a log segment on disk at which the next one begins.
pub const SEGMENT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Bytes the whole log may take, unless set otherwise.
pub const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// The least that `log_bytes_max` can be, in segments: the open one, the one made ready, the one
/// that closes and its file, the one the checkpoint needs, and five for history to give way: the
/// smallest segments may be half as long again before that is noticed.
pub const LOG_SEGMENTS_MIN: u64 = 10;
/// How long a message whose recipients have not acknowledged it stays in memory.
pub const SETTLE_AFTER: Duration = Duration::from_secs(2);
/// Bytes of such messages in memory, above which they settle without waiting.
pub const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long one slice of settling may hold up a commit.
pub const SETTLE_SLICE: Duration = Duration::from_millis(2);
/// Peers kept in memory though nothing of theirs is going on.
pub const PEERS_CACHED_MAX: usize = 100_000;
/// A commit thread that makes no progress for this long ends the process.
pub const STALL_MAX: Duration = Duration::from_secs(10);

// The away window.

/// Messages kept for a peer from the time that it is away, whichever of its devices they are for.
pub const WINDOW_MESSAGES: usize = 50;
/// How long an unacknowledged message is kept.
pub const WINDOW_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest that an unacknowledged message can be kept: its time is stored in 32 bits of
/// milliseconds behind that of the oldest that waits beside it.
pub const WINDOW_AGE_SETTING_MAX: Duration = Duration::from_millis(u32::MAX as u64);
/// Messages kept for a peer that were sent before it was away.
pub const INBOX_MESSAGES_MAX: usize = 10_000;
/// How long after its last session ended without a Close a peer counts as away.
pub const AWAY_AFTER: Duration = Duration::from_secs(60);
/// How long history is kept.
pub const HISTORY_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Who looks back at once (history, and what is recalled), each on a thread that holds a record and
/// a page; the others wait, first come first served.
pub const HISTORY_READS_MAX: usize = 16;
/// Bytes of records that are read for one page of history, at which it ends: some 250 records that
/// are full, and 10 ms.
pub const HISTORY_READ_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Closed segments that are searched for one page of history: twice as many as a full log has,
/// unless it was started often. Each takes some 10 us, or three reads of a cold disk.
pub const HISTORY_SEGMENTS_MAX: usize = 256;
/// Readers of the log at once (webhooks), each on a thread that holds what it reads; the others
/// wait, first come first served.
pub const JOURNAL_READS_MAX: usize = 4;
/// Bytes of a closed segment that a reader of the log reads at once: 1 ms of a disk.
pub const JOURNAL_RUN_BYTES_MAX: usize = 1024 * 1024;
/// Inboxes that are read from the disk at once, whatever is looked back at.
pub const INBOX_READS_MAX: usize = 64;
/// Messages of one page of history.
pub const HISTORY_PAGE_MAX: usize = 1_000;

// The endpoint.

/// Connections at once, all addresses together.
pub const CONNECTIONS_MAX: usize = 50_000;
/// Connections at once from one address (a network behind one address may be large).
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 20_000;
/// Handshakes at once; more than this must first prove their address.
pub const HANDSHAKES_MAX: usize = 256;
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

// The HTTP API.

/// Connections of the HTTP API at once, some 50 KB each; the next one waits in the system's queue.
pub const HTTP_CONNECTIONS_MAX: usize = 4_096;
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

// What settings may be.

/// Shards of the router: more than the threads of any box it runs on.
pub const SHARDS_MAX: usize = 1024;
/// Connections: one address has 65,536 ports, and a connection takes at least 30 KB.
pub const CONNECTIONS_SETTING_MAX: usize = 1_000_000;
/// Handshakes at once: each holds up to 64 KiB of what came before it was accepted.
pub const HANDSHAKES_SETTING_MAX: usize = 65_536;
/// Bytes of a segment: two at least of the steps of 8 MiB in which sled's file grows.
pub const SEGMENT_BYTES_SETTING_MIN: u64 = 16 * 1024 * 1024;
/// Bytes of a segment: one of 512 MiB already holds 300 MiB of memory while it is open.
pub const SEGMENT_BYTES_SETTING_MAX: u64 = 1024 * 1024 * 1024;
/// How long a peer without a session may be set to count as online: who is gone for longer is.
pub const PRESENCE_GRACE_SETTING_MAX: Duration = Duration::from_secs(600);
/// How long a sender may be set to have for a recall: as long as history is likely to be kept.
pub const RECALL_WITHIN_SETTING_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long a drain may be set to take.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);

// The client.

/// Sends of one session that await their answer; the next one waits. Below
/// [`SENDS_REMEMBERED`], so that a resend is always recognised.
pub const CLIENT_SENDS_MAX: usize = 128;
/// Messages and events that wait for the app; then the session stops reading.
pub const CLIENT_INCOMING_MAX: usize = 256;
/// Messages after which a client acknowledges without waiting for company.
pub const CLIENT_ACK_MESSAGES: usize = 32;
/// How long an acknowledgement waits for another frame to travel with.
pub const CLIENT_ACK_DELAY: Duration = Duration::from_millis(20);
/// A send unanswered for this long means that the connection is broken.
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
/// Packets after which a QUIC acknowledgement is due at once, so that most travel with data.
pub const CLIENT_QUIC_ACK_PACKETS: u32 = 10;
/// How long a QUIC acknowledgement may wait for company.
pub const CLIENT_QUIC_ACK_DELAY: Duration = Duration::from_millis(25);

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
const _: () = assert!(UNACKNOWLEDGED_MAX * 8 + 1024 < RECORD_BYTES_TARGET);
const _: () = assert!(DEVICES_PER_ALIAS_SETTING_MAX * (DEVICE_ID_BYTES_MAX + 8) < RECORD_BYTES_MAX);
const _: () = assert!(GROUP_STINTS_MAX * 88 + GROUP_METADATA_BYTES_MAX + 1024 < RECORD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX + RECIPIENTS_MAX * (PEER_ID_BYTES_MAX + 2) < FRAME_BYTES_MAX);
const _: () = assert!(CLIENT_SENDS_MAX < SENDS_REMEMBERED);
const _: () = assert!(RECORD_BYTES_TARGET + 2 * BODY_BYTES_MAX < RECORD_BYTES_MAX);
const _: () = assert!(FEED_MESSAGES_MAX * 2 <= OUTBOX_FRAMES_MAX);
const _: () = assert!(CLIENT_SENDS_MAX * BODY_BYTES_MAX < CLIENT_SEND_WINDOW as usize);
const _: () = assert!(CONNECTIONS_MAX * TICKETS_PER_CONNECTION <= TICKETS_MAX);
const _: () = assert!(
    FRAME_BYTES_MAX + CLIENT_EARLY_BYTES_MAX + BODY_BYTES_MAX + 4096 < CLIENT_SEND_WINDOW as usize
);
const _: () = assert!(CLIENT_INCOMING_MAX < CLIENT_INCOMING_SENDING_MAX);
const _: () = assert!(CLIENT_COALESCE_FROM < CLIENT_INCOMING_MAX);
const _: () =
    assert!(HTTP_BATCH_MAX * (BODY_BYTES_MAX.div_ceil(3) * 4 + 1300) < HTTP_BATCH_BYTES_MAX);
