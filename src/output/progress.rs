//! Progress bars, and how often lines replace them.

#![allow(clippy::disallowed_types)]

use std::time::Duration;

use indicatif::{ProgressDrawTarget, ProgressStyle};

use super::sanitize::printable;
use super::stderr::is_silenced;

/// Interval between the progress lines that replace a progress bar when stderr is not a terminal.
pub const PLAIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// A progress bar on stderr, hidden if stderr is not a terminal.
#[derive(Clone, Debug)]
pub struct ProgressBar(indicatif::ProgressBar);

impl ProgressBar {
    /// Creates a bar that is drawn at most `rate` times per second.
    pub fn new(template: &str, rate: u8) -> Self {
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
        let target = match is_silenced() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(rate),
        };
        Self(indicatif::ProgressBar::with_draw_target(None, target).with_style(style))
    }

    /// Returns true if the bar is not shown.
    pub fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// Starts again at 0.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Position at which the work is done; 0 if it is unknown.
    pub fn length(&self) -> u64 {
        self.0.length().unwrap_or(0)
    }

    /// Sets the position at which the work is done.
    pub fn set_length(&self, length: u64) {
        self.0.set_length(length);
    }

    /// Amount of work that is done.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Sets the amount of work that is done.
    pub fn set_position(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Adds to the amount of work that is done.
    pub fn inc(&self, amount: u64) {
        self.0.inc(amount);
    }

    /// Sets the text at `{prefix}` in the template.
    pub fn set_prefix(&self, text: &str) {
        self.0.set_prefix(printable(text).into_owned());
    }

    /// Sets the text at `{msg}` or `{wide_msg}` in the template.
    pub fn set_message(&self, text: &str) {
        self.0.set_message(printable(text).into_owned());
    }

    /// Hides the bar while `print` prints lines.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Removes the bar.
    pub fn finish_and_clear(&self) {
        self.0.finish_and_clear();
    }
}
