//! `tidings webhook`: for those who write the back end of an app.
//!
//! # Invariants
//!
//! * Nothing here is needed to run a server.

mod events;
mod listen;
mod receiver;

use clap::{Args, Subcommand};

use super::Outcome;
use super::chat::clock::Clock;
use listen::ListenArgs;

#[derive(Args, Debug)]
pub(super) struct WebhookArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hear what a server tells back ends: verify it, print it, and answer as asked to.
    Listen(ListenArgs),
}

impl WebhookArgs {
    /// Prepares what needs a process of one thread.
    pub(super) fn run(self) -> Outcome {
        let clock = Clock::local();
        let Command::Listen(args) = self.command;
        super::block_on(args.run(clock))
    }
}
