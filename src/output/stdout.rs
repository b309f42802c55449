//! Results on stdout.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

/// Prints a result and ends it with a newline.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Prints a result as JSON.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("cannot encode the result")?)
}

/// Width of the terminal in columns, at least 80. Returns 80 if stdout is not a terminal.
pub fn terminal_width() -> usize {
    const MINIMUM: usize = 80;
    let out = io::stdout();
    let columns = || rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
    let columns = if out.is_terminal() { columns() } else { None };
    columns.map_or(MINIMUM, |columns| columns.max(MINIMUM))
}

/// Returns true if the error is a broken pipe: the reader has gone, as in `lstmtext … | head`.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
