//! Results on stdout.

#![allow(clippy::disallowed_methods)]

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anyhow::Context;
use serde::Serialize;

use super::sanitize::{printable_json, printable_lines, without_controls};
use super::stderr::is_silenced;
use super::styled::StyledText;
use super::width::{fold, terminal_columns};

/// Prints a result and ends it with a newline. Unprintable characters become escapes.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    write(&printable_lines(text))
}

/// Prints a result as [`print()`] does. On a terminal, lines that are too wide are broken between words.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print_wrapped(text: &str) -> anyhow::Result<()> {
    let text = printable_lines(text);
    match terminal_columns(&io::stdout()) {
        Some(columns) => write(&fold(&text, columns)),
        None => write(&text),
    }
}

/// Prints a result that another program reads, such as TSV or a path, and ends it with a newline. It is
/// printed exactly unless stdout is a terminal, but for control characters.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print_data(text: &str) -> anyhow::Result<()> {
    match io::stdout().is_terminal() {
        true => print(text),
        false => write(&without_controls(text)),
    }
}

/// Prints a result with colors and ends it with a newline.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print_styled(text: &StyledText) -> anyhow::Result<()> {
    write(text.as_str())
}

/// Prints a result as JSON.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(value).context("cannot encode the result")?;
    write(&printable_json(&json))
}

/// Prints lines of JSON.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print_json_lines(lines: &str) -> anyhow::Result<()> {
    write(&printable_json(lines))
}

fn write(text: &str) -> anyhow::Result<()> {
    if is_silenced() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Returns true if stdout is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns true if stdout is a terminal that shows colors, and `NO_COLOR` is not set.
pub fn has_colors() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Width of the terminal in columns. Returns 80 if stdout is not a terminal.
pub fn terminal_width() -> usize {
    const DEFAULT: usize = 80;
    terminal_columns(&io::stdout()).unwrap_or(DEFAULT)
}

/// Returns true if the error is a broken pipe: the reader has gone, as in `lstmtext … | head`.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
