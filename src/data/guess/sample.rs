//! The rows at the start of a data file.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value as Json;
use serde_yaml::Value;

use super::super::formats::{
    Dialect, PREFIX, delimiter_of, fields as cells, format_of, rows, spelled, unclosed_quote,
};
#[cfg(feature = "parquet")]
use super::super::formats::{Head, parquet_head};
use crate::config::{Column, DataConfig, Delimiter, Format, Quoting};
use crate::io::input::{
    Decoding, Limits, Survey, TextEncoding, conversion, inner_extension, is_compressed,
    open_limited,
};
use crate::output::format::{group_digits, pluralize};

/// Number of bytes at the start of a file that are examined: enough to find all labels of a file that is sorted
/// by label, in a fraction of a second.
const BYTES: u64 = 64 << 20;
/// Number of rows that are examined for their content.
const ROWS: usize = 1_000;
/// Number of keys of JSON objects that are examined.
const KEYS: usize = 1_000;
/// Separates the items of a list in a cell.
const ITEM_SEPARATOR: &str = "\u{1f}";
/// After the first rows, one in this number is examined.
const STEP: usize = 64;
/// Number of rows from which a file without the extension of a table is recognized as one.
const PLAUSIBLE_ROWS: usize = 100;
/// Number of characters from which a cell of the first row is a text rather than a column name.
pub const LONG_NAME: usize = 60;
/// Assumed size of a text for each byte of a compressed one.
const COMPRESSION: u64 = 4;

/// A number of examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// All were counted.
    Exact(usize),
    /// Estimated from the start of a file.
    About(usize),
}

impl Count {
    /// Returns the number.
    pub fn number(self) -> usize {
        match self {
            Self::Exact(number) | Self::About(number) => number,
        }
    }

    /// Describes the number; an estimate has two digits.
    pub fn describe(self) -> String {
        match self {
            Self::Exact(number) => pluralize(number, "example"),
            Self::About(number) => {
                let unit = 10_usize.pow(number.max(1).ilog10().saturating_sub(1));
                format!("about {} examples", group_digits(number.div_ceil(unit) * unit))
            }
        }
    }
}

/// Rows at the start of a file.
pub struct Sample {
    /// Names of the columns, or their numbers.
    pub columns: Vec<Column>,
    /// The columns have names or numbers, so that they must be chosen.
    pub has_columns: bool,
    /// Cells of some of the rows, one for each column.
    pub rows: Vec<Vec<String>>,
    /// Indices of the columns with lists.
    pub lists: Vec<usize>,
    /// Fields of the configuration by which the file is read.
    pub fields: Vec<(&'static str, Value)>,
    /// Number of rows in the examined part.
    count: usize,
    /// Size of the examined part in bytes, decompressed.
    bytes: u64,
    file_bytes: u64,
    /// The examined part is the whole file.
    pub is_whole: bool,
    is_compressed: bool,
    /// Fault for which rows are missing, to follow "is a data file, but".
    pub fault: Option<String>,
}

impl Sample {
    /// Reads the start of the file at `path` as `data` says, and guesses what it leaves open. Returns `None`
    /// if it is no data file.
    ///
    /// # Errors
    /// Returns an error if the file has the extension of a data file, but cannot be read.
    pub fn read(path: &Path, data: &DataConfig) -> anyhow::Result<Option<Self>> {
        let by_name = match data.format {
            Format::Auto => format_of(path).ok(),
            format => Some(format),
        };
        if by_name == Some(Format::Parquet) {
            return parquet(path);
        }
        let start = match Start::read(path, data) {
            Ok(start) => start,
            Err(error) if by_name.is_some() => return Err(error),
            Err(_) => return Ok(None),
        };
        let Some(format) = format(path, by_name, &start.text) else { return Ok(None) };
        if by_name != Some(format) && !is_plausible(&start.text, format, data) {
            return Ok(None);
        }
        let parsed = match format {
            Format::Csv | Format::Tsv => table(&start.text, format, data),
            Format::Jsonl | Format::Json => json(&start.text),
            Format::Fasttext => fasttext(&start.text),
            _ => None,
        };
        let Some(Parsed { columns, rows, lists, mut fields }) = parsed else { return Ok(None) };
        let fault = match format {
            // The rest of the file is the last field of the first row.
            Format::Csv | Format::Tsv if rows.kept.is_empty() && start.is_whole => {
                let Dialect { delimiter, is_quoted } = dialect(&start.text, format, data);
                is_quoted.then(|| unclosed_quote(&start.text, delimiter)).flatten()
            }
            _ => None,
        };
        if by_name != Some(format) {
            fields.push(("data.format", Value::from(format.as_str())));
        }
        if start.encoding != data.encoding {
            fields.push(("data.encoding", Value::from(start.encoding.to_string())));
        }
        Ok(Some(Self {
            has_columns: format != Format::Fasttext,
            columns,
            rows: rows.kept,
            lists,
            fields,
            count: rows.count,
            bytes: start.bytes,
            file_bytes: fs::metadata(path)?.len(),
            is_whole: start.is_whole,
            is_compressed: is_compressed(path),
            fault,
        }))
    }

