//! `lstmtext runs [DIR]`.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::ensure;
use clap::Args;
use serde_yaml::Value;

use super::{Named, differing, entries, loss, percent};
use crate::cli::FINE;
use crate::config::{Difference, defaults, flow};
use crate::output::format::group_digits;
use crate::output::sanitize::printable;
use crate::output::table::{Align, Table, truncate_middle, wrap};
use crate::output::{message, print, print_json, terminal_width};
use crate::run::listing::{RunReport, find};

/// A name of a run is never cut to less than this.
const SHORTEST_NAME: usize = 16;
/// A value of a field is cut to this.
const LONGEST_VALUE: usize = 32;
/// The lines that the fields of a run may take below it.
const MOST_LINES: usize = 2;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// The folder to look for runs in, however deep
    #[arg(value_name = "DIR", default_value = "runs")]
    folder: PathBuf,
    /// name | state | accuracy | loss | time | parameters | date | a field of the configuration;
    /// the best, newest or smallest first
    #[arg(long, value_name = "FIELD", default_value = "accuracy")]
    sort: SortKey,
    /// Turn the order around
    #[arg(long)]
    reverse: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What runs are sorted by.
#[derive(Clone, Debug, PartialEq)]
enum SortKey {
    Name,
    State,
    Accuracy,
    Loss,
    Time,
    Parameters,
    Date,
    /// A field of the configuration.
    Field(Vec<String>),
}

impl FromStr for SortKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path: Vec<String> = text.split('.').map(str::to_owned).collect();
        Ok(match text {
            "name" => Self::Name,
            "state" => Self::State,
            "accuracy" => Self::Accuracy,
            "loss" => Self::Loss,
            "time" => Self::Time,
            "parameters" => Self::Parameters,
            "date" => Self::Date,
            _ if defaults().iter().any(|field| field.path == path && !field.is_section()) => {
                Self::Field(path)
            }
            _ => {
                return Err(
                    "allowed are name, state, accuracy, loss, time, parameters, date, and \
                            fields of the configuration, as train.learning_rate"
                        .into(),
                );
            }
        })
    }
}

/// What a run is sorted by: numbers come before texts.
#[derive(PartialEq, PartialOrd)]
enum Rank {
    Number(f64),
    Text(String),
}

impl SortKey {
    /// The rank of a run, where it has one; the least comes first.
    fn rank(&self, run: &Named) -> Option<Rank> {
        let RunReport { state, best, seconds, parameters, begun, resolved, .. } = &run.report;
        Some(match self {
            Self::Name => Rank::Text(run.name.clone()),
            Self::State => Rank::Number(f64::from(*state as u8)),
            Self::Accuracy => Rank::Number(-(*best)?.validation.accuracy),
            Self::Loss => Rank::Number((*best)?.validation.loss),
            Self::Time => Rank::Number(*seconds),
            Self::Parameters => Rank::Number((*parameters)? as f64),
            Self::Date => Rank::Number(-((*begun)? as f64)),
            Self::Field(path) => {
                let field = resolved.as_ref()?.fields.iter().find(|field| field.path == *path)?;
                match &field.value {
                    Value::Null => return None,
                    Value::Number(number) => Rank::Number(number.as_f64()?),
                    other => Rank::Text(flow(other)),
                }
            }
        })
    }

    /// Sorts runs; those that have nothing to be sorted by stay last.
    fn sort(&self, runs: &mut [Named], reverse: bool) {
        runs.sort_by(|a, b| match (self.rank(a), self.rank(b)) {
            (Some(a), Some(b)) => {
                let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                if reverse { order.reverse() } else { order }
            }
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
    }
}

/// Runs the command.
pub fn run(args: ListArgs) -> anyhow::Result<u8> {
    let folder = &args.folder;
    ensure!(
        folder.is_dir(),
        "there is no folder \"{}\": name the one that your runs are in",
        folder.display()
    );
    let runs = find(folder)?.into_iter();
    let mut runs: Vec<Named> = runs
        .map(|path| Named { name: name(&path, folder), report: RunReport::read(&path) })
        .collect();
    args.sort.sort(&mut runs, args.reverse);
    let differing = differing(&runs);
    match args.json {
        true => print_json(&entries(&runs, &differing))?,
        false if runs.is_empty() => {
            message(format!("there are no runs in \"{}\"", folder.display()))
        }
        false => print(&table(&runs, &differing, terminal_width()))?,
    }
    Ok(FINE)
}

/// What a run is called below `folder`.
fn name(path: &Path, folder: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path);
    match below.as_os_str().is_empty() {
        false => below.to_string_lossy().into_owned(),
        true => {
            let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    }
}

const TITLES: [(&str, Align); 7] = [
    ("run", Align::Left),
    ("state", Align::Left),
    ("accuracy", Align::Right),
    ("loss", Align::Right),
    ("best epoch", Align::Right),
    ("time", Align::Right),
    ("parameters", Align::Right),
];
/// The columns of accuracy and loss are below this.
const ABOVE: (&str, usize) = ("validation", 2);

/// The runs, with the fields that differ in columns of their own where these fit, otherwise below
/// each run that has another value than most.
fn table(runs: &[Named], differing: &[Difference], width: usize) -> String {
    let fields = fields_of(differing);
    let with_fields = columns(runs, &fields, usize::MAX);
    let beside = with_fields.width() <= width;
    let table = if beside {
        with_fields
    } else {
        let without = columns(runs, &[], usize::MAX);
        let spare = width.saturating_sub(without.width() - without.widths()[0]);
        let most = spare.max(SHORTEST_NAME);
        let names: Vec<String> = runs.iter().map(|run| truncate_middle(&run.name, most)).collect();
        let is_ambiguous = names.iter().any(|name| names.iter().filter(|n| *n == name).count() > 1);
        columns(runs, &[], if is_ambiguous { usize::MAX } else { most })
    };
    let begin: usize = table.widths()[..ABOVE.1].iter().map(|width| width + 2).sum();
    let mut lines = vec![format!("{:begin$}{}", "", ABOVE.0)];
    let mut rows = table.lines().into_iter();
    lines.extend(rows.next());
    for ((number, run), row) in runs.iter().enumerate().zip(rows) {
        lines.push(row);
        if !beside {
            lines.extend(fields_below(&fields, number, width));
        }
        lines.extend(notes(run, width));
    }
    if !beside {
        lines.extend(usual_fields(&fields, width));
    }
    lines.join("\n")
}

fn columns(runs: &[Named], fields: &[Field], most: usize) -> Table {
    let titles = TITLES.map(|(title, side)| (title.to_owned(), side));
    let mut table = Table::new(titles.into_iter().chain(fields.iter().map(Field::title)));
    for (number, run) in runs.iter().enumerate() {
        let RunReport { state, best, parameters, .. } = &run.report;
        let mut row = vec![
            truncate_middle(&printable(&run.name), most),
            state.as_str().to_owned(),
            best.map_or(String::new(), |best| percent(best.validation)),
            best.map_or(String::new(), |best| loss(best.validation)),
            run.epochs(),
            run.time(),
            parameters.map_or(String::new(), group_digits),
        ];
        row.extend(fields.iter().map(|field| shown(&field.values[number])));
        table.add(row);
    }
    table
}

/// A field that differs.
struct Field<'a> {
    /// The end of its name.
    name: String,
    /// In each run.
    values: &'a [Option<Value>],
    /// In more than half of them.
    usual: Option<&'a Option<Value>>,
}

impl<'a> Field<'a> {
    fn new(difference: &'a Difference, name: String) -> Self {
        Self { name, values: &difference.values, usual: usual(&difference.values) }
    }

