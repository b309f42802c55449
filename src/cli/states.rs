//! `lstmtext states`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::exit::SUCCESS;
use super::output_file;
use super::texts::TextArgs;
use crate::backend::native::SequenceStates;
use crate::config::{ConfigError, Labelling};
use crate::explanation::Explainer;
use crate::interchange::numpy::{write_npy, write_npz};
use crate::io::replace::write_output;
use crate::model::NamedTensor;
use crate::output::format::pluralize;
use crate::output::sanitize::printable;
use crate::output::table::{Align, Table};
use crate::output::width::truncate_middle;
use crate::output::{message, note, print, print_json, terminal_width};
use crate::plot::states::{Gates, MAX_TEXTS, StatesPlot, draw};
use crate::plot::{Picture, Theme};
use crate::run::checkpoint::Checkpoint;
use crate::run::saved_model::SavedModel;
use crate::system::threads;
use crate::text::{LocatedToken, OOV, PAD, join_columns};

const EXAMPLES: &str = "\
Examples:
  lstmtext states runs/a \"not bad at all\"
  lstmtext states runs/a \"not bad at all\" --to states.npz --to states.svg
  lstmtext states runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\" --json

Prints the hidden state after each token (return_sequences in Keras), and the final hidden and cell state \
(return_state). The table shows hidden states only; --json and --to also have the probability of every \
class after each token, the gates of the layer, averaged over its units, and the weight of each token in \
attention pooling.

An .npz file has the arrays states [T, H], h [H], c [H], gates [T, 4] in the order input, forget, cell, \
output, probabilities [T, C], and attention [T] if the model has attention pooling. Arrays of a backward direction start with backward/. With several \
inputs, names start with the input, e.g. story/h; with several texts, with the number of the text, e.g. \
2/h. An .npy file has the states of one text [T, H]; two directions are concatenated. An .svg or .png file \
plots probabilities, attention and gates of at most 12 texts; with two classes, tokens that raise the probability \
are blue, tokens that lower it orange.

Padding in front of a text is read by the model and counts in T, except for probabilities; table and plot \
omit it. A text that starts with - must follow --.";

/// Number of units in the table.
const SHOWN: usize = 5;

/// Show the hidden states of the LSTM at each token of a text
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatesArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    checkpoint: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// Ignore the calibration of the model
    #[arg(long)]
    uncalibrated: bool,
    /// Layer, counted from 1 at the bottom; by default the top layer
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// Number of units in the table
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    units: usize,
    /// Print JSON with all units
    #[arg(long, conflicts_with = "to")]
    json: bool,
    /// Write a file: .npz, .npy, .svg or .png; may be repeated
    #[arg(long, value_name = "FILE")]
    to: Vec<PathBuf>,
    /// Theme of a plot
    #[arg(long, value_name = "THEME", default_value = "auto")]
    theme: Theme,
}

/// Maximum width of a token in the table. Longer ones are shortened.
const TOKEN_WIDTH: usize = 24;

/// States of one text.
#[derive(Serialize)]
struct TextStates {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    text: String,
    layer: usize,
    /// Tokens that the model reads, including padding in front. Unknown tokens are as in the text, all
    /// others as in the vocabulary.
    tokens: Vec<String>,
    /// True for tokens in the vocabulary; the model reads all others as the same token, unless it has character
    /// n-grams.
    known: Vec<bool>,
    #[serde(skip)]
    has_character_ngrams: bool,
    /// Number of tokens cut off by `text.max_length`.
    tokens_unread: usize,
    /// Number of padding steps in front.
    padding: usize,
    directions: Vec<DirectionStates>,
    /// Label of each class.
    classes: Vec<String>,
    /// Number of labels that a text can have.
    #[serde(skip)]
    labelling: Labelling,
    /// Probability of each class after each token, [T][C], without padding.
    probabilities: Vec<Vec<f64>>,
    /// Weight of each token in attention pooling, `[T]`, 0 for padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<Vec<f32>>,
}

