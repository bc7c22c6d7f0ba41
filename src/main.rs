//! The command line: `tidings serve`, `chat`, `listen`, `send`, `admin`, `demo` and
//! `check-config`.
//!
//! # Invariants
//!
//! * An error is printed once, here, with all its causes.
//! * The exit code says what happened; [`cli::Exit`] lists the codes.

mod cli;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Exit};

/// A server makes and drops many small buffers on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Only builds for tests hold points of failure; the environment sets them.
    let _points = fail::has_failpoints().then(fail::FailScenario::setup);
    let exit = match Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(|failure| {
            eprintln!("tidings: {failure}");
            failure.exit
        }),
        Err(error) => {
            // There is nobody left to tell when not even this can be written.
            let _ = error.print();
            if error.use_stderr() { Exit::BadUsage } else { Exit::Done }
        }
    };
    ExitCode::from(exit as u8)
}
