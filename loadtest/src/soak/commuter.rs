//! A peer that comes and goes: what is said while it is away waits for it.
//!
//! # Invariants
//!
//! * It never logs out, and goes on behind the last message that its app has had.
//! * Once the run sends no more, it is there until the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidings::client::{ConnectOptions, Cursor};

use super::LOOK;
use crate::library::{Books, Client, Ear, Lives, Place};
use crate::run::{Phase, Run};

/// Seconds for which it is there, and away. Away for less than the 60 s after which the server
/// would begin to give up what is above its window.
const THERE_S: std::ops::Range<u64> = 5..40;
const AWAY_S: std::ops::Range<u64> = 2..20;

/// A peer that comes and goes.
pub(super) struct Commuter {
    run: Arc<Run>,
    index: u32,
    lives: Arc<Lives>,
    options: ConnectOptions,
    ear: Ear,
}

impl Commuter {
    pub(super) fn new(
        run: &Arc<Run>,
        index: u32,
        books: &Arc<Books>,
        lives: &Arc<Lives>,
        options: ConnectOptions,
    ) -> Self {
        let ear = Ear::new(run, index, books, lives);
        Self { run: run.clone(), index, lives: lives.clone(), options, ear }
    }

    /// Comes and goes until the run ends.
    pub(super) async fn commute(mut self) {
        let mut cursor = Cursor::default();
        while self.run.phase() < Phase::End {
            let place = Place { cursor, ..Place::default() };
            let Ok((client, incoming)) =
                Client::open(&self.run, &self.options, self.index, place).await
            else {
                // The server is on its way; a new connection is tried once.
                tokio::time::sleep(LOOK).await;
                continue;
            };
            self.lives.resumes.fetch_add(1, Ordering::Relaxed);
            let (session, run) = (client.session.clone(), self.run.clone());
            let stay = async {
                pass(&run, fastrand::u64(THERE_S), Phase::End).await;
                client.end().await;
            };
            tokio::join!(self.ear.listen(incoming), stay);
            cursor = session.cursor();
            drop(session);
            pass(&self.run, fastrand::u64(AWAY_S), Phase::Quiet).await;
        }
    }
}

/// Waits for so many seconds, but while the run sends no more, for the phase `until`.
async fn pass(run: &Run, seconds: u64, until: Phase) {
    let began = Instant::now();
    while run.phase() < until {
        if run.phase() < Phase::Quiet && began.elapsed() > Duration::from_secs(seconds) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
