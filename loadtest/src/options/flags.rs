//! The flags that several loads have.
//!
//! # Invariants
//!
//! * A flag means the same wherever it stands.

use std::fmt::{self, Display, Formatter};
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Deref;
use std::path::PathBuf;

use clap::Args;
use tidings::client::Fingerprint;

use crate::broker::{PRODUCTS, Product};
use crate::http::Api;
use crate::stamp::STAMP_BYTES;

/// GiB that a log may be filled with.
const LOG_GIB_MAX: f64 = 1024.0;

/// What is sent.
#[derive(Clone, Debug, Args)]
pub(crate) struct Body {
    /// Bytes of a message body; the proof takes the first 20
    #[arg(long, default_value_t = 256, value_parser = parse_payload)]
    pub(crate) payload: usize,
}

/// What is sent, and when it is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Talk {
    #[command(flatten)]
    pub(crate) body: Body,
    #[command(flatten)]
    pub(crate) timing: Timing,
}

/// When it is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Timing {
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// How long to run before measuring, in seconds
    #[arg(long, default_value_t = 3)]
    pub(crate) warmup: u32,
}

/// A load with the flags that every scenario has.
#[derive(Clone, Debug, Args)]
pub(crate) struct With<L: Args> {
    #[command(flatten)]
    load: L,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl<L: Args> Deref for With<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.load
    }
}

/// Flags of every scenario.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// `spawn` starts the release server on a free port with a fresh data folder; or HOST:PORT
    #[arg(long, default_value = "spawn", value_parser = parse_server, help_heading = "Server")]
    pub(crate) server: ServerChoice,
    /// Puts the load on a broker of MQTT 3.1.1 instead: mqtt://HOST:PORT, mqtts://HOST:PORT, or
    /// the name of one to start: mosquitto, mosquitto-autosave, mosquitto-tls, nats, nats-sync,
    /// rmqtt (`chat`, `rate`, `offline`, `idle` and `fanout` only)
    ///
    /// QoS 1 and sessions that persist: PUBACK is the acknowledgement, each session is subscribed
    /// to a topic of its own, and a group is one topic of all its members.
    #[arg(long, value_name = "PEER", value_parser = parse_against, help_heading = "Server")]
    pub(crate) against: Option<Against>,
    /// Takes any certificate of a broker at mqtts://HOST:PORT
    #[arg(long, help_heading = "Server")]
    pub(crate) any_certificate: bool,
    /// SHA-256 of the certificate of the server at HOST:PORT, in hexadecimal
    #[arg(long, value_name = "HEX", help_heading = "Server")]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Process of the server at HOST:PORT, for its CPU time and memory
    #[arg(long, help_heading = "Server")]
    pub(crate) pid: Option<u32>,
    /// Where the server at HOST:PORT writes its figures
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(crate) metrics_file: Option<PathBuf>,
    /// HTTP API of the server at HOST:PORT, without TLS
    #[arg(long, value_name = "HOST:PORT", help_heading = "Server")]
    pub(crate) http: Option<SocketAddr>,
    /// Key for it with every scope
    #[arg(
        long,
        value_name = "KEY",
        env = "TIDINGS_API_KEY",
        hide_env_values = true,
        help_heading = "Server"
    )]
    pub(crate) http_key: Option<String>,
    /// The server to start [default: `tidings` beside this program]
    #[arg(long, value_name = "PATH", help_heading = "Server")]
    pub(crate) tidings: Option<PathBuf>,
    /// Where the fresh data folder is made; not on a tmpfs [default: below the build folder]
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    pub(crate) data: Option<PathBuf>,
    /// Leaves the data folder behind
    #[arg(long, help_heading = "Server")]
    pub(crate) keep: bool,
    /// Kills the server at the end (SIGKILL) and measures how soon it is ready again
    #[arg(long, help_heading = "Server")]
    pub(crate) kill: bool,
    /// Bytes the server's log may take, such as 4GiB
    #[arg(long, value_name = "SIZE", help_heading = "Server")]
    pub(crate) log_bytes_max: Option<String>,
    /// Fills the server's log with so many GiB of messages first, 0.1 or 10 for example
    #[arg(long, value_name = "GIB", value_parser = parse_gib, help_heading = "Server")]
    pub(crate) log_gib: Option<f64>,
    /// A further argument for `tidings serve`; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, help_heading = "Server")]
    pub(crate) serve_arg: Vec<String>,
    /// Microseconds between the hand-outs of the relay that is the floor
    #[arg(long, default_value_t = 500, value_name = "US", help_heading = "Floor")]
    pub(crate) pace_us: u64,
    /// Runs the floor before each round, and compares medians (`chat`, `rate` and `idle` only)
    #[arg(long, help_heading = "Floor")]
    pub(crate) with_floor: bool,
    /// How often to run; medians are compared
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// UDP sockets of the generator, shared by its connections (in `roam` each has its own)
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) sockets: u16,
    /// Writes the result here as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Common {
    /// The HTTP API of the server that runs already, if it was named.
    ///
    /// # Errors
    ///
    /// When the key can be none.
    pub(crate) fn api(&self) -> Result<Option<Api>, String> {
        let named = self.http.zip(self.http_key.as_deref());
        named.map(|(address, key)| Api::new(address, key)).transpose()
    }

    /// What `tidings serve` is given beside the generator's own arguments.
    pub(crate) fn server_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(size) = &self.log_bytes_max {
            arguments.extend(["--log-bytes-max".to_owned(), size.clone()]);
        }
        arguments.extend(self.serve_arg.iter().cloned());
        arguments
    }
}

