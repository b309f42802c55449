//! `lstmtext evaluate`.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use serde::Serialize;

use super::arguments::{ComputeArgs, ModelArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::missing_data;
use super::open_model::{NotedPredictions, OpenModel, ReadExamples};
use super::processes::{ProcessArgs, Processes};
use super::{output_file, provenance, starter};
use crate::backend::Backends;
use crate::config::{Config, ConfigError, DataConfig, Delimiter, Format, Labelling, Override};
use crate::data::guess::check_header;
use crate::data::{self, Examples, Fingerprint, SplitName};
use crate::evaluation::{Evaluation, Predictions, compare};
use crate::io::input::{TextEncoding, detect_encoding};
use crate::io::spool::Spooled;
use crate::objective::Calibration;
use crate::output::format::{join_names, pluralize};
use crate::output::{message, note, print_json, print_wrapped, terminal_width};
use crate::run::saved_model::{SavedModel, is_folds};
use crate::tables::records::RecordsFile;

mod comparison;
pub mod mistakes;
mod table;

use comparison::ComparisonReport;
use mistakes::write_mistakes;

const EXAMPLES: &str = "\
Examples:
  lstmtext evaluate runs/a
  lstmtext evaluate runs/a/last --split validation --json
  lstmtext evaluate runs/a --data other.csv --set data.label_column=sentiment
  lstmtext evaluate runs/a --split validation --compare runs/b --errors errors.csv

ROC-AUC and average precision are those of the second of two classes, or the mean over more \
classes, each against the rest. The calibration error is the mean difference between confidence \
and accuracy in 15 bins. --compare runs the exact McNemar test on the examples of the first \
checkpoint, and a paired bootstrap of F1.

If a text can have several labels, the accuracy is the share of texts of which all labels are right. A label is \
predicted if its probability reaches its threshold: one half, unless the model is calibrated.

A calibrated checkpoint (lstmtext calibrate) is evaluated with its calibration: scaled probabilities, and \
decisions by its thresholds or costs. --uncalibrated ignores it, also that of --compare.";

/// Score a checkpoint on labeled examples
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Labeled file or directory, or - for stdin; the data section of the configuration describes its
    /// format and columns
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    data: Option<PathBuf>,
    /// Split of the run's own data; by default test, or validation if there are no test examples
    #[arg(long, value_name = "NAME")]
    split: Option<SplitName>,
    /// Second checkpoint or run to compare on the same examples
    #[arg(long, value_name = "CHECKPOINT")]
    compare: Option<PathBuf>,
    /// Write misclassified examples, the most confident first, to a .csv, .tsv or .jsonl file; with several labels
    /// per text, those with the largest loss first
    #[arg(
        long,
        value_name = "FILE",
        value_parser = PathBufValueParser::new().try_map(RecordsFile::new)
    )]
    errors: Option<RecordsFile>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    processes: ProcessArgs,
}

#[derive(Serialize)]
struct Report {
    /// Directory of the checkpoint or ensemble.
    checkpoint: PathBuf,
    /// Epoch of the checkpoint, from 1; `None` if it was not trained, or for an ensemble.
    epoch: Option<usize>,
    /// Fingerprint of the examples; equal examples have equal ones, in whatever order.
    data: Fingerprint,
    #[serde(flatten)]
    evaluation: Evaluation,
    /// Calibration of the predictions, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibrated: Option<Calibration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<ComparisonReport>,
}

/// Runs the command.
pub fn run(args: EvaluateArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let group = args.processes.join(backends, "evaluate")?;
    group.refuse_stdin("--data", args.data.as_deref())?;
    group.finish(evaluate(&args, backends, &group))
}