impl TextStates {
    /// Returns notes on the text.
    fn notes(&self) -> Vec<String> {
        let name = self.input.as_deref().unwrap_or("the text");
        let mut notes = Vec::new();
        if self.tokens_unread > 0 {
            let read = self.tokens.len() - self.padding;
            let all = read + self.tokens_unread;
            notes.push(format!(
                "{name} has {all} tokens; the model reads {read} of them (text.max_length)"
            ));
        }
        let unknown = self.known.iter().filter(|known| !**known).count();
        if unknown > 0 && !self.has_character_ngrams {
            let unknown = pluralize(unknown, "token");
            notes.push(format!(
                "{name} has {unknown} outside the vocabulary; the model reads all such tokens alike"
            ));
        }
        notes
    }
}

/// States of one direction over a text.
#[derive(Serialize)]
struct DirectionStates {
    direction: &'static str,
    /// Hidden state at each token, [T][H].
    states: Vec<Vec<f32>>,
    /// Final hidden state, `[H]`.
    h: Vec<f32>,
    /// Final cell state, `[H]`.
    c: Vec<f32>,
    /// Input, forget, cell and output gate at each token, averaged over the units, [T][4].
    gates: Vec<[f32; 4]>,
}

/// Runs the command.
pub fn run(args: StatesArgs) -> anyhow::Result<u8> {
    threads::set_count(None)?;
    let overrides = &args.texts.set.overrides;
    let model = SavedModel::from(Checkpoint::open_with(&args.checkpoint, overrides)?);
    let model = if args.uncalibrated { model.uncalibrated() } else { model };
    let checkpoint = &model.members[0];
    let kinds: Vec<FileKind> =
        args.to.iter().map(|path| FileKind::of(path)).collect::<Result<_, _>>()?;
    for path in &args.to {
        let config = &checkpoint.resolved.config;
        output_file::check("--to", path, config, args.texts.file.as_deref())?;
    }
    let explainer = Explainer::new(&model)?;
    let inputs = &checkpoint.resolved.config.inputs;
    let texts = args.texts.read(&model)?;
    if let Some(input) = inputs.iter().find(|input| !input.has_lstm()) {
        let name =
            input.name.as_ref().map_or("the model".to_owned(), |name| format!("the input {name}"));
        bail!("{name} has no LSTM, and so no states (model.lstm: null)");
    }
    let layers = &inputs.iter().map(|input| input.lstm.layers).min().unwrap_or(1);
    if let Some(layer) = args.layer.filter(|layer| !(1..=*layers).contains(layer)) {
        bail!(ConfigError::new(format!("--layer {layer}: the LSTM has layers 1 to {layers}")));
    }
    for (path, kind) in args.to.iter().zip(&kinds) {
        kind.check(path, texts[0].len() * inputs.len())?;
    }
    // Computed only if they are shown.
    let probabilities = match args.json || kinds.iter().any(|kind| kind.has_probabilities()) {
        true => probabilities(&explainer, &texts)?,
        false => vec![vec![Vec::new(); inputs.len()]; texts[0].len()],
    };
    let mut all = Vec::new();
    for (input, parts) in inputs.column_indices().iter().enumerate() {
        for (text, probabilities) in join_columns(&texts, parts).iter().zip(&probabilities) {
            let mut states = text_states(checkpoint, &explainer, input, text.clone(), args.layer)?;
            states.probabilities.clone_from(&probabilities[input]);
            states.notes().iter().for_each(note);
            all.push(states);
        }
    }
    for (path, kind) in args.to.iter().zip(kinds) {
        kind.write(path, &all, args.theme)?;
        output_file::print(path)?;
    }
    match args.to.is_empty() {
        false => {}
        true if args.json => print_json(&all)?,
        true => {
            let tables: Vec<String> =
                all.iter().map(|text| table(text, args.units, terminal_width())).collect();
            print(&tables.join("\n"))?;
            let units = all.iter().map(|text| text.directions[0].h.len()).max().unwrap_or(0);
            if units > args.units {
                message(format!(
                    "showing {} of {units} units; --units N shows more, --json and --to have all of them, \
                     probabilities and gates",
                    args.units
                ));
            }
        }
    }
    Ok(SUCCESS)
}

