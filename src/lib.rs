//! Tidings: an instant-messaging and push server for one box.
//!
//! Every module may use only those above it in its own list:
//!
//! ```text
//! main > server, config > { net | http | webhook } > hub > store, wire > base
//! client > wire > base
//! ```
//!
//! The base is the files beside this one, from [`id`] to [`reason`]. Without the feature `server`
//! the crate is the client library alone.

#[cfg(feature = "server")]
mod address;
#[cfg(feature = "server")]
mod base64;
#[cfg(feature = "server")]
pub mod chain;
#[cfg(feature = "server")]
pub mod clock;
pub mod group;
pub mod id;
pub mod limits;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod presend;
#[cfg(feature = "server")]
pub mod private_file;
pub mod reason;
pub mod signature;

pub mod wire;

#[cfg(feature = "server")]
pub mod store;

#[cfg(feature = "server")]
pub mod hub;

#[cfg(feature = "server")]
pub mod net;

#[cfg(feature = "server")]
pub mod http;

#[cfg(feature = "server")]
pub mod webhook;

#[cfg(feature = "server")]
pub mod config;

#[cfg(feature = "server")]
pub mod server;

pub mod client;

/// Keeps the README's example compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
