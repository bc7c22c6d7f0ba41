//! Any text as an id, or as the place where a page goes on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::http::fuzzing::check_text;
use tidings::webhook::Network;

fuzz_target!(|input: &str| {
    check_text(input);
    if let Ok(network) = input.parse::<Network>() {
        let told = network.to_string();
        assert_eq!(told.parse::<Network>().map(|again| again.to_string()), Ok(told));
    }
});
