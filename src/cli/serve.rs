//! `tidings serve`: a server until it is told to stop.
//!
//! # Invariants
//!
//! * The standard output gets a line when clients may come, and one for the HTTP API; everything
//!   else is logged.
//! * A key that was made stands on the standard output of that start, and is never logged.
//! * The first signal drains, the second one cuts short.
//! * SIGHUP never ends it: certificates are read again, and one that is of no use changes nothing.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use tidings::chain::Chain;
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
    let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
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
        () = reload(&server, &mut hangups) => {}
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

/// Reads the certificates again at each SIGHUP, for as long as it is awaited.
async fn reload(server: &Server, hangups: &mut Signal) {
    while hangups.recv().await.is_some() {
        match server.reload_certificates().await {
            Ok(()) => info!(fingerprint = server.fingerprint(), "certificates were read again"),
            Err(problem) => error!(problem = %Chain(&problem), "certificates were not read"),
        }
    }
    std::future::pending().await
}

/// Says it all at once: who waits for the first line may read no other.
fn say_ready(server: &Server) -> std::io::Result<()> {
    let (address, fingerprint) = (server.local_addr(), server.fingerprint());
    let mut said = format!("ready: listening on {address}, fingerprint {fingerprint}\n");
    if let Some(http) = server.http() {
        let url = http.url();
        said += &format!("http: listening on {url}\n");
        if let Some(key) = http.made_key() {
            let file = http.keys_file().display();
            said += &format!(
                "A master key for the HTTP API was made. It is shown this once, and kept in \
                 {file}:\n\
                 \n    {key}\n\n\
                 Try it:\n\
                 \n    curl -H 'Authorization: Bearer {key}' {url}/v1/stats\n\n\
                 All requests are described at {url}/v1/docs\n"
            );
        }
    }
    let mut out = std::io::stdout();
    out.write_all(said.as_bytes())?;
    out.flush()
}

fn drained(outcome: &DrainOutcome) -> Exit {
    let DrainOutcome { clean, forced } = *outcome;
    info!(clean, forced, "stopped");
    if forced == 0 { Exit::Done } else { Exit::CutShort }
}
