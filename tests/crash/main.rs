//! Kills the server at random moments under load, again and again, and holds it to its promise:
//! every acknowledged message arrives, once and in order, and no id or number is used twice.
//!
//! The clients and their list of acknowledged sends live in this process, the server is a child
//! that gets SIGKILL. A failure prints its seed; `TIDINGS_CRASH_SEED` draws the same moments and
//! recipients again.
//!
//! # Invariants
//!
//! * A kill counts only if sends were under way and the killed run had acknowledged some.
//! * Everything that is awaited has a bound.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clients;
mod ledger;
mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use tidings::client::{ConnectOptions, Trust};
use tidings::limits::SETTLE_AFTER;

use crate::clients::{Seat, World};
use crate::server::{PATIENCE, Place, Server};

/// Kills under load.
const KILLS: usize = 50;
/// Peers in all.
const PEERS: usize = 16;
/// Of them, those that share one connection.
const TOGETHER: usize = 4;
/// Of them, those that come and go. The rest has a connection each.
const ROAMING: usize = 4;
/// Each peer with a number that this divides has another device, absent until the end.
const ARCHIVES: usize = 2;

/// When a run of the server is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This long after the process began.
    Starting(Duration),
    /// This long after the server was ready.
    Ready(Duration),
    /// This long after it acknowledged its first message.
    Busy(Duration),
}

impl Moment {
    fn draw(random: &mut Rng) -> Self {
        let after = Duration::from_millis(random.u64(5..150));
        match random.u8(..16) {
            0 | 1 => Self::Starting(after),
            2 | 3 => Self::Ready(after),
            // Now and then the state has time to catch up with the log.
            4 => Self::Busy(after + SETTLE_AFTER),
            _ => Self::Busy(after),
        }
    }
}

/// What the kills were like.
#[derive(Debug, Default)]
struct Figures {
    runs: usize,
    under_load: usize,
    while_starting: usize,
    /// From the start of the process until clients may come.
    starts: Vec<Duration>,
    /// From there until a message is acknowledged.
    returns: Vec<Duration>,
}

