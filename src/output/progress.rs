//! Progress bars, and how often lines replace them.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Interval between the progress lines that replace a progress bar when stderr is not a terminal.
pub const PLAIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Creates a progress bar on stderr that is drawn at most `rate` times per second. It is hidden if stderr
/// is not a terminal.
pub fn progress_bar(template: &str, rate: u8) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(rate)).with_style(style)
}
