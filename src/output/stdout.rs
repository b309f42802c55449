//! Results on stdout.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

use crate::output::characters::is_hidden;

/// Prints a result, with a line end where it has none.
///
/// # Errors
/// Where stdout cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Prints a result as JSON.
///
/// # Errors
/// Where stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("cannot encode the result")?)
}

/// A text as a field of a line: TSV has no quoting.
pub fn one_field(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A text as a part of a line on a terminal, which should be sent nothing that it obeys.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

/// Names in a row, cut short where they are many.
pub fn listed(names: &[String]) -> String {
    const MOST: usize = 8;
    match names.len() {
        0..=MOST => names.join(", "),
        many => format!("{}, … ({many} in all)", names[..MOST].join(", ")),
    }
}

/// The letters that fit into a line: 80, or more on a terminal that is wider.
pub fn line_width() -> usize {
    const LEAST: usize = 80;
    let out = io::stdout();
    let wide = || rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
    let terminal = if out.is_terminal() { wide() } else { None };
    terminal.map_or(LEAST, |columns| columns.max(LEAST))
}

/// Whether the error is that nobody reads our output any more, as under `| head`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
