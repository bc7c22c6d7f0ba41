//! The options of each load.
//!
//! # Invariants
//!
//! * What a session may watch and how many members a group may have are the server's bounds.

use clap::Args;
use clap::builder::RangedI64ValueParser;
use tidings::limits::{GROUP_MEMBERS_SETTING_MAX, WATCHED_MAX};

use super::{Body, Common, Timing};
use crate::frames::PEERS_MAX;

/// `chat`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chat {
    /// Sessions, one connection each
    #[arg(long, default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Sends that each session keeps in flight
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=128))]
    pub(crate) window: u16,
    #[command(flatten)]
    pub(crate) body: Body,
    #[command(flatten)]
    pub(crate) timing: Timing,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `rate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Rate {
    /// Sessions, one connection each
    #[arg(long, default_value_t = 1_000, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Messages a second, all sessions together
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    #[command(flatten)]
    pub(crate) body: Body,
    #[command(flatten)]
    pub(crate) timing: Timing,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `offline`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Offline {
    /// Absent peers
    #[arg(long, default_value_t = 2_000, value_parser = peers_from(1))]
    pub(crate) peers: u32,
    /// Messages stored for each of them
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) messages: u32,
    #[command(flatten)]
    pub(crate) body: Body,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `idle`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Idle {
    /// Sessions, one connection each
    #[arg(long, default_value_t = 1_000, value_parser = peers_from(1))]
    pub(crate) sessions: u32,
    /// How long they are held, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `fanout`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Fanout {
    /// Members of the group, one session on a connection of its own each
    #[arg(long, default_value_t = 1_000, value_parser = members())]
    pub(crate) group: u32,
    /// Messages a second to the group, all members together
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Messages a second between other peers at the same time [default: none]
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) beside_rate: Option<u32>,
    /// Sessions of these other peers
    #[arg(long, value_name = "SESSIONS", default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) beside_sessions: u32,
    #[command(flatten)]
    pub(crate) body: Body,
    #[command(flatten)]
    pub(crate) timing: Timing,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `presence`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Presence {
    /// Sessions, one connection each, the watchers among them
    #[arg(long, default_value_t = 2_000, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Watchers; each watches all the others, but no more than 1,000
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) watchers: u32,
    /// Changes a second: watched peers that log out or open again
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) churn: u32,
    #[command(flatten)]
    pub(crate) timing: Timing,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `roam`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Roam {
    /// Sessions that talk and roam, one connection and one socket each
    #[arg(long, default_value_t = 200, value_parser = watched_from(2))]
    pub(crate) sessions: u32,
    /// Seconds from one change of a session's socket to the next
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) every: u32,
    /// Messages a second, all sessions together
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    #[command(flatten)]
    pub(crate) body: Body,
    #[command(flatten)]
    pub(crate) timing: Timing,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Presence {
    /// How many of the sessions are watched: as many as one session may watch.
    pub(crate) fn watched(&self) -> u32 {
        self.sessions.saturating_sub(self.watchers).min(WATCHED_MAX as u32)
    }
}

/// Peers, at least so many; the senders of `offline` come on top of them.
fn peers_from(least: i64) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=i64::from(PEERS_MAX / 2))
}

/// Members of one group.
fn members() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(2..=GROUP_MEMBERS_SETTING_MAX as i64)
}

/// Peers that one session watches, at least so many.
fn watched_from(least: i64) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=WATCHED_MAX as i64)
}
