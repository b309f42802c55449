//! Chooses the columns of the text and of the label.

use std::collections::HashSet;

use super::super::formats::suggestion;
use super::sample::Sample;
use crate::config::{Column, Columns};
use crate::output::format::join_names;
use crate::output::shell::quoted;

/// Usual names of text columns.
const TEXTS: [&str; 14] = [
    "text",
    "texts",
    "review",
    "sentence",
    "comment",
    "content",
    "document",
    "message",
    "body",
    "tweet",
    "utterance",
    "question",
    "review_text",
    "review_body",
];
/// Names that a column has only if it is the label.
const LABELS: [&str; 9] =
    ["label", "labels", "class", "target", "category", "sentiment", "y", "topic", "intent"];
/// Names that the label often has.
const RATINGS: [&str; 5] = ["emotion", "stars", "star_rating", "rating", "score"];
/// Number of values up to which a column without a usual name can be the label.
const MANY_VALUES: usize = 100;
/// Number of values of a column that messages show.
const SHOWN: usize = 3;
/// Number of characters of a value that messages show.
const SHOWN_CHARACTERS: usize = 20;

/// Returns true for a usual name of a column of texts or labels.
pub fn is_usual_name(name: &str) -> bool {
    let name = name.to_lowercase().replace(' ', "_");
    [&TEXTS[..], &LABELS[..], &RATINGS[..]].concat().contains(&name.as_str())
}

/// Columns that are known.
#[derive(Debug, Default)]
pub struct Known {
    /// Columns of the text.
    pub text: Option<Columns>,
    /// Column of the label.
    pub label: Option<Column>,
    /// Columns of one label each, in its place.
    pub label_columns: Vec<Column>,
}

/// The columns that were chosen.
pub struct GuessedColumns {
    /// Columns of the text.
    pub texts: Vec<Column>,
    /// Columns of the labels: a single one, or those that are known.
    pub labels: Vec<Column>,
}

/// Chooses the columns of the text and of the label that are not known.
///
/// # Errors
/// Returns a message if they are not clear, to follow "is a data file, but".
pub fn choose(sample: &Sample, known: &Known) -> Result<GuessedColumns, String> {
    check_rows(sample)?;
    if let [column] = &sample.columns[..] {
        let name = column.key();
        return Err(format!(
            "it has a single column, {name}, and not one for texts and one for labels"
        ));
    }
    let requested = known.text.iter().flat_map(|columns| &columns.0);
    let requested = requested.chain(&known.label).chain(&known.label_columns);
    if let Some(fault) = missing_column(sample, requested) {
        return Err(fault);
    }
    let statistics = Statistics::of_all(sample);
    let named = |column: &Column| sample.index_of(column);
    let label: Vec<usize> =
        known.label.iter().chain(&known.label_columns).filter_map(named).collect();
    let texts: Vec<usize> = match &known.text {
        Some(columns) => columns.0.iter().filter_map(named).collect(),
        None => vec![text_of(sample, &statistics, &label)?],
    };
    let labels = match &known.label {
        _ if !known.label_columns.is_empty() => known.label_columns.clone(),
        Some(label) => vec![label.clone()],
        None => {
            let index = label_of(&statistics, &texts, sample.is_whole)
                .map_err(|candidates| unclear(sample, &candidates, "label", &texts))?;
            vec![sample.columns[index].clone()]
        }
    };
    let texts = match &known.text {
        Some(columns) => columns.0.clone(),
        None => texts.iter().map(|index| sample.columns[*index].clone()).collect(),
    };
    Ok(GuessedColumns { texts, labels })
}

/// Chooses the columns of the text where labels do not matter. `known` are the columns, if they are known.
///
/// # Errors
/// Returns a message if they are not clear, to follow "is a data file, but".
pub fn choose_texts(sample: &Sample, known: Option<&Columns>) -> Result<Vec<Column>, String> {
    check_rows(sample)?;
    if let Some(Columns(known)) = known {
        return missing_column(sample, known.iter()).map_or_else(|| Ok(known.clone()), Err);
    }
    let statistics = Statistics::of_all(sample);
    Ok(vec![sample.columns[text_of(sample, &statistics, &[])?].clone()])
}