    fn title(&self) -> (String, Align) {
        let number = |value: &Option<Value>| value.as_ref().is_none_or(Value::is_number);
        let numbers = self.values.iter().all(number);
        (self.name.clone(), if numbers { Align::Right } else { Align::Left })
    }
}

fn fields_of(differing: &[Difference]) -> Vec<Field<'_>> {
    let names = short_names(differing).into_iter();
    differing.iter().zip(names).map(|(difference, name)| Field::new(difference, name)).collect()
}

/// The fields in which a run has another value than most, on lines of their own.
fn fields_below(fields: &[Field], run: usize, width: usize) -> Vec<String> {
    let unusual = fields.iter().filter(|field| field.usual != Some(&field.values[run]));
    lines_of_fields("", unusual.map(|field| (field, &field.values[run])), width)
}

/// What most runs have.
fn usual_fields(fields: &[Field], width: usize) -> Vec<String> {
    let usual = fields.iter().filter_map(|field| Some((field, field.usual?)));
    lines_of_fields("otherwise: ", usual, width)
}

fn lines_of_fields<'f>(
    title: &str,
    fields: impl Iterator<Item = (&'f Field<'f>, &'f Option<Value>)>,
    width: usize,
) -> Vec<String> {
    // A field and its value stay on one line.
    let field = |(field, value): (&Field, &Option<Value>)| {
        format!("{} {}", field.name, shown(value)).replace(' ', "\u{A0}")
    };
    let fields: Vec<String> = fields.map(field).collect();
    if fields.is_empty() {
        return Vec::new();
    }
    let text = format!("{title}{}", fields.join(", "));
    let mut lines = wrap(&text, width - 2);
    if lines.len() > MOST_LINES {
        let more = format!("… ({} fields)", fields.len());
        lines = wrap(&text, width - 2 - more.chars().count() - 1);
        lines.truncate(MOST_LINES);
        if let Some(last) = lines.last_mut() {
            *last = format!("{last} {more}");
        }
    }
    lines.into_iter().map(|line| format!("  {}", line.replace('\u{A0}', " "))).collect()
}

/// The value that more than half of the runs have, where there is one.
fn usual(values: &[Option<Value>]) -> Option<&Option<Value>> {
    let mut counts: HashMap<&Option<Value>, usize> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.filter(|(_, count)| 2 * count > values.len()).map(|(value, _)| value)
}

/// What ended a run, and what is wrong with its files.
fn notes(run: &Named, width: usize) -> Vec<String> {
    let error = run.report.error.iter().map(|error| format!("error: {error}"));
    let faults = run.report.faults.iter().map(|fault| format!("damaged: {fault}"));
    let notes = error.chain(faults);
    let lines = notes.flat_map(|note| wrap(&printable(&note), width - 4));
    lines.map(|line| format!("    {line}")).collect()
}

fn shown(value: &Option<Value>) -> String {
    value.as_ref().map_or("–".to_owned(), |value| truncate_middle(&flow(value), LONGEST_VALUE))
}

/// The ends of the fields' names, as long as it takes to tell them apart.
fn short_names(differing: &[Difference]) -> Vec<String> {
    let end = |path: &[String], depth: usize| path[path.len().saturating_sub(depth)..].join(".");
    let name = |difference: &Difference| {
        let path = &difference.path;
        let tells = |depth: &usize| {
            let alike = |other: &&Difference| end(&other.path, *depth) == end(path, *depth);
            differing.iter().filter(alike).count() == 1
        };
        end(path, (1..path.len()).find(tells).unwrap_or(path.len()))
    };
    differing.iter().map(name).collect()
}
