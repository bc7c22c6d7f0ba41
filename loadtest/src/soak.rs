//! A long day: everything that people and back ends do at once, while the server is killed and
//! drained at random, and is watched all the time.
//!
//! ```text
//! soak > { calm, commuter, mischief, page } > watching
//! ```
//!
//! # Invariants
//!
//! * What is random about the restarts is drawn from one seed, which the result names.
//! * Nobody of the clients and back ends is told of a restart.
//! * The proof covers the whole day: every peer, every group, every endpoint, and who is on line.

mod calm;
mod commuter;
mod mischief;
mod page;
mod watching;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidings::client::NewGroup;
use tidings::id::PeerId;
use tokio::task::JoinSet;

use self::calm::Calm;
use self::commuter::Commuter;
use self::mischief::{Mischief, Restarting};
use self::watching::{Course, Sample, Watching, memory_of_day};
use crate::backend::Backend;
use crate::library::{Books, Client, Ear, Library, Lives, Place, await_all, connect_options};
use crate::measure::Spent;
use crate::options::{Scenario, Soak, With};
use crate::progress::Progress;
use crate::rate;
use crate::report::Report;
use crate::run::{Phase, Run};
use crate::scenario::{self, Outcome, rounded};
use crate::server::Server;
use crate::webhook::Receiving;

/// How long nothing may come at the end before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often somebody looks whether all has come.
const LOOK: Duration = Duration::from_millis(50);
/// Endpoints that hear of every message.
const ENDPOINTS: u32 = 2;
/// Of a hundred of their requests, so many are answered with 503.
const FAIL_PERCENT: u8 = 2;
/// Minutes of a day on which it counts what has grown: on a shorter one, a server is still filling
/// what it keeps.
const GROWTH_MINUTES_MIN: f64 = 10.0;
/// Minutes of a day of whose last process it counts: the first half of its calm is 10 minutes then.
const CALM_MINUTES_MIN: f64 = 50.0;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Soaked {
    minutes: f64,
    seed: u64,
    /// Messages handed to apps over the whole day.
    deliveries: u64,
    restarts: Vec<Restarting>,
    /// Sessions that were open again after they had lost their connection.
    resumes: u64,
    /// Sessions of those who come and go.
    commutes: u64,
    /// Notices that watched peers went on or off line.
    notices: u64,
    /// Watched peers of which the watcher knows the wrong thing at the end.
    wrong_presence: u64,
    /// Messages that recipients were told they will not get; nobody is away for so long.
    dropped: u64,
    /// The server's memory behind the first sixth of the day, and at the end of the restarts.
    early_rss_mib: Option<f64>,
    late_rss_mib: Option<f64>,
    /// What the last process took.
    calm: Calm,
    /// What had grown too much.
    grown: Vec<&'static str>,
    /// What the server's `fsck` says of the data; nothing if it has none, and then nobody knows
    /// whether the data is sound.
    fsck: Option<String>,
    samples: Vec<Sample>,
}

impl Soaked {
    /// What breaks the promise.
    pub(crate) fn wrong(&self) -> u64 {
        let unproven = u64::from(self.fsck.is_none());
        self.wrong_presence + self.dropped + self.grown.len() as u64 + unproven
    }

    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let kills = self.restarts.iter().filter(|restart| restart.is_kill()).count();
        let slowest = self.restarts.iter().map(Restarting::ready_ms).fold(0.0, f64::max);
        let mib = |mib: Option<f64>| mib.map_or("?".to_owned(), |mib| format!("{mib:.0}"));
        let most = |of: fn(&Sample) -> Option<u64>| {
            self.samples.iter().filter_map(of).max().unwrap_or_default()
        };
        let mut rows = vec![
            ("deliveries", format!("{} in {:.1} minutes", self.deliveries, self.minutes)),
            (
                "restarts",
                format!(
                    "{kills} by SIGKILL, {} by drain (seed {}), ready after {slowest:.0} ms \
                     at most",
                    self.restarts.len() - kills,
                    self.seed
                ),
            ),
            (
                "came back",
                format!("{} sessions, {} comings and goings", self.resumes, self.commutes),
            ),
            ("presence", format!("{} notices, {} wrong", self.notices, self.wrong_presence)),
            (
                "memory",
                format!(
                    "{} MiB behind the first sixth, {} MiB before the calm",
                    mib(self.early_rss_mib),
                    mib(self.late_rss_mib)
                ),
            ),
            ("last process", self.calm.told()),
            ("open files", format!("{} at most", most(|sample| sample.open_files))),
            ("threads", format!("{} at most", most(|sample| sample.threads))),
            ("fsck", self.fsck.clone().unwrap_or_else(|| "this server has none".into())),
        ];
        if !self.grown.is_empty() {
            rows.push(("grown too much", self.grown.join(", ")));
        }
        rows
    }
}

