//! `lstmtext runs [DIR]`.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::ensure;
use clap::Args;
use serde_yaml::Value;

use super::named_run::{
    NamedRun, differing_fields, entries, loss, metric_value, percent, score_columns,
};
use super::over_seeds;
use crate::cli::exit::SUCCESS;
use crate::cli::hints::{program, relative};
use crate::cli::score_format::{ScoreFormatArgs, ScoreTableFormat, print_scores};
use crate::config::{Difference, Metric, defaults, inline_yaml};
use crate::objective::metrics::Score;
use crate::output::format::{group_digits, unique_suffix};
use crate::output::sanitize::printable;
use crate::output::score_table::{ScoreCell, ScoreFormat, ScoreTable};
use crate::output::shell::quoted_path;
use crate::output::table::{Align, Table};
use crate::output::width::{shorten_names, truncate_middle, wrap};
use crate::output::{is_terminal, message, note, terminal_width, warning};
use crate::run::comparison::{ComparisonGroup, ComparisonGroups, common_metric, ranking_metric};
use crate::run::directory::RunDirectory;
use crate::run::language_model::LanguageModelRecord;
use crate::run::listing::{find, find_language_models};
use crate::run::report::RunReport;
use crate::sweep::unquoted;

/// Minimum width of truncated names in a terminal.
const MIN_NAME_WIDTH: usize = 12;
/// Maximum width of a value. Longer ones are truncated.
const VALUE_WIDTH: usize = 32;
/// Maximum number of lines for the fields of a run.
const FIELD_LINES: usize = 2;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Directory to search for runs, including its subdirectories
    #[arg(value_name = "DIR", default_value = "runs")]
    directory: PathBuf,
    /// Sort by accuracy, loss, another metric of runs such as macro_f1, name, state, time, parameters,
    /// date or a configuration field such as train.learning_rate; the best, newest or smallest first.
    /// By default, by the metric that determines the best checkpoint (train.early_stopping.metric)
    #[arg(long, value_name = "FIELD")]
    sort: Option<SortKey>,
    /// Reverse the order
    #[arg(long)]
    reverse: bool,
    /// Print one row for runs that differ only in train.seed: mean ± standard deviation over the finished ones
    #[arg(long, conflicts_with_all = ["sort", "reverse"])]
    over_seeds: bool,
    /// Print the test scores of the best run, or with --over-seeds, of the best row
    #[arg(long, conflicts_with_all = ["sort", "reverse"])]
    test: bool,
    #[command(flatten)]
    format: ScoreFormatArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Sort key of runs.
#[derive(Clone, Debug, PartialEq)]
enum SortKey {
    Score(Metric),
    Name,
    State,
    Time,
    Parameters,
    Date,
    /// Path of a configuration field.
    Field(Vec<String>),
}

impl FromStr for SortKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path: Vec<String> = text.split('.').map(str::to_owned).collect();
        Ok(match text {
            "name" => Self::Name,
            "state" => Self::State,
            "time" => Self::Time,
            "parameters" => Self::Parameters,
            "date" => Self::Date,
            _ if defaults().iter().any(|field| field.path == path && !field.is_section()) => {
                Self::Field(path)
            }
            _ => {
                const EXPECTED: &str = "expected accuracy, loss, another metric such as macro_f1, name, state, \
                                        time, parameters, date or a configuration field such as \
                                        train.learning_rate";
                Self::Score(text.parse().map_err(|_| EXPECTED.to_owned())?)
            }
        })
    }
}

/// Value of a sort key.
enum SortValue {
    Score(Score, Metric),
    Number(f64),
    Text(String),
}

impl SortValue {
    /// Compares two values of a key: less comes first, and numbers come before text.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Score(a, metric), Self::Score(b, _)) => a.rank(*b, metric),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Text(_), _) => Ordering::Greater,
            _ => Ordering::Less,
        }
    }
}

