//! Printing: results on stdout, messages on stderr, and how numbers, names and tables look in both.
//! Nothing here knows about models, data or commands.

pub mod format;
mod progress;
pub mod sanitize;
mod stderr;
mod stdout;
pub mod table;

pub use progress::{PLAIN_PROGRESS_INTERVAL, progress_bar};
pub use stderr::{error, message, note};
pub use stdout::{is_broken_pipe, print, print_json, terminal_width};
