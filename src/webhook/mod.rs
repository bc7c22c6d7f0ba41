//! Webhooks: what happens here is told to the app's back end, at least once.
//!
//! ```text
//! log -> entries -> events -> fragments -> lanes -> batches -> requests
//!        (store)    (event)   (dialect)    what has an order waits for its turn
//! ```
//!
//! An entry of the log makes *events*. An endpoint has a *dialect*, the shapes that its receiver
//! parses, in which an event is one *fragment* or several; a dialect puts the fragments that may
//! share a request into one body. Every request is signed.
//!
//! # Invariants
//!
//! * An event has the same id, and a fragment the same bytes, however often they are made: both
//!   follow from the log and the endpoint's settings, and never from a clock.
//! * Events that belong to one conversation, or to one peer, are in one lane for ever.

pub mod dialect;
pub mod event;
pub mod sign;