/// Where the server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ServerChoice {
    /// A child process of the generator.
    Spawn,
    /// It runs already.
    At(SocketAddr),
}

/// A broker that is measured instead of the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Against {
    /// It runs already.
    At { address: SocketAddr, tls: bool },
    /// A child process of the generator.
    Product(&'static Product),
}

impl Display for Against {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { address, tls: false } => write!(f, "mqtt://{address}"),
            Self::At { address, tls: true } => write!(f, "mqtts://{address}"),
            Self::Product(product) => f.write_str(product.name),
        }
    }
}

fn parse_against(text: &str) -> Result<Against, String> {
    let at = |place: &str, tls| match parse_address(place.trim_end_matches('/')) {
        Ok(address) => Ok(Against::At { address, tls }),
        Err(why) => Err(why),
    };
    if let Some(place) = text.strip_prefix("mqtt://") {
        return at(place, false);
    }
    if let Some(place) = text.strip_prefix("mqtts://") {
        return at(place, true);
    }
    Product::named(text).map(Against::Product).ok_or_else(|| {
        let names: Vec<&str> = PRODUCTS.iter().map(|product| product.name).collect();
        format!("neither mqtt://HOST:PORT, nor mqtts://HOST:PORT, nor one of {}", names.join(", "))
    })
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text}: {error}"))?;
    found.next().ok_or_else(|| format!("{text} has no address"))
}

fn parse_server(text: &str) -> Result<ServerChoice, String> {
    if text == "spawn" {
        return Ok(ServerChoice::Spawn);
    }
    parse_address(text).map(ServerChoice::At)
}

fn parse_payload(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| format!("{text} is no number of bytes"))?;
    let most = tidings::limits::BODY_BYTES_MAX;
    match (STAMP_BYTES..=most).contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("a body has {STAMP_BYTES} to {most} bytes")),
    }
}

fn parse_gib(text: &str) -> Result<f64, String> {
    let gib: f64 = text.parse().map_err(|_| format!("{text} is no number of GiB"))?;
    match gib > 0.0 && gib <= LOG_GIB_MAX {
        true => Ok(gib),
        false => Err(format!("a log is filled with more than 0 and up to {LOG_GIB_MAX} GiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_named_or_has_an_address() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1883));
        let at = |tls| Ok(Against::At { address, tls });
        assert_eq!(parse_against("mqtt://127.0.0.1:1883"), at(false));
        assert_eq!(parse_against("mqtts://127.0.0.1:1883/"), at(true));
        for product in &PRODUCTS {
            let against = parse_against(product.name).unwrap();
            assert_eq!(against, Against::Product(product));
            assert_eq!(against.to_string(), product.name);
        }
        for wrong in ["127.0.0.1:1883", "mqtt://nowhere", "http://127.0.0.1:1", "emqx"] {
            assert!(parse_against(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_body_must_hold_its_stamp_and_fit_a_frame() {
        assert_eq!(parse_payload("20"), Ok(20));
        assert!(parse_payload("19").is_err());
        assert!(parse_payload("5121").is_err());
    }

    #[test]
    fn a_log_is_filled_with_a_part_of_a_gib_or_several() {
        assert_eq!((parse_gib("0.1"), parse_gib("10")), (Ok(0.1), Ok(10.0)));
        for wrong in ["0", "-1", "NaN", "inf", "1GiB", ""] {
            assert!(parse_gib(wrong).is_err(), "{wrong}");
        }
    }
}
