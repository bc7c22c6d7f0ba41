//! `tidings serve`: a server until it is told to stop.
//!
//! # Invariants
//!
//! * The standard output gets one line, when clients may come; everything else is logged.
//! * The first signal drains, the second one cuts short.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use tracing::{error, info, warn};

use tidings::config::Config;
use tidings::net::CERTIFICATE_FILE;
use tidings::server::{DrainOutcome, Server};

use super::configured::ConfigArgs;
use super::signals::Signals;
use super::{Exit, Failure, Outcome, block_on, logs};

#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

impl ServeArgs {
    pub(super) fn run(self) -> Outcome {
        let Some(config) = self.config.load()? else { return Ok(Exit::Done) };
        logs::start("info");
        block_on(serve(config))
    }
}

async fn serve(config: Config) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(Exit::ServerFailed, error);
    let mut signals = Signals::new().map_err(failed)?;
    let made = config.net.keys_dir.join(CERTIFICATE_FILE);
    let certificate = config.net.certificate.as_ref().map_or(&made, |files| &files.chain);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        data = %config.store.dir.display(),
        certificate = %certificate.display(),
        "starting"
    );
    let began = Instant::now();
    let started = tokio::select! {
        started = Server::start(config) => started,
        () = signals.next() => return Ok(Exit::Done),
    };
    let server = started.map_err(|error| Failure::new(Exit::ServerFailed, error))?;
    let took_ms = began.elapsed().as_millis() as u64;
    info!(replayed = server.report().replayed, took_ms, "started");
    say_ready(&server).map_err(failed)?;
    tokio::select! {
        () = signals.next() => {}
        problem = server.failed() => {
            error!(problem, "the server can not go on");
            return Err(Failure::new(Exit::ServerFailed, problem));
        }
    }
    info!("draining; a second signal cuts this short");
    tokio::select! {
        outcome = server.drain() => Ok(drained(&outcome)),
        () = signals.next() => {
            warn!("cut short by a second signal");
            Ok(Exit::CutShort)
        }
    }
}

fn say_ready(server: &Server) -> std::io::Result<()> {
    let (address, fingerprint) = (server.local_addr(), server.fingerprint());
    let mut out = std::io::stdout();
    writeln!(out, "ready: listening on {address}, fingerprint {fingerprint}")?;
    out.flush()
}

fn drained(outcome: &DrainOutcome) -> Exit {
    let DrainOutcome { clean, forced } = *outcome;
    info!(clean, forced, "stopped");
    if forced == 0 { Exit::Done } else { Exit::CutShort }
}
