//! How far long work has come, where there is a terminal to show it on.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar; hidden when the standard error is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for some work on bytes.
    pub(super) fn new(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
        let template = "{msg:12} {wide_bar} {bytes:>10} of {total_bytes:>10} {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar)
    }

    /// So many bytes of so many are done.
    pub(super) fn reach(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
