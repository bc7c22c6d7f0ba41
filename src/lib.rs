//! Tidings: an instant-messaging and push server for one box.
//!
//! Every module may use only those above it in its own list:
//!
//! ```text
//! main > server, config > net > hub > store, wire > base        client > wire > base
//! ```
//!
//! The base is [`id`], [`limits`] and [`reason`]. Without the feature `server` the crate is the
//! client library alone.

pub mod id;
pub mod limits;
pub mod reason;

pub mod wire;

pub mod client;
