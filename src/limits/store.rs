//! Bounds of what is kept: what waits for a commit, the log, and what is read from it.
//!
//! # Invariants
//!
//! * What a commit takes fits into a record, and what a reader holds does not grow with the log.

use std::time::Duration;

// Sending.

/// Send numbers remembered for one sender; a client has fewer unanswered sends than this.
pub const SENDS_REMEMBERED: usize = 256;
/// Client instances remembered for one device.
pub const INSTANCES_REMEMBERED: usize = 4;
/// Bytes of entries that wait for their commit or its hand-out, all sessions together.
///
/// Some 3,800 messages of 256 bytes, 40 ms of work at 90,000 a second: enough to fill some commits
/// while one is synced, and little enough that what is accepted under overload is answered within
/// a quarter of a second.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Entries that wait for their commit: the bytes above at 256 bytes an entry, and room for
/// acknowledgements.
pub const COMMIT_QUEUE_ENTRIES_MAX: usize = 16 * 1024;
/// Recipients of a commit up to whom it is handed out on the commit thread: some 20 us of work.
pub const HANDED_AT_ONCE_MAX: usize = 32;
/// Commits that wait for their hand-out.
pub const DISPATCH_QUEUE_COMMITS_MAX: usize = 64;

// The log.

/// Bytes at which a commit takes no further entry: some 1,300 messages of 256 bytes, a third
/// of what the queue has room for, so that under load one sync and one wake-up of each writer serve
/// many messages.
pub const COMMIT_BYTES_MAX: usize = 512 * 1024;
/// How long a commit takes entries, whatever their bytes: questions and refusals have none, and
/// as many as come while others are dealt with would keep what waits from ever being stored.
pub const COMMIT_GATHER_MAX: Duration = Duration::from_millis(20);
/// How long a closed segment is written before the first rest: shorter sleeps are no rest.
pub const SEGMENT_WORK_MIN: Duration = Duration::from_millis(2);
/// The longest rest of that: a sync of a slow disk was no work.
pub const SEGMENT_REST_MAX: Duration = Duration::from_millis(50);
/// Bytes at which a record takes no further entry, and of a row of the state. sled keeps a leaf of
/// up to 16 values in one page, and a page over a quarter of its 8 MiB segments would leave the
/// database's file: 16 x 112 KiB is 1.75 MiB, below the 2 MiB where that begins.
pub const RECORD_BYTES_TARGET: usize = 64 * 1024;
/// Bytes of a record of the log, or of any other value on disk; the longest is a group. A peer for
/// whom 10,000 messages wait, at 11 to 45 bytes each, is in several values.
pub const RECORD_BYTES_MAX: usize = 112 * 1024;
/// The least time between the starts of two commits while fewer requests wait than the last one
/// took: 500 syncs a second. A commit costs 200 to 300 us of processor time, however little it has.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(2);
/// Requests below which a commit says nothing of how many the next one will have: so many wait by
/// chance, and a sync for each costs more than the wait.
pub const COMMIT_FEW: usize = 4;
/// Requests that make a commit start, however many the last one took.
pub const COMMIT_MANY: usize = 256;
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

// Backups.

/// Bytes of a part of a backup's stream: what a backup has in memory at once.
pub const BACKUP_PART_BYTES: usize = 256 * 1024;
/// Bytes of what changes in the state while a backup reads it: a state of 1 GiB that changes from
/// end to end. Who reads so slowly that there is more has to begin again.
pub const BACKUP_SPOOL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How long a backup waits for who reads it: it holds up the next one, and takes room.
pub const BACKUP_UNREAD_MAX: Duration = Duration::from_secs(60);

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
/// Inboxes that are read from the disk at once, whatever is looked back at, each on a thread; the
/// others wait, first come first served. Each further thread costs some 5 MiB for as long as the
/// server runs: 44 of them made 310 MiB of what is 170 with 17.
pub const INBOX_READS_MAX: usize = 16;
/// Messages of one page of history.
pub const HISTORY_PAGE_MAX: usize = 1_000;
