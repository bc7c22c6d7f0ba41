//! The options of a comparison, and its loads.
//!
//! # Invariants
//!
//! * A load is a command line of this program, so that a row can be run again on its own.

use std::path::{Path, PathBuf};

use clap::{Args, Parser};

use super::{Command, Options, Scenario};

/// `compare`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Compare {
    /// Rounds; in each of them every row of every load is run once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long to measure each time, in seconds, where no --load is given
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// A load, as "chat --sessions 200"; may be given several times [default: six of them]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) load: Vec<String>,
    /// Rows, as floor,tidings,mosquitto [default: all]
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// The server to start [default: `tidings` beside this program]
    #[arg(long, value_name = "PATH")]
    tidings: Option<PathBuf>,
    /// Where fresh data folders are made; not on a tmpfs [default: below the build folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the figures are written
    #[arg(long, value_name = "FILE", default_value = "comparison.json")]
    pub(crate) json: PathBuf,
    /// Where the page is written
    #[arg(long, value_name = "FILE", default_value = "comparison.html")]
    pub(crate) html: PathBuf,
}

impl Compare {
    /// What every load is given.
    pub(crate) fn arguments(&self) -> Vec<String> {
        paths(self.tidings.as_deref(), self.data.as_deref())
    }
}

/// What a load is given, if it was given to all of them.
pub(super) fn paths(tidings: Option<&Path>, data: Option<&Path>) -> Vec<String> {
    let flags = [("--tidings", tidings), ("--data", data)];
    let given = flags.into_iter().filter_map(|(flag, path)| Some((flag, path?)));
    given.flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]).collect()
}

impl Scenario {
    /// The scenario of a command line and further arguments, if brokers can carry it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(command: &str, further: &[String]) -> Result<Self, String> {
        let scenario = Self::parse_any(command, further)?;
        match scenario.has_broker() {
            true => Ok(scenario),
            false => Err(format!("no broker can carry `{command}`")),
        }
    }

    /// The scenario of a command line and further arguments.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse_any(command: &str, further: &[String]) -> Result<Self, String> {
        let words = command.split_ascii_whitespace().chain(further.iter().map(String::as_str));
        let options = Options::try_parse_from(std::iter::once("loadtest").chain(words));
        let options = options.map_err(|error| format!("`{command}`: {error}"))?;
        let Command::Scenario(scenario) = options.command else {
            return Err(format!("`{command}` is no scenario"));
        };
        let scenario = scenario.complete();
        scenario.check()?;
        Ok(scenario)
    }
}
