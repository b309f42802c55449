//! `lstmtext tune`.

mod console;
mod facts;
mod latency;
mod refit;
mod report;
pub mod search;
mod session;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_yaml::Value;

use self::search::SearchRequest;
use super::arguments::{ColumnArgs, ComputeArgs, SetArgs};
use super::many_runs;
use super::{output_directory, starter};
use crate::backend::Backends;
use crate::config::{
    Config, ConfigError, FieldValue, Metric, Override, SearchMethod, SearchSpace, SweepSection,
    TimeBudget, positive_integer,
};
use crate::output::message;
use crate::system::threads;
use crate::tune::{DataFacts, Limits, TuneDirectory, default_fields};

const EXAMPLES: &str = "\
Examples:
  lstmtext tune reviews.csv
  lstmtext tune mine.yaml --budget 30m --jobs 2
  lstmtext tune mine.yaml --metric macro_f1 --max-size 5MB --max-latency 1ms
  lstmtext tune mine.yaml --trials 40 --set train.epochs=12
  lstmtext tune mine.yaml --budget 10m --set 'sweep.train.learning_rate={log_uniform: [1e-4, 1e-2]}'

All trials train for a few epochs, and the better third of them for three times as many (ASHA, Li et al. 2020); \
new trials resemble the better ones (TPE, Bergstra et al. 2011). Without a section sweep, the command chooses what \
varies, from the lengths of the texts and the number of words; the first trial is the configuration itself, apart from \
train.epochs, and --set keeps a field as it is. The test examples are never looked at.

The directory has search.yaml, a run for each trial, leaderboard.json, search.svg, search.png and best.yaml, the \
configuration of the best trial. The same command continues a search that was stopped, or one with a longer \
--budget; several processes can share the directory.";

/// Number of trials whose checkpoints are kept by default.
pub const KEPT: usize = 5;
/// Time of a search if nothing limits it.
const DEFAULT_BUDGET: Duration = Duration::from_secs(300);

/// Search for better settings within a time budget
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TuneArgs {
    /// Configuration file (YAML), or data, for which the configuration is guessed
    config: PathBuf,
    /// Wall-clock time of the search, such as 90s, 5m or 1h30m; by default 5m without --trials
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    budget: Option<TimeBudget>,
    /// Maximum number of trials
    #[arg(long, value_name = "N", value_parser = positive_integer)]
    trials: Option<NonZeroUsize>,
    /// Method: tpe (the default), asha (random settings), or random (random settings, all trained to the end)
    #[arg(long, value_name = "METHOD", value_parser = method)]
    method: Option<SearchMethod>,
    /// Random seed of the settings; 1 by default
    #[arg(long, value_name = "SEED")]
    search_seed: Option<u64>,
    /// Validation metric that ranks the trials (train.early_stopping.metric), such as accuracy or macro_f1
    #[arg(long, value_name = "METRIC", value_parser = metric)]
    metric: Option<Metric>,
    /// Number of trials to train at once; they share the CPU cores. 1 makes a search with --trials reproducible
    #[arg(long, value_name = "N", value_parser = positive_integer, default_value = "1")]
    jobs: NonZeroUsize,
    /// Maximum size of the files that predictions need, such as 5MB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Maximum time in which a model classifies one text, such as 1ms: the median over validation texts
    #[arg(long, value_name = "TIME", value_parser = latency)]
    max_latency: Option<Duration>,
    /// Score each trial by K-fold cross-validation. For small data sets; the test examples stay apart
    #[arg(long, value_name = "K", value_parser = fold_count)]
    folds: Option<NonZeroUsize>,
    /// Train the best settings once more, on the training and validation examples, for their best number of epochs
    #[arg(long)]
    refit: bool,
    /// Number of trials whose checkpoints are kept, overall and among those that can be promoted at each rung; or all
    /// (5 by default)
    #[arg(long, value_name = "N", value_parser = kept)]
    keep: Option<Keep>,
    /// Directory of the search; by default tunes/NAME
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the leaderboard as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Parses a method.
fn method(text: &str) -> Result<SearchMethod, String> {
    let method = SearchMethod::from_yaml(&Value::from(text));
    let method = method.filter(|method| *method != SearchMethod::Grid);
    method.ok_or_else(|| "expected tpe, asha or random".to_owned())
}

/// Parses a metric.
fn metric(text: &str) -> Result<Metric, String> {
    text.parse().map_err(|message| match Metric::suggestion(&Value::from(text)) {
        Some(suggestion) => format!("{message}; did you mean {suggestion}?"),
        None => message,
    })
}

/// Parses a time in which a text is classified.
fn latency(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "expected a time with its unit, such as 500us or 1ms".to_owned())
}

/// Number of trials whose checkpoints are kept.
#[derive(Clone, Copy, Debug)]
enum Keep {
    All,
    Best(NonZeroUsize),
}

fn fold_count(text: &str) -> Result<NonZeroUsize, String> {
    let count = positive_integer(text).ok().filter(|count| (2..=100).contains(&count.get()));
    count.ok_or_else(|| "expected an integer from 2 to 100".to_owned())
}

fn kept(text: &str) -> Result<Keep, String> {
    match text {
        "all" => Ok(Keep::All),
        _ => positive_integer(text).map(Keep::Best).map_err(|message| format!("{message}, or all")),
    }
}

