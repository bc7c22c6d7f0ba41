//! Where log lines go: to the standard error, for people on a terminal, as JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Variable that overrides what is logged, such as `info,tidings::net=debug`.
const FILTER_VARIABLE: &str = "TIDINGS_LOG";

/// Begins to log what `level` lets through.
pub(super) fn start(level: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE)
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},quinn=warn,sled=warn")));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.init();
    } else {
        lines.json().flatten_event(true).init();
    }
}
