//! The store through its public face, on real folders: what it promises over restarts, crashes,
//! damage and time.
//!
//! A crash is made in two ways: the folder is copied while the store runs, which takes the state
//! before the log and so leaves more to replay than a real crash would; or a child process, this
//! very binary, is killed.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "store/aliases.rs"]
mod aliases;
#[path = "store/backup.rs"]
mod backup;
#[path = "store/blocked.rs"]
mod blocked;
#[path = "store/closed_damage.rs"]
mod closed_damage;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/every_damage.rs"]
mod every_damage;
#[path = "store/figures.rs"]
mod figures;
#[path = "store/folders.rs"]
mod folders;
#[path = "store/groups.rs"]
mod groups;
#[path = "store/harms.rs"]
mod harms;
#[path = "store/harness.rs"]
mod harness;
#[path = "store/history.rs"]
mod history;
#[path = "store/inbox.rs"]
mod inbox;
#[path = "store/journal.rs"]
mod journal;
#[path = "store/keys.rs"]
mod keys;
#[path = "store/log.rs"]
mod log;
#[path = "store/marks.rs"]
mod marks;
#[path = "store/messages.rs"]
mod messages;
#[path = "store/model.rs"]
mod model;
#[path = "store/naming.rs"]
mod naming;
#[path = "store/recalls.rs"]
mod recalls;
#[path = "store/retention.rs"]
mod retention;
#[path = "store/sample.rs"]
mod sample;
#[path = "store/sessions.rs"]
mod sessions;
#[path = "store/upstream.rs"]
mod upstream;
#[path = "store/vetted.rs"]
mod vetted;
#[path = "store/whole_set.rs"]
mod whole_set;
