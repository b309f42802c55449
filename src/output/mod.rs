//! Printing: results on stdout, messages on stderr, and how numbers, names and tables look in both.
//! Nothing here knows about models, data or commands.

pub mod format;
pub mod sanitize;
mod stderr;
mod stdout;
pub mod table;

pub use stderr::{PLAIN_PROGRESS_INTERVAL, error, message, note};
pub use stdout::{is_broken_pipe, print, print_json, terminal_width};
