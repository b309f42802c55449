//! Messages of `lstmtext train` before training.

use std::path::Path;

use serde_yaml::Value;

use crate::backend::{Backend, note_slow_bf16};
use crate::cli::processes::Processes;
use crate::cli::starter;
use crate::config::{
    self, BackendKind, Difference, Document, Override, Resolved, differences, inline_yaml,
};
use crate::data::prepared::PreparedData;
use crate::model::summary::summarize;
use crate::output::format::{format_bytes, group_digits, join_names, pluralize};
use crate::output::{message, message_width, note, warning};
use crate::run::directory::RunDirectory;
use crate::system::memory::resident;
use crate::train::{layer_rates, setup};

/// Prints the data, the model and the device of a run.
pub fn describe_run(
    data: &PreparedData,
    run: &RunDirectory,
    backend: &dyn Backend,
    group: &Processes,
) -> anyhow::Result<()> {
    let config = &data.resolved.config;
    let logits = config.logit_count(data.labels.len())?;
    let sizes = data.encoders.vocabulary_sizes();
    let ids: Vec<String> = sizes.iter().map(|size| group_digits(*size)).collect();
    message(format!(
        "data: {} training, {} validation, {} test examples; labels {}",
        group_digits(data.train.len()),
        group_digits(data.validation.len()),
        group_digits(data.test.len()),
        join_names(&data.labels),
    ));
    message(format!(
        "text: vocabulary of {} ids, {} training tokens; read and encoded in {:.1} s, {} tokens/s",
        ids.join(" + "),
        group_digits(data.train.tokens()),
        data.seconds,
        group_digits((data.tokens() as f64 / data.seconds) as usize),
    ));
    if let Some(texts) = &data.unlabelled {
        message(format!(
            "unlabelled texts: {}, {} tokens",
            group_digits(texts.len()),
            group_digits(texts.tokens())
        ));
    }
    data.notes().for_each(note);
    let is_idle = config.data.unlabelled.is_some() && data.unlabelled.is_none();
    if is_idle && config.train.from.is_none() && config.pretrain.stages.is_empty() {
        note(
            "data.unlabelled has no effect without train.virtual_adversarial.epsilon, train.entropy_weight, \
             train.language_model_weight or pretrain.stages",
        );
    }
    note_slow_bf16(backend, config);
    let mut how = String::new();
    let is_native = backend.kind() == BackendKind::Native;
    if backend.is_cuda() || !is_native && config.precision.is_half() {
        how = format!(", {}", config.precision.as_str());
    }
    if backend.is_cuda() && config.deterministic {
        how += ", deterministic";
    }
    message(format!("run:  {}", run.path().display()));
    message(format!("on:   {backend}{how}{group}"));
    let (shards, size) = (config.train.shard_count(), group.collective.worker().world_size);
    if is_native && shards < size {
        warning(format!(
            "{size} processes share {}, so that some have nothing to do; start fewer processes, or set \
             train.shards to a multiple of {size} in a new run",
            pluralize(shards, "shard")
        ));
    }
    if let Some(memory) = setup::memory(backend, data)? {
        message(format!("needs {memory} of memory, besides {} in use", format_bytes(resident())));
    }
    let summary = summarize(config, &sizes, &data.encoders.ngram_counts(), logits);
    message(format!("\n{}\n", summary.to_text(message_width())));
    if let Some(rates) = layer_rates::describe(config) {
        message(format!("rates: {rates}\n"));
    }
    Ok(())
}

/// Prints a note on the settings of a run that resumes, if they differ from those of its checkpoint.
pub fn note_changed_settings(saved: Option<&Resolved>, now: &Resolved) {
    let Some(mut saved) = saved.cloned() else { return };
    saved.take_choices(&now.config);
    let value = |value: &Option<Value>| value.as_ref().map_or("missing".to_owned(), inline_yaml);
    let changes: Vec<String> = differences(&[&saved, now])
        .iter()
        .map(|change| {
            let [before, now] = [0, 1].map(|index| value(&change.values[index]));
            format!("{} is {now} (was {before})", change.field())
        })
        .collect();
    if !changes.is_empty() {
        note(format!("changed since the checkpoint: {}", changes.join(", ")));
    }
}

/// Prints a note on how the configuration at `path` with overrides differs from that with which `run` resumes.
///
/// # Errors
/// Returns an error if the configuration cannot be read.
pub fn note_other_configuration(
    path: &Path,
    run: &Path,
    overrides: &[Override],
) -> anyhow::Result<()> {
    let resolve = |document: &Document| document.resolve_single(overrides);
    let mut wanted = starter::load_with(path, overrides, resolve)?;
    let Ok(recorded) = config::load_recorded(&RunDirectory::open(run).config(), &[]) else {
        return Ok(());
    };
    wanted.take_choices(&recorded.config);
    let fields: Vec<String> =
        differences(&[&wanted, &recorded]).iter().map(Difference::field).collect();
    if !fields.is_empty() {
        let set = if overrides.is_empty() { "" } else { " with --set" };
        note(format!(
            "the run resumes with the configuration that it began with, which differs from \"{}\"{set} in {}",
            path.display(),
            join_names(&fields)
        ));
    }
    Ok(())
}