impl SortKey {
    /// Returns the sort value of a run, if it has one.
    fn value(&self, run: &NamedRun) -> Option<SortValue> {
        let RunReport { state, seconds, parameters, started, resolved, .. } = &run.report;
        Some(match self {
            Self::Score(metric) => SortValue::Score(run.score_by(metric)?, metric.clone()),
            Self::Name => SortValue::Text(run.name.clone()),
            Self::State => SortValue::Number(f64::from(*state as u8)),
            Self::Time => SortValue::Number(*seconds),
            Self::Parameters => SortValue::Number((*parameters)? as f64),
            Self::Date => SortValue::Number(-((*started)? as f64)),
            Self::Field(path) => {
                let field = resolved.as_ref()?.fields.iter().find(|field| field.path == *path)?;
                match &field.value {
                    Value::Null => return None,
                    Value::Number(number) => SortValue::Number(number.as_f64()?),
                    other => SortValue::Text(inline_yaml(other)),
                }
            }
        })
    }

    /// Sorts runs that are in the order of their names. Those without a sort value come last.
    fn sort(&self, runs: &mut [NamedRun], reverse: bool) {
        runs.sort_by(|a, b| match (self.value(a), self.value(b)) {
            (Some(a), Some(b)) => {
                let order = a.compare(&b);
                if reverse { order.reverse() } else { order }
            }
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
    }
}

/// Runs the command.
pub fn run(args: ListArgs) -> anyhow::Result<u8> {
    let directory = &args.directory;
    ensure!(
        directory.is_dir(),
        "no directory \"{}\"; pass the directory that contains your runs",
        directory.display()
    );
    let runs = find(directory)?.into_iter();
    let mut runs: Vec<NamedRun> = runs
        .map(|path| NamedRun { name: name(&path, directory), report: RunReport::read(&path) })
        .collect();
    let configs = runs.iter().filter_map(|run| run.report.config());
    let sort = args.sort.unwrap_or_else(|| SortKey::Score(ranking_metric(configs)));
    sort.sort(&mut runs, args.reverse);
    let groups = ComparisonGroups::of(runs.iter().map(|run| &run.report));
    let shown = match &sort {
        SortKey::Score(metric) if metric.is_additional() => metric.clone(),
        _ => {
            common_metric(runs.iter().filter_map(|run| run.report.config())).unwrap_or(Metric::Loss)
        }
    };
    let is_grouped = groups.sets() > 1 && matches!(sort, SortKey::Score(_));
    if is_grouped {
        runs.sort_by_key(|run| groups.position(&run.report));
    }
    let format = args.format.format(args.json);
    if format != ScoreTableFormat::Json {
        groups.note().iter().for_each(note);
    }
    let differing = differing_fields(&runs);
    if format != ScoreTableFormat::Json {
        language_models(directory)?.iter().for_each(message);
    }
    if runs.is_empty() && format != ScoreTableFormat::Json {
        message(format!("no runs in \"{}\"", directory.display()));
        return Ok(SUCCESS);
    }
    if args.test && groups.sets() > 1 {
        warning("no test scores: the runs have different validation examples, so none is the best");
    }
    let with_test = args.test && groups.sets() == 1;
    let width = terminal_width();
    if args.over_seeds {
        let metric = match sort {
            SortKey::Score(metric) => metric,
            _ => Metric::Loss,
        };
        if format == ScoreTableFormat::Table {
            message(format!("ranked by validation {}", metric.title()));
        }
        let rows = over_seeds::rows(&runs, &differing, &metric, with_test);
        if let Some(best) = rows.first().filter(|row| with_test && !row.has_test())
            && let Some(run) = best.first_run()
        {
            warn_untested(&directory.join(run));
        }
        let table =
            || over_seeds::score_table(&rows, &differing, &short_names(&differing), &metric);
        let text = || table().table().lines_within(width).join("\n");
        print_scores(format, text, table, &rows)?;
        return Ok(SUCCESS);
    }
    let untested = |run: &&NamedRun| with_test && run.report.test.is_none();
    if let Some(run) = runs.first().filter(untested) {
        warn_untested(run.report.directory.path());
    }
    let scores = || score_table(&runs, &differing, &shown, with_test);
    let text = || match with_test {
        true => scores().table().lines_within(width).join("\n"),
        false => {
            TextTable { runs: &runs, metric: &shown, sort: &sort }.format(&differing, is_grouped)
        }
    };
    print_scores(format, text, scores, &entries(&runs, &differing))?;
    Ok(SUCCESS)
}

/// Describes the runs that train language models, one line each.
fn language_models(directory: &Path) -> anyhow::Result<Vec<String>> {
    let describe = |path: PathBuf| {
        let records = RunDirectory::open(&path).language_model_records().unwrap_or_default();
        let of_record = |record: &LanguageModelRecord| {
            Some((record.perplexity.as_ref()?.loss(), record.epoch, record.tokens))
        };
        let best = records.iter().filter_map(of_record).min_by(|a, b| a.0.total_cmp(&b.0));
        let score = best.map_or("no perplexity yet".to_owned(), |(loss, epoch, tokens)| {
            let tokens = group_digits(tokens as usize);
            format!("perplexity {:.2} in epoch {epoch}, after {tokens} tokens", loss.exp())
        });
        format!("language model {}: {score}", printable(&name(&path, directory)))
    };
    Ok(find_language_models(directory)?.into_iter().map(describe).collect())
}

/// Warns that the best run has no test scores.
fn warn_untested(run: &Path) {
    warning(format!(
        "the best run has recorded no test scores; to compute them:\n  {} evaluate {} --split test",
        program(),
        quoted_path(&relative(run))
    ));
}

/// Returns the runs for papers and other programs. They have a column for `metric` if it is neither loss nor
/// accuracy. With `with_test`, the first one has its test scores.
fn score_table(
    runs: &[NamedRun],
    differing: &[Difference],
    metric: &Metric,
    with_test: bool,
) -> ScoreTable {
    let text = |name: &str, align| (name.to_owned(), ScoreFormat::Text(align));
    let mut columns = vec![text("run", Align::Left), text("state", Align::Left)];
    columns.extend(score_columns("validation", metric));
    columns.extend([
        text("epoch", Align::Right),
        ("seconds".to_owned(), ScoreFormat::Number(1)),
        ("parameters".to_owned(), ScoreFormat::Number(0)),
    ]);
    columns.extend(short_names(differing).iter().map(|name| text(name, Align::Left)));
    if with_test {
        columns.extend(score_columns("test", metric));
    }
    let mut table = ScoreTable::new(columns);
    for (index, run) in runs.iter().enumerate() {
        let number = |value: Option<f64>| {
            value.map_or(ScoreCell::Empty, |value| ScoreCell::Score(value, None))
        };
        let has_metric = metric.is_additional();
        let of_metric = |score: Score| {
            run.report.config().filter(|config| config.metric() == metric).and(score.metric)
        };
        let scores = |score: Option<Score>| {
            let always =
                [number(score.map(|score| score.loss)), number(score.map(|score| score.accuracy))];
            let metric = has_metric.then(|| number(score.and_then(of_metric)));
            always.into_iter().chain(metric)
        };
        let RunReport { state, seconds, parameters, scored, .. } = &run.report;
        let epoch = scored.map(|scored| ScoreCell::Text(scored.weights.epoch.to_string()));
        let mut cells =
            vec![ScoreCell::Text(run.name.clone()), ScoreCell::Text(state.as_str().to_owned())];
        cells.extend(scores(run.validation()));
        cells.push(epoch.unwrap_or(ScoreCell::Empty));
        cells.push(number(Some(*seconds)));
        cells.push(number(parameters.map(|count| count as f64)));
        cells.extend(differing.iter().map(|difference| match &difference.values[index] {
            Some(value) => ScoreCell::Text(unquoted(value)),
            None => ScoreCell::Empty,
        }));
        if with_test {
            cells.extend(scores(run.report.test.filter(|_| index == 0)));
        }
        table.add(cells);
    }
    table
}

/// Formats the heading above runs whose scores are comparable.
fn group_heading(group: ComparisonGroup) -> String {
    match group {
        ComparisonGroup::SameExamples(data) => {
            format!("{} validation examples, {}:", group_digits(data.examples()), data.short())
        }
        ComparisonGroup::Unrecorded => {
            "unknown validation examples (earlier version, or no checkpoint):".to_owned()
        }
        ComparisonGroup::Unscored => "no validation yet:".to_owned(),
    }
}

/// Returns the path of a run relative to `directory`.
fn name(path: &Path, directory: &Path) -> String {
    let below = path.strip_prefix(directory).unwrap_or(path);
    match below.as_os_str().is_empty() {
        false => below.to_string_lossy().into_owned(),
        true => {
            let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    }
}

/// Number of columns before those of the scores.
const BEFORE_SCORES: usize = 2;

/// The list as text.
struct TextTable<'a> {
    runs: &'a [NamedRun],
    /// Metric with a column, if it is neither loss nor accuracy.
    metric: &'a Metric,
    /// Order of the runs.
    sort: &'a SortKey,
}

impl TextTable<'_> {
    /// Formats the runs. Fields that differ are in columns if these fit. Otherwise they are below each run
    /// whose value differs from the most common one. With `is_grouped`, a heading above each group names its
    /// validation examples.
    fn format(&self, differing: &[Difference], is_grouped: bool) -> String {
        let runs = self.runs;
        let width = terminal_width();
        let fields = fields_of(differing);
        let names = |width| shorten_names(runs.iter().map(|run| run.name.as_str()), width);
        let whole = names(usize::MAX);
        let with_fields = self.columns(&fields, &whole.names);
        let has_columns = with_fields.width() <= width;
        let (table, key) = if has_columns {
            (with_fields, whole.key)
        } else {
            let without = self.columns(&[], &whole.names);
            if is_terminal() {
                let spare = width.saturating_sub(without.width() - without.widths()[0]);
                let short = names(spare.max(MIN_NAME_WIDTH));
                (self.columns(&[], &short.names).without_columns_beyond(width), short.key)
            } else {
                // Scripts need whole names.
                (without, whole.key)
            }
        };
        let indent: usize = table.widths()[..BEFORE_SCORES].iter().map(|width| width + 2).sum();
        let mut lines = vec![format!("{:indent$}{}", "", self.score_heading())];
        let mut rows = table.lines().into_iter();
        lines.extend(rows.next());
        for ((index, run), row) in runs.iter().enumerate().zip(rows) {
            let group = ComparisonGroup::of(&run.report);
            let previous =
                index.checked_sub(1).map(|index| ComparisonGroup::of(&runs[index].report));
            if is_grouped && previous != Some(group) {
                lines.push(group_heading(group));
            }
            lines.push(row);
            if !has_columns {
                lines.extend(fields_below(&fields, index, width));
            }
            lines.extend(notes(run, width));
        }
        if !has_columns {
            lines.extend(common_fields(&fields, width));
        }
        lines.extend(key.lines().map(str::to_owned));
        lines.join("\n")
    }

    /// Returns the headings of the columns before those of the fields.
    fn headings(&self) -> Vec<(String, Align)> {
        let mut headings = vec![
            ("run", Align::Left),
            ("state", Align::Left),
            ("accuracy", Align::Right),
            ("loss", Align::Right),
        ];
        let metric = self.metric.heading();
        if self.metric.is_additional() {
            headings.push((&metric, Align::Right));
        }
        headings.extend(["epoch", "time", "parameters"].map(|heading| (heading, Align::Right)));
        headings.into_iter().map(|(heading, align)| (heading.to_owned(), align)).collect()
    }

    /// Returns the heading above the columns of the scores.
    fn score_heading(&self) -> String {
        match self.sort {
            SortKey::Score(metric) => format!("validation, by {}", metric.heading()),
            _ => "validation".to_owned(),
        }
    }

    fn columns(&self, fields: &[Field], names: &[String]) -> Table {
        let headings = self.headings().into_iter();
        let mut table = Table::new(headings.chain(fields.iter().map(Field::heading)));
        for ((index, run), name) in self.runs.iter().enumerate().zip(names) {
            let RunReport { state, parameters, .. } = &run.report;
            let mut row = vec![
                name.clone(),
                state.as_str().to_owned(),
                run.validation().map_or(String::new(), percent),
                run.validation().map_or(String::new(), loss),
            ];
            if self.metric.is_additional() {
                row.push(run.score_by(self.metric).map_or(String::new(), metric_value));
            }
            row.extend([run.epochs(), run.time(), parameters.map_or(String::new(), group_digits)]);
            row.extend(fields.iter().map(|field| shown(&field.values[index])));
            table.add(row);
        }
        table
    }
}

/// A field that differs.
struct Field<'a> {
    /// Shortened name.
    name: String,
    /// Value in each run.
    values: &'a [Option<Value>],
    /// Value of more than half of the runs.
    common: Option<&'a Option<Value>>,
}