    /// Returns the number of rows of several files, of which this is the first, with `bytes` in total.
    pub fn count(&self, bytes: u64) -> Count {
        let is_counted = self.is_whole || self.bytes == self.file_bytes;
        if is_counted && bytes == self.file_bytes {
            return Count::Exact(self.count);
        }
        let examined = match (is_counted, self.is_compressed) {
            (true, _) => self.file_bytes,
            (false, true) => self.bytes / COMPRESSION,
            (false, false) => self.bytes,
        };
        Count::About((self.count as f64 * bytes as f64 / examined.max(1) as f64).round() as usize)
    }

    /// Returns the index of a column.
    pub fn index_of(&self, column: &Column) -> Option<usize> {
        match column {
            Column::Name(name) => {
                let name = spelled(name, false);
                let is_named = |each: &Column| match each {
                    Column::Name(each) => spelled(each, false) == name,
                    Column::Number(_) => false,
                };
                self.columns.iter().position(is_named)
            }
            Column::Number(number) => Some(number - 1).filter(|index| *index < self.columns.len()),
        }
    }

    /// Returns the different labels of a column in the order of classes.
    pub fn labels(&self, column: usize, data: &DataConfig) -> Vec<String> {
        let cells = self.rows.iter().map(|row| row[column].trim());
        let values: HashSet<&str> = match self.lists.contains(&column) {
            true => cells.flat_map(|cell| cell.split(ITEM_SEPARATOR)).map(str::trim).collect(),
            false => cells.flat_map(|cell| data.labels_in(cell)).collect(),
        };
        let mut values: Vec<String> =
            values.into_iter().filter(|value| !value.is_empty()).map(str::to_owned).collect();
        match values.iter().all(|value| value.parse::<i64>().is_ok()) {
            true => values.sort_by_key(|value| value.parse::<i64>().ok()),
            false => values.sort(),
        }
        values
    }
}

/// The complete lines at the start of a file.
struct Start {
    text: String,
    encoding: TextEncoding,
    bytes: u64,
    is_whole: bool,
}

impl Start {
    fn read(path: &Path, data: &DataConfig) -> anyhow::Result<Self> {
        let (bytes, is_whole) = first_bytes(path, data.decoding())?;
        let length = bytes.len() as u64;
        let not_utf8 = match String::from_utf8(bytes) {
            Ok(text) => {
                let encoding = data.encoding;
                return Ok(Self { text, encoding, bytes: length, is_whole });
            }
            Err(error) => error.into_bytes(),
        };
        let mut survey = Survey::default();
        not_utf8.split_inclusive(|byte| *byte == b'\n').for_each(|line| survey.add(line));
        let encoding = survey.other_encoding().filter(|_| data.encoding.is_auto());
        let Some(encoding) = encoding else {
            let advice = conversion(Some(path), data.decoding());
            bail!("\"{}\" is not valid UTF-8; {advice}", path.display());
        };
        let (bytes, _) = first_bytes(path, Decoding { encoding, ..data.decoding() })?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { text, encoding, bytes: length, is_whole })
    }
}

/// Returns the complete lines at the start of a file, and true if they are the whole file.
fn first_bytes(path: &Path, decoding: Decoding) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let unreadable = || format!("cannot read \"{}\"", path.display());
    let reader = open_limited(path, Limits::NONE, decoding)?;
    reader.take(BYTES).read_to_end(&mut bytes).with_context(unreadable)?;
    let is_whole = (bytes.len() as u64) < BYTES;
    if !is_whole {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    Ok((bytes, is_whole))
}