fn evaluate(args: &EvaluateArgs, backends: &dyn Backends, group: &Processes) -> anyhow::Result<u8> {
    let (compute, collective) = (&group.compute(&args.compute), &group.collective);
    let open = || -> anyhow::Result<(OpenModel, Option<OpenModel>, Option<Spooled>)> {
        let mut first = args.model.open(compute, backends, &args.set.overrides, true)?;
        let other = args.compare.as_ref().map(|path| compute.open(backends, path, &[], true));
        let other = other.transpose()?;
        let copy = match &args.data {
            Some(path) => open_data(path, &mut first.saved, &args.set.overrides)?,
            None => None,
        };
        if let Some(file) = &args.errors {
            let config = first.saved.config();
            output_file::check("--errors", file.path(), config, args.data.as_deref())?;
        }
        let other = other.map(|other| other.with_calibration(!args.model.uncalibrated));
        Ok((first, other, copy))
    };
    let (mut first, mut other, copy) = collective.agree(open())?;
    for model in [&mut first].into_iter().chain(&mut other) {
        model.collective = collective.clone();
    }
    note_weights(&args.model.checkpoint, &first.saved);
    if let (Some(path), Some(other)) = (&args.compare, &other) {
        note_weights(path, &other.saved);
    }
    let first = &first;
    let (config, labels) = (first.saved.config(), first.saved.labels());
    let data = copy.as_ref().map(Spooled::path).or(args.data.as_deref());
    let (name, examples) = collective.agree(examples(args, data, &first.saved))?;
    let models = [first].into_iter().chain(&other).flat_map(|model| model.saved.description());
    let examples_line = format!("examples: {}", examples.fingerprint(labels));
    collective.ensure_same(&models.chain([examples_line]).collect::<Vec<_>>())?;
    let read = ReadExamples { examples, data: &config.data, inputs: &config.inputs };
    let NotedPredictions { members, notes } = first.predict(&read)?;
    notes.iter().for_each(note);
    let predictions = first.combine(members);
    let comparison = match &other {
        Some(other) => Some(compare_with(other, &first.saved, &read, &predictions)?),
        None => None,
    };
    let examples = &read.examples;
    if let Some(file) = args.errors.as_ref().filter(|_| collective.leads()) {
        let count = write_mistakes(file, &predictions, examples, labels, config)?;
        let order = match config.data.labelling() {
            _ if count < 2 => "",
            Labelling::One => ", the most confident first",
            Labelling::Several => ", those with the largest loss first",
        };
        let mistakes = pluralize(count, "mistake");
        message(format!("{}: {mistakes}{order}", file.path().display()));
    }
    let report = Report {
        checkpoint: first.saved.path.clone(),
        epoch: epoch(&first.saved)?,
        data: examples.fingerprint(labels),
        evaluation: Evaluation::of(&predictions, labels),
        calibrated: first.saved.calibration.clone(),
        comparison,
    };
    match args.json {
        true => print_json(&report)?,
        false => {
            let weights = weights_name(&first.saved, report.epoch);
            let width = terminal_width();
            let calibration = report.calibrated.as_ref();
            let mut text = table::of(&name, &weights, &report.evaluation, calibration, width);
            if let Some(comparison) = &report.comparison {
                let (checkpoint, evaluation) = (&report.checkpoint, &report.evaluation);
                text += &table::of_comparison(checkpoint, evaluation, comparison, width);
            }
            print_wrapped(&text)?;
        }
    }
    Ok(SUCCESS)
}

/// Epoch of a checkpoint, from 1; `None` if it was not trained, or for an ensemble.
fn epoch(model: &SavedModel) -> anyhow::Result<Option<usize>> {
    let [checkpoint] = &model.members[..] else { return Ok(None) };
    let epoch = checkpoint.progress()?.epoch_number();
    Ok((epoch > 0).then_some(epoch))
}

/// Names the weights of a model.
fn weights_name(model: &SavedModel, epoch: Option<usize>) -> String {
    let path = model.path.display();
    match epoch {
        Some(epoch) => format!("{path} (epoch {epoch})"),
        None if model.is_ensemble() => format!("{path} ({} models)", model.members.len()),
        None => path.to_string(),
    }
}

/// Notes that a run is evaluated with its best weights, if its own scores are those of the last ones.
fn note_weights(run: &Path, model: &SavedModel) {
    let restores_best = model.config().train.early_stopping.restore_best;
    if model.path != run && !restores_best {
        let (best, run) = (model.path.display(), run.display());
        note(format!(
            "these are the scores of \"{best}\"; the run reports those of \"{run}/last\" \
             (train.early_stopping.restore_best: false)"
        ));
    }
}

/// Compares the predictions of `first` with those of `other` on the same examples.
fn compare_with(
    other: &OpenModel,
    first: &SavedModel,
    examples: &ReadExamples,
    predictions: &Predictions,
) -> anyhow::Result<ComparisonReport> {
    let labels = other.saved.labels();
    check_labelling(first, &other.saved)?;
    ensure!(
        labels == first.labels(),
        "cannot compare \"{}\" with labels {} and \"{}\" with labels {}",
        other.saved.path.display(),
        join_names(labels),
        first.path.display(),
        join_names(first.labels())
    );
    let fingerprint = examples.examples.fingerprint(labels);
    for member in &other.saved.members {
        provenance::of_comparison(fingerprint, &first.members[0], member)?.iter().for_each(note);
    }
    let others = other.combine(other.predict(examples)?.members);
    let score = others.score();
    Ok(ComparisonReport {
        checkpoint: other.saved.path.clone(),
        epoch: epoch(&other.saved)?,
        accuracy: score.accuracy,
        loss: score.loss,
        comparison: compare(predictions, &others),
    })
}

/// Checks that texts have one label for both models, or several for both.
fn check_labelling(first: &SavedModel, other: &SavedModel) -> anyhow::Result<()> {
    let labelling = |model: &SavedModel| model.config().data.labelling();
    if labelling(first) == labelling(other) {
        return Ok(());
    }
    let (one, several) = match labelling(first) {
        Labelling::One => (first, other),
        Labelling::Several => (other, first),
    };
    bail!(
        "cannot compare \"{}\", which predicts exactly one label for each text, with \"{}\", which predicts any \
         number of labels (data.multi_label)",
        one.path.display(),
        several.path.display()
    );
}

