//! Bounds of webhooks: what is kept of an endpoint, and what is on its way to it.
//!
//! # Invariants
//!
//! * An endpoint that is down holds no more than it may, however long it is.

use std::time::Duration;

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
/// Events that wait in one lane behind a batch that is on its way: two batches. What more comes is
/// read from the log again, so that ten lanes have to stand still before the others do.
pub const WEBHOOK_LANE_EVENTS_MAX: usize = 2 * WEBHOOK_BATCH_EVENTS_MAX;
/// Bytes of these: four batches, of which two are there when more is read.
pub const WEBHOOK_LANE_BYTES_MAX: usize = 4 * WEBHOOK_BATCH_BYTES_MAX;
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
/// How long a connection may take at the most, if that is less than half of what a request may
/// take: the rest is for other addresses, and for the answer.
pub const WEBHOOK_CONNECT_MAX: Duration = Duration::from_secs(5);
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
/// Tries of a batch after which it is split though the endpoint says that it is overloaded or not
/// there, and takes no others: a proxy says so, too, when a batch is too much for what is behind
/// it.
pub const WEBHOOK_SPLIT_TRIES_AWAY: u32 = 10;
/// Tries of one event after which it becomes a dead letter though nothing was said against it, if
/// others were taken meanwhile: after some 5 minutes.
pub const WEBHOOK_ALONE_TRIES: u32 = 12;
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
