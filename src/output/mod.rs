//! Everything that is shown to the user passes through here: lines on stderr, results on stdout,
//! tables, and numbers as people read them. Nothing here knows about models or data.

pub mod characters;
pub mod format;
pub mod stdout;
pub mod table;

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

/// Where stderr is no terminal, a line this often takes the bar's place.
pub const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Prints a line on stderr. Where nobody reads that any more, work goes on without it.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
