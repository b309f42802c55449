//! `lstmtext plot`.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};

use anyhow::{bail, ensure};
use clap::Args;

use super::exit::SUCCESS;
use super::output_file;
use super::reliability;
use crate::config::{Config, Metric, positive_integer};
use crate::events::{self, SubRun};
use crate::io::replace::write_output;
use crate::objective::metrics::Score;
use crate::output::{note, print_data};
use crate::plot::curves::{self, Options, RunCurves, TAGS, XAxis};
use crate::plot::words::{self, WordsPlot};
use crate::plot::{Picture, Theme};
use crate::prediction::{Classifier, Prediction};
use crate::run::checkpoint::is_checkpoint;
use crate::run::comparison::{ComparisonGroups, ranking_metric};
use crate::run::directory::RunDirectory;
use crate::run::listing::{find, is_language_model, is_run};
use crate::run::report::RunReport;
use crate::run::saved_model::is_ensemble;
use crate::system::threads;
use crate::text::{Encoder, OOV, START};

const EXAMPLES: &str = "\
Examples:
  lstmtext plot runs/a
  lstmtext plot runs/a runs/b --to pictures --no-words
  lstmtext plot runs/* --x time --smoothing 0.9 --no-words
  lstmtext plot runs/a --reliability --no-words
  lstmtext plot sweeps/sweep              curves of the best runs in this directory

curves.svg and curves.png show loss, accuracy, learning rate and tokens per second of the runs with \
the best validation, including running ones, in the order of their ranking. If the best epoch is \
chosen by another metric (train.early_stopping.metric), it takes the place of tokens per second. Training curves are \
smoothed as in TensorBoard; many steps are averaged.
words.svg and words.png show, for models with two classes, the probability of the second class for \
each word of the vocabulary by itself.
reliability.svg and reliability.png, with --reliability, show how often predictions of a probability are right on the \
validation examples of the run; those of a calibrated checkpoint before and after calibration.

The pictures are written to the run directory; those of several runs to the current directory. For a \
directory that contains runs, the curves of all of them are written to it.";

/// Plot curves and per-word probabilities of runs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlotArgs {
    /// Run directories, or a directory that contains runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Directory to write the pictures to; created if it is missing
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Quantity on the x axes
    #[arg(long, value_name = "AXIS", default_value = "epoch")]
    x: XAxis,
    /// Smoothing of training curves, as in TensorBoard: from 0 to 0.999
    #[arg(long, value_name = "WEIGHT", default_value = "0.6", value_parser = smoothing_weight)]
    smoothing: f64,
    /// Theme of the pictures
    #[arg(long, value_name = "THEME", default_value = "auto")]
    theme: Theme,
    /// Maximum number of runs in the picture of the curves, the best first
    #[arg(long, value_name = "N", default_value = "7", value_parser = positive_integer)]
    top: NonZeroUsize,
    /// Also plot the reliability of the probabilities on the validation examples of each run
    #[arg(long)]
    reliability: bool,
    /// Do not plot per-word probabilities
    #[arg(long)]
    no_words: bool,
}

/// Parses a smoothing weight. The range is that of TensorBoard: with 1 the curve would be constant.
fn smoothing_weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight| (0.0..=0.999).contains(weight));
    weight.ok_or_else(|| "must be a number from 0 to 0.999".to_owned())
}

/// Runs the command.
pub fn run(args: PlotArgs) -> anyhow::Result<u8> {
    threads::set_count(None)?;
    let (paths, parent) = match &args.runs[..] {
        [directory] if contains_runs(directory) => {
            (runs_with_curves(directory)?, Some(directory.clone()))
        }
        _ => (deduplicate(args.runs), None),
    };
    let no_words = args.no_words || parent.is_some();
    let names = unique_names(&paths);
    let runs: Vec<RunDirectory> = paths.iter().map(|path| RunDirectory::open(path)).collect();
    let mut curves: Vec<RankedCurves> = runs
        .iter()
        .zip(&names)
        .map(|(run, name)| read_curves(run, name, args.x))
        .collect::<Result<_, _>>()?;
    let configs: Vec<Config> = curves
        .iter()
        .filter_map(|run| run.report.resolved.as_ref().map(|resolved| resolved.config.clone()))
        .collect();
    let metric = ranking_metric(curves.iter().filter_map(|run| run.report.config()));
    curves.sort_by(|a, b| match (a.score(), b.score()) {
        (Some(a), Some(b)) => a.rank(b, &metric),
        (a, b) => a.is_none().cmp(&b.is_none()),
    });
    let groups = ComparisonGroups::of(curves.iter().map(|run| &run.report));
    curves.sort_by_key(|run| groups.position(&run.report));
    groups.note().iter().for_each(note);
    if groups.sets() > 1 {
        for RankedCurves { curves, report } in &mut curves {
            if let Some(data) = report.validation_data {
                curves.name += &format!(" ({})", data.short());
            }
        }
    }
    let hidden = curves.len().saturating_sub(args.top.get());
    let shown: Vec<RunCurves> =
        curves.into_iter().take(args.top.get()).map(|run| run.curves).collect();
    if hidden > 0 {
        let (shown, all) = (shown.len(), runs.len());
        note(format!(
            "the curves are those of the {shown} best of {all} runs; --top {all} shows all"
        ));
    }
    let directory = args.to.or(parent).unwrap_or_else(|| match &paths[..] {
        [run] => run.clone(),
        _ => PathBuf::from("."),
    });
    let options = Options { x_axis: args.x, smoothing: args.smoothing, hidden, theme: args.theme };
    write(&directory, "curves", &configs, &curves::draw(&shown, &options)?)?;
    for (run, name) in runs.iter().zip(&names) {
        let stem = |kind: &str| match runs.len() {
            1 => kind.to_owned(),
            _ => format!("{kind}-{}", name.replace('/', "-")),
        };
        if args.reliability {
            let picture = reliability::draw(run, name, args.theme)?;
            write(&directory, &stem("reliability"), &configs, &picture)?;
        }
        if no_words {
            continue;
        }
        if let Some(picture) = draw_words(run, name, args.theme)? {
            write(&directory, &stem("words"), &configs, &picture)?;
        }
    }
    Ok(SUCCESS)
}

/// Returns true if a directory is not a run, but contains runs.
fn contains_runs(directory: &Path) -> bool {
    !is_run(directory)
        && !is_checkpoint(directory)
        && find(directory).is_ok_and(|runs| !runs.is_empty())
}

/// Returns the runs in a directory that have curves.
fn runs_with_curves(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut runs = find(directory)?;
    runs.retain(|path| RunDirectory::open(path).records().is_ok_and(|records| !records.is_empty()));
    if runs.is_empty() {
        bail!(
            "no run in \"{}\" has curves yet; curves appear after the first validation",
            directory.display()
        );
    }
    Ok(runs)
}

/// Writes a picture, but not over a file from which one of the runs was trained.
fn write(
    directory: &Path,
    stem: &str,
    configs: &[Config],
    picture: &Picture,
) -> anyhow::Result<()> {
    for (extension, bytes) in [("svg", picture.svg.as_bytes()), ("png", &picture.png)] {
        let path = directory.join(format!("{stem}.{extension}"));
        for config in configs {
            output_file::check("--to", &path, config, None)?;
        }
        write_output(&path, bytes)?;
        print_data(&path.display().to_string())?;
    }
    if picture.has_missing_glyphs {
        note(format!(
            "{stem}.png has boxes instead of characters that its font lacks; use {stem}.svg"
        ));
    }
    Ok(())
}

/// Removes duplicates, even if the same directory is written in different ways.
fn deduplicate(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    paths.retain(|path| seen.insert(canonical(path)));
    paths
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Names each run by its directory, and by as many parent directories as it takes to make names unique.
fn unique_names(paths: &[PathBuf]) -> Vec<String> {
    let components: Vec<Vec<String>> =
        paths.iter().map(|path| components(&canonical(path))).collect();
    let max_depth = components.iter().map(Vec::len).max().unwrap_or(0);
    let names = |depth: usize| -> Vec<String> {
        let name = |path: &Vec<String>| path[path.len().saturating_sub(depth)..].join("/");
        components.iter().map(name).collect()
    };
    let are_unique = |names: &[String]| names.iter().collect::<HashSet<_>>().len() == names.len();
    (1..max_depth).map(names).find(|names| are_unique(names)).unwrap_or_else(|| names(max_depth))
}

fn components(path: &Path) -> Vec<String> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// The curves of a run, and what ranks it.
struct RankedCurves {
    curves: RunCurves,
    report: RunReport,
}

impl RankedCurves {
    fn score(&self) -> Option<Score> {
        self.report.scored.map(|scored| scored.validation)
    }
}

/// Reads the curves of a run.
///
/// # Errors
/// Returns an error if the run has no curves, or none for this x axis.
fn read_curves(run: &RunDirectory, name: &str, x_axis: XAxis) -> anyhow::Result<RankedCurves> {
    let path = run.path().display();
    if !run.path().is_dir() {
        bail!("there is no directory \"{path}\"");
    }
    ensure!(
        !is_ensemble(run.path()),
        "\"{path}\" is an ensemble of checkpoints, which has no curves"
    );
    ensure!(
        !is_language_model(run.path()),
        "\"{path}\" is the run of a language model, whose curves are in TensorBoard"
    );
    if is_checkpoint(run.path()) {
        bail!("\"{path}\" is a checkpoint; pass its run, the directory that contains it");
    }
    let report = RunReport::read(run.path());
    let curves = RunCurves {
        name: name.to_owned(),
        metric: report.config().map_or(Metric::Loss, |config| config.metric().clone()),
        records: run.records()?,
        times: run.times()?,
        steps: events::scalars(run.path(), SubRun::Train, TAGS)?,
        best: report.best.map(|best| best.validation),
    };
    let has_steps = curves.steps.iter().any(|curve| !curve.is_empty());
    if curves.records.is_empty() && !(has_steps && x_axis == XAxis::Step) {
        let hint = if has_steps { "; until then, use --x step" } else { "" };
        bail!(
            "\"{path}\" has no curves, because its metrics.jsonl is missing or empty; curves appear \
             after the first validation{hint}"
        );
    }
    if x_axis == XAxis::Time && curves.times.is_empty() {
        bail!("cannot plot \"{path}\" by time: its times.jsonl is missing or empty");
    }
    Ok(RankedCurves { curves, report })
}

/// Draws the per-word probabilities of a run. Prints a note and returns `None` if that is not possible.
fn draw_words(run: &RunDirectory, name: &str, theme: Theme) -> anyhow::Result<Option<Picture>> {
    let skip = |reason: String| {
        note(format!("{name}: words are not plotted: {reason}"));
        Ok(None)
    };
    let Some(checkpoint) = [run.best(), run.last()].into_iter().find(|path| path.exists()) else {
        return skip("the run has no checkpoint yet".into());
    };
    let classifier = Classifier::load(&checkpoint)?;
    let [first, second] = classifier.labels() else {
        let classes = classifier.labels().len();
        return skip(format!("the model has {classes} classes instead of two"));
    };
    if classifier.inputs().columns().len() > 1 {
        return skip("the model reads several text columns".into());
    }
    let words = word_probabilities(&classifier, second)?;
    if words.is_empty() {
        return skip("no word of the vocabulary can be a text by itself".into());
    }
    let plot = WordsPlot { run: name, labels: [first, second], words: &words };
    words::draw(&plot, theme).map(Some)
}

/// Returns every word that can be a text by itself, with the probability of the class with this label.
fn word_probabilities(classifier: &Classifier, label: &str) -> anyhow::Result<Vec<(String, f64)>> {
    let words = standalone_words(&classifier.encoders()[0]);
    let probability = |prediction: Prediction| {
        let class = prediction.classes.into_iter().find(|class| class.label == label)?;
        Some(class.probability)
    };
    let probabilities = classifier.predict(&words)?.into_iter().map(probability);
    let words = words.into_iter().zip(probabilities);
    Ok(words.filter_map(|(word, probability)| Some((word, probability?))).collect())
}

/// Returns the words that are encoded as their own id and nothing else. Special words are not.
fn standalone_words(encoder: &Encoder) -> Vec<String> {
    let vocabulary = encoder.vocabulary();
    let words: Vec<String> = vocabulary.words().iter().map(|word| word.to_string()).collect();
    let corpus = encoder.encode_all(&words);
    let is_standalone = |index: usize, word: &str| {
        let id = vocabulary.id(word);
        id != OOV && corpus.text(index).iter().filter(|id| **id != START).eq([&id])
    };
    let words = words.into_iter().enumerate();
    words.filter(|(index, word)| is_standalone(*index, word)).map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_include_parent_directories_if_needed() {
        let names =
            |paths: &[&str]| unique_names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["/no/a/run"]), ["run"]);
        assert_eq!(names(&["/no/a/run", "/no/b/last"]), ["run", "last"]);
        assert_eq!(names(&["/no/a/run", "/no/b/run"]), ["a/run", "b/run"]);
        assert_eq!(names(&["/no/run", "/run"]), ["no/run", "run"]);
        assert_eq!(names(&["/"]), [""]);
    }

    #[test]
    fn a_run_given_twice_is_plotted_once() {
        let paths = ["src", "tests", "./src/", "none"].map(PathBuf::from).to_vec();
        let expected: Vec<_> = ["src", "tests", "none"].map(PathBuf::from).to_vec();
        assert_eq!(deduplicate(paths), expected);
    }
}
