//! Files that only their owner may read: secrets, and what is kept with them.
//!
//! # Invariants
//!
//! * A file is whole: as it was, or as it is to be. Its folder is synced with it, and so is what
//!   that is in: a power cut takes neither.
//! * No error repeats what is in a file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file cannot be used, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("cannot {action} {path}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It does not hold what it should. The cause is not told: it may repeat a secret.
    #[error("{path} is not a file of {of}: {what}; put back the file that was there")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should be a file of.
        of: &'static str,
        /// What is wrong, and where if that is known.
        what: String,
    },
}

/// Replaces a file, synced with its folder, which is made if there is none. Blocks on the disk.
///
/// # Errors
///
/// What the system says; then the file is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    create_folder(folder_of(path))?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_name(path)
}

/// Makes the name of a file durable, and the folder that it is in. Blocks on the disk.
///
/// A file that is there may be of a run that was killed before it did this; then a power cut may
/// still take it.
///
/// # Errors
///
/// What the system says.
pub fn sync_name(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    fs::File::open(folder)?.sync_all()?;
    match folder.canonicalize()?.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Makes a folder, and those that it is in, unless they are there: for the user of the server
/// alone. No power cut takes those that it has made. Blocks on the disk.
///
/// # Errors
///
/// What the system says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    folder.recursive(true).create(path)?;
    missing.into_iter().rev().try_for_each(|made| fs::File::open(folder_of(made))?.sync_all())
}

/// Takes from others what they may do with a folder; says whether they could do anything. Blocks on
/// the disk.
///
/// # Errors
///
/// What the system says, as of a folder that is another user's.
#[cfg(unix)]
pub fn close_folder(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;

    const OTHERS: u32 = 0o077;
    let mut permissions = fs::metadata(path)?.permissions();
    let mode = permissions.mode();
    let was_open = mode & OTHERS != 0;
    if was_open {
        permissions.set_mode(mode & !OTHERS);
        fs::set_permissions(path, permissions)?;
    }
    Ok(was_open)
}

/// A file of JSON.
#[derive(Clone, Debug)]
pub struct JsonFile {
    path: PathBuf,
    of: &'static str,
}

impl JsonFile {
    /// The file at `path`, which holds `of`.
    pub fn new(path: PathBuf, of: &'static str) -> Self {
        Self { path, of }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds, which no power cut takes from then on; `None` if there is no such file.
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`FileError`] names the file.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, FileError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.disk("read", error)),
        };
        sync_name(&self.path).map_err(|error| self.disk("sync", error))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            self.wrong(format!("line {} is not the JSON that is written there", error.line()))
        })
    }

    /// Replaces it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`FileError::Disk`]; then it is as it was.
    pub fn write(&self, content: &impl Serialize) -> Result<(), FileError> {
        let bytes = serde_json::to_vec_pretty(content).map_err(io::Error::from);
        let written = bytes.and_then(|mut bytes| {
            bytes.push(b'\n');
            replace(&self.path, &bytes)
        });
        written.map_err(|error| self.disk("write", error))
    }

    /// It cannot be read or written.
    pub fn disk(&self, action: &'static str, source: io::Error) -> FileError {
        FileError::Disk { action, path: self.path.clone(), source }
    }

    /// It is JSON, and yet not what it should be.
    pub fn wrong(&self, what: impl Into<String>) -> FileError {
        FileError::Content { path: self.path.clone(), of: self.of, what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = JsonFile::new(folder.path().join("secrets/own.json"), "secrets");
        assert_eq!(file.read::<Vec<String>>().unwrap(), None);
        for content in [vec!["geheim"], vec!["geheim", "geheimer"]] {
            file.write(&content).unwrap();
            assert_eq!(file.read::<Vec<String>>().unwrap().unwrap(), content);
        }
        let mode = fs::metadata(file.path()).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    }

    #[test]
    fn a_folder_is_made_with_those_that_it_is_in_and_may_be_there_already() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("new/deep/data");
        for _ in 0..2 {
            create_folder(&deep).unwrap();
            let mode = fs::metadata(deep.parent().unwrap()).unwrap().permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
        }
        let file = folder.path().join("file");
        fs::write(&file, []).unwrap();
        assert!(create_folder(&file.join("beneath")).is_err());
    }

    #[test]
    fn a_file_of_something_else_is_named_without_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = JsonFile::new(folder.path().join("own.json"), "secrets");
        for content in ["geheim", r#"{"geheim": 1}"#, "[\n\"a\",\n[\"geheim\"]]"] {
            fs::write(file.path(), content).unwrap();
            let error = file.read::<Vec<String>>().unwrap_err();
            let said = crate::chain::Chain(&error).to_string();
            assert!(said.contains("own.json is not a file of secrets"), "{said}");
            assert!(!said.contains("geheim"), "{said}");
        }
        let nowhere = JsonFile::new(folder.path().join("own.json/beneath"), "secrets");
        let error = nowhere.write(&[""]).unwrap_err();
        assert!(matches!(error, FileError::Disk { action: "write", .. }), "{error}");
    }
}