/// Returns an error if there is nothing from which columns could be chosen.
fn check_rows(sample: &Sample) -> Result<(), String> {
    if sample.rows.is_empty() {
        let fault = sample.fault.as_deref();
        return Err(fault.unwrap_or("no row below its header can be read").to_owned());
    }
    if sample.columns.is_empty() {
        return Err("its rows have no strings, numbers or booleans in the same place".to_owned());
    }
    Ok(())
}

/// Returns the column of the text, which is none of `labels`.
fn text_of(sample: &Sample, statistics: &[Statistics], labels: &[usize]) -> Result<usize, String> {
    let mut others = statistics.iter().enumerate();
    if others.all(|(index, column)| labels.contains(&index) || !column.has_words) {
        return Err(
            "no column has texts, only numbers; if one of them is the text, name it with --text"
                .to_owned(),
        );
    }
    text(statistics, labels).map_err(|candidates| unclear(sample, &candidates, "text", &[]))
}

/// Returns the message that a column is not in the file. Returns `None` if all are, or if the columns of the file
/// have no names.
fn missing_column<'a>(
    sample: &Sample,
    mut requested: impl Iterator<Item = &'a Column>,
) -> Option<String> {
    let is_named = |column: &Column| matches!(column, Column::Name(_));
    if !sample.columns.iter().all(is_named) {
        return None;
    }
    let column = requested.find(|column| is_named(column) && sample.index_of(column).is_none())?;
    let names: Vec<String> = sample.columns.iter().map(Column::key).collect();
    let name = column.key();
    let others: Vec<&str> = names.iter().map(String::as_str).collect();
    Some(format!(
        "it has no column {name}, only {}{}",
        join_names(&names),
        suggestion(&name, &others)
    ))
}

/// Properties of a column in the sample.
struct Statistics {
    /// Name in lower case, if it has one.
    name: String,
    /// Number of rows.
    rows: usize,
    /// Number of bytes of all cells.
    length: usize,
    /// Number of different values.
    values: usize,
    /// Number of cells without a value.
    empty: usize,
    /// A cell has a letter, or the name is a usual one of texts.
    has_words: bool,
    /// The cells are lists.
    is_list: bool,
}

impl Statistics {
    fn of(sample: &Sample, index: usize) -> Self {
        let cells = || sample.rows.iter().map(|row| row[index].trim());
        let name = match &sample.columns[index] {
            Column::Name(name) => name.to_lowercase().replace(' ', "_"),
            Column::Number(_) => String::new(),
        };
        let is_list = sample.lists.contains(&index);
        let has_letter =
            |cell: &str| !matches!(cell, "true" | "false") && cell.chars().any(char::is_alphabetic);
        Self {
            has_words: !is_list && (TEXTS.contains(&name.as_str()) || cells().any(has_letter)),
            is_list,
            name,
            rows: sample.rows.len(),
            length: cells().map(str::len).sum(),
            values: cells().collect::<HashSet<_>>().len(),
            empty: cells().filter(|cell| cell.is_empty()).count(),
        }
    }

    /// Returns the properties of all columns.
    fn of_all(sample: &Sample) -> Vec<Self> {
        (0..sample.columns.len()).map(|index| Self::of(sample, index)).collect()
    }

