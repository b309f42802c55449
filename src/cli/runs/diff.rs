//! `lstmtext runs diff`.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use clap::Args;

use super::{Named, differing, entries, loss, percent};
use crate::cli::FINE;
use crate::config::{Difference, flow};
use crate::objective::metrics::Score;
use crate::output::format::group_digits;
use crate::output::sanitize::printable;
use crate::output::table::{Align, Table, truncate_middle};
use crate::output::{note, print, print_json, terminal_width};
use crate::run::checkpoint::is_checkpoint;
use crate::run::listing::{RunReport, is_run};

/// Where runs lie if nothing else is said.
const RUNS: &str = "runs";

const EXAMPLES: &str = "\
Examples:
  lstmtext runs diff runs/a runs/b
  lstmtext runs diff a b               the same, as lstmtext runs names them";

/// Compare two runs: configuration and scores
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// A run
    a: PathBuf,
    /// Another
    b: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: DiffArgs) -> anyhow::Result<u8> {
    let runs = [named(&args.a)?, named(&args.b)?];
    let differing = differing(&runs);
    if args.json {
        print_json(&entries(&runs, &differing))?;
        return Ok(FINE);
    }
    for run in &runs {
        for fault in &run.report.faults {
            note(format!("{}: {fault}", run.name));
        }
    }
    let mut text = fields(&runs, &differing, terminal_width());
    text.push(String::new());
    text.extend(scores(&runs, terminal_width()));
    print(&text.join("\n"))?;
    Ok(FINE)
}

/// The run in a folder, or in one below `runs`.
fn named(path: &Path) -> anyhow::Result<Named> {
    let below = Path::new(RUNS).join(path);
    let folder = if !path.exists() && below.is_dir() { &below } else { path };
    let shown = folder.display();
    ensure!(folder.is_dir(), "there is no folder \"{shown}\"");
    if is_checkpoint(folder) {
        bail!("\"{shown}\" is a checkpoint; name the folder of its run, the one above it");
    }
    ensure!(is_run(folder), "\"{shown}\" holds no run");
    Ok(Named { name: path.display().to_string(), report: RunReport::read(folder) })
}

/// The titles of both runs.
fn titles(runs: &[Named; 2], width: usize) -> [(String, Align); 2] {
    [&runs[0], &runs[1]].map(|run| (truncate_middle(&printable(&run.name), width), Align::Left))
}

/// The fields that differ; one whose values are too long for columns has them below it.
fn fields(runs: &[Named; 2], differing: &[Difference], width: usize) -> Vec<String> {
    if runs.iter().any(|run| run.report.resolved.is_none()) {
        return vec!["a configuration cannot be read".into()];
    }
    if differing.is_empty() {
        return vec!["the configurations are the same".into()];
    }
    let widest = differing.iter().map(|difference| difference.field().len()).max().unwrap_or(0);
    let most = width.saturating_sub(widest + 4) / 2;
    let values = |difference: &Difference| -> Vec<String> {
        let value = |value: &Option<_>| value.as_ref().map_or("–".into(), flow);
        difference.values.iter().map(value).collect()
    };
    let long = |values: &[String]| values.iter().any(|value| value.chars().count() > most);
    let mut table =
        Table::new([("field".into(), Align::Left)].into_iter().chain(titles(runs, most)));
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

/// What both runs reached, and by how much the second is above the first.
fn scores(runs: &[Named; 2], width: usize) -> Vec<String> {
    let most = width.saturating_sub(40) / 2;
    let [a, b] = titles(runs, most).map(|(title, _)| (title, Align::Right));
    let mut table =
        Table::new([("score".into(), Align::Left), a, b, ("difference".into(), Align::Right)]);
    let reports = [&runs[0].report, &runs[1].report];
    let mut add = |title: &str, values: [String; 2], difference: Option<String>| {
        if values.iter().any(|value| !value.is_empty()) {
            let [a, b] = values;
            table.add(vec![title.into(), a, b, difference.unwrap_or_default()]);
        }
    };
    type Part = fn(&RunReport) -> Option<Score>;
    let parts: [(&str, Part); 2] =
        [("validation", |run| run.best.map(|best| best.validation)), ("test", |run| run.test)];
    for (part, score) in parts {
        let scores = reports.map(score);
        let both = match scores {
            [Some(a), Some(b)] => Some((a, b)),
            _ => None,
        };
        let shown = |show: fn(Score) -> String| scores.map(|s| s.map_or(String::new(), show));
        let gain = both.map(|(a, b)| format!("{:+.2}  ", 100.0 * (b.accuracy - a.accuracy)));
        add(&format!("{part} accuracy"), shown(percent), gain);
        let gain = both.map(|(a, b)| format!("{:+.4}", b.loss - a.loss));
        add(&format!("{part} loss"), shown(loss), gain);
    }
    let number = |number: Option<f64>| number.map_or(String::new(), |n| group_digits(n as usize));
    add("state", reports.map(|run| run.state.as_str().to_owned()), None);
    add("best epoch", [runs[0].epochs(), runs[1].epochs()], None);
    add("training time", [runs[0].time(), runs[1].time()], None);
    add("tokens/s", reports.map(|run| number(run.tokens_per_second)), None);
    add("parameters", reports.map(|run| run.parameters.map_or(String::new(), group_digits)), None);
    table.lines()
}