/// Computes the probabilities of the classes after each token, for each text and input. `columns` has the
/// texts of each column.
fn probabilities(
    explainer: &Explainer,
    columns: &[Vec<String>],
) -> anyhow::Result<Vec<Vec<Vec<Vec<f64>>>>> {
    let texts = |example: usize| -> Vec<String> {
        columns.iter().map(|column| column[example].clone()).collect()
    };
    (0..columns[0].len()).map(|example| explainer.prefix_probabilities(&texts(example))).collect()
}

fn text_states(
    checkpoint: &Checkpoint,
    explainer: &Explainer,
    input: usize,
    text: String,
    layer: Option<usize>,
) -> anyhow::Result<TextStates> {
    let encoder = &checkpoint.encoders[input];
    let corpus = encoder.encode_all(std::slice::from_ref(&text));
    let SequenceStates { mut layers, attention } = explainer.states(input, &corpus, 0)?;
    let layer = layer.unwrap_or(layers.len());
    let directions = layers.swap_remove(layer - 1);
    let words = encoder.vocabulary().words();
    let located = encoder.locate(&text);
    let tokens_unread = located.truncated.len();
    let located = located.into_read();
    let padding = corpus.steps(0) - located.len();
    let word = |token: &LocatedToken| match (&token.span, token.id) {
        (Some(span), OOV) => text[span.clone()].to_owned(),
        (_, id) => words[id as usize].to_string(),
    };
    let padded = (0..padding).map(|_| words[PAD as usize].to_string());
    let in_vocabulary = located.iter().map(|token| token.id != OOV);
    Ok(TextStates {
        tokens: padded.chain(located.iter().map(word)).collect(),
        known: (0..padding).map(|_| true).chain(in_vocabulary).collect(),
        has_character_ngrams: encoder.word_buckets().is_some(),
        tokens_unread,
        padding,
        input: checkpoint.resolved.config.inputs[input].name.clone(),
        layer,
        directions: directions
            .into_iter()
            .zip(["forward", "backward"])
            .map(|(states, direction)| DirectionStates {
                direction,
                states: states.hidden,
                h: states.final_hidden,
                c: states.final_cell,
                gates: states.gate_means,
            })
            .collect(),
        classes: checkpoint.labels.clone(),
        labelling: explainer.labelling(),
        probabilities: Vec::new(),
        attention,
        text,
    })
}

/// Formats one line per token and the final states below, with the first `units` units. Units that do not
/// fit into `width` columns are in further tables below.
fn table(text: &TextStates, units: usize, width: usize) -> String {
    let mut out = String::new();
    for direction in &text.directions {
        let input = text.input.as_ref().map_or(String::new(), |name| format!("{name}, "));
        out += &format!("{input}layer {}, {}\n", text.layer, direction.direction);
        let units = units.min(direction.h.len());
        let mut table =
            Table::without_header([vec![Align::Left], vec![Align::Right; units]].concat());
        let mut add = |number: String, token: &str, row: &[f32]| {
            let states = row.iter().take(units).map(|unit| format!("{unit:.8}"));
            table.add(std::iter::once(format!("{number:>4}  {token}")).chain(states).collect());
        };
        let words = text.tokens.iter().zip(&direction.states).enumerate();
        for (number, (token, row)) in words.skip(text.padding) {
            add((number + 1).to_string(), &truncate_middle(&printable(token), TOKEN_WIDTH), row);
        }
        add(String::new(), "final h", &direction.h);
        add(String::new(), "final c", &direction.c);
        out += &(table.lines_within(width).join("\n") + "\n");
    }
    out
}

/// Kind of an output file, by its extension.
#[derive(Clone, Copy)]
enum FileKind {
    Npz,
    Npy,
    Svg,
    Png,
}

