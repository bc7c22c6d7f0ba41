//! The file `CURRENT`, which names the generation of the state that is in force.
//!
//! # Invariants
//!
//! * It is replaced by a rename: it names the one before, or the next.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::store::database::{DatabaseError, set_aside, sync_folder};

/// The generation that `CURRENT` names, if it names one.
pub(super) fn read_current(folder: &Path) -> Option<u32> {
    fs::read_to_string(folder.join("CURRENT")).ok()?.trim().parse().ok()
}

/// Names the generation in force; durably.
pub(super) fn write_current(folder: &Path, generation: u32) -> Result<(), DatabaseError> {
    let (current, fresh) = (folder.join("CURRENT"), folder.join("CURRENT.new"));
    if current.is_dir() {
        set_aside(&current)?;
    }
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&fresh)?;
        writeln!(file, "{generation}")?;
        file.sync_all()?;
        fs::rename(&fresh, &current)
    };
    write().map_err(DatabaseError::disk("write", &fresh))?;
    sync_folder(folder)
}
