//! `lstmtext plot`.

use std::fs;
use std::path::{Path, PathBuf};

use super::FINE;
use crate::events::{self, SubRun};
use crate::io::files::write_atomic;
use crate::output::{note, print};
use crate::plot::curves::{self, Along, Options, StepCurves, TAGS};
use crate::plot::words::{self, Words};
use crate::plot::{Picture, Theme};
use crate::prediction::{Classifier, Prediction};
use crate::run::checkpoint::is_checkpoint;
use crate::run::directory::RunDirectory;
use crate::run::listing::{find, is_run};
use crate::text::{Encoder, OOV, START};
use anyhow::{Context, bail};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  lstmtext plot runs/a
  lstmtext plot runs/a runs/b --to pictures --no-words
  lstmtext plot runs/* --x time --smoothing 0.9 --no-words
  lstmtext plot sweeps/sweep              the curves of all runs in this folder

curves: loss, accuracy, learning rate and tokens per second, all runs in one picture, running ones
too. Training is drawn step by step (many steps as their means), and smoothed as TensorBoard does.
words: for two classes, the probability of the second for every word of the vocabulary alone.
Each is written as .svg and as .png, into the run's folder or, for several runs, into this one.
Of a folder that holds runs there are the curves, written into it.
Both are readable on light and on dark pages; the SVG takes the colours that its reader prefers.";

/// Draw the curves of runs, and the emotion of their words
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlotArgs {
    /// The folders of runs, or one that holds runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the pictures go; made where it is missing
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// epoch | step | time: what the curves are drawn against
    #[arg(long, value_name = "AXIS", default_value = "epoch", hide_possible_values = true)]
    x: Along,
    /// Weight of earlier steps in the moving average that smooths training, from 0 to 0.999
    #[arg(long, value_name = "WEIGHT", default_value = "0.6", value_parser = weight)]
    smoothing: f64,
    /// auto | light | dark: the paper; auto: an SVG as its reader prefers, a PNG light
    #[arg(long, value_name = "THEME", default_value = "auto", hide_possible_values = true)]
    theme: Theme,
    /// Leave the words out
    #[arg(long)]
    no_words: bool,
}

/// TensorBoard's range: at 1 nothing would be left of a curve.
fn weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight| (0.0..=0.999).contains(weight));
    weight.ok_or_else(|| "allowed is a number from 0 to 0.999".to_owned())
}

/// Runs the command.
pub fn run(args: PlotArgs) -> anyhow::Result<u8> {
    let (paths, folder_of_runs) = match &args.runs[..] {
        [folder] if holds_runs(folder) => (with_curves(folder)?, Some(folder.clone())),
        _ => (without_repeats(args.runs), None),
    };
    let no_words = args.no_words || folder_of_runs.is_some();
    let names = names(&paths);
    let runs: Vec<RunDirectory> = paths.iter().map(|path| RunDirectory::open(path)).collect();
    let curves: Vec<StepCurves> = runs
        .iter()
        .zip(&names)
        .map(|(run, name)| measured(run, name, args.x))
        .collect::<Result<_, _>>()?;
    let folder = args.to.or(folder_of_runs).unwrap_or_else(|| match &paths[..] {
        [alone] => alone.clone(),
        _ => PathBuf::from("."),
    });
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder \"{}\"", folder.display()))?;
    let options = Options { along: args.x, smoothing: args.smoothing, theme: args.theme };
    write(&folder, "curves", &curves::draw(&curves, &options)?)?;
    if no_words {
        return Ok(FINE);
    }
    for (run, name) in runs.iter().zip(&names) {
        let stem = match runs.len() {
            1 => "words".to_owned(),
            _ => format!("words-{}", name.replace('/', "-")),
        };
        if let Some(picture) = words_of(run, name, args.theme)? {
            write(&folder, &stem, &picture)?;
        }
    }
    Ok(FINE)
}

/// Whether a folder is none of a run, but has some below it.
fn holds_runs(folder: &Path) -> bool {
    !is_run(folder) && !is_checkpoint(folder) && find(folder).is_ok_and(|runs| !runs.is_empty())
}

/// The runs below a folder that have something to be drawn.
fn with_curves(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let runs = find(folder)?.into_iter();
    let drawn =
        |path: &PathBuf| RunDirectory::open(path).records().is_ok_and(|run| !run.is_empty());
    let drawn: Vec<PathBuf> = runs.filter(drawn).collect();
    if drawn.is_empty() {
        bail!(
            "no run in \"{}\" has curves: they appear after the first validation",
            folder.display()
        );
    }
    Ok(drawn)
}

fn write(folder: &Path, stem: &str, picture: &Picture) -> anyhow::Result<()> {
    for (ending, bytes) in [("svg", picture.svg.as_bytes()), ("png", &picture.png)] {
        let path = folder.join(format!("{stem}.{ending}"));
        write_atomic(&path, bytes)?;
        print(&path.display().to_string())?;
    }
    if picture.boxes {
        note(format!(
            "{stem}.png has boxes for letters that its font lacks; {stem}.svg has them all"
        ));
    }
    Ok(())
}

/// The paths in their order, each folder once, however it is written.
fn without_repeats(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let new = |path: &PathBuf| {
        let folder = whole(path);
        let new = !seen.contains(&folder);
        seen.push(folder);
        new
    };
    paths.into_iter().filter(new).collect()
}

/// The path from the root on, without links.
fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A name for each run: its folder's, with those above it where runs would have the same name.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths.iter().map(|path| parts(&whole(path))).collect();
    let deepest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let named = |depth: usize| -> Vec<String> {
        parts.iter().map(|parts| parts[parts.len().saturating_sub(depth)..].join("/")).collect()
    };
    let differ = |names: &[String]| (1..names.len()).all(|i| !names[..i].contains(&names[i]));
    (1..deepest).map(named).find(|names| differ(names)).unwrap_or_else(|| named(deepest))
}

fn parts(path: &Path) -> Vec<String> {
    let normal = |part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(normal).collect()
}

/// What the files of a run measured, where that is enough to be drawn.
fn measured(run: &RunDirectory, name: &str, along: Along) -> anyhow::Result<StepCurves> {
    let path = run.path().display();
    if !run.path().is_dir() {
        bail!("there is no folder \"{path}\"");
    }
    if is_checkpoint(run.path()) {
        bail!("\"{path}\" is a checkpoint; name the folder of its run, the one above it");
    }
    let measured = StepCurves {
        name: name.to_owned(),
        records: run.records()?,
        times: run.times()?,
        steps: events::scalars(run.path(), SubRun::Train, TAGS)?,
        best: run.summary().map(|outcome| outcome.validation),
    };
    let has_steps = measured.steps.iter().any(|curve| !curve.is_empty());
    let enough = !measured.records.is_empty() || (has_steps && along == Along::Step);
    if !enough {
        let why = "metrics.jsonl is missing or empty; curves appear after the first validation";
        let advice = if has_steps { ", with --x step before it" } else { "" };
        bail!("\"{path}\" has no curves: its {why}{advice}");
    }
    if along == Along::Time && measured.times.is_empty() {
        bail!("\"{path}\" cannot be drawn against time: its times.jsonl is missing or empty");
    }
    Ok(measured)
}

/// The picture of a run's words, or a note why there is none.
fn words_of(run: &RunDirectory, name: &str, theme: Theme) -> anyhow::Result<Option<Picture>> {
    let left_out = |why: String| {
        note(format!("{name}: words: {why}"));
        Ok(None)
    };
    let Some(checkpoint) = [run.best(), run.last()].into_iter().find(|path| path.exists()) else {
        return left_out("left out, the run has no checkpoint yet".into());
    };
    let classifier = Classifier::load(&checkpoint)?;
    let [first, second] = classifier.labels() else {
        return left_out(format!(
            "needs two classes, this model has {}",
            classifier.labels().len()
        ));
    };
    if classifier.inputs().columns().len() > 1 {
        return left_out("needs one text, this model reads several columns".into());
    }
    let scores = word_scores(&classifier, second)?;
    if scores.is_empty() {
        return left_out("left out, no word of the vocabulary is a text by itself".into());
    }
    words::draw(&Words { run: name, labels: [first, second], scores: &scores }, theme).map(Some)
}

/// Every word of the vocabulary that is a text by itself, and how probable it makes the class of this
/// label.
fn word_scores(classifier: &Classifier, label: &str) -> anyhow::Result<Vec<(String, f64)>> {
    let words = whole_words(&classifier.encoders()[0]);
    let second = |prediction: Prediction| {
        let class = prediction.classes.into_iter().find(|class| class.label == label)?;
        class.probability.is_finite().then_some(class.probability)
    };
    let answers = classifier.predict(&words)?.into_iter().map(second);
    Ok(words.into_iter().zip(answers).filter_map(|(word, answer)| Some((word, answer?))).collect())
}

/// The words that are encoded as their own id and nothing else; special ones are not.
fn whole_words(encoder: &Encoder) -> Vec<String> {
    let vocabulary = encoder.vocabulary();
    let words: Vec<String> = vocabulary.words().iter().map(|word| word.to_string()).collect();
    let corpus = encoder.encode_all(&words);
    let is_whole = |number: usize, word: &str| {
        let id = vocabulary.id(word);
        id != OOV && corpus.text(number).iter().filter(|id| **id != START).eq([&id])
    };
    let words = words.into_iter().enumerate();
    words.filter(|(number, word)| is_whole(*number, word)).map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_name_are_named_by_their_folders() {
        let names = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["/no/a/run"]), ["run"]);
        assert_eq!(names(&["/no/a/run", "/no/b/last"]), ["run", "last"]);
        assert_eq!(names(&["/no/a/run", "/no/b/run"]), ["a/run", "b/run"]);
        assert_eq!(names(&["/no/run", "/run"]), ["no/run", "run"]);
        assert_eq!(names(&["/"]), [""]);
    }

    #[test]
    fn a_run_given_twice_is_drawn_once() {
        let paths = ["src", "tests", "./src/", "none"].map(PathBuf::from).to_vec();
        let expected: Vec<_> = ["src", "tests", "none"].map(PathBuf::from).to_vec();
        assert_eq!(without_repeats(paths), expected);
    }
}
