//! Fills the log of a server before a load is measured on it.
//!
//! # Invariants
//!
//! * What fills it are messages of sessions that talk and acknowledge: nothing of them waits for
//!   anybody when it ends.
//! * A fill that lost anything ends the run.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Life};
use crate::metrics::{self, Metrics};
use crate::peer::Work;
use crate::progress::Progress;
use crate::run::{Mail, Phase, Run};
use crate::server::Server;
use crate::tide::{Level, Mark};

/// Sessions that talk.
const SESSIONS: u32 = 200;
/// Sends that each of them keeps in flight.
const WINDOW: usize = 16;
/// Bytes of a body.
const BODY_BYTES: usize = 1024;
/// Bytes that a message takes in the log until that is known.
const BYTES_GUESSED: f64 = 1.2 * BODY_BYTES as f64;
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the server may acknowledge nothing.
const STUCK: Duration = Duration::from_secs(20);
/// What part of the wanted size is near enough.
const NEAR: f64 = 0.97;
const GIB: f64 = (1u64 << 30) as f64;
const LOG_BYTES: &str = "tidings_log_bytes";

/// How large the log is, from what was acknowledged since the server last said so.
struct Gauge {
    start_bytes: f64,
    /// Acknowledged so far when the server last told its size, and that size.
    known: Option<(u64, f64)>,
}

impl Gauge {
    /// The server has told the size of its log.
    fn told(&mut self, acked: u64, bytes: f64) {
        if self.known.is_none_or(|(_, last)| bytes != last) {
            self.known = Some((acked, bytes));
        }
    }

    /// How many bytes there are about now.
    fn bytes(&self, acked: u64) -> f64 {
        match self.known {
            Some((then, bytes)) if then > 0 && bytes > self.start_bytes => {
                let each = (bytes - self.start_bytes) / then as f64;
                bytes + each * acked.saturating_sub(then) as f64
            }
            _ => self.start_bytes + BYTES_GUESSED * acked as f64,
        }
    }
}

/// Lets sessions talk until the log has so many GiB.
///
/// # Errors
///
/// When the server does not tell the size of its log, stops answering, or loses something.
pub(crate) async fn fill(server: &Server, gib: f64, progress: &Progress) -> Result<(), String> {
    let file = server.metrics.as_deref().ok_or("the server does not tell the size of its log")?;
    let unknown = || format!("the server does not tell {LOG_BYTES}");
    let size = |metrics: &Metrics| metrics.value(LOG_BYTES).ok_or_else(unknown);
    let start_bytes = size(&metrics::read_fresh(file).await.ok_or_else(unknown)?)?;
    let fleet = Fleet::new(Run::new(SESSIONS, BODY_BYTES, false), server, 4)?;
    let talk = |_| Work::Tide(Mark::default());
    fleet.open(0..SESSIONS, talk, Life::Held, progress).await?;
    progress.begin("filling the log", (gib * GIB) as u64);
    fleet.run.enter(Phase::Send);
    let mut gauge = Gauge { start_bytes, known: None };
    while gauge.bytes(fleet.run.records.counts().acked) < gib * GIB * NEAR {
        talk_until(&fleet, file, &mut gauge, gib * GIB, progress).await?;
        // The log may be smaller than it was reckoned: segments shrink when they are closed.
        let told = size(&metrics::read_fresh(file).await.ok_or_else(unknown)?)?;
        gauge.told(fleet.run.records.counts().acked, told);
    }
    conclude(fleet, server, progress).await
}

/// Lets sessions talk until the log has about so many bytes.
async fn talk_until(
    fleet: &Fleet,
    file: &Path,
    gauge: &mut Gauge,
    wanted_bytes: f64,
    progress: &Progress,
) -> Result<(), String> {
    turn(fleet, Level::Closed { window: WINDOW });
    let (mut last_acked, mut answered_at) = (0, Instant::now());
    loop {
        let acked = fleet.run.records.counts().acked;
        if acked > last_acked {
            (last_acked, answered_at) = (acked, Instant::now());
        } else if answered_at.elapsed() > STUCK {
            return Err(format!("the server acknowledged nothing for {STUCK:?}"));
        }
        if let Ok(text) = std::fs::read_to_string(file) {
            // A file that is being written may not have the line.
            Metrics::parse(&text).value(LOG_BYTES).into_iter().for_each(|b| gauge.told(acked, b));
        }
        let bytes = gauge.bytes(acked);
        progress.reach(bytes as u64);
        if bytes >= wanted_bytes {
            turn(fleet, Level::Still);
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn turn(fleet: &Fleet, level: Level) {
    fleet.run.tide.turn(level);
    fleet.run.mail.iter().for_each(Mail::wake);
}

/// Awaits what is under way, and looks at the proof.
async fn conclude(fleet: Fleet, server: &Server, progress: &Progress) -> Result<(), String> {
    fleet.settle(progress).await;
    let run = fleet.run.clone();
    let counts = run.records.counts();
    let wrong = run.ledger.verdict().lost
        + counts.out_of_order
        + counts.duplicated
        + counts.misdelivered
        + run.broken.load(Ordering::Relaxed);
    fleet.end(server, progress).await;
    match wrong {
        0 => Ok(()),
        _ => Err(format!("{wrong} messages or sessions went wrong as the log was filled")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_log_is_reckoned_between_two_tellings() {
        let mut gauge = Gauge { start_bytes: 1_000.0, known: None };
        assert_eq!(gauge.bytes(0), 1_000.0);
        assert_eq!(gauge.bytes(10), 1_000.0 + 10.0 * BYTES_GUESSED);
        gauge.told(100, 201_000.0);
        assert_eq!(gauge.bytes(100), 201_000.0);
        assert_eq!(gauge.bytes(150), 301_000.0);
        gauge.told(150, 201_000.0);
        assert_eq!(gauge.bytes(150), 301_000.0, "the same telling says nothing new");
        gauge.told(200, 401_000.0);
        assert_eq!(gauge.bytes(200), 401_000.0);
    }
}