/// Who is there.
struct Cast {
    run: Arc<Run>,
    books: Arc<Books>,
    library: Library,
    watcher: Client,
    /// The commuters, the back end, and the ear of the watcher.
    others: JoinSet<()>,
    commutes: Arc<Lives>,
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(
    scenario: &Scenario,
    soak: &With<Soak>,
    server: &mut Server,
    progress: &Progress,
) -> Result<Report, String> {
    let seed = soak.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut run = Run::new(scenario.peers(), scenario.payload(), false);
    run.talkers = soak.sessions + soak.commuters;
    let run = Arc::new(run);
    let receiving = Receiving::start(&run, scenario.peers(), ENDPOINTS, FAIL_PERCENT).await?;
    receiving.create(server).await?;
    let mut mischief = Mischief::plan(seed, calm::begin(soak.length()), soak.restarts);
    let (mut cast, took) = assemble(&run, soak, server, progress).await?;
    let began = Instant::now();
    let watching = Watching::start(&run, server.pid, soak.length());
    let day = live(soak, &mut cast, &mut mischief, server, &watching, progress).await;
    let seconds = began.elapsed().as_secs_f64();
    let samples = watching.end();
    await_all(&run, PATIENCE, progress).await;
    let webhooks = receiving.finish(cast.books.ledger(), PATIENCE, progress).await;
    let wrong_presence = check_presence(&cast, soak).await;
    cast.library.fence().await;
    let (lives, commutes, books) =
        (cast.library.lives.clone(), cast.commutes.clone(), cast.books.clone());
    end(cast).await;
    day?;
    progress.begin("looking through the data", 0);
    let fsck = server.fsck(&soak.common).await?;
    let (memory, calm) = (memory_of_day(&samples, seconds), Calm::of(&samples, seconds));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let found = Soaked {
        minutes: rounded(seconds / 60.0),
        seed,
        deliveries: run.records.counts().delivered,
        restarts: mischief.done,
        resumes: count(&lives.resumes),
        commutes: count(&commutes.resumes),
        notices: count(&commutes.notices),
        wrong_presence,
        dropped: run.ledger.verdict().dropped,
        early_rss_mib: memory.map(|memory| memory.early),
        late_rss_mib: memory.map(|memory| memory.late),
        grown: grown(seconds, memory, &calm),
        calm,
        fsck,
        samples,
    };
    let outcome = Outcome {
        spent: Spent { seconds, ..Spent::default() },
        opening: Some((soak.sessions, took)),
        webhooks: Some(webhooks),
        ..Outcome::default()
    };
    conclude(scenario::report(scenario, &run, outcome), soak, server, &books, found)
}

/// Adds to a report what is not in every one, and writes the page.
fn conclude(
    mut report: Report,
    soak: &Soak,
    server: &Server,
    books: &Books,
    found: Soaked,
) -> Result<Report, String> {
    let groups = books.verdict();
    report.lost += groups.lost;
    report.out_of_order += groups.out_of_order;
    report.filesystem = server.filesystem.clone();
    report.server = server.served.clone();
    report.soaked = Some(found);
    if let Some(file) = &soak.html {
        crate::compare::write(file, &page::page(&report))?;
    }
    Ok(report)
}

/// What has grown too much on a day of so many seconds; of a short one it is not said.
fn grown(seconds: f64, memory: Option<Course>, calm: &Calm) -> Vec<&'static str> {
    let minutes = seconds / 60.0;
    let has_grown = memory.is_none_or(|memory| memory.is_too_much(0.0));
    let memory = (minutes >= GROWTH_MINUTES_MIN && has_grown).then_some("memory over the day");
    let in_calm = calm.grown().filter(|_| minutes >= CALM_MINUTES_MIN);
    memory.into_iter().chain(in_calm).collect()
}

