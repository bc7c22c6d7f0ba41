//! The file in which a program keeps its device's id, and how far it has come.
//!
//! # Invariants
//!
//! * The file holds the old content or the new one, never a part: it is written beside, synced
//!   and renamed.
//! * A device id is never replaced by another.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::client::Cursor;
use crate::id::{DeviceId, MessageId};

/// What a [`DeviceFile`] holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceState {
    /// The device's id.
    pub device: DeviceId,
    /// How far the app has come.
    pub cursor: Cursor,
}

/// A file that keeps a device's id and cursor between the runs of a program.
///
/// One line of text: the epoch, the message id and the device id. Made for command lines; an app
/// with a database keeps them there, in the transaction that stores what it had.
///
/// ```no_run
/// use tidings::client::{Client, DeviceFile, OpenOptions};
///
/// # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let file = DeviceFile::new("/home/ann/.local/state/tidings/device");
/// let mut options = OpenOptions::new("ann".parse()?);
/// if let Some(state) = file.load()? {
///     options = options.device(state.device).resume(state.cursor);
/// }
/// let (session, incoming) = client.open(options).await?;
/// file.store(&session.state())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DeviceFile {
    path: PathBuf,
}

impl DeviceFile {
    /// The file at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of reading it, and [`io::ErrorKind::InvalidData`] if it holds something else.
    pub fn load(&self) -> io::Result<Option<DeviceState>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a device file");
        parse(text.trim_end_matches('\n')).map(Some).ok_or_else(bad)
    }

    /// Writes the file anew, and its folder if there is none.
    ///
    /// # Durability
    ///
    /// When it returns, the content is on stable storage; the name may be the old one after a
    /// crash of the machine.
    ///
    /// # Errors
    ///
    /// Those of writing it. The old content is kept then.
    pub fn store(&self, state: &DeviceState) -> io::Result<()> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{}-{:08x}", std::process::id(), fastrand::u32(..)));
        let beside = PathBuf::from(name);
        let written = write(&beside, state).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

fn write(path: &Path, state: &DeviceState) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    // The id is last: it may hold spaces.
    writeln!(file, "{} {} {}", state.cursor.epoch, state.cursor.id, state.device)?;
    file.sync_all()
}

fn parse(line: &str) -> Option<DeviceState> {
    let mut fields = line.splitn(3, ' ');
    let epoch = fields.next()?.parse().ok()?;
    let id = MessageId(fields.next()?.parse().ok()?);
    let device = fields.next()?.parse().ok()?;
    Some(DeviceState { device, cursor: Cursor { epoch, id } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(device: &str, id: i64) -> DeviceState {
        let cursor = Cursor { epoch: u64::MAX, id: MessageId(id) };
        DeviceState { device: device.parse().unwrap(), cursor }
    }

    #[test]
    fn what_was_stored_last_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = DeviceFile::new(folder.path().join("new/device"));
        assert_eq!(file.load().unwrap(), None);
        for state in [state("ann's laptop", 0), state("ann's laptop", i64::MAX)] {
            file.store(&state).unwrap();
            assert_eq!(file.load().unwrap(), Some(state));
        }
        let files = fs::read_dir(folder.path().join("new")).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_device_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = DeviceFile::new(folder.path().join("device"));
        for text in ["", "junk", "1 2", "1 2 \u{7}", "x 2 device", "1 x device"] {
            fs::write(file.path(), text).unwrap();
            let error = file.load().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
    }
}
