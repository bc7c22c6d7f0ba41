//! Webhooks against a real server: with clients over real QUIC, and a real back end that hears.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod easemob;
mod getui;
mod harness;
mod jackson;
mod pipeline;
mod receiver;
mod safety;
mod standard;
mod tangseng;
mod tidings;
mod upstream;
mod wukongim;