/// Parses a size such as 5MB.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 7] = [
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("b", 1.0),
    ];
    let lower = text.trim().to_lowercase();
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, factor)));
    let bytes = unit.and_then(|(number, factor)| Some(number.trim().parse::<f64>().ok()? * factor));
    match bytes.filter(|bytes| (1.0..1e18).contains(bytes)) {
        Some(bytes) => Ok(bytes as u64),
        None => Err("expected a size with its unit, such as 500kB or 5MB".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: TuneArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let overrides = args.overrides();
    let (document, base, options) = starter::load_with(&args.config, &overrides, |document| {
        let section = document.sweep(&overrides)?;
        let options = args.options(&section);
        let given = if section.is_empty() { &[] } else { &options[..] };
        let base = document.resolve(&[&overrides, given].concat())?;
        Ok((document.clone(), base, options))
    })?;
    let given = !base.config.sweep.is_empty();
    let path = args.out.clone();
    let path = path.unwrap_or_else(|| many_runs::default_directory_of("tunes", &base.config));
    output_directory::check(&path)?;
    if args.refit {
        refit::check(&base.config)?;
    }
    if args.max_latency.is_some() {
        // Another program may have to go on with the command, before anything is done.
        args.compute.start(backends, &base.config, true)?;
    }
    threads::set_count(args.compute.threads)?;
    let facts = facts::read(&base.config)?;
    if let Some(problem) = base.config.metric().unknown_label(&facts.labels) {
        return Err(ConfigError::new(format!("--metric: {problem}")).into());
    }
    let section = match given {
        true => Vec::new(),
        false => args.default_section(&base.config, &facts, &overrides, &options, &path)?,
    };
    let limits = Limits { bytes: args.max_size, latency: args.max_latency, words: facts.words };
    let overrides = [overrides, section, options].concat();
    let space = SearchSpace::of(&document, &overrides)?;
    let keep = match args.keep {
        None => Some(KEPT),
        Some(Keep::All) => None,
        Some(Keep::Best(count)) => Some(count.get()),
    };
    let request = SearchRequest {
        space,
        starts_with_base: !given,
        limits,
        keep,
        jobs: args.jobs,
        compute: &args.compute,
        path: &path,
        json: args.json,
        refit: args.refit,
    };
    search::run(request, backends)
}

impl TuneArgs {
    /// Overrides of the configuration, without those of the section sweep.
    fn overrides(&self) -> Vec<Override> {
        let metric = self.metric.as_ref();
        let metric =
            metric.map(|metric| Override::new("train.early_stopping.metric", metric.to_yaml()));
        let set = |field: &str, value: Value| Override::new(field, value);
        let folds = self.folds.iter().flat_map(|folds| {
            [
                set("data.split.folds", Value::from(folds.get() as u64)),
                set("data.split.fold_use", Value::from("validation")),
            ]
        });
        self.columns.overrides(&self.set).into_iter().chain(metric).chain(folds).collect()
    }

    /// Returns the options of the section sweep as overrides; those that the section has are kept unless there is an
    /// argument.
    fn options(&self, section: &SweepSection) -> Vec<Override> {
        let has = |option: &str| section.get(option).is_some();
        let set = |option: &str, value: Value| Override::new(&format!("sweep.{option}"), value);
        let method = self.method.or((!has("method")).then_some(SearchMethod::Tpe));
        let is_limited = self.trials.is_some() || has("budget") || has("trials");
        let budget = self.budget.or((!is_limited).then_some(TimeBudget(DEFAULT_BUDGET)));
        let options = [
            method.map(|method| set("method", method.as_str().into())),
            budget.map(|budget| set("budget", budget.to_yaml())),
            self.trials.map(|trials| set("trials", Value::from(trials.get() as u64))),
            self.search_seed.map(|seed| set("search_seed", seed.into())),
        ];
        options.into_iter().flatten().collect()
    }

    /// Chooses what varies, unless the directory has a search, with which it then continues.
    fn default_section(
        &self,
        base: &Config,
        facts: &DataFacts,
        overrides: &[Override],
        options: &[Override],
        path: &Path,
    ) -> anyhow::Result<Vec<Override>> {
        let budget = options.iter().find(|set| set.field() == "sweep.budget");
        let budget = budget.and_then(|set| TimeBudget::from_yaml(set.value()));
        let budget = budget.map(|budget| budget.0);
        let fields = match TuneDirectory::recorded_section(path)? {
            // What varies depends on the time and the machine.
            Some(recorded) => {
                recorded.varied().map(|(field, values)| (field.clone(), values.clone())).collect()
            }
            None => default_fields(base, facts, budget, threads::count(), overrides),
        };
        let set = |field: &str, value: Value| Override::new(field, value);
        let sets_epochs = overrides.iter().any(|set| set.overlaps_field("train.epochs"));
        let epochs =
            (!sets_epochs).then_some(facts.epochs()).filter(|epochs| *epochs != base.train.epochs);
        if let Some(epochs) = epochs {
            message(format!(
                "for this data, trials train for up to {epochs} epochs; --set train.epochs={} keeps those of the \
                 configuration",
                base.train.epochs
            ));
        }
        let epochs = epochs.map(|epochs| set("train.epochs", Value::from(epochs as u64)));
        Ok(epochs.into_iter().chain([set("sweep", Value::Mapping(fields))]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("5MB", 5_000_000), ("1.5 kB", 1_500), ("2MiB", 2_097_152), ("700b", 700)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["5", "MB", "-1MB", "0MB", "1e30GB", "nanMB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
