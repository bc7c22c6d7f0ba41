//! The options of what puts the server in trouble.
//!
//! # Invariants
//!
//! * What waits for an absent peer fits the window of its inbox, so that none of it is dropped.

use clap::Args;
use clap::builder::RangedI64ValueParser;
use tidings::limits::SENDS_UNANSWERED;

use super::Body;
use super::loads::{peers_from, unanswered};

/// `overload`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Overload {
    /// Sessions, one connection each
    #[arg(long, default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Sends that each session keeps in flight while the top is looked for
    #[arg(long, default_value_t = 16, value_parser = unanswered())]
    pub(crate) window: u16,
    /// Sends that each session has unanswered at the most while too much is offered; the server
    /// tells clients 16
    #[arg(long, default_value_t = SENDS_UNANSWERED as u16, value_parser = unanswered())]
    pub(crate) unanswered: u16,
    /// How many times the top is offered, one after another
    #[arg(long, value_delimiter = ',', default_value = "2,5", value_parser = times())]
    pub(crate) times: Vec<u32>,
    /// Messages a second of a normal load, before and after each overload
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) normal: u32,
    /// How long each part lasts, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=600))]
    pub(crate) seconds: u32,
    /// How long to run before measuring, in seconds
    #[arg(long, default_value_t = 3)]
    pub(crate) warmup: u32,
    #[command(flatten)]
    pub(crate) body: Body,
}

/// `restart`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Restart {
    /// Clients of the client library, one session on a connection of its own each
    #[arg(long, default_value_t = 1_000, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Peers that are away, and come when all clients are back
    #[arg(long, default_value_t = 500, value_parser = peers_from(1))]
    pub(crate) absent: u32,
    /// Messages that wait for each of them
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) waiting: u32,
    /// Restarts the server ten times instead, and sends each client so many messages before it is
    /// back: at five points of the start-up, by SIGKILL and by drain
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) messages: Option<u32>,
    /// Messages a second between the clients, also while the server is down
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    #[command(flatten)]
    pub(crate) body: Body,
}

/// How many times the top is offered.
fn times() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=100)
}
