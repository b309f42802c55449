//! `lstmtext folds`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{bail, ensure};
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use serde::Serialize;
use serde_yaml::{Mapping, Value};

use super::evaluate::mistakes::with_text_columns;
use super::exit::{FAILURE, SUCCESS};
use super::hints::{program, relative};
use super::many_runs::{self, RunsArgs, Trained};
use super::open_model::OpenModel;
use super::{output_directory, output_file, starter};
use crate::backend::Backends;
use crate::config::{
    Config, ConfigError, Document, Labelling, Metric, Override, Sweep, positive_integer,
};
use crate::data::{
    self, DataSplits, Examples, FileExamples, SplitFingerprints, SplitName, Targets,
};
use crate::evaluation::{Evaluation, Predictions, label_issues};
use crate::io::files::json_content;
use crate::io::replace::write_atomic;
use crate::output::format::{group_digits, join_names, pluralize};
use crate::output::shell::quoted_path;
use crate::output::table::{Align, Table};
use crate::output::{message, note, print_json, print_wrapped, terminal_width};
use crate::run::checkpoint::{self, Checkpoint};
use crate::run::directory::RunDirectory;
use crate::run::saved_model::{fold_paths, is_folds, write_folds};
use crate::sweep::{MeanAndDeviation, SweepDirectory, SweepRun};
use crate::system::threads;
use crate::tables::records::RecordsFile;

const EXAMPLES: &str = "\
Examples:
  lstmtext folds reviews.csv
  lstmtext folds mine.yaml --k 5
  lstmtext folds mine.yaml --k 10 --repeats 3 --jobs 2
  lstmtext folds mine.yaml --set data.split.group=film
  lstmtext folds mine.yaml --issues suspicious.csv
  lstmtext predict folds/mine \"What a film!\"

Each fold is tested once, with a model that is trained on the others; the validation examples are split \
off those. The directory has the runs, predictions.csv with a row for each example (its fold, its label, \
and the probabilities of the model that has not seen it) and scores.json. predict, serve, and evaluate \
with --data use the directory as an ensemble of all fold models.

The same command continues a cross-validation that was stopped; several processes can share the \
directory, as for sweep.";

/// Maximum number of models of all cross-validations together.
const MAX_MODELS: u64 = 10_000;

/// Field that differs between repeated cross-validations.
const SEED: &str = "data.split.seed";

/// Cross-validate a configuration, and find examples with a wrong label
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FoldsArgs {
    /// Configuration file (YAML), or data, for which the configuration is guessed
    config: PathBuf,
    /// Number of folds; by default data.split.folds, or 5
    #[arg(long, value_name = "K", value_parser = fold_count)]
    k: Option<NonZeroUsize>,
    /// Number of cross-validations, each with other folds: data.split.seed is one greater in each
    #[arg(long, value_name = "R", default_value = "1", value_parser = positive_integer)]
    repeats: NonZeroUsize,
    /// Write the examples whose label is probably wrong, the most suspicious first, to a .csv, .tsv or .jsonl
    /// file (confident learning, Northcutt et al. 2021). Needs exactly one label per text
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["list", "index"],
        value_parser = PathBufValueParser::new().try_map(RecordsFile::new)
    )]
    issues: Option<RecordsFile>,
    #[command(flatten)]
    runs: RunsArgs,
}

