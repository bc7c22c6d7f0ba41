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

mod addresses;
mod attempts;
mod backlog;
mod book;
mod client;
mod definition;
pub mod dialect;
mod endpoint;
pub mod event;
mod flusher;
mod giving_up;
mod health;
mod hook;
mod lane;
mod lanes;
mod request;
mod resending;
mod retry;
pub mod sign;
mod source;
mod webhooks;

#[cfg(test)]
mod changing_tests;
#[cfg(test)]
mod failing_tests;
#[cfg(test)]
mod holes_tests;
#[cfg(test)]
mod house_tests;
#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod lanes_tests;
#[cfg(test)]
mod leaving_tests;
#[cfg(test)]
mod reaching_tests;
#[cfg(test)]
mod receiver_tests;
#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod stuck_tests;
#[cfg(test)]
mod webhooks_tests;

pub use addresses::{Network, NetworkError};
pub use attempts::{Attempt, Outcome};
pub use client::ClientError;
pub use definition::{Definition, DefinitionError, SecretText};
pub use dialect::Dialect;
pub use health::Health;
pub use hook::{Hook, HookError, HookOptions, NoPolicy, Policy};
pub use sign::{Secret, SecretError};
pub use webhooks::{ChangeError, Options, Overview, Since, StartError, Webhooks};
