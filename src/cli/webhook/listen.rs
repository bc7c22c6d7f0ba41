//! `tidings webhook listen`: a receiver for developers of back ends.
//!
//! # Invariants
//!
//! * What is told goes to the standard output, an event a line; where it listens, to the standard
//!   error.
//! * It answers as asked to, but never accepts what does not verify.
//! * A secret is not shown, whether it is one or not.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;

use tidings::webhook::dialect::Dialect;
use tidings::webhook::{Secret, SecretError, SecretText};

use super::receiver::{self, Receiver};
use crate::cli::chat::clock::Clock;
use crate::cli::listen::colours;
use crate::cli::signals::Signals;
use crate::cli::{Exit, Failure, Outcome};

/// The longest that an answer may be held back.
const DELAY_MS_MAX: u64 = 3_600_000;

#[derive(Args, Debug)]
pub(super) struct ListenArgs {
    /// Listen on this TCP port; 0 takes a free one.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Listen on this address of the machine.
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST.into())]
    bind: IpAddr,
    /// What the endpoint's dialect is: tidings, wukongim, easemob or getui.
    #[arg(long, default_value_t)]
    dialect: Dialect,
    /// What requests are signed with; give it again for one more during a rotation. Without one
    /// nothing is verified.
    #[arg(long = "secret", value_name = "SECRET", env = "TIDINGS_WEBHOOK_SECRET")]
    #[arg(hide_env_values = true, value_parser = unread)]
    secrets: Vec<SecretText>,
    /// Answer with this status what verifies.
    #[arg(long, value_name = "STATUS", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u16).range(200..=599))]
    answer: u16,
    /// Answer so many milliseconds later.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=DELAY_MS_MAX))]
    delay: u64,
}

/// A secret as it is written.
fn unread(text: &str) -> Result<SecretText, Infallible> {
    Ok(SecretText(text.to_owned()))
}

impl ListenArgs {
    pub(super) async fn run(self, clock: Clock) -> Outcome {
        // Read here, for the mistake of a parser would repeat it.
        let secrets: Result<Vec<Secret>, SecretError> =
            self.secrets.iter().map(|secret| secret.0.parse()).collect();
        let secrets =
            secrets.map_err(|error| Failure::new(Exit::BadUsage, format!("--secret: {error}")))?;
        let mut signals = Signals::new()?;
        let address = SocketAddr::new(self.bind, self.port);
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let url = format!("http://{}/", listener.local_addr()?);
        let dialect = self.dialect;
        eprintln!("listening on {url} for the dialect {dialect}");
        if secrets.is_empty() {
            eprintln!("nothing is verified: give --secret what the endpoint's secret is");
        }
        let receiver = Receiver {
            dialect,
            secrets,
            status: self.answer,
            delay: Duration::from_millis(self.delay),
            clock,
            in_colour: io::stdout().is_terminal() && colours(),
        };
        tokio::select! {
            served = receiver::serve(listener, receiver) => served?,
            () = signals.next() => {}
        }
        Ok(Exit::Done)
    }
}