/// Returns the format of a file: that of its name, unless the content cannot have it.
fn format(path: &Path, by_name: Option<Format>, text: &str) -> Option<Format> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim_start();
    let is_yaml = matches!(inner_extension(path).as_deref(), Some("yaml" | "yml"));
    match by_name {
        Some(Format::Fasttext) if !first.starts_with(PREFIX) => {}
        Some(format) => return Some(format),
        None => {}
    }
    match first {
        _ if first.starts_with(PREFIX) => Some(Format::Fasttext),
        _ if first.starts_with(['{', '[']) => Some(Format::Jsonl),
        _ if is_yaml && (first.starts_with(['#', '-']) || first.contains(':')) => None,
        _ if first.contains('\t') => Some(Format::Tsv),
        _ if first.contains([',', ';', '|']) => Some(Format::Csv),
        _ => None,
    }
}

/// Rows, of which some are kept.
#[derive(Default)]
struct Rows {
    count: usize,
    kept: Vec<Vec<String>>,
}

impl Rows {
    /// Adds a row.
    fn add(&mut self, cells: impl FnOnce() -> Option<Vec<String>>) {
        if self.count < ROWS || self.count.is_multiple_of(STEP) {
            self.kept.extend(cells());
        }
        self.count += 1;
    }
}

struct Parsed {
    columns: Vec<Column>,
    rows: Rows,
    /// Indices of the columns with lists.
    lists: Vec<usize>,
    fields: Vec<(&'static str, Value)>,
}

/// Returns true if a file whose name does not tell its format can be a table: a script has commas, too.
fn is_plausible(text: &str, format: Format, data: &DataConfig) -> bool {
    if !matches!(format, Format::Csv | Format::Tsv) {
        return true;
    }
    let rows = rows(text.as_bytes(), dialect(text, format, data)).take(PLAUSIBLE_ROWS);
    let rows: Vec<Vec<String>> = rows.map(|row| cells(&row)).collect();
    // In a text, a space follows a comma.
    let is_prose = |row: &&Vec<String>| row.iter().skip(1).any(|cell| cell.starts_with(' '));
    let prose = rows.iter().filter(is_prose).count();
    rows.len() > 1 && are_table(&rows) && 2 * prose < rows.len()
}

/// Character between the columns of a format, unless a file has another one.
fn usual_delimiter(format: Format) -> u8 {
    if format == Format::Tsv { b'\t' } else { b',' }
}

fn dialect(text: &str, format: Format, data: &DataConfig) -> Dialect {
    let is_quoted = match data.quoting {
        Quoting::Auto => format == Format::Csv,
        Quoting::Standard => true,
        Quoting::None => false,
    };
    let delimiter = match data.delimiter {
        Delimiter::Byte(byte) => byte,
        Delimiter::Auto if format == Format::Tsv => usual_delimiter(format),
        Delimiter::Auto => delimiter_of(text.as_bytes(), is_quoted, are_table),
    };
    Dialect { delimiter, is_quoted }
}

fn table(text: &str, format: Format, data: &DataConfig) -> Option<Parsed> {
    let dialect = dialect(text, format, data);
    let mut all = rows(text.as_bytes(), dialect).peekable();
    let width = all.peek()?.len();
    let mut rows = Rows::default();
    for row in all.filter(|row| row.len() == width) {
        rows.add(|| Some(cells(&row)));
    }
    let mut fields = Vec::new();
    if dialect.delimiter != usual_delimiter(format) {
        fields.push(("data.delimiter", Value::from(Delimiter::spelling(dialect.delimiter))));
    }
    let columns = match data.header && is_header(&rows.kept) {
        true => {
            rows.count -= 1;
            let names = rows.kept.remove(0);
            column_names(&names)
        }
        false => {
            fields.push(("data.header", Value::from(false)));
            (1..=width).map(Column::Number).collect()
        }
    };
    Some(Parsed { columns, rows, lists: Vec::new(), fields })
}

/// Returns true if most rows have several columns, and as many as the first.
fn are_table(rows: &[Vec<String>]) -> bool {
    let Some(width) = rows.first().map(Vec::len).filter(|width| *width > 1) else { return false };
    let equal = rows.iter().filter(|row| row.len() == width).count();
    10 * equal >= 9 * rows.len()
}

/// Returns true if the first row has the names of the columns: short ones that are no numbers and no value
/// of the rows below.
fn is_header(rows: &[Vec<String>]) -> bool {
    let [first, rest @ ..] = rows else { return false };
    let is_name = |(index, cell): (usize, &String)| {
        let cell = cell.trim();
        !cell.is_empty()
            && cell.parse::<f64>().is_err()
            && cell.chars().count() < LONG_NAME
            && rest.iter().all(|row| row[index].trim() != cell)
    };
    first.iter().enumerate().all(is_name)
}

/// Returns the columns under a header. Those that share a name are known by their numbers.
fn column_names(header: &[String]) -> Vec<Column> {
    let column = |(index, name): (usize, &String)| {
        let name = name.trim();
        match header.iter().filter(|other| other.trim() == name).count() {
            1 => Column::Name(name.to_owned()),
            _ => Column::Number(index + 1),
        }
    };
    header.iter().enumerate().map(column).collect()
}

type Object = serde_json::Map<String, Json>;

/// Returns the value of a key; null if it is missing.
fn value<'a>(object: &'a Object, key: &str) -> &'a Json {
    object.get(key).unwrap_or(&Json::Null)
}

