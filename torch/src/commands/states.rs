//! `lstmtext states`.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;
use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::batch::{Direction, Sequences};
use crate::learner;
use crate::model::{Model, Named, Read};
use lstmtext::cli::{FINE, StatesArgs};
use lstmtext::config::ConfigError;
use lstmtext::explanation::Explainer;
use lstmtext::io::files::{replace_file, write_atomic};
use lstmtext::output::format::pluralize;
use lstmtext::output::sanitize::tsv_field;
use lstmtext::output::{message, note, print, print_json};
use lstmtext::plot::states::{Gates, MOST_TEXTS, StatesPlot, draw};
use lstmtext::plot::{Picture, Theme};
use lstmtext::prediction::text_columns::TextColumns;
use lstmtext::run::checkpoint::Checkpoint;
use lstmtext::text::{LocatedToken, OOV, PAD, joined};

/// The states of one text.
#[derive(Serialize)]
struct TextStates {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    text: String,
    layer: usize,
    /// The words that are read, padding in front included: as the vocabulary has them, and as the
    /// text has those that it lacks.
    tokens: Vec<String>,
    /// Whether the vocabulary has each; to the model all others are one word.
    known: Vec<bool>,
    /// Tokens beyond `text.max_length`.
    tokens_unread: usize,
    /// The steps of padding in front.
    padding: usize,
    directions: Vec<DirectionStates>,
    /// The label of each class.
    classes: Vec<String>,
    /// Of the words read so far the probability of each class, [T][C], padding aside.
    probabilities: Vec<Vec<f64>>,
}

impl TextStates {
    /// The tokens that are read, and all that the text has.
    fn read_and_all(&self) -> (usize, usize) {
        let read = self.tokens.len() - self.padding;
        (read, read + self.tokens_unread)
    }

    /// What is to be known of the text.
    fn notes(&self) -> Vec<String> {
        let name = self.input.as_deref().unwrap_or("the text");
        let mut notes = Vec::new();
        if self.tokens_unread > 0 {
            let (read, all) = self.read_and_all();
            notes.push(format!(
                "note: {name} has {all} tokens, of which {read} are read (text.max_length)"
            ));
        }
        let unknown = self.known.iter().filter(|known| !**known).count();
        if unknown > 0 {
            let unknown = pluralize(unknown, "word");
            notes.push(format!(
                "note: the vocabulary lacks {unknown} of {name}; to the model they are one"
            ));
        }
        notes
    }
}

/// What one direction made of a text.
#[derive(Serialize)]
struct DirectionStates {
    direction: &'static str,
    /// The hidden state at each word, `[T]``[H]`.
    states: Vec<Vec<f32>>,
    /// The final hidden state, `[H]`.
    h: Vec<f32>,
    /// The final cell state, `[H]`.
    c: Vec<f32>,
    /// At each word the means of input, forget, cell and output gate over all units, `[T]`.
    gates: Vec<[f32; 4]>,
}

