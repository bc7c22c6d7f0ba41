//! What webhooks say, dialect by dialect: against bodies that are kept, and against receivers.
//!
//! # Invariants
//!
//! * The receivers are written from what is documented of them. They know nothing of the server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;
mod golden;
mod presend;
mod properties;
mod receivers;
mod samples;
