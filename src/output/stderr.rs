//! Messages on stderr.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line. A closed stderr is ignored: it must not stop a training run.
pub fn message(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a line that begins with "note: ".
pub fn note(text: impl Display) {
    message(format_args!("note: {text}"));
}

/// Prints a line that begins with "error: ".
pub fn error(text: impl Display) {
    message(format_args!("error: {text}"));
}