#[test]
fn no_kill_at_any_moment_breaks_the_promise() {
    let seed = match std::env::var("TIDINGS_CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    let mut test = Test::new(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test.run()));
    if let Err(panic) = outcome {
        eprintln!("failed with TIDINGS_CRASH_SEED={seed}; {}", test.summary());
        eprintln!("the server's last words:\n{}", test.place.last_log());
        test.folder.disable_cleanup(true);
        eprintln!("the server's folder: {}", test.folder.path().display());
        std::panic::resume_unwind(panic);
    }
    eprintln!("{}", test.summary());
}

struct Test {
    random: Rng,
    runtime: Runtime,
    folder: TempDir,
    place: Place,
    world: Option<Arc<World>>,
    figures: Figures,
}

impl Test {
    fn new(seed: u64) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let place = Place::new(folder.path());
        let runtime = Runtime::new().unwrap();
        let (random, figures) = (Rng::with_seed(seed), Figures::default());
        Self { random, runtime, folder, place, world: None, figures }
    }

    fn world(&self) -> &Arc<World> {
        self.world.as_ref().unwrap()
    }

    fn run(&mut self) {
        let mut first = self.place.start();
        let (fingerprint, _) = first.ready();
        let trust = Trust::Fingerprint(fingerprint.parse().unwrap());
        let connect = ConnectOptions::new(&self.place.address).trust(trust);
        let peers = (0..PEERS).map(|peer| format!("peer-{peer:02}").parse().unwrap()).collect();
        self.world = Some(Arc::new(World::new(peers, connect)));
        let archives = self.install("archive", (0..PEERS).step_by(ARCHIVES));
        let seats = self.install("phone", 0..PEERS);
        let phones: Vec<usize> = seats.iter().map(|phone| phone.device).collect();
        let tasks = self.start_all(seats);

        let last = self.kill_many(first);
        let world = self.world().clone();
        world.load_over.cancel();
        self.wait("the answers", &phones, || {
            world.home.load(Ordering::Relaxed) == PEERS && world.ledger().pending == 0
        });
        world.farewell.cancel();
        self.wait("the last words", &phones, || {
            world.said.load(Ordering::Relaxed) == PEERS
                && world.ledger().missing(&phones).is_empty()
        });
        world.done.cancel();
        let ended = async { tokio::time::timeout(PATIENCE, tasks.join_all()).await };
        let seats = self.runtime.block_on(ended).unwrap();
        self.assert_kept();

        last.kill();
        let mut after = self.place.start();
        after.ready();
        self.drain_all(seats, archives);
        self.assert_kept();
        after.kill();
        let complaints = self.place.complaints();
        assert!(complaints.is_empty(), "{}", first_lines(&complaints));
    }

    /// Opens a device of each of these peers for the first time. A peer that was never seen would
    /// be away, and its window could drop something.
    fn install(&self, name: &'static str, peers: impl Iterator<Item = usize>) -> Vec<Seat> {
        let world = self.world();
        self.runtime.block_on(async {
            let client = world.client().await;
            let mut seats = Vec::new();
            for peer in peers {
                let mut seat = Seat::new(world, peer, name);
                let (session, _, _) = seat.open(&client).await;
                session.end().await;
                seats.push(seat);
            }
            seats
        })
    }

    /// Starts the peers.
    fn start_all(&mut self, phones: Vec<Seat>) -> JoinSet<Seat> {
        let (world, mut tasks) = (self.world().clone(), JoinSet::new());
        let shared = self.runtime.block_on(world.client());
        for phone in phones {
            let random = self.random.fork();
            if phone.peer >= PEERS - ROAMING {
                tasks.spawn_on(phone.roam(random), self.runtime.handle());
            } else {
                let client = match phone.peer {
                    ..TOGETHER => shared.clone(),
                    _ => self.runtime.block_on(shared.connect_beside()).unwrap(),
                };
                tasks.spawn_on(phone.stay(client, random), self.runtime.handle());
            }
        }
        tasks
    }

    /// Kills and starts the server until there were enough kills under load; the last run goes on.
    fn kill_many(&mut self, first: Server) -> Server {
        let mut server = first;
        let mut moment = Moment::Busy(Duration::from_millis(self.random.u64(5..150)));
        while self.figures.under_load < KILLS {
            self.kill(server, moment);
            server = self.place.start();
            moment = Moment::draw(&mut self.random);
        }
        let (_, took) = server.ready();
        self.figures.starts.push(took);
        server
    }

    fn kill(&mut self, mut server: Server, moment: Moment) {
        let before = self.world().ledger().acknowledged;
        self.figures.runs += 1;
        if let Moment::Starting(after) = moment {
            std::thread::sleep(after);
            self.figures.while_starting += 1;
            return server.kill();
        }
        let (_, took) = server.ready();
        let ready = Instant::now();
        self.figures.starts.push(took);
        let after = match moment {
            Moment::Starting(after) | Moment::Ready(after) => after,
            Moment::Busy(after) => {
                let world = self.world();
                self.wait("an acknowledged message", &[], || world.ledger().acknowledged > before);
                self.figures.returns.push(ready.elapsed());
                after
            }
        };
        std::thread::sleep(after);
        let is_under_load = {
            let ledger = self.world().ledger();
            ledger.acknowledged > before && ledger.pending > 0
        };
        server.kill();
        self.figures.under_load += usize::from(is_under_load);
    }

    /// Waits until `is_so`; fails when it takes too long, or when the promise is broken already.
    fn wait(&self, what: &str, devices: &[usize], is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            let ledger = self.world().ledger();
            let problems = &ledger.problems;
            assert!(problems.is_empty(), "{}", first_lines(problems));
            let missing = || first_lines(&ledger.missing(devices));
            assert!(began.elapsed() < PATIENCE, "{what} took too long\n{}", missing());
            drop(ledger);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn assert_kept(&self) {
        let broken = self.world().ledger().broken();
        assert!(broken.is_empty(), "{}", first_lines(&broken));
    }

    /// Every device that was there finds nothing; every device that was absent, and every new
    /// one, finds what it has not had.
    fn drain_all(&self, seats: Vec<Seat>, archives: Vec<Seat>) {
        let world = self.world();
        self.runtime.block_on(async {
            for mut seat in seats {
                seat.drain(0).await;
            }
            // A new device starts where the peer's oldest device stands.
            for peer in 0..PEERS {
                let mut fresh = Seat::new(world, peer, "fresh");
                let is_behind = peer % ARCHIVES == 0;
                let count = if is_behind { world.ledger().stored_for(peer) } else { 0 };
                fresh.drain(count).await;
            }
            for mut archive in archives {
                let count = world.ledger().stored_for(archive.peer);
                archive.drain(count).await;
                let missing = world.ledger().missing(&[archive.device]);
                assert!(missing.is_empty(), "{}", first_lines(&missing));
            }
        });
    }

    fn summary(&self) -> String {
        let Some(world) = &self.world else { return "it did not even start".to_owned() };
        let Figures { runs, under_load, while_starting, starts, returns } = &self.figures;
        let (ledger, count) =
            (world.ledger(), |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed));
        format!(
            "{runs} kills, {under_load} under load, {while_starting} while starting; \
             {} acknowledged, {} received, {} answers given up, \
             {} resends, {} repeats, {} resumes; start {}, first answer after {}",
            ledger.acknowledged,
            ledger.received,
            ledger.unknown,
            count(&world.resends),
            count(&world.repeats),
            count(&world.resumes),
            spread(starts),
            spread(returns),
        )
    }
}

/// The median and the longest.
fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{median:.0?} (max {:.0?})", times.last().copied().unwrap_or_default())
}

fn first_lines(lines: &[String]) -> String {
    let shown = lines[..lines.len().min(20)].join("\n");
    format!("{} problems:\n{shown}", lines.len())
}
