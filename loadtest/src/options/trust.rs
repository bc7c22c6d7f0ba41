//! The options of what proves the promise on bad networks, over restarts and on long days.
//!
//! # Invariants
//!
//! * A fault that is not asked for is not there.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use clap::{Args, ValueEnum};

use super::loads::peers_from;
use super::{Body, Talk};
use crate::hostile::Kind;

/// `badnet`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BadNet {
    /// Clients of the client library, one session, connection and socket each
    #[arg(long, default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Messages a second, all sessions together
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Of a hundred datagrams of each direction, so many are lost
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = percent())]
    pub(crate) loss: u8,
    /// Of a hundred, so many are held back for up to 25 ms, and overtaken
    #[arg(long, default_value_t = 20, value_name = "PERCENT", value_parser = percent())]
    pub(crate) reorder: u8,
    /// Of a hundred, so many come twice
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    pub(crate) duplicate: u8,
    /// How long each takes, one way, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS",
        value_parser = clap::value_parser!(u32).range(..=5_000))]
    pub(crate) delay_ms: u32,
    /// Megabits a second of each session and direction; 0 for as many as come
    #[arg(long, default_value_t = 0.0, value_name = "MBIT", value_parser = parse_mbit)]
    pub(crate) mbit: f64,
    /// Bytes of a datagram above which it is lost, once the sessions are open; 0 for any
    ///
    /// QUIC needs 1,200. A connection that has found out before that more gets through has to
    /// notice.
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = parse_mtu)]
    pub(crate) mtu: u16,
    /// Seconds from one change of a session's address to the next; 0 for none
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = seconds())]
    pub(crate) rebind: u32,
    /// Seconds from one cut of a session to the next: one direction, for 0.5 to 12 s; 0 for none
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = seconds())]
    pub(crate) cut: u32,
    /// What all faults are drawn from [default: a random one, which the result names]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Fails if 1 of 100 changes of address takes longer than so many milliseconds until the
    /// session is answered again [default: 500; none with --cut, --delay-ms or --mbit]
    #[arg(long, value_name = "MS")]
    pub(crate) gap_max_ms: Option<f64>,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

/// `soak`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Soak {
    /// How long it lasts, in minutes
    #[arg(long, default_value_t = 60.0, value_parser = parse_minutes)]
    pub(crate) minutes: f64,
    /// Restarts of the server, at random moments of the first three fifths, by SIGKILL and by
    /// drain
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) restarts: u32,
    /// Clients of the client library that are always there, one session, connection and socket
    /// each
    #[arg(long, default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Members of a group; the sessions are parted into groups of so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub(crate) group: u32,
    /// Messages a second to groups, all of them together
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) group_rate: u32,
    /// Messages a second from session to peer
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Messages a second that a back end sends to peers over HTTP
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) api_rate: u32,
    /// Further peers that come and go, and are watched
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) commuters: u32,
    /// Seconds from one change of a session's socket to the next
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) roam: u32,
    /// What the restarts are drawn from [default: a random one, which the result names]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Writes a page with charts here
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) body: Body,
}

impl Soak {
    /// How long it lasts.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// From one change of a session's socket to the next.
    pub(crate) fn roam(&self) -> Duration {
        Duration::from_secs(u64::from(self.roam))
    }
}

/// `hostile`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Hostile {
    /// Sessions of the others, one connection each
    #[arg(long, default_value_t = 200, value_parser = peers_from(2))]
    pub(crate) sessions: u32,
    /// Messages a second of the others, all sessions together
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// How long each kind goes on, and before it nobody, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=3_600))]
    pub(crate) seconds: u32,
    /// How long to run before measuring, in seconds
    #[arg(long, default_value_t = 3)]
    pub(crate) warmup: u32,
    /// What a hostile client does at the most, a second; 100000 for as much as it can
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) attacks: u32,
    /// Kinds of hostile clients, one after another [default: all of them]
    #[arg(long, value_enum, value_delimiter = ',', hide_default_value = true,
        default_values_t = Kind::value_variants().to_vec())]
    pub(crate) kinds: Vec<Kind>,
    /// Fails if 1 of 100 messages of the others takes so many milliseconds, for any kind
    #[arg(long, default_value_t = 50.0, value_name = "MS")]
    pub(crate) p99_max_ms: f64,
    /// Fails if the server's memory grows by so many MiB
    #[arg(long, default_value_t = 64.0, value_name = "MIB")]
    pub(crate) grow_max_mib: f64,
    #[command(flatten)]
    pub(crate) body: Body,
}

fn percent() -> RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(0..=90)
}

fn seconds() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=3_600)
}

fn parse_mbit(text: &str) -> Result<f64, String> {
    let mbit: f64 = text.parse().map_err(|_| format!("{text} is no number of megabits"))?;
    match mbit == 0.0 || (0.01..=10_000.0).contains(&mbit) {
        true => Ok(mbit),
        false => Err("a way carries 0.01 to 10,000 megabits a second".into()),
    }
}

fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| format!("{text} is no number of minutes"))?;
    match (0.1..=100_000.0).contains(&minutes) {
        true => Ok(minutes),
        false => Err("a day has 0.1 to 100,000 minutes here".into()),
    }
}

fn parse_mtu(text: &str) -> Result<u16, String> {
    let bytes: u16 = text.parse().map_err(|_| format!("{text} is no number of bytes"))?;
    match bytes == 0 || bytes >= 1_200 {
        true => Ok(bytes),
        false => Err("QUIC needs datagrams of 1,200 bytes".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_carries_what_quic_needs() {
        assert_eq!((parse_mtu("0"), parse_mtu("1200")), (Ok(0), Ok(1_200)));
        assert!(parse_mtu("1199").is_err());
        assert_eq!((parse_mbit("0"), parse_mbit("0.5")), (Ok(0.0), Ok(0.5)));
        assert!(parse_mbit("-1").is_err() && parse_mbit("NaN").is_err());
    }
}