/// Runs the command.
pub fn run(args: StatesArgs) -> anyhow::Result<u8> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let kinds: Vec<FileKind> =
        args.to.iter().map(|path| FileKind::of(path)).collect::<Result<_, _>>()?;
    let model = learner::model(&checkpoint, Device::Cpu)?;
    let inputs = &checkpoint.resolved.config.inputs;
    let texts = TextColumns::of(inputs).given(args.texts, args.inputs)?;
    if texts[0].is_empty() {
        bail!(ConfigError::new("there is no text: name one or more after the checkpoint"));
    }
    let layers = &inputs.iter().map(|input| input.lstm.layers).min().unwrap_or(1);
    if let Some(layer) = args.layer.filter(|layer| !(1..=*layers).contains(layer)) {
        bail!(ConfigError::new(format!(
            "--layer {layer}: the LSTM has layers 1 to {layers}, the top one is {layers}"
        )));
    }
    for (path, kind) in args.to.iter().zip(&kinds) {
        kind.check(path, texts[0].len() * inputs.len())?;
    }
    // For each text and input; where nobody sees them they would take their time in vain.
    let probabilities: Vec<Vec<Vec<Vec<f64>>>> =
        match args.json || kinds.iter().any(|kind| kind.has_probabilities()) {
            true => {
                let explainer = Explainer::new(&checkpoint)?;
                let texts = (0..texts[0].len()).map(|example| {
                    texts.iter().map(|column| column[example].clone()).collect::<Vec<_>>()
                });
                texts.map(|texts| explainer.word_by_word(&texts)).collect()
            }
            false => vec![vec![Vec::new(); inputs.len()]; texts[0].len()],
        };
    let mut all = Vec::new();
    for (input, parts) in inputs.parts().iter().enumerate() {
        for (text, probabilities) in joined(&texts, parts).iter().zip(&probabilities) {
            let mut states = text_states(&checkpoint, &model, input, text.clone(), args.layer)?;
            states.probabilities.clone_from(&probabilities[input]);
            states.notes().iter().for_each(say);
            all.push(states);
        }
    }
    for (path, kind) in args.to.iter().zip(kinds) {
        kind.write(path, &all, args.theme)?;
        print(&path.display().to_string())?;
    }
    match args.to.is_empty() {
        false => {}
        true if args.json => print_json(&all)?,
        true => {
            let tables: Vec<String> = all.iter().map(|text| table(text, args.units)).collect();
            print(&tables.join("\n"))?;
            let units = all.iter().map(|text| text.directions[0].h.len()).max().unwrap_or(0);
            if units > args.units {
                message(format!(
                    "{} of {units} units are shown; --units has more, --json and --to have all, \
                     probabilities and gates too",
                    args.units
                ));
            }
        }
    }
    Ok(FINE)
}

fn text_states(
    checkpoint: &Checkpoint,
    model: &Model,
    input: usize,
    text: String,
    layer: Option<usize>,
) -> anyhow::Result<TextStates> {
    let encoder = &checkpoint.encoders[input];
    let corpus = encoder.encode_all(std::slice::from_ref(&text));
    let sequences = Sequences::gather(&corpus, &[0], Device::Cpu);
    let _no_grad = tch::no_grad_guard();
    let layers = model.read(input, &sequences);
    let layer = layer.unwrap_or(layers.len());
    let reads = &layers[layer - 1];
    let gates = model.gates(input, layer - 1, &layers, &sequences);
    let words = encoder.vocabulary().words();
    let (located, tokens_unread) = encoder.located(&text);
    let padding = sequences.positions.width as usize - located.len();
    let word = |token: &LocatedToken| match (&token.span, token.id) {
        (Some(span), OOV) => tsv_field(&text[span.clone()]),
        (_, id) => tsv_field(&words[id as usize]),
    };
    let padded = (0..padding).map(|_| words[PAD as usize].to_string());
    let known = located.iter().map(|token| token.id != OOV);
    Ok(TextStates {
        tokens: padded.chain(located.iter().map(word)).collect(),
        known: (0..padding).map(|_| true).chain(known).collect(),
        tokens_unread,
        padding,
        input: checkpoint.resolved.config.inputs[input].name.clone(),
        layer,
        directions: reads
            .iter()
            .zip(&gates)
            .map(|(read, gates)| direction_states(read, gates, &sequences))
            .collect::<anyhow::Result<_>>()?,
        classes: checkpoint.labels.clone(),
        probabilities: Vec::new(),
        text,
    })
}

fn direction_states(
    read: &Read,
    gates: &Tensor,
    sequences: &Sequences,
) -> anyhow::Result<DirectionStates> {
    let means = numbers(gates.get(0).mean_dim(2, false, Kind::Float).flatten(0, 1))?; // [T·4]
    let in_text_order = read.in_text_order(&sequences.positions).get(0); // [T, H]
    let rows = in_text_order.unbind(0).into_iter().map(numbers);
    Ok(DirectionStates {
        direction: match read.direction {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        },
        states: rows.collect::<anyhow::Result<_>>()?,
        h: numbers(read.states.get(0).get(-1))?,
        c: numbers(read.memory.get(0))?,
        gates: means.as_chunks().0.to_vec(),
    })
}

fn numbers(row: Tensor) -> anyhow::Result<Vec<f32>> {
    Vec::<f32>::try_from(row.to_kind(Kind::Float)).context("cannot read a state")
}

