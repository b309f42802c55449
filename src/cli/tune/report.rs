//! Reports a search: prints the leaderboard, draws its picture, and writes the configuration of the best trial.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::session::End;
use crate::cli::hints::{program, relative};
use crate::config::{Metric, inline_yaml};
use crate::io::files::json_content;
use crate::io::replace::write_atomic;
use crate::output::format::{format_duration, pluralize};
use crate::output::shell::quoted_path;
use crate::output::width::wrap_items;
use crate::output::{message, note, print, print_json, terminal_width};
use crate::plot::Theme;
use crate::plot::search::{self, Line, SearchPlot};
use crate::sweep::Labels;
use crate::tune::{Leaderboard, Row, RungResult, Trials, TuneDirectory, trial_name};

/// Number of trials in the printed table.
const SHOWN: usize = 10;
/// Number of trials whose settings are printed.
const DESCRIBED: usize = 3;
/// Number of fields in the picture.
const MAX_FIELDS: usize = 12;

/// Prints the leaderboard to stdout and the next commands to stderr, and writes the files of the search. Returns false
/// if no trial has a rank.
///
/// # Errors
/// Returns an error if stdout or a file cannot be written.
pub fn report(directory: &TuneDirectory, json: bool, end: End) -> anyhow::Result<bool> {
    let trials = directory.trials()?;
    let board = Leaderboard::of(directory, &trials);
    let best_file = directory.path().join("best.yaml");
    write_atomic(&directory.path().join("leaderboard.json"), &json_content(&board)?)?;
    if json {
        print_json(&board)?;
    }
    let Some(best) = board.best() else {
        // Of an earlier search with other limits.
        let _ = fs::remove_file(&best_file);
        let excluded = board.rows.iter().rev().find_map(|row| row.excluded.as_ref());
        note(match excluded {
            Some(reason) => {
                format!("no trial has a rank; trial {}: {reason}", board.rows.len() - 1)
            }
            None => "no trial finished its first epochs; increase --budget".to_owned(),
        });
        return Ok(false);
    };
    let labels = Labels::new(
        &directory.space.base.fields,
        directory.space.axes.iter().map(|axis| axis.key.as_str()),
    );
    if !json {
        print_table(&board, &labels)?;
    }
    write_atomic(&best_file, best_yaml(directory, &trials, best, &board)?.as_bytes())?;
    write_picture(directory, &trials, &board, &labels)?;
    let last = directory.rungs.epochs(directory.rungs.last());
    let epochs = best.result.map_or(0, |result| result.epochs);
    if !trials.all[best.trial].is_finished() {
        note(format!(
            "the best trial has trained {epochs} of {last} epochs; best.yaml trains them all"
        ));
    }
    if end == End::OutOfTime {
        note("the budget is used up; the same command with a longer --budget continues the search");
    }
    print_next(directory, best, &best_file);
    Ok(true)
}

/// Prints the best trials.
fn print_table(board: &Leaderboard, labels: &Labels) -> anyhow::Result<()> {
    let ranked = board.rows.iter().filter(|row| row.rank.is_some()).count();
    let (metric, time) = (board.metric.title(), Duration::from_secs_f64(board.seconds));
    let without = match board.rows.len() - ranked {
        0 => String::new(),
        count => format!(", {count} without or beyond a limit"),
    };
    let shown = if ranked > SHOWN { format!("the best {SHOWN} of ") } else { String::new() };
    message(format!(
        "\n{shown}{} with a result{without}, in {}; ranked by validation {metric}\n",
        pluralize(ranked, "trial"),
        format_duration(time)
    ));
    print(&board.score_table(SHOWN).table().lines_within(terminal_width()).join("\n"))?;
    for row in board.rows.iter().take(DESCRIBED).filter(|row| row.rank.is_some()) {
        print(&describe(row, labels))?;
    }
    if let Some(line) = describe_importance(board, labels) {
        print(&line)?;
    }
    Ok(())
}

/// Prints the commands to use the best trial.
fn print_next(directory: &TuneDirectory, best: &Row, best_file: &Path) {
    let shown = |path: &Path| quoted_path(&relative(path));
    let (path, program) = (directory.path(), program());
    let mut next = vec![format!("{program} train {}", shown(best_file))];
    if !best.is_removed {
        let run = shown(&path.join(trial_name(best.trial)));
        next.insert(0, format!("{program} predict {run} TEXT"));
    }
    message(format!(
        "\nnext:\n  {}\npicture: {}",
        next.join("\n  "),
        shown(&path.join("search.svg"))
    ));
}

/// Formats a value of a setting, without quotes around strings.
fn shown_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_yaml::to_value(other)
            .map_or_else(|_| other.to_string(), |value| inline_yaml(&value)),
    }
}

