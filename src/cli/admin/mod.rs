//! `tidings admin`: what the HTTP API can do, on the command line.
//!
//! # Invariants
//!
//! * A thin client: what is right and what is wrong, the server says.
//! * With `--json` the answer is printed as it came.

pub(super) mod access;
pub(super) mod call;
mod command;
mod endpoints;
mod figures;
mod group;
mod history;
mod live;
mod message;
mod plan;
pub(super) mod remote;
mod show;
mod table;
mod top;

use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde_json::Value;

use super::chat::clock::Clock;
use super::listen::colours;
use super::{Exit, Failure, Outcome};
use access::AccessArgs;
use call::Call;
use command::Command;
use plan::{Job, Plan};
use remote::Remote;

#[derive(Args, Debug)]
pub(super) struct AdminArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// Print the JSON that the API answers, unchanged.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

impl AdminArgs {
    /// Prepares what needs a process of one thread.
    pub(super) fn run(self) -> Outcome {
        let clock = Clock::local();
        super::block_on(self.carry_out(clock))
    }

    async fn carry_out(self, clock: Clock) -> Outcome {
        let Self { access, json, command } = self;
        let job = command.job()?;
        let remote = Remote::new(&access)?;
        match job {
            Job::Ask(plan) => ask(&remote, plan, json, clock).await,
            Job::Copy(call) => copy(&remote, &call).await,
            Job::Export(call) => history::export(&remote, &call).await,
            Job::Top(top) => top.run(&remote, json, clock).await,
        }
    }
}

/// Asks, and shows what the answer says.
async fn ask(remote: &Remote, plan: Plan, json: bool, clock: Clock) -> Outcome {
    let answer = remote.ask(&plan.call).await?;
    let mut out = io::stdout().lock();
    if json {
        if !answer.body.is_empty() {
            out.write_all(&answer.body)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        return answer.items_done().map(|()| Exit::Done);
    }
    answer.items_done()?;
    let value = match answer.body.is_empty() {
        true => Value::Null,
        false => answer.json()?,
    };
    let dim = io::stdout().is_terminal() && colours();
    out.write_all(show::text(&value, plan.parts, clock, dim).as_bytes())?;
    out.flush()?;
    if let Some(next) = show::next(&value, plan.parts) {
        // It is beside what was asked for.
        writeln!(io::stderr(), "{next}")?;
    }
    Ok(Exit::Done)
}

/// Prints an answer that is no JSON as it comes.
async fn copy(remote: &Remote, call: &Call) -> Outcome {
    let answer = remote.ask(call).await?;
    let mut out = io::stdout().lock();
    out.write_all(&answer.body)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// A mistake on the command line.
fn usage(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::new(Exit::BadUsage, problem)
}
