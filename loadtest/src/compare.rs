//! The floor, the server and every broker that is installed, side by side.
//!
//! ```text
//! compare > page > chart, figures
//! ```
//!
//! # Invariants
//!
//! * Every row of a load is run once in each round, one after another, so that all of them see the
//!   same moods of the machine.
//! * A broker that is not installed is a row that says so; a run that fails is told in its row.

mod chart;
mod figures;
mod page;

use std::path::Path;

use serde::Serialize;

use self::figures::Medians;
pub(crate) use self::figures::shown;
use crate::broker::PRODUCTS;
use crate::options::{Against, Compare, Scenario};
use crate::process;
use crate::report::Report;
use crate::scenario::{self, On};
use crate::server::Served;

/// What is compared unless something else is asked for.
const LOADS: [&str; 6] = [
    "chat --sessions 200 --window 16",
    "chat --sessions 1000 --window 1",
    "rate --sessions 1000 --rate 1000",
    "fanout --group 200 --rate 50",
    "offline --peers 2000 --messages 50",
    "idle --sessions 5000",
];

/// All that was found.
#[derive(Debug, Serialize)]
struct Comparison {
    machine: String,
    hardware: String,
    filesystem: Option<String>,
    /// Of the working tree in which this was run, where there is one.
    commit: Option<String>,
    command: String,
    rounds: u32,
    loads: Vec<Load>,
}

/// One load on all of them.
#[derive(Debug, Serialize)]
struct Load {
    command: String,
    rows: Vec<Row>,
}

/// One load on one of them.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// What would install it, if it is not there.
    missing: Option<String>,
    server: Option<Served>,
    /// Of each figure on its own.
    medians: Medians,
    /// Whether it ran, and every round kept every promise.
    proven: bool,
    failures: Vec<String>,
    rounds: Vec<Report>,
    #[serde(skip)]
    on: On,
}

/// Compares; says whether the server kept every promise. What brokers do not keep is told in
/// their rows.
///
/// # Errors
///
/// When an option is wrong or a file cannot be written.
pub(crate) async fn run(options: &Compare) -> Result<bool, String> {
    let commands = match options.load.is_empty() {
        true => LOADS.map(|load| with_seconds(load, options.seconds)).to_vec(),
        false => options.load.clone(),
    };
    let scenarios: Result<Vec<_>, _> =
        commands.iter().map(|command| Scenario::parse(command, &options.arguments())).collect();
    let scenarios = scenarios?;
    let loads = commands.iter().zip(&scenarios);
    let loads = loads.map(|(command, scenario)| load(command, scenario, &options.only));
    let mut comparison = Comparison {
        machine: process::machine(),
        hardware: process::hardware(),
        filesystem: None,
        commit: commit(),
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        rounds: options.rounds,
        loads: loads.collect(),
    };
    for round in 1..=options.rounds {
        for (load, scenario) in comparison.loads.iter_mut().zip(&scenarios) {
            for row in load.rows.iter_mut().filter(|row| row.missing.is_none()) {
                row.play(scenario).await;
                println!("round {round}, {}: {}", load.command, row.last());
            }
        }
        // A comparison may be long: what there is is kept.
        comparison.conclude();
        comparison.write(options)?;
    }
    let rows = comparison.loads.iter().flat_map(|load| &load.rows);
    Ok(rows.filter(|row| !matches!(row.on, On::Broker(_))).all(|row| row.proven))
}

/// A load with nothing run yet.
fn load(command: &str, scenario: &Scenario, only: &[String]) -> Load {
    let floor = scenario.has_floor().then(|| Row::new("floor", On::Floor, None));
    let server = Row::new("tidings", On::Server, None);
    let brokers = PRODUCTS.iter().map(|product| {
        let missing = product.find().is_err().then(|| product.install.to_owned());
        Row::new(product.name, On::Broker(Against::Product(product)), missing)
    });
    let rows = floor.into_iter().chain([server]).chain(brokers);
    let is_wanted = |row: &Row| only.is_empty() || only.contains(&row.name);
    Load { command: command.to_owned(), rows: rows.filter(is_wanted).collect() }
}

/// How long a load is measured that has a measured time.
fn with_seconds(load: &str, seconds: u32) -> String {
    match load.starts_with("offline") {
        true => load.to_owned(),
        false => format!("{load} --seconds {seconds}"),
    }
}

impl Row {
    fn new(name: &str, on: On, missing: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            missing,
            server: None,
            medians: Medians::new(),
            proven: false,
            failures: Vec::new(),
            rounds: Vec::new(),
            on,
        }
    }

    async fn play(&mut self, scenario: &Scenario) {
        match scenario::run(scenario, self.on).await {
            Ok(report) => self.rounds.push(report),
            Err(why) => self.failures.push(why),
        }
    }

    /// What a person reads of the last run.
    fn last(&self) -> String {
        let proof = |report: &Report| if report.is_good() { "" } else { ", promises broken" };
        match (self.rounds.last(), self.failures.last()) {
            (Some(last), None) => {
                format!("{}: {}{}", self.name, figures::brief(last), proof(last))
            }
            (_, Some(why)) => format!("{}: {why}", self.name),
            (None, None) => self.name.clone(),
        }
    }

    fn conclude(&mut self) {
        self.server = self.rounds.last().map(|report| report.server.clone());
        self.medians = figures::medians(&self.rounds);
        let ran = self.failures.is_empty() && !self.rounds.is_empty();
        self.proven = ran && self.rounds.iter().all(Report::is_good);
    }
}

impl Comparison {
    fn conclude(&mut self) {
        self.loads.iter_mut().flat_map(|load| &mut load.rows).for_each(Row::conclude);
        let rounds = self.loads.iter().flat_map(|load| &load.rows).flat_map(|row| &row.rounds);
        self.filesystem = rounds.filter_map(|report| report.filesystem.clone()).next();
    }

    fn write(&self, options: &Compare) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        write(&options.json, &(json + "\n"))?;
        write(&options.html, &page::page(self))
    }
}

/// Writes a file.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// The commit of the working tree around the current folder, and whether it was changed.
pub(crate) fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}, changed") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_is_one_that_brokers_can_carry() {
        for command in LOADS {
            let command = with_seconds(command, 5);
            let scenario = Scenario::parse(&command, &[]).unwrap();
            let load = load(&command, &scenario, &[]);
            let floor = usize::from(scenario.has_floor());
            assert_eq!(load.rows.len(), floor + 1 + PRODUCTS.len());
        }
        assert!(Scenario::parse("presence --sessions 40", &[]).is_err());
        assert!(Scenario::parse("chat --no-such-flag", &[]).is_err());
        assert!(Scenario::parse("floor chat", &[]).is_err());
    }

    #[test]
    fn rows_can_be_chosen() {
        let scenario = Scenario::parse("chat", &[]).unwrap();
        let only = ["tidings".to_owned(), "mosquitto".to_owned()];
        let names = load("chat", &scenario, &only).rows.into_iter().map(|row| row.name);
        assert_eq!(names.collect::<Vec<_>>(), only);
    }

    #[test]
    fn a_run_that_failed_proves_nothing() {
        let mut row = Row::new("tidings", On::Server, None);
        row.conclude();
        assert!(!row.proven, "it has not run");
        row.rounds.push(Report::default());
        row.conclude();
        assert!(row.proven);
        row.failures.push("the server is gone".into());
        row.conclude();
        assert!(!row.proven);
        assert!(row.last().contains("the server is gone"));
    }
}