/// Describes the settings of a trial.
fn describe(row: &Row, labels: &Labels) -> String {
    let settings = row.settings.iter();
    let settings: Vec<String> = settings
        .map(|(field, value)| format!("{}={}", labels.of(field), shown_value(value)))
        .collect();
    let settings = match settings.is_empty() {
        true => vec!["the configuration itself".to_owned()],
        false => settings,
    };
    let title = format!("\ntrial {}: ", row.trial);
    title + &wrap_items(&settings, " ", terminal_width().saturating_sub(2)).join("\n  ")
}

/// Describes which settings matter; `None` if that is not known.
fn describe_importance(board: &Leaderboard, labels: &Labels) -> Option<String> {
    let important = board.importance.iter().filter(|importance| importance.share >= 0.01).take(5);
    let important: Vec<String> = important
        .map(|importance| format!("{} {:.2}", labels.of(&importance.field), importance.share))
        .collect();
    (!important.is_empty()).then(|| {
        format!("\nimportance (part of the variance explained alone): {}", important.join(", "))
    })
}

/// Returns the configuration of the best trial, with comments.
fn best_yaml(
    directory: &TuneDirectory,
    trials: &Trials,
    best: &Row,
    board: &Leaderboard,
) -> anyhow::Result<String> {
    let resolved = directory.resolve(&trials.all[best.trial])?;
    let score = best.result.map_or(String::new(), |result| {
        let metric = result
            .score
            .metric
            .map_or(String::new(), |value| format!(", {} {value:.4}", board.metric.title()));
        let folds =
            directory.folds().map_or(String::new(), |folds| format!(" (mean of {folds} folds)"));
        format!(
            "# Validation{folds}: accuracy {:.2} %, loss {:.4}{metric}, after epoch {} of {}.\n",
            100.0 * result.score.accuracy,
            result.score.loss,
            result.best_epoch,
            result.epochs
        )
    });
    let time = format_duration(Duration::from_secs_f64(board.seconds));
    let settings = best.settings.iter();
    let settings = settings.map(|(field, value)| format!("#   {field}: {}\n", shown_value(value)));
    let settings: String = settings.collect();
    let found = match settings.is_empty() {
        true => "# The settings are those of the configuration itself.\n".to_owned(),
        false => format!("# Found:\n{settings}"),
    };
    let header = format!(
        "# Best of {} (trial {}), by validation {}, in {time}.\n{score}{found}\n",
        pluralize(trials.all.len(), "trial"),
        best.trial,
        board.metric.title(),
    );
    Ok(header + &resolved.to_yaml())
}

/// Draws the search.
fn write_picture(
    directory: &TuneDirectory,
    trials: &Trials,
    board: &Leaderboard,
    labels: &Labels,
) -> anyhow::Result<()> {
    let value = |result: &RungResult| result.score.value(&board.metric);
    let is_within = |trial: usize| trials.all.get(trial).is_some_and(|it| it.violation.is_none());
    let results = directory.results()?.into_iter().filter(|(_, trial, _)| is_within(*trial));
    let results = results.filter_map(|(elapsed, _, result)| Some((elapsed, value(&result)?)));
    let results: Vec<(f64, f64)> = results.collect();
    let axes = &directory.space.axes;
    let mut order: Vec<usize> = (0..axes.len()).collect();
    let share = |index: usize| {
        let importance = board.importance.iter().find(|each| each.field == axes[index].key);
        importance.map_or(0.0, |importance| importance.share)
    };
    order.sort_by(|a, b| share(*b).total_cmp(&share(*a)));
    order.truncate(MAX_FIELDS);
    let lines = board.rows.iter().filter(|row| row.rank.is_some()).filter_map(|row| {
        let at = trials.all[row.trial].at.as_ref()?.values();
        let coordinates = order.iter().map(|axis| at[*axis]).collect();
        let values = order.iter().map(|axis| {
            axes[*axis]
                .fields()
                .first()
                .and_then(|field| row.settings.get(field))
                .map(shown_value)
                .unwrap_or_default()
        });
        Some(Line { coordinates, values: values.collect(), is_best: row.rank == Some(1) })
    });
    let plot = SearchPlot {
        title: &pluralize(trials.all.len(), "trial"),
        base_is_best: board.best().is_some_and(|best| trials.all[best.trial].at.is_none()),
        metric: &board.metric.title(),
        lower_is_better: board.metric == Metric::Loss,
        results: &results,
        fields: &order.iter().map(|axis| labels.of(&axes[*axis].key)).collect::<Vec<_>>(),
        importance: &order.iter().map(|axis| share(*axis)).collect::<Vec<_>>(),
        lines: &lines.collect::<Vec<_>>(),
    };
    let picture = search::draw(&plot, Theme::Auto)?;
    write_atomic(&directory.path().join("search.svg"), picture.svg.as_bytes())?;
    write_atomic(&directory.path().join("search.png"), &picture.png)
}
