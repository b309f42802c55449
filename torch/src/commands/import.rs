//! `lstmtext import`.

use std::path::Path;

use anyhow::ensure;
use tch::Device;

use crate::keras;
use crate::learner::to_arrays;
use crate::model::Model;
use crate::optimizer::Optimizer;
use lstmtext::cli::{FINE, ImportArgs};
use lstmtext::config::{self, Override, Resolved};
use lstmtext::data;
use lstmtext::io::files::create_parent_directory;
use lstmtext::output::{note, print};
use lstmtext::run::checkpoint::{self, Checkpoint, Contents};
use lstmtext::run::progress::Progress;
use lstmtext::text::Encoders;

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
    create_parent_directory(&args.to)?;
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
        let encoders = Encoders::of_texts(&config.inputs, &[])?;
        return Ok(Frame { labels: config.data.labels.clone(), encoders, resolved });
    }
    let splits = data::load(config)?;
    note(
        "words and labels are those of the training examples as they are now; a checkpoint in \
         place of the configuration keeps its own",
    );
    splits.notes.iter().for_each(note);
    let encoders = splits.train.encoders(&config.inputs)?;
    Ok(Frame { labels: splits.labels, encoders, resolved })
}
