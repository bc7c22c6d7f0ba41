//! The promises of the server, each proved against a real one over real QUIC.
//!
//! # Invariants
//!
//! * A module for each promise; what they share is in `harness`.
//! * A test awaits what it wants to see. Nothing sleeps.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acks;
mod admission;
mod bad_input;
mod delivery;
mod drain;
mod durability;
mod early;
mod failures;
mod frames;
mod harness;
#[cfg(target_os = "linux")]
mod hostile;
mod library;
mod log_out;
mod offline;
mod proxy;
mod repeats;
mod roaming;
mod sessions;
mod slow_reader;
mod transient;
