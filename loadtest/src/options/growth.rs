//! The options of `growth`.
//!
//! # Invariants
//!
//! * What grows is named as in the figures.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// What grows while the rest stays as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// Sessions: 100 to 20,000
    Sessions,
    /// The log: 0.1 to 10 GiB
    Log,
    /// Members of a group: 10 to 10,000
    Groups,
    /// Recipients of a message: 1 to 50
    Recipients,
}

/// `growth`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Growth {
    /// What grows; may be several, as sessions,log [default: each in turn]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) what: Vec<What>,
    /// Leaves out the largest step of each, and measures for 2 seconds
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds; in each of them every step is run once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long to measure each step, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// The server to start [default: `tidings` beside this program]
    #[arg(long, value_name = "PATH")]
    tidings: Option<PathBuf>,
    /// Where fresh data folders are made; not on a tmpfs [default: below the build folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where the figures are written
    #[arg(long, value_name = "FILE", default_value = "growth.json")]
    pub(crate) json: PathBuf,
    /// Where the page is written
    #[arg(long, value_name = "FILE", default_value = "growth.html")]
    pub(crate) html: PathBuf,
}

impl Growth {
    /// What grows, each once.
    pub(crate) fn all(&self) -> Vec<What> {
        let wanted = |what: &What| self.what.is_empty() || self.what.contains(what);
        What::value_variants().iter().copied().filter(wanted).collect()
    }

    /// How long each step is measured.
    pub(crate) fn measured_seconds(&self) -> u32 {
        if self.quick { self.seconds.min(2) } else { self.seconds }
    }

    /// What every step is given.
    pub(crate) fn arguments(&self) -> Vec<String> {
        super::compare::paths(self.tidings.as_deref(), self.data.as_deref())
    }
}
