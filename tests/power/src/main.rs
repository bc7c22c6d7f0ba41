//! Cuts the power of a server under load, again and again, and looks whether all that it
//! acknowledged is there. See `tests/power/README.md` for what a disk may do here.
//!
//! # Invariants
//!
//! * The same seed draws the same moments, and from the same journal the same disk.
//! * The exit code is 0 only if nothing was lost, out of order or used twice, every server started,
//!   and every journal told all that had happened to its folder.

#![cfg_attr(not(target_os = "linux"), allow(unused))]

mod clients;
mod content;
mod disk;
mod image;
mod ledger;
mod programs;
mod rig;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::disk::Ignored;
use crate::rig::Rig;
use crate::server::Place;

/// Cuts the power of a Tidings server under load, again and again, and looks whether everything
/// that it acknowledged is there.
///
/// What the server does to its data folder is noted by a library that is preloaded into it. After
/// a kill the folder is made anew, as a disk may hold it: all that was synced, and any of the rest.
#[derive(Debug, Parser)]
struct Options {
    /// How often the power is cut under load; cuts while the server starts come on top.
    #[arg(long, default_value_t = 100)]
    cuts: usize,
    /// What the moments and the disks are drawn from; a random number if none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// The server's program; built if none is given.
    #[arg(long, value_name = "PATH")]
    tidings: Option<PathBuf>,
    /// The library that is preloaded; built if none is given.
    #[arg(long, value_name = "PATH")]
    preload: Option<PathBuf>,
    /// Takes something out that the promise needs, to show that the rig sees that.
    #[arg(long = "break", value_name = "WHAT")]
    breaks: Option<Break>,
    /// Keeps nothing to be looked at when something is lost.
    #[arg(long)]
    forget: bool,
    /// Where the folder is made that is worked in.
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
}

/// What may be taken out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Break {
    /// The disk does not heed `fdatasync`, as if the server never called `sync_data`.
    SyncData,
    /// The disk does not heed the sync of a folder.
    FolderSync,
    /// The server answers before it commits (by a point of failure).
    EarlyAnswer,
    /// The server writes its checkpoint before the data (by a point of failure).
    Checkpoint,
}

impl Break {
    /// What the server's points of failure are set to.
    fn failpoints(self) -> Option<&'static str> {
        match self {
            Self::SyncData | Self::FolderSync => None,
            Self::EarlyAnswer => Some("answer-before-commit=return"),
            Self::Checkpoint => Some("checkpoint-before-data=return"),
        }
    }

    fn ignored(self) -> Ignored {
        Ignored { data: self == Self::SyncData, folders: self == Self::FolderSync }
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("power: {error}");
            ExitCode::from(2)
        }
    }
}

/// Says whether all was well.
fn run(options: Options) -> Result<bool, String> {
    if cfg!(not(target_os = "linux")) {
        return Err("only Linux can do this".to_owned());
    }
    let failpoints = options.breaks.and_then(Break::failpoints);
    let preload = match options.preload {
        Some(preload) => preload,
        None => programs::preload()?,
    };
    let tidings = match options.tidings {
        Some(tidings) => tidings,
        None => programs::tidings(failpoints.is_some())?,
    };
    let work = tempfile::Builder::new().prefix("tidings-power-").tempdir_in(&options.folder);
    let work = work.map_err(|error| format!("cannot make a folder: {error}"))?;
    // Whoever builds meanwhile must not change what is run here.
    let copy = |from: PathBuf, name: &str| -> Result<PathBuf, String> {
        let to = work.path().join(name);
        let copied = std::fs::copy(&from, &to);
        copied.map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
        Ok(to)
    };
    let (tidings, preload) = (copy(tidings, "tidings")?, copy(preload, "preload.so")?);
    let place = Place { tidings, preload, failpoints, work: work.path().to_path_buf() };
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut rig = Rig::new(place, seed, options.breaks.map(Break::ignored).unwrap_or_default())?;
    let is_well = rig.run(options.cuts)?;
    if !is_well && !options.forget {
        println!("the folder is kept: {}", work.keep().display());
    }
    Ok(is_well)
}
