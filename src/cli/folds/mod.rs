//! `lstmtext folds`.

mod fold;
mod out_of_fold;
mod scores;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{bail, ensure};
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use serde_yaml::{Mapping, Value};

use self::fold::{Fold, FoldData};
use self::out_of_fold::{OutOfFold, write_predictions};
use self::scores::Scores;
use super::exit::{FAILURE, SUCCESS};
use super::hints::{program, relative};
use super::many_runs::{self, RunsArgs, Trained};
use super::{output_directory, output_file, starter};
use crate::backend::Backends;
use crate::config::{ConfigError, Document, Override, Sweep, positive_integer};
use crate::data;
use crate::io::files::json_content;
use crate::io::replace::write_atomic;
use crate::output::format::{group_digits, join_names, pluralize};
use crate::output::shell::quoted_path;
use crate::output::{message, note, print_json, print_wrapped};
use crate::run::directory::RunDirectory;
use crate::run::saved_model::{fold_paths, is_folds, write_folds};
use crate::sweep::{SweepDirectory, SweepRun};
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
            set("data.split.fold_use", "test".into()),
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
