//! The options of each load.
//!
//! # Invariants
//!
//! * What a session may watch and how many members a group may have are the server's bounds.

use clap::Args;
use clap::builder::RangedI64ValueParser;
use tidings::limits::{
    ENDPOINTS_MAX, GROUP_MEMBERS_SETTING_MAX, RECIPIENTS_MAX, SENDS_UNANSWERED, WATCHED_MAX,
};

use super::{Body, Talk, Timing};
use crate::names::PEERS_MAX;

/// `chat`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chat {
    /// Sessions, one connection each
    #[arg(long, default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Sends that each session keeps in flight
    #[arg(long, default_value_t = 16, value_parser = unanswered())]
    pub(crate) window: u16,
    /// Peers that each session sends to: those behind it [default: all others]
    #[arg(long, value_name = "PEERS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partners: Option<u32>,
    #[command(flatten)]
    pub(crate) talk: Talk,
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
    /// Recipients of each message; of several, the peers that come behind the sender
    #[arg(long, default_value_t = 1, value_parser = recipients())]
    pub(crate) recipients: u32,
    #[command(flatten)]
    pub(crate) talk: Talk,
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
}

/// `fanout`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Fanout {
    /// Members of the group, one session on a connection of its own each
    #[arg(long, default_value_t = 1_000, value_parser = members())]
    pub(crate) group: u32,
    /// Groups of that size, each of other peers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) groups: u32,
    /// Messages a second to the group, all members together; of several groups, to all of them
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Messages a second between other peers at the same time [default: none]
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) beside_rate: Option<u32>,
    /// Sessions of these other peers
    #[arg(long, value_name = "SESSIONS", default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) beside_sessions: u32,
    #[command(flatten)]
    pub(crate) talk: Talk,
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
    pub(crate) talk: Talk,
}

/// `push`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Push {
    /// Devices, one peer and one session on a connection of its own each
    #[arg(long, default_value_t = 1_000, value_parser = peers_from(1))]
    pub(crate) devices: u32,
    /// Pushes a second, all connections together
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Connections to the HTTP API, kept open; each carries one request at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

/// `history`.
#[derive(Clone, Debug, Args)]
pub(crate) struct History {
    /// Messages of 256 bytes that are stored, a tenth of them in groups
    #[arg(long, default_value_t = 500_000, value_parser = messages())]
    pub(crate) messages: u32,
    /// Conversations of two peers
    #[arg(long, default_value_t = 10_000, value_parser = conversations())]
    pub(crate) conversations: u32,
    /// Pages asked for of each kind, one after another, and again with four in flight
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pages: u32,
}

/// `webhook`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Webhook {
    /// Sessions, one connection each
    #[arg(long, default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Messages a second, all sessions together
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Endpoints, each of which hears of every message
    #[arg(long, default_value_t = 1, value_parser = endpoints())]
    pub(crate) endpoints: u32,
    /// Milliseconds for which the receiver thinks before it answers
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) latency: u32,
    /// Percent of the requests that are answered with 503
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) fail: u8,
    /// Takes nothing while messages are sent, and catches up then
    #[arg(long)]
    pub(crate) down: bool,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

impl Presence {
    /// How many of the sessions are watched: as many as one session may watch.
    pub(crate) fn watched(&self) -> u32 {
        self.sessions.saturating_sub(self.watchers).min(WATCHED_MAX as u32)
    }
}

/// Peers, at least so many; the senders of `offline` come on top of them.
pub(super) fn peers_from(least: i64) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=i64::from(PEERS_MAX / 2))
}

/// Sends of a session that await their answers: no more than the server tells clients.
pub(super) fn unanswered() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=SENDS_UNANSWERED as i64)
}

/// Members of one group.
fn members() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(2..=GROUP_MEMBERS_SETTING_MAX as i64)
}

/// Peers that one session watches, at least so many.
fn watched_from(least: i64) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=WATCHED_MAX as i64)
}

/// Recipients of one send.
fn recipients() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=RECIPIENTS_MAX as i64)
}

/// Endpoints of one server.
fn endpoints() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=ENDPOINTS_MAX as i64)
}

/// Messages that `history` stores; it keeps 24 bytes of each, 2.4 GB at the most.
fn messages() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(100..=100_000_000)
}

/// Conversations of `history`, of a tenth as many peers.
fn conversations() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(PEERS_MAX / 2))
}