impl<'a> Field<'a> {
    fn new(difference: &'a Difference, name: String) -> Self {
        Self { name, values: &difference.values, common: common_value(&difference.values) }
    }

    fn heading(&self) -> (String, Align) {
        let is_number = |value: &Option<Value>| value.as_ref().is_none_or(Value::is_number);
        let numbers = self.values.iter().all(is_number);
        (self.name.clone(), if numbers { Align::Right } else { Align::Left })
    }
}

fn fields_of(differing: &[Difference]) -> Vec<Field<'_>> {
    let names = short_names(differing).into_iter();
    differing.iter().zip(names).map(|(difference, name)| Field::new(difference, name)).collect()
}

/// Formats the fields in which a run differs from the most common value.
fn fields_below(fields: &[Field], run: usize, width: usize) -> Vec<String> {
    let uncommon = fields.iter().filter(|field| field.common != Some(&field.values[run]));
    lines_of_fields("", uncommon.map(|field| (field, &field.values[run])), width)
}

/// Formats the most common values.
fn common_fields(fields: &[Field], width: usize) -> Vec<String> {
    let common = fields.iter().filter_map(|field| Some((field, field.common?)));
    lines_of_fields("all others: ", common, width)
}

fn lines_of_fields<'f>(
    prefix: &str,
    fields: impl Iterator<Item = (&'f Field<'f>, &'f Option<Value>)>,
    width: usize,
) -> Vec<String> {
    // Keep a field and its value on one line.
    let field = |(field, value): (&Field, &Option<Value>)| {
        format!("{} {}", field.name, shown(value)).replace(' ', "\u{A0}")
    };
    let fields: Vec<String> = fields.map(field).collect();
    if fields.is_empty() {
        return Vec::new();
    }
    let text = format!("{prefix}{}", fields.join(", "));
    let mut lines = wrap(&text, width - 2);
    if lines.len() > FIELD_LINES {
        let more = format!("… ({} fields)", fields.len());
        lines = wrap(&text, width - 2 - more.chars().count() - 1);
        lines.truncate(FIELD_LINES);
        if let Some(last) = lines.last_mut() {
            *last = format!("{last} {more}");
        }
    }
    lines.into_iter().map(|line| format!("  {}", line.replace('\u{A0}', " "))).collect()
}

