//! A library to be preloaded into a server: it notes in a journal what the process does to a
//! folder, in order, so that it can be told what a disk may hold when the power goes.
//!
//! `POWER_ROOT` names the folder and `POWER_JOURNAL` the file of the journal, which is outside of
//! it. Without them nothing is noted.
//!
//! # Invariants
//!
//! * A call is noted after it has returned without an error, and before its caller goes on: a
//!   SIGKILL at any moment leaves a journal that is true as far as it goes.
//! * Calls that change the folder happen one at a time, so that the journal has their order. A sync
//!   runs beside them: it is noted when it begins and when it has returned, and counts for what
//!   stands before its beginning.
//! * What cannot be noted is told as such, and no run is believed in which that happened. Raw
//!   system calls are not seen; the rig finds what they did, for then folder and journal differ.
//! * Nothing here goes through the functions that it stands before, so it never waits for itself.
//! * `sync_file_range` is not noted: it makes neither a length nor the disk's own cache durable.

#![cfg(target_os = "linux")]

mod calls;
mod watch;
