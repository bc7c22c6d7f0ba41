//! The whole set of damages: shared out among processes, for a database that is damaged is left as
//! it is and not closed, and each takes memory as long as the process runs.
//!
//! # Invariants
//!
//! * The end of a process costs its share of the set, which is complained about, and no more.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::every_damage::try_one;
use super::folders::child;
use super::harms::{Content, Harm};
use super::sample::{Outcome, SAMPLE, Sample, make, sample};

/// Says what a process is to try: a file, the first of its damages, and the step to the next.
const SHARE: &str = "TIDINGS_SHARE";
/// Says that only every so-manieth is to be tried.
const EACH: &str = "TIDINGS_EACH";
/// Damages that one process tries, at the most.
const SHARE_LEN: usize = 256;
/// Damages that a process tries at the same time: most of what one takes is waiting.
const TOGETHER: usize = 8;
/// The time between two lines about how far it has come.
const PROGRESS: Duration = Duration::from_secs(30);

/// What came of the damages of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    tried: u64,
    /// Some messages are gone from history, or wait no more.
    cost: u64,
    /// The store said so.
    told: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.cost += other.cost;
        self.told += other.told;
    }

    /// What came of one; nothing if that is not known.
    fn of(found: Option<&Outcome>) -> Self {
        let is_cost = |found: &Outcome| !found.lost.is_empty() || !found.left.is_empty();
        Self {
            tried: 1,
            cost: found.is_some_and(is_cost).into(),
            told: found.is_some_and(|found| found.is_told).into(),
        }
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} tried, {:>6} cost a message, {:>6} told", self.tried, self.cost, self.told)
    }
}

/// What came of many.
#[derive(Debug, Default)]
struct Tallies {
    of: BTreeMap<(PathBuf, usize), Tally>,
    complaints: Vec<String>,
    /// When it was last said how far it has come.
    said: Option<Instant>,
}

impl Tallies {
    /// Takes what a process has said, a line each: see [`a_share_of_the_whole_set`].
    fn take(&mut self, name: &Path, said: &str) {
        for line in said.lines() {
            let mut words = line.split(' ');
            match words.next() {
                Some("tally") => {
                    let mut next = || words.next().unwrap().parse().unwrap();
                    let kind = next() as usize;
                    let tally = Tally { tried: next(), cost: next(), told: next() };
                    self.of.entry((name.into(), kind)).or_default().add(tally);
                }
                Some("complaint") => {
                    eprintln!("{line}");
                    self.complaints.push(line.to_owned());
                }
                _ => {}
            }
        }
    }

    /// Says how far it has come, now and then.
    fn progress(&mut self, all: usize, start: Instant) {
        if self.said.is_none_or(|said| said.elapsed() >= PROGRESS) {
            self.said = Some(Instant::now());
            let (tried, complaints) = (self.total().tried, self.complaints.len());
            let minutes = start.elapsed().as_secs_f64() / 60.0;
            eprintln!("{tried} of {all} in {minutes:.1} minutes; complaints: {complaints}");
        }
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.of.values().for_each(|tally| total.add(*tally));
        total
    }
}

impl Display for Tallies {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for ((name, kind), tally) in self.of.iter().filter(|(_, tally)| tally.tried > 0) {
            writeln!(f, "{:<28} {:<7} {tally}", name.display(), Harm::KINDS[*kind])?;
        }
        write!(f, "{:<28} {:<7} {}", "all files", "all", self.total())
    }
}

/// All damages of a file, or those that are asked for.
fn harms(name: &Path, content: &Content) -> Vec<Harm> {
    let each = std::env::var(EACH).map_or(1, |each| each.parse().unwrap());
    Harm::all(name, content).into_iter().step_by(each).collect()
}

/// A file, the first of its damages that are tried together, and the step to the next.
type Share = (PathBuf, usize, usize);

