//! The load generator of Tidings: an honest client over real QUIC that proves what it measures.
//!
//! ```text
//! options > { compare, growth } > scenario
//!           > { chat, rate, offline, idle, fanout, presence, roam, push, webhook, history,
//!               overload, restart, badnet, soak, hostile }
//!                    > fill > fleet > carrier > { session > peer > frames, mqtt }
//!           badnet, soak, restart > library
//!           badnet, restart > proxy
//!           soak, restart > backend > http
//!           soak > webhook, drawing, html
//!           compare, growth > drawing, html
//!                    > history, push, webhook > http
//!                    > server (broker), measure (process, metrics) > report
//! ```
//!
//! # Invariants
//!
//! * It uses nothing of the server but the wire protocol and the figures that it writes.
//! * A broker gets the same load, and its result is proven in the same way.
//! * Exit code 0 means that every promise was kept, 1 that one was not or that nothing was
//!   measured, 2 that the command line is wrong.

mod acks;
mod backend;
mod badnet;
mod broker;
mod carrier;
mod chat;
mod compare;
mod counters;
mod drawing;
mod fanout;
mod fill;
mod fleet;
mod flight;
mod frames;
mod group;
mod growth;
mod history;
mod hostile;
mod html;
mod http;
mod idle;
mod library;
mod link;
mod measure;
mod metrics;
mod mqtt;
mod names;
mod offline;
mod options;
mod overload;
mod peer;
mod presence;
mod process;
mod progress;
mod proof;
mod proxy;
mod push;
mod rate;
mod record;
mod relay;
mod report;
mod restart;
mod roam;
mod roster;
mod run;
mod scenario;
mod server;
mod session;
mod soak;
mod stamp;
mod talker;
mod tide;
mod tls;
mod webhook;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::options::{Command, Options, Scenario};
use crate::report::{Report, Rounds};
use crate::scenario::On;

// The allocator of the server, so that the floor does without no advantage that the server has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Worker threads of the generator, and of the relay: as many as the figures were agreed for.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let outcome = match options.command {
        Command::Scenario(scenario) => {
            let on = scenario.common().against.map_or(On::Server, On::Broker);
            runtime.block_on(run(&scenario.complete(), on))
        }
        Command::Floor(floor) => runtime.block_on(run(&floor.scenario.into(), On::Floor)),
        Command::Compare(options) => runtime.block_on(compare::run(&options)),
        Command::Growth(options) => runtime.block_on(growth::run(&options)),
        Command::Relay(relay) => {
            let pace = Duration::from_micros(relay.pace_us);
            runtime.block_on(relay::run(relay.peers, pace)).map(|()| true)
        }
    };
    // The relay's reading of its standard input must not hold it up.
    runtime.shutdown_background();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("loadtest: {why}");
    ExitCode::FAILURE
}

/// Runs all rounds; says whether every promise was kept.
async fn run(scenario: &Scenario, on: On) -> Result<bool, String> {
    let common = scenario.common();
    scenario.check()?;
    let with_floor = common.with_floor && !matches!(on, On::Floor);
    let (mut rounds, mut floor_rounds) = (Vec::new(), Vec::new());
    for _ in 0..common.rounds {
        if with_floor {
            floor_rounds.push(show(scenario::run(scenario, On::Floor).await?));
        }
        rounds.push(show(scenario::run(scenario, on).await?));
    }
    let good = rounds.iter().chain(&floor_rounds).all(Report::is_good);
    let rounds = Rounds::new(rounds, floor_rounds);
    if let Some(comparison) = &rounds.comparison {
        println!("medians of {} rounds\n{}", common.rounds, comparison.table());
    }
    if let Some(file) = &common.json {
        let json = serde_json::to_string_pretty(&rounds).map_err(|error| error.to_string())?;
        std::fs::write(file, json + "\n")
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(good)
}

fn show(report: Report) -> Report {
    println!("{}", report.table());
    report
}
