//! `lstmtext runs diff`.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use clap::Args;

use super::named_run::{NamedRun, differing_fields, entries, loss, metric_value, percent};
use crate::cli::exit::SUCCESS;
use crate::config::{Difference, inline_yaml};
use crate::data::Fingerprint;
use crate::objective::metrics::Score;
use crate::output::format::group_digits;
use crate::output::sanitize::printable;
use crate::output::table::{Align, Table};
use crate::output::width::{display_width, truncate_middle};
use crate::output::{note, print, print_json, terminal_width, warning};
use crate::run::checkpoint::is_checkpoint;
use crate::run::comparison::common_metric;
use crate::run::listing::is_run;
use crate::run::report::RunReport;
use crate::run::saved_model::is_ensemble;

/// Default directory of runs.
const RUNS: &str = "runs";

const EXAMPLES: &str = "\
Examples:
  lstmtext runs diff runs/a runs/b
  lstmtext runs diff a b               the same, with the names shown by lstmtext runs";

/// Compare the configurations and scores of two runs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// First run
    a: PathBuf,
    /// Second run
    b: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: DiffArgs) -> anyhow::Result<u8> {
    let runs = [open_run(&args.a)?, open_run(&args.b)?];
    let differing = differing_fields(&runs);
    if args.json {
        print_json(&entries(&runs, &differing))?;
        return Ok(SUCCESS);
    }
    for run in &runs {
        for text in &run.report.warnings {
            warning(format!("{}: {text}", run.name));
        }
        for error in &run.report.faults {
            note(format!("{}: {error}", run.name));
        }
    }
    for split in SCORED_SPLITS {
        split.note_other_examples([&runs[0].report, &runs[1].report]).iter().for_each(note);
    }
    let mut text = field_lines(&runs, &differing, terminal_width());
    text.push(String::new());
    text.extend(score_lines(&runs, terminal_width()));
    print(&text.join("\n"))?;
    Ok(SUCCESS)
}

/// A split with scores.
struct ScoredSplit {
    name: &'static str,
    score: fn(&RunReport) -> Option<Score>,
    data: fn(&RunReport) -> Option<Fingerprint>,
}

const SCORED_SPLITS: [ScoredSplit; 2] = [
    ScoredSplit {
        name: "validation",
        score: |run| run.scored.map(|scored| scored.validation),
        data: |run| run.validation_data,
    },
    ScoredSplit { name: "test", score: |run| run.test, data: |run| run.test_data },
];

impl ScoredSplit {
    /// Returns a note if the scores of the runs are not comparable, or may not be.
    fn note_other_examples(&self, runs: [&RunReport; 2]) -> Option<String> {
        let Self { name, score, data } = self;
        let have_scores = runs.iter().all(|run| score(run).is_some());
        match runs.map(data) {
            [Some(a), Some(b)] if a != b => Some(format!(
                "the runs have different {name} examples: their {name} scores are not comparable"
            )),
            [None, _] | [_, None] if have_scores => Some(format!(
                "the {name} examples of a run are not recorded (earlier version): if they differ, the \
                 {name} scores are not comparable"
            )),
            _ => None,
        }
    }
}

/// Opens the run in a directory, or in a subdirectory of `runs`.
fn open_run(path: &Path) -> anyhow::Result<NamedRun> {
    let in_runs = Path::new(RUNS).join(path);
    let directory = if !path.exists() && in_runs.is_dir() { &in_runs } else { path };
    let shown = directory.display();
    ensure!(directory.is_dir(), "no directory \"{shown}\"");
    if is_checkpoint(directory) {
        bail!("\"{shown}\" is a checkpoint; pass the directory of its run, one level up");
    }
    ensure!(
        !is_ensemble(directory),
        "\"{shown}\" is an ensemble of checkpoints, not a run; evaluate --compare compares it"
    );
    ensure!(is_run(directory), "\"{shown}\" is not a run");
    Ok(NamedRun { name: path.display().to_string(), report: RunReport::read(directory) })
}