/// The whole set in shares, each of which is spread over its file, so that however few have been
/// tried they are of all kinds.
fn shares(sample: &Sample) -> Vec<Share> {
    let mut shares = Vec::new();
    for (name, content) in &sample.files {
        let step = harms(name, content).len().div_ceil(SHARE_LEN);
        shares.extend((0..step).map(|first| (name.clone(), first, step)));
    }
    shares.sort_by_key(|(_, first, _)| *first);
    shares
}

/// Has a process try a share; what it says.
fn said_of(folder: &Path, (name, first, step): &Share) -> String {
    let share = format!("{} {first} {step}", name.display());
    let mut command = child("whole_set::a_share_of_the_whole_set", SHARE, &share);
    let output = command.env(SAMPLE, folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    if output.status.success() && said.contains("\nshare done\n") {
        return said;
    }
    let errors = text(&output.stderr);
    let last: Vec<_> = errors.lines().rev().take(5).collect();
    format!("{said}\ncomplaint {share}: its process ended, {}: {last:?}", output.status)
}

/// The folder with the sample: the one that the environment names, or a new one, which stays.
fn folder() -> PathBuf {
    std::env::var_os(SAMPLE).map_or_else(
        || {
            let folder = tempfile::tempdir().unwrap().keep();
            make(&folder);
            folder
        },
        PathBuf::from,
    )
}

#[test]
#[ignore = "it takes half an hour: see every_damage.rs"]
fn every_single_damage_is_survived_and_told() {
    let (folder, start) = (folder(), Instant::now());
    let sample = Sample::read(&folder);
    let shares = shares(&sample);
    let all: usize = sample.files.iter().map(|(name, content)| harms(name, content).len()).sum();
    eprintln!("{all} damages of the sample in {}", folder.display());
    let (next, tallies) = (AtomicUsize::new(0), Mutex::new(Tallies::default()));
    let processes = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processes {
            scope.spawn(|| {
                while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let said = said_of(&folder, share);
                    let mut tallies = tallies.lock().unwrap();
                    tallies.take(&share.0, &said);
                    tallies.progress(all, start);
                }
            });
        }
    });
    let tallies = tallies.into_inner().unwrap();
    eprintln!("{tallies}");
    let tried = tallies.total().tried as usize;
    let (minutes, complaints) = (start.elapsed().as_secs_f64() / 60.0, tallies.complaints);
    eprintln!("in {minutes:.1} minutes; complaints: {}", complaints.len());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(tried, all);
}

/// What another process runs: it tries a share, several damages at the same time, and says what
/// came of them.
#[test]
fn a_share_of_the_whole_set() {
    let Ok(share) = std::env::var(SHARE) else { return };
    let words: Vec<&str> = share.split(' ').collect();
    let (name, at) = (Path::new(words[0]), |word: usize| words[word].parse::<usize>().unwrap());
    let harms = harms(name, sample().content(name)).into_iter().skip(at(1)).step_by(at(2));
    let harms: Vec<Harm> = harms.collect();
    complain_of_panics();
    let (next, tallies) = (AtomicUsize::new(0), Mutex::new([Tally::default(); 4]));
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some(harm) = harms.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (found, wrong) = try_one(name, *harm);
                    if let Some(wrong) = wrong {
                        println!("\ncomplaint {}", wrong.replace('\n', " "));
                    }
                    tallies.lock().unwrap()[harm.kind()].add(Tally::of(found.as_ref()));
                }
            });
        }
    });
    for (kind, Tally { tried, cost, told }) in tallies.into_inner().unwrap().into_iter().enumerate()
    {
        println!("\ntally {kind} {tried} {cost} {told}");
    }
    println!("\nshare done");
}

/// Complains of each panic of the store's own code, caught or not. Those of sled are caught, and
/// come to nothing.
fn complain_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        if place.starts_with("src/") {
            println!("\ncomplaint a panic at {place}");
        } else if place.starts_with("tests/") {
            eprintln!("{panic}");
        }
    }));
}