/// A line for each word and the final states below, the first `units` units of them.
fn table(text: &TextStates, units: usize) -> String {
    let width = text.tokens.iter().map(|token| token.chars().count()).max().unwrap_or(0).max(7);
    let line = |number: String, token: &str, row: &[f32]| {
        let row: String = row.iter().take(units).map(|unit| format!("  {unit:>11.8}")).collect();
        format!("{number:>4}  {token:<width$}{row}\n")
    };
    let mut out = String::new();
    for direction in &text.directions {
        let input = text.input.as_ref().map_or(String::new(), |name| format!("{name}, "));
        out += &format!("{input}layer {}, {}\n", text.layer, direction.direction);
        let words = text.tokens.iter().zip(&direction.states).enumerate();
        for (number, (token, row)) in words.skip(text.padding) {
            out += &line((number + 1).to_string(), token, row);
        }
        out += &line(String::new(), "final h", &direction.h);
        out += &line(String::new(), "final c", &direction.c);
    }
    out
}

/// What a file's name says that it is to have.
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
                    "--to \"{path}\": the name must end in .npz, .npy, .svg or .png"
                )))
            }
        }
    }

    /// Whether the file has room for so many texts.
    fn check(self, path: &Path, texts: usize) -> Result<(), ConfigError> {
        let most = match self {
            Self::Npz => return Ok(()),
            Self::Npy => 1,
            Self::Svg | Self::Png => MOST_TEXTS,
        };
        let path = path.display();
        match texts <= most {
            true => Ok(()),
            false => Err(ConfigError::new(format!(
                "--to \"{path}\": there are {texts} texts, such a file has at most {most}; .npz has any \
                 number"
            ))),
        }
    }

    fn has_probabilities(self) -> bool {
        !matches!(self, Self::Npy)
    }

    fn write(self, path: &Path, texts: &[TextStates], theme: Theme) -> anyhow::Result<()> {
        match self {
            Self::Npz => {
                let arrays = arrays(texts);
                replace_file(path, |temporary| Ok(Tensor::write_npz(&arrays, temporary)?))
            }
            Self::Npy => {
                let directions: Vec<Tensor> = texts
                    .iter()
                    .flat_map(|text| &text.directions)
                    .map(|direction| matrix(&direction.states))
                    .collect();
                let states = Tensor::cat(&directions, 1);
                replace_file(path, |temporary| Ok(states.write_npy(temporary)?))
            }
            Self::Svg => write_atomic(path, picture(texts, theme)?.svg.as_bytes()),
            Self::Png => {
                let picture = picture(texts, theme)?;
                if picture.boxes {
                    note("the picture has boxes for letters that its font lacks; .svg has all");
                }
                write_atomic(path, &picture.png)
            }
        }
    }
}

fn picture(texts: &[TextStates], theme: Theme) -> anyhow::Result<Picture> {
    let many = texts.len() > 1;
    let plots = texts.iter().enumerate().map(|(number, text)| StatesPlot {
        name: text.input.clone().or(many.then(|| (number + 1).to_string())),
        read: text.read_and_all(),
        words: &text.tokens[text.padding..],
        labels: &text.classes,
        probabilities: &text.probabilities,
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

/// The states under the names that the help text gives.
fn arrays(texts: &[TextStates]) -> Vec<Named> {
    let mut arrays = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let number = match &text.input {
            Some(input) => format!("{input}/"),
            None if texts.len() > 1 => format!("{}/", number + 1),
            None => String::new(),
        };
        for direction in &text.directions {
            let prefix = match direction.direction {
                "backward" => format!("{number}backward/"),
                _ => number.clone(),
            };
            arrays.push((format!("{prefix}states"), matrix(&direction.states)));
            arrays.push((format!("{prefix}h"), Tensor::from_slice(&direction.h)));
            arrays.push((format!("{prefix}c"), Tensor::from_slice(&direction.c)));
            arrays.push((format!("{prefix}gates"), matrix(&direction.gates)));
        }
        arrays.push((format!("{number}probabilities"), matrix(&text.probabilities)));
    }
    arrays
}

fn matrix<T: Element + Copy, R: AsRef<[T]>>(rows: &[R]) -> Tensor {
    let flat: Vec<T> = rows.iter().flat_map(|row| row.as_ref()).copied().collect();
    Tensor::from_slice(&flat).view([rows.len() as i64, -1])
}
