//! What `lstmtext states` is told; it runs with libtorch.

use std::path::PathBuf;

use clap::Args;

use crate::plot::Theme;
use crate::prediction::text_columns::NamedText;

const EXAMPLES: &str = "\
Examples:
  lstmtext states runs/a \"not bad at all\"
  lstmtext states runs/a \"not bad at all\" --to states.npz --to states.svg
  lstmtext states runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\" --json

For each word the hidden state after it (Keras's return_sequences), then the final hidden and cell
state (return_state); the probability of every class of the words read so far; and the gates of the
layer, means over its units. In an .npz file these are the arrays states [T, H], h [H], c [H] and
gates [T, 4] in the order input, forget, cell, output, of a second direction backward/states and so
on, and probabilities [T, C]; of several inputs each has its name in front, story/h, and of several
texts each its number, 2/h. An .npy file has the states of one text [T, H], those of two directions
side by side. An .svg or .png draws probabilities and gates of at most 12 texts; of two classes, words
that raise the probability are blue, those that lower it orange. Padding in front, which is read,
counts in T but for probabilities; table and picture leave it out. The table has states alone. A
text that begins with - follows --.";

/// Units that a table shows.
const SHOWN: usize = 5;

/// Show the hidden states of the LSTM at each word of a text
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatesArgs {
    /// A checkpoint, or a run (then its best)
    pub checkpoint: PathBuf,
    /// The texts
    pub texts: Vec<String>,
    /// The text of one of several columns; needed for each of them
    #[arg(long = "input", value_name = "NAME=TEXT", conflicts_with = "texts")]
    pub inputs: Vec<NamedText>,
    /// The layer, from 1 at the bottom; by default the top one
    #[arg(long, value_name = "N")]
    pub layer: Option<usize>,
    /// Units shown in a table
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    pub units: usize,
    /// Print JSON, with every unit
    #[arg(long, conflicts_with = "to")]
    pub json: bool,
    /// Write a file, .npz, .npy, .svg or .png; may be repeated
    #[arg(long, value_name = "FILE")]
    pub to: Vec<PathBuf>,
    /// The paper of a picture
    #[arg(long, value_name = "THEME", default_value = "auto")]
    pub theme: Theme,
}
