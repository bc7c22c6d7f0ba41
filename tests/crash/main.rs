//! Kills the server at random moments under load, again and again, and holds it to its promise:
//! every acknowledged message arrives, once and in order, and no id or number is used twice. What
//! was said of groups, of what was read, recalled and signed, of devices and of who is online is
//! so after the last kill.
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
mod groups;
mod judge;
mod ledger;
mod ledger_tests;
mod marks;
mod moments;
mod notary;
mod server;
mod speaker;
mod truth;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use tidings::client::{ConnectOptions, Session, Trust};
use tidings::id::DeviceFlag;

use crate::clients::{Seat, World};
use crate::judge::Judge;
use crate::moments::{Figures, Moment, spread};
use crate::notary::{Notary, Visitor};
use crate::server::{APP, PATIENCE, Place, RESTART_GRACE, Server};
use crate::speaker::read;

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
/// Each peer with a number that this divides, but for those who come and go, has a tablet too,
/// which does.
const TABLETS: usize = 3;
/// Each peer with a number that this divides has a notary.
const NOTARIES: usize = 2;

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
        let connect = ConnectOptions::new(&self.place.address).trust(trust).app(APP);
        let peers = (0..PEERS).map(|peer| format!("peer-{peer:02}").parse().unwrap()).collect();
        self.world = Some(Arc::new(World::new(peers, connect)));
        let archives = self.install("archive", (0..PEERS).step_by(ARCHIVES));
        let tablets = self.install("tablet", (0..PEERS - ROAMING).step_by(TABLETS));
        let seats = self.install("phone", 0..PEERS);
        let phones: Vec<usize> = seats.iter().map(|phone| phone.device).collect();
        let at_home = PEERS + tablets.len() + 1;
        let visitor = Visitor::new(self.world()).visit(self.random.fork());
        let visitor = self.runtime.spawn(visitor);
        for tablet in tablets {
            self.runtime.spawn(tablet.wander(self.random.fork()));
        }
        let tasks = self.start_all(seats);

        let last = self.kill_many(first);
        let world = self.world().clone();
        world.load_over.cancel();
        self.wait("the answers", &phones, || {
            world.home.load(Ordering::Relaxed) == at_home && world.ledger().pending == 0
        });
        world.farewell.cancel();
        self.wait("the last words", &phones, || {
            world.said.load(Ordering::Relaxed) == PEERS
                && world.ledger().missing(&phones).is_empty()
        });
        self.read_all();
        let unmarked = || (0..PEERS).find_map(|peer| world.ledger().unmarked(peer).pop());
        self.wait("the receipts", &phones, || unmarked().is_none());
        self.assert_kept();
        let last = self.part(last);
        world.done.cancel();
        let ended = async { tokio::time::timeout(PATIENCE, tasks.join_all()).await };
        let seats = self.runtime.block_on(ended).unwrap();
        self.assert_kept();

        last.kill();
        let mut after = self.place.start();
        after.ready();
        world.ledger().recalls_over = true;
        world.ledger().marks.forget_told();
        self.drain_all(seats, archives);
        self.runtime.block_on(async {
            let used = visitor.await.unwrap().try_all_again(&world.client().await).await;
            assert!(used > 0);
        });
        self.assert_kept();
        after.kill();
        let complaints = self.place.complaints();
        assert!(complaints.is_empty(), "{}", first_lines(&complaints));
    }

    /// Everybody reads the last words.
    fn read_all(&self) {
        let world = self.world();
        let phones: Vec<_> = world.phones.lock().clone().into_iter().collect();
        self.runtime.block_on(async {
            for (peer, session) in phones {
                for other in (0..PEERS).filter(|other| *other != peer) {
                    let (conversation, last) = {
                        let ledger = world.ledger();
                        let conversation = ledger.conversation([peer, other]);
                        (conversation, ledger.marks.last(peer, conversation).unwrap())
                    };
                    read(world, peer, &session, conversation, last).await.unwrap();
                }
            }
        });
    }

    /// Those who come and go are gone for good when the server is, and do not come back with it.
    /// The others hear that once, when they are not expected any more.
    fn part(&mut self, server: Server) -> Server {
        let world = self.world().clone();
        self.wait("everybody on line", &[], || world.ledger().all_see(PEERS));
        for device in &mut world.ledger().devices {
            device.watching.changes.clear();
        }
        server.kill();
        world.gone.cancel();
        self.wait("those who go", &[], || world.phones.lock().len() == PEERS - ROAMING);
        let started = Instant::now();
        let mut server = self.place.start();
        server.ready();
        let phones = world.phones.lock().clone();
        self.call_back(&phones);
        let in_time = started.elapsed() < RESTART_GRACE;
        self.wait("what the watchers hear", &[], || {
            let ledger = world.ledger();
            ledger.all_see(PEERS - ROAMING) && ledger.partings(ROAMING).is_ok()
        });
        assert!(!in_time || world.ledger().is_calm(PEERS - ROAMING), "told off line and is back");
        let heard = world.ledger().partings(ROAMING).unwrap();
        let too_soon = heard.iter().filter(|at| at.duration_since(started) < RESTART_GRACE).count();
        assert_eq!(too_soon, 0, "were told too soon that somebody is off line");
        server
    }

    /// Has the sessions notice that the server is another one: who says nothing notices late.
    fn call_back(&self, phones: &BTreeMap<usize, Session>) {
        self.runtime.block_on(async {
            for session in phones.values() {
                let began = Instant::now();
                while session.ping().await.is_err() {
                    assert!(began.elapsed() < PATIENCE, "{} did not come back", session.peer());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
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
                if name == "tablet" {
                    seat.flag = DeviceFlag::Web;
                }
                if name == "phone" && peer % NOTARIES == 0 {
                    seat.notary = Some(Arc::new(Notary::new()));
                }
                let (session, _, _) = seat.open(&client, Vec::new()).await;
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
            let missing = || {
                let mut missing = ledger.missing(devices);
                missing.extend((0..PEERS).flat_map(|peer| ledger.unmarked(peer)));
                missing.extend(ledger.partings(ROAMING).err());
                first_lines(&missing)
            };
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
            let mut broken = Vec::new();
            for mut seat in seats {
                let (_client, session) = seat.drain((0, 0)).await;
                broken.extend(Judge::ask(&seat, &session).await);
                session.end().await;
            }
            assert!(broken.is_empty(), "{}", first_lines(&broken));
            // A new device starts where the peer's oldest device stands.
            for peer in 0..PEERS {
                let mut fresh = Seat::new(world, peer, "fresh");
                let is_behind = peer % ARCHIVES == 0;
                let waits = if is_behind { world.ledger().waiting_for(peer) } else { (0, 0) };
                let (_client, session) = fresh.drain(waits).await;
                session.end().await;
            }
            for mut archive in archives {
                let waits = world.ledger().waiting_for(archive.peer);
                let (_client, session) = archive.drain(waits).await;
                session.end().await;
                let ledger = world.ledger();
                let mut missing = ledger.missing(&[archive.device]);
                missing.extend(ledger.unmarked(archive.peer));
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
             {} groups, {} notices, {} recalled, {} signatures, \
             {} resends, {} repeats, {} resumes; start {}, first answer after {}",
            ledger.acknowledged,
            ledger.received,
            ledger.unknown,
            ledger.groups.all().len(),
            ledger.groups.notices.len(),
            ledger.groups.recalled.len(),
            ledger.used.len(),
            count(&world.resends),
            count(&world.repeats),
            count(&world.resumes),
            spread(starts),
            spread(returns),
        )
    }
}

fn first_lines(lines: &[String]) -> String {
    let shown = lines[..lines.len().min(20)].join("\n");
    format!("{} problems:\n{shown}", lines.len())
}
