//! Where log lines go: to the standard error, for people on a terminal, as JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Variable that overrides what is logged, such as `info,tidings::net=debug`.
const FILTER_VARIABLE: &str = "TIDINGS_LOG";

/// What libraries may say. After a start, quinn warns once for each client that comes back with an
/// address token older than the first such client's; it just does without the token.
const LIBRARIES: &str = "quinn=warn,quinn_proto::bloom_token_log=error,sled=warn";

/// Begins to log what `level` lets through.
pub(super) fn start(level: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE)
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},{LIBRARIES}")));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.init();
    } else {
        lines.json().flatten_event(true).init();
    }
}
