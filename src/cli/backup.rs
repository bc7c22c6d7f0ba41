//! `tidings backup`: a copy of a data folder, of a server that runs or of one that does not.
//!
//! # Invariants
//!
//! * A copy that is not complete is marked as such, and no server starts on it.
//! * What is asked of a server that runs goes through its HTTP API; a folder that no server uses
//!   is copied under its lock, and only if nothing answers where the server should be.
//! * It says what it has copied.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use tidings::store::{BackupError, Copied, Receiving, copy_stopped, is_in_use};

use super::admin::access::AccessArgs;
use super::admin::call::Call;
use super::admin::remote::Remote;
use super::progress::Progress;
use super::words::count;
use super::{Exit, Failure, Outcome, block_on};

#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// Where the copy goes: a folder that is empty or not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
}

impl BackupArgs {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let (copied, of) = self.copy().await?;
            let mut out = io::stdout();
            writeln!(out, "{}", words(&copied, &of, &self.folder))?;
            out.flush()?;
            if !copied.has_keys {
                let left = "keys and endpoints are not in it: copy `keys` and `webhooks` of the \
                            data folder there, too";
                writeln!(io::stderr(), "{left}")?;
            }
            Ok(Exit::Done)
        })
    }

    /// Copies, and says what it is a copy of.
    async fn copy(&self) -> Result<(Copied, String), Failure> {
        let Some(data) = self.access.local_data().filter(|data| data.join("log").is_dir()) else {
            return self.receive(None).await;
        };
        if is_in_use(&data).map_err(failed)? {
            return self.receive(Some(data)).await;
        }
        if Remote::is_there(&self.access).await? {
            // It has another folder than this one, which nobody uses.
            return self.receive(None).await;
        }
        let copied = copy_folder(&data, &self.folder)?;
        let data = data.canonicalize().unwrap_or(data);
        Ok((copied, format!("the folder {}, which no server uses", data.display())))
    }

    /// Copies what a server sends that runs.
    async fn receive(&self, data: Option<PathBuf>) -> Result<(Copied, String), Failure> {
        let remote = Remote::new(&self.access)?;
        // What is refused leaves no folder behind.
        let mut response = remote.begin(&Call::get("/v1/backup")).await?;
        let mut receiving = Receiving::begin(&self.folder, data.as_deref()).map_err(failed)?;
        let progress = Progress::new("backup");
        while let Some(part) = response.chunk().await.map_err(|error| remote.failed(error))? {
            receiving.take(&part).map_err(failed)?;
            let (done, planned) = receiving.progress();
            progress.reach(done, planned);
        }
        let copied = receiving.finish().map_err(failed);
        progress.end();
        let mut of = format!("the server at {}", remote.url);
        if let Some(data) = data {
            let data = data.canonicalize().unwrap_or(data);
            of += &format!(", with the keys and endpoints of the folder {}", data.display());
        }
        Ok((copied?, of))
    }
}

/// Copies the folder of a server that does not run.
fn copy_folder(data: &Path, folder: &Path) -> Result<Copied, Failure> {
    let progress = Progress::new("backup");
    let copied = copy_stopped(data, folder, &mut |done, total| progress.reach(done, total));
    progress.end();
    copied.map_err(failed)
}

fn failed(error: BackupError) -> Failure {
    let is_usage = matches!(error, BackupError::NotEmpty(_) | BackupError::Inside(_));
    Failure::new(if is_usage { Exit::BadUsage } else { Exit::ServerFailed }, error)
}

fn words(copied: &Copied, of: &str, folder: &Path) -> String {
    let (bytes, segments) = (count(copied.bytes, "byte"), count(copied.segments, "segment"));
    let head = copied.head.map_or_else(String::new, |head| format!(", up to entry {head}"));
    let folder = folder.display();
    format!(
        "{folder} is a complete backup of {of}: {segments}, {bytes}{head}\n\
         to go on from it: tidings serve --data {folder}"
    )
}
