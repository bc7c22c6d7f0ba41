//! What a message costs as something grows: sessions, the log, groups, recipients.
//!
//! ```text
//! growth > page, series > plan
//! ```
//!
//! # Invariants
//!
//! * A step that cannot be taken says why; a run that fails is told in its step.
//! * Costs are compared with that of the base of their series, and only from there on.

mod page;
mod plan;
mod series;

use serde::Serialize;

use self::series::Series;
use crate::compare::{commit, write};
use crate::options::Growth;
use crate::process;

/// All that was found.
#[derive(Debug, Serialize)]
struct Grown {
    machine: String,
    hardware: String,
    commit: Option<String>,
    version: Option<String>,
    filesystem: Option<String>,
    command: String,
    rounds: u32,
    series: Vec<Series>,
}

/// Lets each thing grow; says whether every promise was kept. A cost that grows is told, and breaks
/// none.
///
/// # Errors
///
/// When an option is wrong or a file cannot be written.
pub(crate) async fn run(options: &Growth) -> Result<bool, String> {
    let arguments = options.arguments();
    let all = options.all().into_iter();
    let series: Result<Vec<_>, _> = all
        .flat_map(|what| plan::plans(what, options).into_iter().map(move |plan| (what, plan)))
        .map(|(what, plan)| Series::new(what, plan, &arguments))
        .collect();
    let mut grown = Grown {
        machine: process::machine(),
        hardware: process::hardware(),
        commit: commit(),
        version: None,
        filesystem: None,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        rounds: options.rounds,
        series: series?,
    };
    for round in 1..=options.rounds {
        for at in 0..grown.series.len() {
            for step in 0..grown.series[at].steps.len() {
                let Some(told) = grown.series[at].play(step).await else { continue };
                println!("round {round}, {told}");
                // It may be long: what there is is kept.
                grown.conclude();
                write(&options.json, &(json(&grown)? + "\n"))?;
                write(&options.html, &page::page(&grown))?;
            }
        }
    }
    grown.series.iter().for_each(|series| println!("{}: {}", series.title, series.verdict));
    Ok(grown.series.iter().flat_map(|series| &series.steps).all(|step| step.is_good()))
}

fn json(grown: &Grown) -> Result<String, String> {
    serde_json::to_string_pretty(grown).map_err(|error| error.to_string())
}

impl Grown {
    fn conclude(&mut self) {
        self.series.iter_mut().for_each(Series::conclude);
        let rounds = self.series.iter().flat_map(|series| &series.steps);
        let Some(last) = rounds.flat_map(|step| &step.rounds).last() else { return };
        self.version.clone_from(&last.server.version);
        self.filesystem.clone_from(&last.filesystem);
    }
}
