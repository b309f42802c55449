//! Configurations to start with, for users who pass a data file or a run in place of a configuration.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::Value as Json;
use serde_yaml::Value;

use super::hints::program;
use crate::config::{ConfigError, Format, inline_yaml};
use crate::data::format_of;
use crate::io::input::{Decoding, conversion, inner_extension, open};
use crate::output::shell::quoted_path;
use crate::run::checkpoint::is_checkpoint;
use crate::run::listing::is_run;
use crate::run::saved_model::is_ensemble;

/// Number of bytes at the start of a data file that are examined.
const BYTES: u64 = 1 << 20;
/// Number of rows that are examined.
const ROWS: usize = 1_000;
/// Length in characters from which a cell of the first row is a text rather than a column name.
const LONG_NAME: usize = 60;

/// Explains the error of a configuration at `path`, if the path is that of something else.
pub fn explain(error: ConfigError, path: &Path) -> ConfigError {
    instead_of_configuration(path).map_or(error, ConfigError::new)
}

fn instead_of_configuration(path: &Path) -> Option<String> {
    let shown = path.display();
    if is_ensemble(path) {
        return Some(format!("\"{shown}\" is an ensemble of checkpoints, not a configuration"));
    }
    let run = if is_checkpoint(path) { path.parent()? } else { path };
    if is_checkpoint(path) || path.is_dir() && is_run(path) {
        let (run, program) = (quoted_path(run), program());
        return Some(format!(
            "\"{shown}\" is a run, not a configuration; to resume it:\n  {program} train --resume {run}"
        ));
    }
    let data = match path.is_dir() {
        true => directory_fields(path),
        false => match file_fields(path)? {
            Ok(fields) => Some(fields),
            Err(fault) => return Some(format!("{fault:#}")),
        },
    };
    let Some(data) = data.filter(|fields| !fields.is_empty()) else {
        let is_data =
            matches!(inner_extension(path)?.as_str(), "csv" | "tsv" | "jsonl" | "parquet");
        return is_data.then(|| {
            format!(
                "\"{shown}\" is a data file, not a configuration; write a YAML file with data.train, \
                 data.text_column and data.label_column, which lstmtext config describes"
            )
        });
    };
    let lines: String =
        data.iter().map(|(name, value)| format!("  {name}: {}\n", inline_yaml(value))).collect();
    let has_columns = data.iter().any(|(name, _)| *name == "label_column");
    let kind = if path.is_dir() { "directory" } else { "file" };
    let file = new_name(path)?;
    Some(format!(
        "\"{shown}\" is a data {kind}, not a configuration; save these lines as {}{} and pass that file \
         instead:\n\ndata:\n{lines}",
        quoted_path(&file),
        if has_columns { ", check the columns" } else { "" }
    ))
}

/// Returns the name of a configuration that does not exist yet, after that of the data.
fn new_name(data: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(data).ok()?;
    let name = absolute.file_name()?.to_str()?.split('.').next()?.to_owned();
    let numbers = (2..).map(|number| format!("{name}-{number}.yaml"));
    let mut names = [format!("{name}.yaml")].into_iter().chain(numbers).map(PathBuf::from);
    names.find(|name| !name.exists())
}