fn fold_count(text: &str) -> Result<NonZeroUsize, String> {
    match NonZeroUsize::from_str(text) {
        Ok(count) if (2..=1_000).contains(&count.get()) => Ok(count),
        _ => Err("expected an integer from 2 to 1000".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: FoldsArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let sweep = args.sweep()?;
    if args.issues.is_some() && data::has_several_labels(&sweep.base.config, None)? {
        bail!(ConfigError::new(
            "--issues finds wrong labels of texts that have exactly one, but these texts can have several \
             (data.multi_label); omit --issues"
        ));
    }
    let runs = &args.runs;
    let path = runs.out.clone().unwrap_or_else(|| many_runs::default_directory("folds", &sweep));
    output_directory::check(&path)?;
    if let Some(file) = &args.issues {
        output_file::check("--issues", file.path(), &sweep.base.config, Some(&args.config))?;
    }
    let directory = SweepDirectory::new(sweep, &path);
    if runs.list {
        return many_runs::list(&directory, runs.json);
    }
    let run = runs.index.map(|index| many_runs::run_at(&directory, index)).transpose()?;
    directory.check_all()?;
    check_other_folds(&directory)?;
    if run.is_none() && !directory.unfinished().is_empty() {
        // The data is dropped before the training, which reads it itself.
        threads::set_count(runs.compute.threads)?;
        FoldData::read(&directory)?.check(&directory)?;
    }
    directory.create()?;
    let names = directory.runs.iter().map(|run| run.name.clone());
    write_folds(directory.path(), names.collect())?;
    if let Some(run) = run {
        return many_runs::train_one(&directory, run, runs);
    }
    let failures = match many_runs::train_all(&directory, "folds", runs)? {
        Trained::Ended(failures) => failures,
        Trained::Stopped(code) => return Ok(code),
    };
    let unfinished = directory.unfinished().len();
    if unfinished > 0 {
        many_runs::print_failures(&directory, &failures);
        let runs = pluralize(unfinished, "fold");
        message(format!("\n{runs} without a result; run the same command to try again"));
        return Ok(FAILURE);
    }
    args.report(&directory, backends)
}

/// Checks that the directory has no trained folds of another cross-validation, which would no longer belong to
/// one.
fn check_other_folds(directory: &SweepDirectory) -> anyhow::Result<()> {
    if !is_folds(directory.path()) {
        return Ok(());
    }
    // A damaged list is replaced.
    let listed = fold_paths(directory.path()).unwrap_or_default();
    let is_other = |path: &PathBuf| {
        let is_this = |run: &SweepRun| run.directory.path() == path;
        !directory.runs.iter().any(is_this) && !RunDirectory::open(path).is_without_checkpoint()
    };
    let others = listed.iter().filter(|path| is_other(path));
    let others = others.map(|path| path.file_name().unwrap_or_default().display().to_string());
    let others: Vec<String> = others.collect();
    ensure!(
        others.is_empty(),
        "\"{}\" has a cross-validation with other folds, {}; choose another --out, or delete this directory",
        directory.path().display(),
        join_names(&others)
    );
    Ok(())
}

/// Fields that the command sets, with the reason why --set cannot.
const OWN_FIELDS: [(&str, &str); 4] = [
    ("data.split.fold", "each fold is tested in turn; remove it"),
    ("data.split.folds", "set the number of folds with --k"),
    (
        "data.split",
        "the command sets some of its fields; set the others one by one, as in \
                    --set data.split.validation=0.2",
    ),
    (
        "data",
        "the command sets some of its fields; set the others one by one, as in \
              --set data.train=reviews.csv",
    ),
];

impl FoldsArgs {
    /// Returns the sweep over the folds, and over the seeds of repeated cross-validations.
    fn sweep(&self) -> anyhow::Result<Sweep> {
        let given = &self.runs.overrides();
        for (field, reason) in OWN_FIELDS {
            if given.iter().any(|set| set.field() == field) {
                return Err(ConfigError::new(format!("--set {field}: {reason}")).into());
            }
        }
        let (sweep, has_test) =
            starter::load_with(&self.config, given, |document| self.sweep_of(document, given))?;
        if has_test {
            note(
                "the test examples of the configuration are not used: each fold is tested in turn",
            );
        }
        Ok(sweep)
    }

    /// Returns the sweep over the folds of a configuration, and true if the configuration has test examples.
    fn sweep_of(
        &self,
        document: &Document,
        given: &[Override],
    ) -> Result<(Sweep, bool), ConfigError> {
        let base = document.resolve(given)?.config;
        if !base.sweep.is_empty() {
            let message = "the configuration describes a sweep; cross-validate a single model with \
                           --set 'sweep={}'";
            return Err(ConfigError::new(message));
        }
        let data = &base.data;
        let has_test = data.test.is_some() || data.split.test.of(usize::MAX) > 0;
        let count = self.k.map(NonZeroUsize::get).or(data.split.folds).unwrap_or(5) as u64;
        let mut axes = Mapping::new();
        let (seed, repeats) = (data.split.seed, self.repeats.get() as u64);
        let is_repeated = repeats > 1;
        if count.checked_mul(repeats).is_none_or(|models| models > MAX_MODELS) {
            let message = format!(
                "{count} folds in each of {repeats} repeats are too many; the maximum is {MAX_MODELS} models"
            );
            return Err(ConfigError::new(message));
        }
        if is_repeated {
            let Some(last) = seed.checked_add(repeats - 1) else {
                let message = format!("--repeats {repeats}: data.split.seed, {seed}, is too large");
                return Err(ConfigError::new(message));
            };
            axes.insert(SEED.into(), (seed..=last).map(Value::from).collect());
        }
        let folds = (1..=count).map(Value::from);
        axes.insert("data.split.fold".into(), folds.collect());
        let set = |field: &str, value: Value| Override::new(field, value);
        let fixed = [
            set("data.test", Value::Null),
            set("data.split.test", 0.into()),
            set("data.split.folds", count.into()),
            set("sweep", Value::Mapping(axes)),
        ];
        // The seeds of repeated cross-validations begin with the given one.
        let given = given.iter().filter(|set| !(is_repeated && set.field() == SEED)).cloned();
        let overrides: Vec<Override> = given.chain(fixed).collect();
        Ok((Sweep::of(document, &overrides)?, has_test))
    }

    /// Scores the folds, and writes the predictions.
    fn report(&self, directory: &SweepDirectory, backends: &dyn Backends) -> anyhow::Result<u8> {
        let mut folds = Vec::new();
        let mut data = None;
        for run in &directory.runs {
            let model = self.runs.compute.open(backends, run.directory.path(), &[], true)?;
            // The backend, which may replace this process, starts before the data is read.
            let data = match &mut data {
                Some(data) => data,
                none => none.insert(FoldData::read(directory)?),
            };
            folds.push(Fold::predict(run, &model, data.splits(directory, run)?)?);
        }
        drop(data);
        let scores = Scores::of(&folds);
        let predictions = directory.path().join("predictions.csv");
        let file = RecordsFile::new(predictions.clone())
            .map_err(|message| ConfigError::new(format!("{}: {message}", predictions.display())))?;
        write_predictions(&file, &folds)?;
        write_atomic(&directory.path().join("scores.json"), &json_content(&scores)?)?;
        match self.runs.json {
            true => print_json(&scores)?,
            false => print_wrapped(&scores.table())?,
        }
        let path = quoted_path(&relative(directory.path()));
        message(format!("\npredictions: {}", relative(&predictions).display()));
        if let Some(to) = &self.issues {
            let out_of_fold = OutOfFold::of(&folds);
            let count = out_of_fold.write_issues(to, &folds[0])?;
            let examples = out_of_fold.examples.len();
            message(format!(
                "issues: {} of {} labels are probably wrong, see {}",
                group_digits(count),
                group_digits(examples),
                to.path().display()
            ));
        }
        message(format!("\nnext:\n  {} predict {path} TEXT", program()));
        Ok(SUCCESS)
    }
}

/// A fold and the predictions of the model that has not seen it.
struct Fold {
    name: String,
    /// Number of the fold, from 1, and seed of the split.
    fold: usize,
    seed: u64,
    config: Config,
    labels: Vec<String>,
    examples: Examples,
    predictions: Predictions,
}

/// Data of all folds, read once.
struct FoldData(FileExamples);

impl FoldData {
    fn read(directory: &SweepDirectory) -> anyhow::Result<Self> {
        // The folds differ in their split only.
        let config = directory.resolve(&directory.runs[0])?.config;
        FileExamples::read(&config, None).map(Self)
    }

    /// Checks that all folds are possible, and that those that have begun had this data.
    fn check(&self, directory: &SweepDirectory) -> anyhow::Result<()> {
        directory.runs.iter().try_for_each(|run| self.splits(directory, run).map(drop))
    }

    /// Splits the data for a fold, and checks that it is the data on which the fold was trained, if it was.
    fn splits(&self, directory: &SweepDirectory, run: &SweepRun) -> anyhow::Result<DataSplits> {
        let config = directory.resolve(run)?.config;
        let paths = [run.directory.last(), run.directory.best()];
        // A checkpoint that cannot be read is reported by whatever uses it.
        let recorded = paths.iter().find_map(|path| checkpoint::progress(path).ok()?.data);
        let mut tokenizers = config.inputs.iter().map(|input| &input.text.tokenizer);
        let trained = match tokenizers.any(|tokenizer| tokenizer.needs_training()) {
            true => paths.iter().find_map(|path| Checkpoint::open(path).ok()),
            false => None,
        };
        let mut splits = match &trained {
            // Each fold has a byte-pair encoding of its own.
            Some(checkpoint) => data::load(&checkpoint.resolved.config, None)?,
            None => self.0.split(&config)?,
        };
        splits.drop_long_texts(&config)?;
        if let Some(recorded) = recorded {
            let now =
                SplitFingerprints { unlabelled: recorded.unlabelled, ..splits.fingerprints() };
            if now != recorded {
                let examples = |splits: SplitFingerprints| {
                    let count = |name| splits.split(name).examples();
                    group_digits(SplitName::ALL.into_iter().map(count).sum())
                };
                bail!(
                    "the data has changed since \"{}\" was trained ({} examples then, {} now), but all folds of \
                     a cross-validation need the same data; restore it, or choose another --out",
                    relative(run.directory.path()).display(),
                    examples(recorded),
                    examples(now)
                );
            }
        }
        Ok(splits)
    }
}

impl Fold {
    fn predict(run: &SweepRun, model: &OpenModel, splits: DataSplits) -> anyhow::Result<Self> {
        let (config, labels) = (model.saved.config().clone(), model.saved.labels().to_vec());
        let examples = splits.test;
        let (predictions, _) = model.predict_own(&examples)?;
        let split = &config.data.split;
        let (fold, seed) = (split.fold, split.seed);
        Ok(Self { name: run.name.clone(), fold, seed, config, labels, examples, predictions })
    }

    /// Probabilities of the classes of an example.
    fn probabilities(&self, example: usize) -> impl Iterator<Item = f64> {
        (0..self.labels.len()).map(move |class| self.predictions.probability(example, class))
    }
}

/// Writes a row for each example of each cross-validation, in the order of the file.
fn write_predictions(to: &RecordsFile, folds: &[Fold]) -> anyhow::Result<()> {
    let labelling = folds[0].config.data.labelling();
    let columns: &[&str] = match labelling {
        Labelling::One => &["seed", "fold", "file", "line", "label", "predicted", "probability"],
        Labelling::Several => &["seed", "fold", "file", "line", "label", "predicted"],
    };
    let columns = columns.iter().map(|name| (*name).to_owned());
    let names: Vec<String> = columns.chain(folds[0].labels.iter().cloned()).collect();
    let mut order: Vec<(u64, u32, usize, usize)> = Vec::new();
    for (index, fold) in folds.iter().enumerate() {
        let rows = fold.examples.rows.iter().enumerate();
        order.extend(rows.map(|(example, row)| (fold.seed, *row, index, example)));
    }
    order.sort_unstable();
    let rows = order.into_iter().map(|(seed, _, index, example)| {
        let fold = &folds[index];
        let (file, line) = fold.examples.file_and_line(example);
        let text = |text: &str| serde_json::Value::from(text);
        let mut row =
            vec![seed.into(), fold.fold.into(), text(&file.display().to_string()), line.into()];
        let predictions = &fold.predictions;
        match labelling {
            Labelling::One => {
                let predicted = predictions.predicted(example);
                row.extend([
                    text(&fold.labels[predictions.label(example)]),
                    text(&fold.labels[predicted]),
                    predictions.probability(example, predicted).into(),
                ]);
            }
            Labelling::Several => {
                let set = |classes: Vec<usize>| {
                    let names: Vec<&str> =
                        classes.iter().map(|class| fold.labels[*class].as_str()).collect();
                    to.label_set(&names, &fold.config.data)
                };
                let predicted = predictions.predicted_labels(example);
                row.extend([set(predictions.labels(example)), set(predicted)]);
            }
        }
        row.extend(fold.probabilities(example).map(serde_json::Value::from));
        row
    });
    to.write(&names, rows)
}

/// All examples with the probabilities of the models that have not seen them.
struct OutOfFold {
    examples: Examples,
    labels: Vec<u32>,
    /// Mean over the cross-validations, [N, C].
    probabilities: Vec<f64>,
}

impl OutOfFold {
    fn of(folds: &[Fold]) -> Self {
        let classes = folds[0].labels.len();
        let repeats = folds.iter().filter(|fold| fold.fold == folds[0].fold).count() as f64;
        let count = folds.iter().map(|fold| fold.examples.len()).sum::<usize>() / repeats as usize;
        let mut labels = vec![0; count];
        let mut probabilities = vec![0.0; count * classes];
        for fold in folds {
            for (example, row) in fold.examples.rows.iter().enumerate() {
                let row = *row as usize;
                labels[row] = fold.predictions.label(example) as u32;
                let means = &mut probabilities[row * classes..][..classes];
                means.iter_mut().zip(fold.probabilities(example)).for_each(
                    |(mean, probability)| {
                        *mean += probability / repeats;
                    },
                );
            }
        }
        let examples = Examples {
            source: folds[0].examples.source.clone(),
            rows: (0..count as u32).collect(),
            targets: Targets::Labels(labels.clone()),
            findings: Vec::new(),
        };
        Self { examples, labels, probabilities }
    }

    /// Writes the examples whose label is probably wrong. Returns their number.
    fn write_issues(&self, to: &RecordsFile, fold: &Fold) -> anyhow::Result<usize> {
        const COLUMNS: [&str; 6] =
            ["label", "suggested", "label_probability", "suggested_probability", "file", "line"];
        let issues = label_issues(&self.labels, &self.probabilities, fold.labels.len());
        let indices: Vec<usize> = issues.iter().map(|issue| issue.example).collect();
        let texts = self.examples.texts(&indices, &fold.config)?;
        let rows = issues.iter().zip(&texts).map(|(issue, texts)| {
            let (file, line) = self.examples.file_and_line(issue.example);
            let mut row: Vec<serde_json::Value> = vec![
                fold.labels[issue.label].as_str().into(),
                fold.labels[issue.suggested].as_str().into(),
                issue.label_probability.into(),
                issue.suggested_probability.into(),
                file.display().to_string().into(),
                line.into(),
            ];
            row.extend(texts.iter().map(|text| serde_json::Value::from(text.as_str())));
            row
        });
        to.write(&with_text_columns(&COLUMNS, &fold.config), rows)?;
        Ok(issues.len())
    }
}

/// Scores of examples that the models have not seen.
#[derive(Serialize)]
struct Scores {
    folds: Vec<FoldScore>,
    accuracy: MeanAndDeviation,
    macro_f1: MeanAndDeviation,
    loss: MeanAndDeviation,
    /// The metric of the runs, if it is neither of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<MeanAndDeviation>,
    #[serde(skip)]
    metric_heading: Option<String>,
}

/// Scores of a fold.
#[derive(Serialize)]
struct FoldScore {
    /// Directory of the run.
    run: String,
    /// Number of the fold, from 1.
    fold: usize,
    /// Seed of the split.
    seed: u64,
    examples: usize,
    accuracy: f64,
    macro_f1: f64,
    loss: f64,
    /// Value of the metric of the run, if it is neither of these; null if it is undefined.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<Option<f64>>,
}

impl Scores {
    fn of(folds: &[Fold]) -> Self {
        let metric = folds[0].config.metric();
        let metric = Some(metric).filter(|m| m.is_additional() && **m != Metric::MacroF1);
        let score = |fold: &Fold| {
            let Evaluation { examples, accuracy, loss, macro_average, .. } =
                Evaluation::of(&fold.predictions, &fold.labels);
            FoldScore {
                run: fold.name.clone(),
                fold: fold.fold,
                seed: fold.seed,
                examples,
                accuracy,
                macro_f1: macro_average.f1,
                loss,
                metric: metric.map(|metric| fold.predictions.value(metric, &fold.labels)),
            }
        };
        let folds: Vec<FoldScore> = folds.iter().map(score).collect();
        let over = |value: fn(&FoldScore) -> f64| {
            MeanAndDeviation::of(&folds.iter().map(value).collect::<Vec<_>>())
        };
        Self {
            accuracy: over(|fold| fold.accuracy),
            macro_f1: over(|fold| fold.macro_f1),
            loss: over(|fold| fold.loss),
            metric: metric.and_then(|_| {
                let values: Option<Vec<f64>> =
                    folds.iter().map(|fold| fold.metric.flatten()).collect();
                values.map(|values| MeanAndDeviation::of(&values))
            }),
            metric_heading: metric.map(Metric::heading),
            folds,
        }
    }

    /// Formats a row for each fold, and one for their mean and standard deviation.
    fn table(&self) -> String {
        let title = |(title, align): (&str, Align)| (title.to_owned(), align);
        let columns = [
            ("run", Align::Left),
            ("examples", Align::Right),
            ("accuracy", Align::Right),
            ("macro F1", Align::Right),
            ("loss", Align::Right),
        ];
        let columns = columns.map(title).into_iter();
        let metric = self.metric_heading.iter().map(|heading| (heading.clone(), Align::Right));
        let mut table = Table::new(columns.chain(metric));
        for fold in &self.folds {
            let mut row = vec![
                fold.run.clone(),
                group_digits(fold.examples),
                format!("{:.2} %", 100.0 * fold.accuracy),
                format!("{:.4}", fold.macro_f1),
                format!("{:.4}", fold.loss),
            ];
            let shown =
                |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
            row.extend(fold.metric.map(shown));
            table.add(row);
        }
        let mut row = vec![
            "mean ± sd".to_owned(),
            String::new(),
            format!("{} %", self.accuracy.format(2, 100.0)),
            self.macro_f1.format(4, 1.0),
            self.loss.format(4, 1.0),
        ];
        if self.metric_heading.is_some() {
            row.push(self.metric.map_or("–".into(), |metric| metric.format(4, 1.0)));
        }
        table.add(row);
        format!("{}\n", table.lines_within(terminal_width()).join("\n"))
    }
}
