//! A progress bar, where there is a terminal to show it on.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a run is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
}

impl Progress {
    /// A bar for the scenario `what`; hidden when standard error is no terminal.
    pub(crate) fn new(what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{msg:28} {wide_bar} {percent:>3}% {elapsed}");
        bar.set_style(style.expect("the template is valid"));
        Self { bar, what: what.to_owned() }
    }

    /// Begins a part of the run that takes `steps` steps; 0 if nobody knows.
    pub(crate) fn begin(&self, part: &str, steps: u64) {
        self.bar.set_length(steps.max(1));
        self.bar.set_position(0);
        self.bar.set_message(format!("{}: {part}", self.what));
    }

    /// Says how far the part is.
    pub(crate) fn reach(&self, step: u64) {
        self.bar.set_position(step);
    }

    /// How far the part is.
    pub(crate) fn reached(&self) -> u64 {
        self.bar.position()
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