type Fields = Vec<(&'static str, Value)>;

fn path_value(path: &Path) -> Option<Value> {
    path.to_str().map(Value::from)
}

/// Returns the fields of the section `data` for a directory of classes, or one with parts.
fn directory_fields(path: &Path) -> Option<Fields> {
    let part = |name: &str| Some(path.join(name)).filter(|part| is_folder_of_classes(part));
    match (part("train"), part("test")) {
        (Some(train), test) => {
            let mut fields = vec![("train", path_value(&train)?)];
            fields.extend(test.and_then(|test| Some(("test", path_value(&test)?))));
            Some(fields)
        }
        (None, _) if is_folder_of_classes(path) => Some(vec![("train", path_value(path)?)]),
        (None, _) => None,
    }
}

fn is_folder_of_classes(path: &Path) -> bool {
    let directories = fs::read_dir(path).into_iter().flatten().flatten();
    let has_text = |directory: PathBuf| {
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        files.take(ROWS).any(|file| file.path().extension().is_some_and(|ext| ext == "txt"))
    };
    directories.filter(|entry| has_text(entry.path())).take(2).count() == 2
}

/// Returns the fields of the section `data` for a data file, or none if its columns are not clear.
fn file_fields(path: &Path) -> Option<anyhow::Result<Fields>> {
    let by_name = format_of(path).ok();
    let text = match start(path) {
        Ok(text) => text,
        Err(fault) => return by_name.map(|_| Err(fault)),
    };
    let format = by_name.or_else(|| format_of_content(path, &text))?;
    let fields = match unreadable(path, &text, format) {
        Some(fault) => return Some(Err(fault)),
        None => columns(path, &text, format),
    };
    match (fields, by_name) {
        (Some(fields), Some(_)) => Some(Ok(fields)),
        (Some(mut fields), None) => {
            fields.push(("format", Value::from(format.as_str())));
            Some(Ok(fields))
        }
        (None, Some(_)) => Some(Ok(Vec::new())),
        (None, None) => None,
    }
}

/// Returns the format that the content of a file suggests, whose name does not.
fn format_of_content(path: &Path, text: &str) -> Option<Format> {
    let first = text.lines().find(|line| !line.trim().is_empty())?.trim_start();
    let is_yaml = matches!(inner_extension(path).as_deref(), Some("yaml" | "yml"));
    match first {
        _ if first.starts_with("__label__") => Some(Format::Fasttext),
        _ if first.starts_with(['{', '[']) => Some(Format::Jsonl),
        _ if is_yaml && (first.starts_with(['#', '-']) || first.contains(':')) => None,
        _ if first.contains('\t') => Some(Format::Tsv),
        _ if first.contains(',') => Some(Format::Csv),
        _ => None,
    }
}

/// Returns an error if a file is a common variant of a format that is not supported.
fn unreadable(path: &Path, text: &str, format: Format) -> Option<anyhow::Error> {
    let shown = path.display();
    let header = text.lines().next()?;
    let columns = |separator: char| header.matches(separator).count();
    let separator = [';', '|'].into_iter().find(|separator| columns(*separator) > 0)?;
    let is_other = format == Format::Csv && columns(',') == 0;
    is_other.then(|| {
        anyhow!(
            "\"{shown}\" is a data file whose columns are separated by \"{separator}\"; save it as CSV with \
             commas, and pass the new file"
        )
    })
}

/// Returns the fields of the section `data` for a file that begins with `text`.
fn columns(path: &Path, text: &str, format: Format) -> Option<Fields> {
    let train = ("train", path_value(path)?);
    let (rows, is_table) = match format {
        Format::Csv => (csv_rows(text, b',')?, true),
        Format::Tsv => (csv_rows(text, b'\t')?, true),
        Format::Jsonl | Format::Json => (json_rows(text)?, false),
        Format::Fasttext => {
            let is_labelled = text.lines().next()?.starts_with("__label__");
            return is_labelled.then(|| vec![train]);
        }
        _ => return None,
    };
    let (first, rest) = rows.split_first()?;
    let is_name = |cell: &String| cell.parse::<f64>().is_err() && cell.chars().count() < LONG_NAME;
    let has_header = first.iter().all(is_name);
    let examples = if has_header { rest } else { &rows };
    let (text, label) = text_and_label(first, examples, has_header)?;
    let column = |index: usize| match has_header {
        true => Value::from(first[index].trim()),
        false => Value::from(index as u64 + 1),
    };
    let mut fields = vec![train];
    if is_table && !has_header {
        fields.push(("header", Value::from(false)));
    }
    fields.extend([("text_column", column(text)), ("label_column", column(label))]);
    Some(fields)
}

/// Returns the complete lines at the start of a file.
///
/// # Errors
/// Returns an error if the file cannot be read or is not valid UTF-8.
fn start(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let unreadable = || format!("cannot read \"{}\"", path.display());
    open(path)?.take(BYTES).read_to_end(&mut bytes).with_context(unreadable)?;
    if bytes.len() as u64 == BYTES {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
    }
    let text = String::from_utf8(bytes);
    text.map_err(|_| {
        anyhow!(
            "\"{}\" is not valid UTF-8; {}",
            path.display(),
            conversion(Some(path), Decoding::AUTO)
        )
    })
}

fn csv_rows(text: &str, delimiter: u8) -> Option<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .from_reader(text.as_bytes());
    let rows = reader.records().take(ROWS).map_while(Result::ok);
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(str::to_owned).collect()).collect();
    let width = rows.first()?.len();
    Some(rows.into_iter().filter(|row| row.len() == width).collect())
}