/// Opens all sessions and makes the groups.
async fn assemble(
    run: &Arc<Run>,
    soak: &Soak,
    server: &Server,
    progress: &Progress,
) -> Result<(Cast, Duration), String> {
    let groups = soak.sessions / soak.group;
    let total = soak.rate + soak.group_rate;
    let share = (u64::from(soak.group_rate) * 1_000 / u64::from(total)) as u32;
    let peers = run.mail.len() as u32;
    let books = Arc::new(Books::new(peers, groups, soak.group, share));
    let address = server.address;
    let opening = Library::open(run, server, address, soak.sessions, &books, progress).await;
    let (library, took) = opening?;
    for group in 0..books.count() {
        found(run, &library.clients, &books, group).await?;
    }
    let (options, commutes) = (connect_options(server, address)?, Arc::<Lives>::default());
    let mut others = JoinSet::new();
    let commuters = soak.sessions..soak.sessions + soak.commuters;
    for index in commuters.clone() {
        let commuter = Commuter::new(run, index, &books, &commutes, options.clone());
        others.spawn(commuter.commute());
    }
    let backend = commuters.end;
    let own = Backend::new(run, backend, &books, server.api()?.clone());
    others.spawn(own.send_all());
    let watch = commuters.map(|index| run.names.peer(index)).collect();
    let place = Place { watch, ..Place::default() };
    let (watcher, incoming) = Client::open(run, &options, backend + 1, place).await?;
    let mut ear = Ear::new(run, backend + 1, &books, &commutes);
    others.spawn(async move { ear.listen(incoming).await });
    let cast = Cast { run: run.clone(), books, library, watcher, others, commutes };
    Ok((cast, took))
}

/// Makes a group of the peers whose it is.
async fn found(
    run: &Arc<Run>,
    clients: &[Client],
    books: &Books,
    group: u32,
) -> Result<(), String> {
    let failed = |error| format!("a group could not be made: {error}");
    let members = books.members(group);
    let founder = &clients[members.start as usize].session;
    let id = founder.create_group(NewGroup::default()).await.map_err(failed)?.id;
    let invited: Vec<_> = members.skip(1).map(|index| run.names.peer(index)).collect();
    for some in invited.chunks(tidings::limits::INVITED_MAX) {
        founder.invite(id, some.to_vec()).await.map_err(failed)?;
    }
    books.created(group, id);
    Ok(())
}

/// The day itself.
async fn live(
    soak: &With<Soak>,
    cast: &mut Cast,
    mischief: &mut Mischief,
    server: &mut Server,
    watching: &Watching,
    progress: &Progress,
) -> Result<(), String> {
    let run = &cast.run;
    run.measure(run.now_ns(), u64::MAX);
    run.enter(Phase::Send);
    cast.library.speak(&cast.books);
    let (sessions, backend) = (soak.sessions, soak.sessions + soak.commuters);
    rate::pace(run, soak.rate + soak.group_rate, move |run, due_ns| {
        run.mail[fastrand::u32(0..sessions) as usize].ask(due_ns);
    })?;
    rate::pace(run, soak.api_rate, move |run, due_ns| run.mail[backend as usize].ask(due_ns))?;
    let roaming = roam(run.clone(), cast.library.clients.clone(), soak.roam());
    cast.others.spawn(roaming);
    mischief.play(server, &soak.common, watching, soak.length(), progress).await
}

/// Gives each client another socket once within `every`, as long as the run sends.
async fn roam(run: Arc<Run>, clients: Vec<Client>, every: Duration) {
    let pause = every / clients.len() as u32;
    for client in clients.iter().cycle() {
        tokio::time::sleep(pause).await;
        if run.phase() != Phase::Send {
            return;
        }
        if let Err(error) = client.connection.rebind() {
            run.broke(format!("a socket could not be changed: {error}"));
        }
    }
}

/// Waits until the watcher knows that all commuters are on line, as they are at the end, and nobody
/// else; says of how many it does not.
async fn check_presence(cast: &Cast, soak: &Soak) -> u64 {
    let began = Instant::now();
    let commuters = soak.sessions..soak.sessions + soak.commuters;
    let there: BTreeSet<PeerId> = commuters.map(|index| cast.run.names.peer(index)).collect();
    loop {
        let online: BTreeSet<PeerId> = cast.watcher.session.online().into_iter().collect();
        let wrong = there.symmetric_difference(&online).count() as u64;
        if wrong == 0 || began.elapsed() > PATIENCE {
            return wrong;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn end(mut cast: Cast) {
    cast.run.enter(Phase::End);
    cast.watcher.end().await;
    cast.library.end().await;
    let ended = async { while cast.others.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        cast.run.trouble("those who come and go did not end".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_over_a_long_day_is_found_out() {
        let calm = Calm::of(&[], 600.0);
        let grown_of = |seconds, late| grown(seconds, Some(Course { early: 100.0, late }), &calm);
        assert!(grown_of(60.0, 200.0).is_empty(), "it is too short to tell");
        assert!(grown_of(600.0, 109.0).is_empty(), "the calm is too short to tell");
        assert_eq!(grown_of(600.0, 111.0), ["memory over the day"]);
        assert_eq!(grown_of(3_000.0, 109.0).len(), 3, "nobody could look at the calm");
        assert_eq!(grown(3_000.0, None, &calm).len(), 4, "nobody could look at all");
    }
}
