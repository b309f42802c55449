//! Messages on stderr.

#![allow(clippy::disallowed_methods)]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use super::sanitize::printable_lines;
use super::width::{fold_prose, terminal_columns};

/// True if nothing but errors is printed.
static IS_SILENCED: AtomicBool = AtomicBool::new(false);

/// From now on, prints nothing but errors, neither on stderr nor on stdout: another process prints the same.
pub fn silence() {
    IS_SILENCED.store(true, Ordering::Relaxed);
}

/// Returns true after [`silence`].
pub fn is_silenced() -> bool {
    IS_SILENCED.load(Ordering::Relaxed)
}

/// Prints a line. Unprintable characters become escapes. On a terminal, a line that is too wide is broken
/// between words. A closed stderr is ignored: it must not stop a training run.
pub fn message(line: impl Display) {
    if !is_silenced() {
        write_message(line);
    }
}

fn write_message(line: impl Display) {
    let line = line.to_string();
    let line = printable_lines(&line);
    let line = match terminal_columns(&io::stderr()) {
        Some(columns) => Cow::Owned(fold_prose(&line, columns)),
        None => line,
    };
    let _ = writeln!(io::stderr(), "{line}");
}

/// Width of the lines of tables that are printed as messages: that of the terminal, or unlimited.
pub fn message_width() -> usize {
    terminal_columns(&io::stderr()).unwrap_or(usize::MAX)
}

/// Prints a line that begins with "note: ".
pub fn note(text: impl Display) {
    message(format_args!("note: {text}"));
}

/// Prints a line that begins with "warning: ".
pub fn warning(text: impl Display) {
    message(format_args!("warning: {text}"));
}

/// Prints a line that begins with "error: ", also after [`silence`].
pub fn error(text: impl Display) {
    write_message(format_args!("error: {text}"));
}

thread_local! {
    /// A panic of this thread is caught and reported by its caller.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Prints panics as messages: they may quote input.
pub fn print_panics_as_messages() {
    panic::set_hook(Box::new(|panic| {
        if IS_CAUGHT.get() {
            return;
        }
        write_message(panic);
        let backtrace = Backtrace::capture();
        match backtrace.status() {
            BacktraceStatus::Captured => write_message(backtrace),
            _ => write_message("note: set RUST_BACKTRACE=1 to see a backtrace"),
        }
    }));
}

/// Calls a function of a library that panics on some malformed input. Returns `None` if it does, and
/// prints nothing.
pub fn catch_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    IS_CAUGHT.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    IS_CAUGHT.set(false);
    result.ok()
}