/// Returns the complete objects at the start of JSON lines, or of an array.
fn json_objects(text: &str) -> Vec<serde_json::Map<String, Json>> {
    let after = |text: &'_ str, separator: char| -> usize {
        let trimmed = text.trim_start();
        text.len() - trimmed.strip_prefix(separator).unwrap_or(trimmed).len()
    };
    let (mut objects, mut position) = (Vec::new(), after(text, '['));
    while objects.len() < ROWS {
        let mut stream = serde_json::Deserializer::from_str(&text[position..]).into_iter();
        let Some(Ok(object)) = stream.next() else { break };
        objects.push(object);
        position += stream.byte_offset();
        position += after(&text[position..], ',');
    }
    objects
}

/// Returns the keys of the first object as a header, and the values of all objects.
fn json_rows(text: &str) -> Option<Vec<Vec<String>>> {
    let objects = json_objects(text);
    let is_scalar = |key: &&String| {
        objects.iter().all(|object| {
            matches!(object.get(*key), Some(Json::String(_) | Json::Number(_) | Json::Bool(_)))
        })
    };
    let keys: Vec<String> = objects.first()?.keys().filter(is_scalar).cloned().collect();
    let cell = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |object: &serde_json::Map<String, Json>| {
        keys.iter().map(|key| cell(&object[key])).collect::<Vec<_>>()
    };
    Some([keys.clone()].into_iter().chain(objects.iter().map(row)).collect())
}

/// Guesses the columns of the text and of the label: the one with the longest cells, and the one whose
/// name is that of a label or that has the fewest values.
fn text_and_label(
    names: &[String],
    rows: &[Vec<String>],
    has_header: bool,
) -> Option<(usize, usize)> {
    const LABELS: [&str; 12] = [
        "label",
        "labels",
        "class",
        "category",
        "target",
        "sentiment",
        "y",
        "topic",
        "intent",
        "emotion",
        "stars",
        "rating",
    ];
    let length = |column: &usize| rows.iter().map(|row| row[*column].len()).sum::<usize>();
    let text = (0..names.len()).max_by_key(length)?;
    let values = |column: usize| rows.iter().map(|row| &row[column]).collect::<HashSet<_>>().len();
    let counts: HashMap<usize, usize> =
        (0..names.len()).filter(|column| *column != text).map(|c| (c, values(c))).collect();
    let rank = |column: &usize| {
        let name = names[*column].trim().to_lowercase();
        let is_label = has_header && LABELS.contains(&name.as_str());
        // A row with an empty label is broken.
        let empty = rows.iter().filter(|row| row[*column].trim().is_empty()).count();
        (10 * empty > rows.len(), !is_label, counts[column], *column)
    };
    let candidates = counts.keys().copied().filter(|column| counts[column] >= 2);
    Some((text, candidates.min_by_key(rank)?))
}