/// Detects the delimiter and the encoding of a file, unless `overrides` set them: those in the configuration
/// are for the files of the run. Checks that it has a header like those. Copies a stream.
fn open_data(
    path: &Path,
    model: &mut SavedModel,
    overrides: &[Override],
) -> anyhow::Result<Option<Spooled>> {
    if let Some(explanation) = starter::not_data(path) {
        bail!(ConfigError::new(format!("--data: {explanation}")));
    }
    let is_set = |field: &str| overrides.iter().any(|set| set.field() == field);
    let labels = model.labels().to_vec();
    let config = &mut model.members[0].resolved.config;
    let data = &mut config.data;
    if !is_set("data.delimiter") {
        data.delimiter = Delimiter::Auto;
    }
    let copy = spool(path, data)?;
    let files = data::expand_pattern(copy.as_ref().map_or(path, Spooled::path), data.format)?;
    let Some(first) = files.first() else { return Ok(copy) };
    let format = match data.format {
        Format::Auto => data::format_of(first).unwrap_or(Format::Auto),
        format => format,
    };
    if !is_set("data.encoding") {
        let usual = data.encoding;
        data.encoding = match format {
            Format::Folder | Format::Parquet => TextEncoding::AUTO,
            _ => detect_encoding(first, usual),
        };
        if data.encoding != usual && !data.encoding.is_auto() {
            note(format!(
                "{} is read as {}; --set data.encoding=NAME chooses another",
                first.display(),
                data.encoding
            ));
        }
    }
    if !is_set("data.header") {
        for file in &files {
            check_header(file, format, config, &labels)?;
        }
    }
    Ok(copy)
}

/// Copies a stream with examples, and sets its format. Without an extension of its own, it has the format
/// of the run's training data.
fn spool(path: &Path, config: &mut DataConfig) -> anyhow::Result<Option<Spooled>> {
    let Some(copy) = Spooled::of(path, data::limits(config))? else { return Ok(None) };
    if config.format == Format::Auto {
        let format = data::format_of(path).or_else(|_| data::format_of(&config.train));
        config.format = format.unwrap_or(Format::Auto);
    }
    ensure!(
        !matches!(config.format, Format::Auto | Format::Folder),
        ConfigError::new(format!(
            "the format of \"{}\" is unknown; pass it, e.g. --set data.format=csv",
            copy.path().display()
        ))
    );
    Ok(Some(copy))
}

/// Returns the examples to evaluate and their name.
fn examples(
    args: &EvaluateArgs,
    data: Option<&Path>,
    model: &SavedModel,
) -> anyhow::Result<(String, Examples)> {
    let (config, labels) = (model.config(), model.labels());
    if let Some(path) = data {
        let examples = data::read_examples(path, config, labels);
        let examples = examples.map_err(|error| match format!("{error:#}").contains("data.filter") {
            true => error.context(
                "use --set data.filter={} to read all rows; the run's data.filter is for its own data",
            ),
            false => error,
        })?;
        examples.findings.iter().for_each(note);
        let mut notes: Vec<String> = Vec::new();
        for member in &model.members {
            let new = provenance::of_file(&examples, member)?;
            notes.extend(new.filter(|new| !notes.contains(new)));
        }
        notes.iter().for_each(note);
        return Ok((path.display().to_string(), examples));
    }
    if is_folds(&model.path) {
        bail!(
            "\"{}\" is a cross-validation: each example of its data has trained some of its models. Pass other \
             examples with --data; the scores of examples that a model has not seen are in scores.json",
            model.path.display()
        );
    }
    let loaded = match args.split {
        Some(name) => data::load_split(config, name, labels).map(|split| (name, split)),
        None => default_split(config, labels),
    };
    let (name, examples) = loaded.map_err(|error| missing_data(error, &config.data))?;
    examples.findings.iter().for_each(note);
    if examples.is_empty() {
        bail!("the run's data has no {} examples", name.adjective());
    }
    let fingerprint = examples.fingerprint(labels);
    let recorded = model.members[0].progress()?.data;
    provenance::of_split(name, fingerprint, recorded, &args.set.overrides).iter().for_each(note);
    for member in &model.members[1..] {
        provenance::of_comparison(fingerprint, &model.members[0], member)?.iter().for_each(note);
    }
    Ok((name.to_string(), examples))
}

/// Returns the test examples, or the validation examples if there are none.
fn default_split(config: &Config, labels: &[String]) -> anyhow::Result<(SplitName, Examples)> {
    if config.data.has_test() {
        let examples = data::load_split(config, SplitName::Test, labels)?;
        if !examples.is_empty() {
            return Ok((SplitName::Test, examples));
        }
    }
    Ok((SplitName::Validation, data::load_split(config, SplitName::Validation, labels)?))
}
