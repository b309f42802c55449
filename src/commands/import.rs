//! `lstmtext import`.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use tch::Device;

use super::output::print;
use super::{FINE, SetArgs};
use crate::checkpoint::{self, Checkpoint, Contents};
use crate::config::{self, Override, Resolved};
use crate::console::say;
use crate::data;
use crate::keras;
use crate::libtorch::to_arrays;
use crate::model::Model;
use crate::optimizer::Optimizer;
use crate::progress::Progress;
use crate::text::Encoders;

const EXAMPLES: &str = "\
Examples:
  lstmtext import configs/keras_imdb_80.yaml weights.npz --to imported
  lstmtext import runs/a weights.npz --to imported

The configuration (or checkpoint) says what the model is; its words are those of the training
examples, or of the file in text.vocabulary. Where that and data.labels are set, no data is read.
`lstmtext export --help` has the names of the arrays.";

/// Make a checkpoint of weights in Keras's layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// A configuration (YAML), or a checkpoint or run whose model the weights are for
    model: PathBuf,
    /// The weights (.npz)
    weights: PathBuf,
    /// New folder that becomes the checkpoint
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    set: SetArgs,
}

/// What a checkpoint needs besides weights.
struct Frame {
    resolved: Resolved,
    labels: Vec<String>,
    encoders: Encoders,
}

/// Runs the command.
pub fn run(args: ImportArgs) -> anyhow::Result<u8> {
    ensure!(!args.to.exists(), "\"{}\" is there already; name a new folder", args.to.display());
    let Frame { resolved, labels, encoders } = frame(&args.model, &args.set.overrides)?;
    let mut model = Model::new(&resolved.config, &encoders.sizes(), labels.len(), 0, Device::Cpu)?;
    keras::import(&mut model, &args.weights)?;
    let contents = Contents {
        labels: &labels,
        encoders: &encoders,
        memory: to_arrays(Optimizer::new(&resolved.config.train, model.parameters()).state()),
        progress: &Progress::default(),
        weights: to_arrays(model.state()),
        resolved: &resolved,
    };
    checkpoint::save(&args.to, &contents)?;
    print(&args.to.display().to_string()).map(|()| FINE)
}

fn frame(model: &Path, overrides: &[Override]) -> anyhow::Result<Frame> {
    if model.is_dir() {
        let Checkpoint { resolved, labels, encoders, .. } =
            Checkpoint::open_with(model, overrides)?;
        return Ok(Frame { resolved, labels, encoders });
    }
    let resolved = config::load(model, overrides)?;
    let config = &resolved.config;
    let has_words = config.inputs.iter().all(|input| input.text.vocabulary.is_some());
    if has_words && !config.data.labels.is_empty() {
        let encoders = Encoders::build(&config.inputs, &[])?;
        return Ok(Frame { labels: config.data.labels.clone(), encoders, resolved });
    }
    let splits = data::load(config)?;
    say(
        "note: words and labels are those of the training examples as they are now; a checkpoint in \
         place of the configuration keeps its own",
    );
    for note in &splits.notes {
        say(format!("note: {note}"));
    }
    let encoders = Encoders::build(&config.inputs, &splits.train.texts)?;
    Ok(Frame { labels: splits.labels, encoders, resolved })
}
