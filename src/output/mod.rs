//! Printing: results on stdout, messages on stderr, and how numbers, names and tables look in both.
//! Nothing here knows about models, data or commands, and no other module prints: the lints in
//! `clippy.toml` see to it. Whatever is printed is made safe for a terminal here.

#[cfg(feature = "train")]
mod epoch_bar;
pub mod format;
#[cfg(feature = "train")]
mod progress;
pub mod sanitize;
pub mod score_table;
pub mod shell;
mod stderr;
mod stdout;
mod styled;
pub mod table;
pub mod width;

#[cfg(feature = "train")]
pub use epoch_bar::EpochBar;
#[cfg(feature = "train")]
pub use progress::{PLAIN_PROGRESS_INTERVAL, ProgressBar};
pub use stderr::{
    catch_panic, error, is_silenced, message, message_width, note, print_panics_as_messages,
    silence, warning,
};
pub use stdout::{
    has_colors, is_broken_pipe, is_terminal, print, print_data, print_json, print_json_lines,
    print_styled, print_wrapped, terminal_width,
};
pub use styled::StyledText;
