//! The hub and the store against a model: random operations, crashes and time, all from one seed.
//!
//! `cargo test --test simulation` runs 1,000 seeds; `TIDINGS_SIMULATIONS=100000` as many as it
//! says, and `TIDINGS_SIMULATION_SEED=7` that one alone. A seed that fails says so.
//!
//! What happens, in which order, and what is under way at a crash follows from the seed. How much
//! of that a crash takes along is up to the machine, and the model is told.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checks;
mod client;
#[path = "../store/folders.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod folders;
mod model;
mod world;

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Seeds that are run unless it is said how many.
const SEEDS: u64 = 1_000;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_happens_everybody_has_what_the_model_says() {
    if let Some(seed) = variable("TIDINGS_SIMULATION_SEED") {
        return world::run(seed);
    }
    let seeds = variable("TIDINGS_SIMULATIONS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        while failed.lock().unwrap().is_empty() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            if catch_unwind(|| world::run(seed)).is_err() {
                failed.lock().unwrap().push(seed);
            }
        }
    };
    // Most of the time they wait for threads of the store.
    let workers = 4 * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    let command = failed.iter().map(|seed| {
        format!("TIDINGS_SIMULATION_SEED={seed} cargo test -p tidings --test simulation")
    });
    assert!(failed.is_empty(), "run again with: {}", command.collect::<Vec<_>>().join(" or "));
}