/// Returns the values of objects under the keys of the first.
fn json(text: &str) -> Option<Parsed> {
    let (mut objects, mut count) = (Vec::new(), 0);
    match text.trim_start().strip_prefix('[') {
        Some(mut rest) => {
            while let Some((object, after)) = next_element(rest) {
                if count < ROWS || count.is_multiple_of(STEP) {
                    objects.push(object);
                }
                (rest, count) = (after, count + 1);
            }
        }
        None => {
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                if count < ROWS || count.is_multiple_of(STEP) {
                    objects.extend(serde_json::from_str::<Object>(line));
                }
                count += 1;
            }
        }
    }
    let is_scalar = |value: &Json| !matches!(value, Json::Array(_) | Json::Object(_));
    let is_cell = |value: &Json| match value {
        Json::Array(items) => items.iter().all(is_scalar),
        other => is_scalar(other),
    };
    // A value can be missing from some rows.
    let is_column = |key: &&String| {
        objects.iter().all(|object| is_cell(value(object, key)))
            && objects.iter().any(|object| !value(object, key).is_null())
    };
    objects.first()?;
    let mut keys: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for key in objects.iter().flat_map(Object::keys) {
        if seen.len() < KEYS && seen.insert(key) && is_column(&key) {
            keys.push(key.clone());
        }
    }
    let scalar = |value: &Json| match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let cell = |value: &Json| match value {
        Json::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(ITEM_SEPARATOR),
        other => scalar(other),
    };
    let has_list = |key: &String| objects.iter().any(|object| value(object, key).is_array());
    let lists = keys.iter().enumerate().filter(|(_, key)| has_list(key));
    let lists: Vec<usize> = lists.map(|(index, _)| index).collect();
    let row = |object: &Object| keys.iter().map(|key| cell(value(object, key))).collect();
    let rows = Rows { count, kept: objects.iter().map(row).collect() };
    let columns = keys.iter().cloned().map(Column::Name).collect();
    Some(Parsed { columns, rows, lists, fields: Vec::new() })
}

/// Returns the object at the start of a part of an array, and the text after it.
fn next_element(text: &str) -> Option<(Object, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter();
    let object = stream.next()?.ok()?;
    let rest = text[stream.byte_offset()..].trim_start();
    Some((object, rest.strip_prefix(',').unwrap_or(rest)))
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path) -> anyhow::Result<Option<Sample>> {
    let Head { names, rows, count } = parquet_head(path, ROWS)?;
    let bytes = fs::metadata(path)?.len();
    Ok((!rows.is_empty()).then(|| Sample {
        columns: names.into_iter().map(Column::Name).collect(),
        has_columns: true,
        is_whole: rows.len() >= count,
        rows,
        lists: Vec::new(),
        fields: Vec::new(),
        count,
        bytes,
        file_bytes: bytes,
        is_compressed: false,
        fault: None,
    }))
}

#[cfg(not(feature = "parquet"))]
fn parquet(_: &Path) -> anyhow::Result<Option<Sample>> {
    Ok(None)
}

/// Returns the labels of the lines.
fn fasttext(text: &str) -> Option<Parsed> {
    let labels = |line: &str| {
        let labels = line.split_whitespace().map_while(|word| word.strip_prefix(PREFIX));
        let labels: Vec<&str> = labels.collect();
        (!labels.is_empty()).then(|| vec![labels.join(ITEM_SEPARATOR)])
    };
    let mut rows = Rows::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        rows.add(|| labels(line));
    }
    let has_several = rows.kept.iter().any(|row| row[0].contains(ITEM_SEPARATOR));
    let (columns, lists) = (vec![Column::Number(1)], vec![0; usize::from(has_several)]);
    (!rows.kept.is_empty()).then(|| Parsed { columns, rows, lists, fields: Vec::new() })
}