/// Returns the value of more than half of the runs, if there is one.
fn common_value(values: &[Option<Value>]) -> Option<&Option<Value>> {
    let mut counts: HashMap<&Option<Value>, usize> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.filter(|(_, count)| 2 * count > values.len()).map(|(value, _)| value)
}

/// Formats the error that ended a run, warnings about its model, and errors in its files.
fn notes(run: &NamedRun, width: usize) -> Vec<String> {
    let error = run.report.error.iter().map(|error| format!("error: {error}"));
    let warnings = run.report.warnings.iter().map(|warning| format!("warning: {warning}"));
    let damage = run.report.faults.iter().map(|error| format!("damaged: {error}"));
    let notes = error.chain(warnings).chain(damage);
    let lines = notes.flat_map(|note| wrap(&printable(&note), width - 4));
    lines.map(|line| format!("    {line}")).collect()
}

fn shown(value: &Option<Value>) -> String {
    value
        .as_ref()
        .map_or("–".to_owned(), |value| truncate_middle(&inline_yaml(value), VALUE_WIDTH))
}

/// Shortens the names of fields to their last parts, as far as they stay unique.
fn short_names(differing: &[Difference]) -> Vec<String> {
    let paths: Vec<&[String]> = differing.iter().map(|difference| &difference.path[..]).collect();
    paths.iter().map(|path| unique_suffix(path, &paths).join(".")).collect()
}
