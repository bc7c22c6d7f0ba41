//! A `rate` load whose sessions change their sockets again and again, as a phone changes networks.
//!
//! # Invariants
//!
//! * Each session has a UDP socket of its own, so that a change of it changes its address, and
//!   nobody else's.
//! * A watcher that stays where it is watches all sessions: it must hear nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quinn::Endpoint;

use crate::chat;
use crate::link;
use crate::options::Roam;
use crate::peer::Work;
use crate::rate;
use crate::run::{Phase, Run};
use crate::scenario::{Outcome, Stage};

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, roam: &Roam) -> Result<Outcome, String> {
    let fleet = &stage.fleet;
    let run = &fleet.run;
    let opening = stage.open(0..roam.sessions, Work::Rate).await?;
    stage.open(roam.sessions..roam.sessions + 1, Work::Watch).await?;
    let from_ns = chat::plan(fleet, &roam.talk.timing);
    run.enter(Phase::Send);
    rate::start(run, roam.rate)?;
    let every = Duration::from_secs(u64::from(roam.every));
    let moving = keep_moving(run.clone(), fleet.endpoints(), stage.server.address, every);
    let moving = tokio::spawn(moving);
    let measured = chat::measure(stage, from_ns, &roam.talk.timing).await;
    let moved = moving.await.map_err(|error| error.to_string())?;
    let spent = measured?;
    moved?;
    fleet.settle(stage.progress).await;
    Ok(Outcome {
        spent,
        opening: Some(opening),
        rebinds: Some(run.rebinds.load(Ordering::Relaxed)),
        reopened: Some(run.broken.load(Ordering::Relaxed)),
        ..Outcome::default()
    })
}

/// Changes the socket of each talker once within `every`, evenly spread, as long as the run sends.
async fn keep_moving(
    run: Arc<Run>,
    endpoints: Arc<[Endpoint]>,
    server: SocketAddr,
    every: Duration,
) -> Result<(), String> {
    let (started, talkers) = (Instant::now(), run.talkers);
    for number in 0u32.. {
        let due = started + every * (number / talkers) + every * (number % talkers) / talkers;
        tokio::time::sleep_until(due.into()).await;
        if run.phase() != Phase::Send {
            return Ok(());
        }
        let index = (number % talkers) as usize;
        let moved_ns = run.now_ns();
        change_socket(&endpoints[index], server)?;
        let mail = &run.mail[index];
        run.rebinds.fetch_add(1, Ordering::Relaxed);
        mail.slot.lock().moved.push_back(moved_ns);
        mail.wake();
    }
    Ok(())
}

/// Gives an endpoint another socket, which must have another address.
fn change_socket(endpoint: &Endpoint, server: SocketAddr) -> Result<(), String> {
    let text = |error: std::io::Error| format!("cannot change a socket: {error}");
    let before = endpoint.local_addr().map_err(text)?;
    endpoint.rebind(link::client_socket(server).map_err(text)?).map_err(text)?;
    let after = endpoint.local_addr().map_err(text)?;
    match before == after {
        true => Err(format!("a changed socket has the same address, {after}")),
        false => Ok(()),
    }
}