    fn is_named(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// Returns true if the column can be the label: it has several values, unless the file is sorted by label
    /// and only its start is known, and hardly any is missing. Lists need a usual name, and may be empty.
    fn can_be_label(&self, is_whole: bool) -> bool {
        let is_named = self.is_named(&LABELS);
        let is_complete = if self.is_list { is_named } else { 10 * self.empty <= self.rows };
        (self.values >= 2 || !is_whole && is_named) && is_complete
    }
}

/// Returns the only element, or all of them as an error.
fn only(indices: Vec<usize>) -> Result<usize, Vec<usize>> {
    match indices[..] {
        [index] => Ok(index),
        _ => Err(indices),
    }
}

/// Returns the column of the text: the one with a usual name, or the one whose cells are by far the longest.
fn text(columns: &[Statistics], labels: &[usize]) -> Result<usize, Vec<usize>> {
    let is_other = |index: &usize| !labels.contains(index) && !columns[*index].is_list;
    let mut others: Vec<usize> = (0..columns.len()).filter(is_other).collect();
    if let Ok(named) =
        only(others.iter().copied().filter(|index| columns[*index].is_named(&TEXTS)).collect())
    {
        return Ok(named);
    }
    others.sort_by_key(|index| std::cmp::Reverse(columns[*index].length));
    match others[..] {
        [first, second, ..] if columns[first].length < 2 * columns[second].length => {
            let longest = columns[first].length;
            let is_long = |index: &usize| 2 * columns[*index].length > longest;
            others.retain(is_long);
            others.sort_unstable();
            Err(others)
        }
        [first, ..] => Ok(first),
        [] => Err(Vec::new()),
    }
}

/// Returns the column of the label: the one with a usual name, or the only one with few values.
fn label_of(columns: &[Statistics], texts: &[usize], is_whole: bool) -> Result<usize, Vec<usize>> {
    let candidates: Vec<usize> = (0..columns.len())
        .filter(|index| !texts.contains(index) && columns[*index].can_be_label(is_whole))
        .collect();
    let with = |condition: &dyn Fn(&Statistics) -> bool| -> Vec<usize> {
        candidates.iter().copied().filter(|index| condition(&columns[*index])).collect()
    };
    for names in [&LABELS[..1], &LABELS[..], &RATINGS[..]] {
        let named = with(&|column| column.is_named(names));
        if !named.is_empty() {
            return only(named);
        }
    }
    let few = with(&|column| column.values <= MANY_VALUES && column.values < column.rows);
    only(few.clone()).or_else(|_| only(candidates.clone())).map_err(|_| match few.is_empty() {
        true => candidates.clone(),
        false => few,
    })
}

/// Returns the message that several columns, or none, can be the text or the label. `taken` columns cannot.
fn unclear(sample: &Sample, candidates: &[usize], what: &str, taken: &[usize]) -> String {
    let all: Vec<usize> = (0..sample.columns.len()).collect();
    let (problem, shown) = match candidates {
        [] => (format!("no column is clearly the {what}"), &all[..]),
        _ => (format!("several columns can be the {what}"), candidates),
    };
    let describe = |index: &usize| {
        let cells = sample.rows.iter().map(|row| row[*index].trim());
        let mut seen = HashSet::new();
        let values = cells.filter(|value| !value.is_empty() && seen.insert(*value));
        let mut values: Vec<String> = values.take(SHOWN + 1).map(shorten).collect();
        if values.len() > SHOWN {
            values[SHOWN] = "…".to_owned();
        }
        format!("{} ({})", sample.columns[*index].key(), values.join(", "))
    };
    let columns: Vec<String> = shown.iter().map(describe).collect();
    let example = shown
        .iter()
        .find(|index| !taken.contains(index))
        .map_or("COLUMN".to_owned(), |index| quoted(sample.columns[*index].key().as_ref()));
    let of_each_label = match what {
        "label" => label_columns(sample, candidates),
        _ => String::new(),
    };
    format!(
        "{problem}: {}; choose one, e.g. with --{what} {example}{of_each_label}",
        join_names(&columns)
    )
}

/// Returns advice if several columns have the values of one label each: 0, 1 or a probability.
fn label_columns(sample: &Sample, columns: &[usize]) -> String {
    let is_probability =
        |cell: &str| cell.trim().parse::<f64>().is_ok_and(|value| (0.0..=1.0).contains(&value));
    let are_probabilities =
        |column: &&usize| sample.rows.iter().all(|row| is_probability(&row[**column]));
    let columns: Vec<&usize> = columns.iter().filter(are_probabilities).collect();
    if columns.len() < 2 {
        return String::new();
    }
    let names = columns.iter().map(|column| sample.columns[**column].key().to_string());
    let names: Vec<String> = names.collect();
    format!("; if each of them is a label, pass --set 'data.label_columns=[{}]'", names.join(", "))
}

fn shorten(value: &str) -> String {
    let mut short: String = value.chars().take(SHOWN_CHARACTERS).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}