/// Column headings of both runs.
fn headings(runs: &[NamedRun; 2], width: usize) -> [(String, Align); 2] {
    [&runs[0], &runs[1]].map(|run| (truncate_middle(&printable(&run.name), width), Align::Left))
}

/// Formats the fields that differ. Values that are too long for a column are printed below the
/// field.
fn field_lines(runs: &[NamedRun; 2], differing: &[Difference], width: usize) -> Vec<String> {
    if runs.iter().any(|run| run.report.resolved.is_none()) {
        return vec!["a configuration cannot be read".into()];
    }
    if differing.is_empty() {
        return vec!["the configurations are equal".into()];
    }
    let widest = differing.iter().map(|difference| difference.field().len()).max().unwrap_or(0);
    let value_width = (width.saturating_sub(widest + 4) / 2).max(8);
    let values = |difference: &Difference| -> Vec<String> {
        let value = |value: &Option<_>| value.as_ref().map_or("–".into(), inline_yaml);
        difference.values.iter().map(value).collect()
    };
    let long = |values: &[String]| values.iter().any(|value| display_width(value) > value_width);
    let mut table =
        Table::new([("field".into(), Align::Left)].into_iter().chain(headings(runs, value_width)));
    for difference in differing {
        let values = values(difference);
        let values = if long(&values) { vec![String::new(); 2] } else { values };
        table.add([vec![difference.field()], values].concat());
    }
    let mut rows = table.lines().into_iter();
    let mut lines: Vec<String> = rows.next().into_iter().collect();
    for (difference, row) in differing.iter().zip(rows) {
        lines.push(row);
        let values = values(difference);
        if long(&values) {
            lines.extend(values.iter().map(|value| format!("  {value}")));
        }
    }
    lines
}

/// Formats the scores of both runs and their differences.
fn score_lines(runs: &[NamedRun; 2], width: usize) -> Vec<String> {
    let value_width = (width.saturating_sub(40) / 2).max(8);
    let [a, b] = headings(runs, value_width).map(|(title, _)| (title, Align::Right));
    let mut table =
        Table::new([("score".into(), Align::Left), a, b, ("difference".into(), Align::Right)]);
    let reports = [&runs[0].report, &runs[1].report];
    let mut add = |title: &str, values: [String; 2], difference: Option<String>| {
        if values.iter().any(|value| !value.is_empty()) {
            let [a, b] = values;
            table.add(vec![title.into(), a, b, difference.unwrap_or_default()]);
        }
    };
    let metric = common_metric(reports.into_iter().filter_map(RunReport::config));
    for ScoredSplit { name: split, score, .. } in SCORED_SPLITS {
        let scores = reports.map(score);
        let both = match scores {
            [Some(a), Some(b)] => Some((a, b)),
            _ => None,
        };
        let shown = |show: fn(Score) -> String| scores.map(|s| s.map_or(String::new(), show));
        let difference = both.map(|(a, b)| format!("{:+.2}  ", 100.0 * (b.accuracy - a.accuracy)));
        add(&format!("{split} accuracy"), shown(percent), difference);
        let difference = both.map(|(a, b)| format!("{:+.4}", b.loss - a.loss));
        add(&format!("{split} loss"), shown(loss), difference);
        if let Some(metric) = metric.as_ref().filter(|metric| metric.is_additional()) {
            let difference = both.and_then(|(a, b)| Some(format!("{:+.4}", b.metric? - a.metric?)));
            let title = format!("{split} {}", metric.heading());
            add(&title, shown(metric_value), difference);
        }
    }
    let number = |number: Option<f64>| number.map_or(String::new(), |n| group_digits(n as usize));
    add("state", reports.map(|run| run.state.as_str().to_owned()), None);
    add("epoch", [runs[0].epochs(), runs[1].epochs()], None);
    add("training time", [runs[0].time(), runs[1].time()], None);
    add("tokens/s", reports.map(|run| number(run.tokens_per_second)), None);
    add("parameters", reports.map(|run| run.parameters.map_or(String::new(), group_digits)), None);
    table.lines_within(width)
}