impl FileKind {
    fn of(path: &Path) -> Result<Self, ConfigError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npz") => Ok(Self::Npz),
            Some("npy") => Ok(Self::Npy),
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => {
                let path = path.display();
                Err(ConfigError::new(format!(
                    "--to \"{path}\": the extension must be .npz, .npy, .svg or .png"
                )))
            }
        }
    }

    /// Checks that the file can hold this number of texts.
    fn check(self, path: &Path, texts: usize) -> Result<(), ConfigError> {
        let most = match self {
            Self::Npz => return Ok(()),
            Self::Npy => 1,
            Self::Svg | Self::Png => MAX_TEXTS,
        };
        let path = path.display();
        match texts <= most {
            true => Ok(()),
            false => Err(ConfigError::new(format!(
                "--to \"{path}\": there are {texts} texts, but such a file holds at most {most}; .npz \
                 holds any number"
            ))),
        }
    }

    fn has_probabilities(self) -> bool {
        !matches!(self, Self::Npy)
    }

    fn write(self, path: &Path, texts: &[TextStates], theme: Theme) -> anyhow::Result<()> {
        match self {
            Self::Npz => write_npz(path, &arrays(texts)),
            Self::Npy => {
                let directions = || texts.iter().flat_map(|text| &text.directions);
                let steps = directions().next().map_or(0, |direction| direction.states.len());
                let row =
                    |step: usize| directions().flat_map(move |each| each.states[step].clone());
                let values: Vec<f32> = (0..steps).flat_map(row).collect();
                let units = values.len() / steps.max(1);
                let shape = vec![steps, units];
                write_npy(path, &NamedTensor { name: String::new(), shape, values })
            }
            Self::Svg => write_output(path, picture(texts, theme)?.svg.as_bytes()),
            Self::Png => {
                let picture = picture(texts, theme)?;
                if picture.has_missing_glyphs {
                    note(
                        "the picture has boxes instead of characters that its font lacks; use .svg",
                    );
                }
                write_output(path, &picture.png)
            }
        }
    }
}

fn picture(texts: &[TextStates], theme: Theme) -> anyhow::Result<Picture> {
    let many = texts.len() > 1;
    let plots = texts.iter().enumerate().map(|(number, text)| StatesPlot {
        name: text.input.clone().or(many.then(|| (number + 1).to_string())),
        words: &text.tokens[text.padding..],
        tokens_unread: text.tokens_unread,
        labels: &text.classes,
        labelling: text.labelling,
        probabilities: &text.probabilities,
        attention: text.attention.as_ref().map(|weights| &weights[text.padding..]),
        gates: text.directions.iter().map(|direction| gates(text, direction)).collect(),
    });
    draw(&plots.collect::<Vec<_>>(), theme)
}

fn gates<'a>(text: &TextStates, direction: &'a DirectionStates) -> Gates<'a> {
    Gates {
        title: format!("layer {}, {}", text.layer, direction.direction),
        means: &direction.gates[text.padding..],
    }
}

/// Returns all states under the names in the help text.
fn arrays(texts: &[TextStates]) -> Vec<NamedTensor> {
    let mut arrays = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let prefix = match &text.input {
            Some(input) => format!("{input}/"),
            None if texts.len() > 1 => format!("{}/", number + 1),
            None => String::new(),
        };
        for direction in &text.directions {
            let prefix = match direction.direction {
                "backward" => format!("{prefix}backward/"),
                _ => prefix.clone(),
            };
            arrays.push(matrix(format!("{prefix}states"), &direction.states));
            arrays.push(vector(format!("{prefix}h"), &direction.h));
            arrays.push(vector(format!("{prefix}c"), &direction.c));
            arrays.push(matrix(format!("{prefix}gates"), &direction.gates));
        }
        let rows = text.probabilities.iter();
        let rows: Vec<Vec<f32>> =
            rows.map(|row| row.iter().map(|value| *value as f32).collect()).collect();
        arrays.push(matrix(format!("{prefix}probabilities"), &rows));
        arrays.extend(
            text.attention.as_ref().map(|weights| vector(format!("{prefix}attention"), weights)),
        );
    }
    arrays
}

fn vector(name: String, values: &[f32]) -> NamedTensor {
    NamedTensor { name, shape: vec![values.len()], values: values.to_vec() }
}

fn matrix(name: String, rows: &[impl AsRef<[f32]>]) -> NamedTensor {
    let values: Vec<f32> = rows.iter().flat_map(|row| row.as_ref()).copied().collect();
    NamedTensor { name, shape: vec![rows.len(), values.len() / rows.len().max(1)], values }
}
