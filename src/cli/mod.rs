//! What can be asked on the command line, and how it ends.
//!
//! # Invariants
//!
//! * What a command is for goes to the standard output, everything else to the standard error.

mod admin;
mod backup;
mod chat;
mod configured;
mod connected;
mod demo;
mod fsck;
mod listen;
mod logs;
mod places;
mod progress;
mod send;
mod serve;
mod signals;
mod webhook;
mod words;

use std::error::Error;
use std::fmt;

use clap::{Parser, Subcommand};
use tidings::chain::Chain;

use admin::AdminArgs;
use backup::BackupArgs;
use chat::ChatArgs;
use configured::ConfigArgs;
use fsck::FsckArgs;
use listen::ListenArgs;
use send::SendArgs;
use serve::ServeArgs;
use webhook::WebhookArgs;

/// An instant-messaging and push server for one box.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server. It needs no configuration.
    #[command(after_help = EXIT_CODES)]
    Serve(ServeArgs),
    /// Chat as a peer: in a terminal, or line by line through pipes.
    Chat(ChatArgs),
    /// Print what a peer is sent, until interrupted.
    Listen(ListenArgs),
    /// Send a message, and wait until it is on the server's disk.
    Send(SendArgs),
    /// Ask a server's HTTP API: send, see who is online, change groups, watch the figures.
    Admin(AdminArgs),
    /// Hear what a server tells back ends, while one is being written.
    Webhook(WebhookArgs),
    /// Copy a data folder, while its server runs or not.
    #[command(after_help = EXIT_CODES)]
    Backup(BackupArgs),
    /// Look at the data folder of a server that does not run: what is in it, what is damaged.
    #[command(after_help = EXIT_CODES)]
    Fsck(FsckArgs),
    /// Show two peers talking over a server of their own, step by step.
    Demo,
    /// Report all mistakes of a configuration without starting anything.
    #[command(after_help = EXIT_CODES)]
    CheckConfig(ConfigArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done; a server: stopped on request, all sessions ended in order
   1  a client command failed; a data folder is not sound
  64  the command line or the configuration has mistakes; nothing was started
  70  the server could not start, or could not go on; a data folder cannot be looked at or copied
  75  the server stopped on request, and sessions had to be cut";

/// How the process ends. The numbers are those of sysexits.h where it has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    BadUsage = 64,
    ServerFailed = 70,
    CutShort = 75,
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into() }
    }
}

/// Most errors are those of a client command.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Chain(self.error.as_ref()).fmt(f)
    }
}

type Outcome = Result<Exit, Failure>;

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Serve(args) => args.run(),
            Command::Chat(args) => {
                logs::start("warn");
                args.run()
            }
            Command::Listen(args) => {
                logs::start("warn");
                block_on(args.run())
            }
            Command::Send(args) => {
                logs::start("warn");
                block_on(args.run())
            }
            Command::Admin(args) => {
                // The verifier logs what the command tells anyway.
                logs::start("warn,rustls_platform_verifier=off");
                args.run()
            }
            Command::Webhook(args) => {
                logs::start("warn");
                args.run()
            }
            Command::Backup(args) => {
                logs::start("warn,rustls_platform_verifier=off");
                args.run()
            }
            Command::Fsck(args) => {
                logs::start("error");
                args.run()
            }
            Command::Demo => {
                logs::start("warn");
                block_on(demo::run())
            }
            Command::CheckConfig(args) => args.check(),
        }
    }
}

fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(command);
    // A command has waited for whatever must be waited for; one that was cut short waits for
    // nothing.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn no_command_names_two_things_alike() {
        Cli::command().debug_assert();
    }
}
