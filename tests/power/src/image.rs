//! All files and folders below a folder, with what is in them.
//!
//! # Invariants
//!
//! * Paths are those below the folder, and a folder stands before what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// What a folder holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Image {
    pub(crate) folders: BTreeSet<String>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// What a folder holds, and the numbers by which the file system knows that.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) image: Image,
    pub(crate) inodes: BTreeMap<String, u64>,
}

impl Image {
    /// Reads a folder.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn read(root: &Path) -> io::Result<Kept> {
        let mut kept = Kept { image: Self::default(), inodes: BTreeMap::new() };
        kept.inodes.insert(String::new(), fs::metadata(root)?.ino());
        let mut waiting = vec![String::new()];
        while let Some(below) = waiting.pop() {
            for entry in fs::read_dir(root.join(&below))? {
                let entry = entry?;
                let path = format!("{below}{}", entry.file_name().to_string_lossy());
                let found = entry.metadata()?;
                kept.inodes.insert(path.clone(), found.ino());
                if found.is_dir() {
                    waiting.push(format!("{path}/"));
                    kept.image.folders.insert(path);
                } else {
                    let bytes = fs::read(entry.path())?;
                    kept.image.files.insert(path, bytes);
                }
            }
        }
        Ok(kept)
    }

    /// Puts this into the place of whatever the folder holds.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn write(&self, root: &Path) -> io::Result<()> {
        if root.exists() {
            fs::remove_dir_all(root)?;
        }
        fs::create_dir_all(root)?;
        for folder in &self.folders {
            fs::create_dir(root.join(folder))?;
        }
        for (path, bytes) in &self.files {
            let path = root.join(path);
            fs::write(&path, bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    /// What is here and not the same in another one, in words; nothing if they are the same.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut told = Vec::new();
        for folder in self.folders.symmetric_difference(&other.folders) {
            told.push(format!("the folder {folder} is in one of them only"));
        }
        let paths: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        for path in paths {
            match (self.files.get(path), other.files.get(path)) {
                (Some(own), Some(others)) if own == others => {}
                (Some(own), Some(others)) => {
                    let at = own.iter().zip(others).position(|(own, other)| own != other);
                    let at = at.unwrap_or(own.len().min(others.len()));
                    let (own, others) = (own.len(), others.len());
                    told.push(format!("{path} has {own} and {others} bytes and differs at {at}"));
                }
                _ => told.push(format!("{path} is in one of them only")),
            }
        }
        told
    }
}
