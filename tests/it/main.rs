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
mod bad_network;
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
// The one of the load generator, which proves the same of many more clients.
#[path = "../../loadtest/src/proxy/mod.rs"]
#[allow(dead_code, reason = "the load generator uses all of it")]
mod network;
mod offline;
mod proxy;
mod repeats;
mod roaming;
mod sessions;
mod slow_reader;
mod transient;
