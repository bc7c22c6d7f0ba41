//! Bounds of what people and groups have, and of what the app's back end may ask for.
//!
//! # Invariants
//!
//! * What a group or an alias has is one value on disk, and fits into it.

use std::time::Duration;

use super::PEER_ID_BYTES_MAX;

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

// Signatures and presence.

/// How far the timestamp of a signature may be off: what LeanCloud allows.
pub const SIGNATURE_AGE_MAX: Duration = Duration::from_secs(6 * 3600);
/// Nonces remembered, about 80 bytes of memory each; they are forgotten when their signatures are
/// too old. Signed in the present, that is 46 signatures a second for six hours.
pub const NONCES_MAX: usize = 1_000_000;
/// How long a peer that lost its last session still counts as online, unless set otherwise.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(5);
/// How long after a start those who were online before it still count as online: a client that is
/// idle notices it with its next [`KEEP_ALIVE`](super::KEEP_ALIVE), and has as long again to come
/// back.
pub const PRESENCE_RESTART_GRACE: Duration = Duration::from_secs(30);
/// How long changes of presence wait for others to travel with.
pub const PRESENCE_COMPANY: Duration = Duration::from_millis(50);
