//! Any bytes as a value of the state.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::store::fuzzing::check_value;

fuzz_target!(|input: &[u8]| check_value(input));
