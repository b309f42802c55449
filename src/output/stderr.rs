//! Messages on stderr.

#![allow(clippy::disallowed_methods)]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, Write};
use std::panic;

use super::sanitize::printable_lines;

/// Prints a line. Unprintable characters become escapes. A closed stderr is ignored: it must not stop a
/// training run.
pub fn message(line: impl Display) {
    let line = line.to_string();
    let _ = writeln!(io::stderr(), "{}", printable_lines(&line));
}

/// Prints a line that begins with "note: ".
pub fn note(text: impl Display) {
    message(format_args!("note: {text}"));
}

/// Prints a line that begins with "error: ".
pub fn error(text: impl Display) {
    message(format_args!("error: {text}"));
}

/// Prints panics as messages: they may quote input.
pub fn print_panics_as_messages() {
    panic::set_hook(Box::new(|panic| {
        message(panic);
        let backtrace = Backtrace::capture();
        match backtrace.status() {
            BacktraceStatus::Captured => message(backtrace),
            _ => message("note: set RUST_BACKTRACE=1 to see a backtrace"),
        }
    }));
}
