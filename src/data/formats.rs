//! One reader for each format; all of them yield labelled texts with their lines.

mod babi;

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use glob::{MatchOptions, Pattern};
use serde_json::Value as Json;

use super::open::{format_of, open};
use crate::config::{BrokenLines, Column, Config, DataConfig, Format, Input, Inputs};

const FASTTEXT_LABEL: &str = "__label__";

/// Texts with their labels, as one file or folder has them, or several files that a pattern names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelledTexts {
    /// Where they were read: the path or pattern that was asked for.
    pub path: PathBuf,
    /// Each file with the number of its first example.
    files: Vec<(PathBuf, usize)>,
    /// For each column of the inputs its texts, in the order of the file.
    pub texts: Vec<Vec<String>>,
    /// For each text, the index of its label in `names`.
    pub labels: Vec<u32>,
    /// The labels, in the order in which they were first met.
    pub names: Vec<String>,
    /// For each text, the line it began in, from 1; 0 where a file is one text.
    pub lines: Vec<u64>,
    /// The broken lines that were left out.
    pub skipped: usize,
}

impl LabelledTexts {
    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The file and line of example `index`, as a message begins with them.
    pub fn place(&self, index: usize) -> String {
        let file = self.files.iter().rev().find(|(_, first)| *first <= index);
        let path = file.map_or(&self.path, |(path, _)| path);
        match self.lines[index] {
            0 => format!("\"{}\": ", path.display()),
            line => format!("\"{}\": line {line}: ", path.display()),
        }
    }
}

/// Reads the file or folder `path`, or all files that match it as a pattern, as the data section
/// says, with a text for each column of the inputs.
///
/// # Errors
/// Names the file, the line, what was found and what was expected.
pub fn read(path: &Path, config: &Config) -> anyhow::Result<LabelledTexts> {
    let mut sink = Sink::new(path, config);
    for file in matching(path, config.data.format)? {
        sink.read.files.push((file.clone(), sink.read.len()));
        read_one(&file, &config.data, &mut sink)?;
    }
    Ok(sink.read)
}

/// The files that `path` matches as a pattern, in the order of their names; `path` itself where it
/// is none, or is there under just this name.
fn matching(path: &Path, format: Format) -> anyhow::Result<Vec<PathBuf>> {
    let pattern = path.to_string_lossy();
    if !pattern.contains(['*', '?', '[']) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let found = glob::glob_with(&with_literal_folders(path), options)
        .with_context(|| format!("\"{pattern}\" is no valid pattern"))?;
    let files: Vec<PathBuf> = found
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot look for files \"{pattern}\""))?;
    let advice = match format {
        Format::Babi => "; `lstmtext data fetch babi` gets the tasks into data/babi/en",
        _ => "",
    };
    ensure!(!files.is_empty(), "no file matches \"{pattern}\"{advice}");
    Ok(files)
}

/// The pattern, in which the folders that are there under just their names stand for themselves.
fn with_literal_folders(path: &Path) -> String {
    let mut folder = PathBuf::new();
    let mut rest = path.components().peekable();
    while let Some(part) = rest.next_if(|part| folder.join(part).exists()) {
        folder.push(part);
    }
    let literal = Pattern::escape(&folder.to_string_lossy());
    PathBuf::from(literal).join(rest.collect::<PathBuf>()).to_string_lossy().into_owned()
}

fn read_one(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let format = match config.format {
        Format::Auto => {
            std::fs::metadata(path)
                .with_context(|| format!("cannot open \"{}\"", path.display()))?;
            format_of(path)?
        }
        named => named,
    };
    if matches!(format, Format::Fasttext | Format::Folder) {
        let (path, format) = (path.display(), format.word());
        ensure!(
            config.filter.is_empty(),
            "data.filter needs named columns, but \"{path}\" has the format {format}"
        );
        ensure!(
            sink.inputs.columns().len() == 1,
            "{} needs named columns, but \"{path}\" has the format {format}",
            sink.inputs[0].field("column")
        );
    }
    match format {
        Format::Csv => read_csv(path, config, sink),
        Format::Tsv => read_tsv(path, config, sink),
        Format::Jsonl => read_jsonl(path, config, sink),
        Format::Fasttext => read_fasttext(path, sink),
        Format::Folder => read_folder(path, config, sink),
        Format::Babi => babi::read(path, config, sink),
        Format::Auto => unreachable!("resolved above"),
    }
}

/// What a line that can be an example consists of.
struct Row {
    /// A text for each column of the inputs.
    texts: Vec<String>,
    label: String,
}

/// Collects rows, and stops at or counts the broken ones.
struct Sink<'a> {
    read: LabelledTexts,
    inputs: &'a Inputs,
    numbers: HashMap<String, u32>,
    broken: BrokenLines,
    label_names: &'a BTreeMap<String, String>,
}

impl<'a> Sink<'a> {
    fn new(path: &Path, config: &'a Config) -> Self {
        let read = LabelledTexts {
            path: path.to_owned(),
            texts: vec![Vec::new(); config.inputs.columns().len()],
            ..LabelledTexts::default()
        };
        Self {
            read,
            inputs: &config.inputs,
            numbers: HashMap::new(),
            broken: config.data.broken_lines,
            label_names: &config.data.label_names,
        }
    }

    /// The file that is being read.
    fn file(&self) -> std::path::Display<'_> {
        self.read.files.last().map_or(&self.read.path, |(path, _)| path).display()
    }

    /// Takes a row, `None` for one that the filter leaves out, or what is wrong with the line.
    fn take(&mut self, line: u64, row: Result<Option<Row>, String>) -> anyhow::Result<()> {
        let labelled = |row: &Option<Row>| row.as_ref().is_none_or(|row| !row.label.is_empty());
        match row.and_then(|row| {
            labelled(&row).then_some(row).ok_or_else(|| "the label is empty".to_owned())
        }) {
            Ok(Some(row)) => self.push(line, row),
            Ok(None) => {}
            Err(message) if self.broken == BrokenLines::Error => {
                let path = self.file();
                let advice = "data.broken_lines: skip would leave such lines out";
                match line {
                    0 => bail!("\"{path}\": {message} ({advice})"),
                    _ => bail!("\"{path}\": line {line}: {message} ({advice})"),
                }
            }
            Err(_) => self.read.skipped += 1,
        }
        Ok(())
    }

    fn push(&mut self, line: u64, row: Row) {
        let label = self.label_names.get(&row.label).unwrap_or(&row.label);
        let number = match self.numbers.get(label) {
            Some(number) => *number,
            None => {
                let next = self.numbers.len() as u32;
                self.read.names.push(label.clone());
                self.numbers.insert(label.clone(), next);
                next
            }
        };
        for (texts, text) in self.read.texts.iter_mut().zip(row.texts) {
            texts.push(text);
        }
        self.read.labels.push(number);
        self.read.lines.push(line);
    }
}

/// The path of the field that asks for a column.
fn field_of(inputs: &Inputs, column: &Column) -> String {
    let asks = |input: &&Input| input.columns.0.contains(column);
    inputs.iter().find(asks).map_or(String::new(), |input| input.field("column"))
}

/// Which fields of a row hold what.
struct Layout {
    /// The fields of the texts.
    texts: Vec<usize>,
    label: usize,
    filter: Vec<(usize, String)>,
    /// Fields in every row, where a header tells.
    width: Option<usize>,
}

impl Layout {
    fn find(
        header: Option<&[String]>,
        config: &DataConfig,
        inputs: &Inputs,
    ) -> Result<Self, String> {
        let named = |name: &str| -> Result<usize, String> {
            let header = header.ok_or_else(|| {
                format!(
                    "column \"{name}\" cannot be found without a header; give its number, from 1"
                )
            })?;
            header.iter().position(|known| known == name).ok_or_else(|| {
                format!("expected a column \"{name}\", found {}", excerpt(&header.join(", ")))
            })
        };
        let find = |column: &Column| match column {
            Column::Name(name) => named(name),
            Column::Number(number) => match header {
                Some(header) if *number > header.len() => Err(format!(
                    "expected a column number {number}, found {} columns",
                    header.len()
                )),
                _ => Ok(number - 1),
            },
        };
        let filter = config.filter.iter();
        let text = |column: &&Column| {
            find(column).map_err(|fault| format!("{}: {fault}", field_of(inputs, column)))
        };
        Ok(Self {
            texts: inputs.columns().iter().map(text).collect::<Result<_, _>>()?,
            label: find(&config.label_column)
                .map_err(|fault| format!("data.label_column: {fault}"))?,
            filter: filter
                .map(|(name, value)| {
                    let column = named(name).map_err(|fault| format!("data.filter: {fault}"))?;
                    Ok((column, value.clone()))
                })
                .collect::<Result<_, String>>()?,
            width: header.map(<[String]>::len),
        })
    }

    fn row<'r>(&self, fields: &[&'r [u8]]) -> Result<Option<Row>, String> {
        if let Some(width) = self.width.filter(|width| *width != fields.len()) {
            return Err(format!(
                "expected {width} columns as in the header, found {}",
                fields.len()
            ));
        }
        let field = |index: usize| -> Result<&'r str, String> {
            let bytes = fields.get(index).ok_or_else(|| {
                format!("expected at least {} columns, found {}", index + 1, fields.len())
            })?;
            std::str::from_utf8(bytes).map_err(|_| "found bytes that are not UTF-8".to_owned())
        };
        for (index, wanted) in &self.filter {
            if field(*index)? != wanted {
                return Ok(None);
            }
        }
        let text = |column: &usize| field(*column).map(str::to_owned);
        Ok(Some(Row {
            texts: self.texts.iter().map(text).collect::<Result<_, _>>()?,
            label: field(self.label)?.trim().to_owned(),
        }))
    }
}

fn read_csv(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    // Left to itself the csv crate counts lines wrongly where they end in CRLF; so a line ends in
    // LF here, and a CR before it is taken off below.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(open(path)?);
    let mut record = csv::ByteRecord::new();
    let mut table = Table::new(config);
    while reader
        .read_byte_record(&mut record)
        .with_context(|| format!("cannot read \"{}\"", path.display()))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        let mut fields: Vec<&[u8]> = record.iter().collect();
        if let Some(last) = fields.last_mut() {
            *last = last.strip_suffix(b"\r").unwrap_or(last);
        }
        if fields != [b""] {
            table.row(line, &fields, sink)?;
        }
    }
    Ok(())
}

fn read_tsv(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let mut table = Table::new(config);
    for_each_line(path, |line, bytes| {
        if bytes.is_empty() {
            return Ok(());
        }
        let fields: Vec<&[u8]> = bytes.split(|byte| *byte == b'\t').collect();
        table.row(line, &fields, sink)
    })
}

/// Rows of fields, the first of which may be a header.
struct Table<'a> {
    config: &'a DataConfig,
    /// Known from the first row on.
    layout: Option<Layout>,
}

impl<'a> Table<'a> {
    fn new(config: &'a DataConfig) -> Self {
        Self { config, layout: None }
    }

    fn row(&mut self, line: u64, fields: &[&[u8]], sink: &mut Sink) -> anyhow::Result<()> {
        let layout = match &self.layout {
            Some(layout) => layout,
            None => {
                let header = self.config.header.then(|| header_names(fields));
                let layout = Layout::find(header.as_deref(), self.config, sink.inputs)
                    .map_err(|message| anyhow!("\"{}\": line {line}: {message}", sink.file()))?;
                let layout = self.layout.insert(layout);
                if header.is_some() {
                    return Ok(());
                }
                layout
            }
        };
        sink.take(line, layout.row(fields))
    }
}

/// The beginning of a text of unknown origin, as a message may show it.
fn excerpt(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    let mut excerpt: String = shown.take(200).collect();
    if text.chars().nth(200).is_some() {
        excerpt.push('…');
    }
    excerpt
}

fn header_names(fields: &[&[u8]]) -> Vec<String> {
    fields.iter().map(|field| String::from_utf8_lossy(field).trim().to_owned()).collect()
}

fn read_jsonl(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let key = |column: &Column, field: &str| match column {
        Column::Name(name) => Ok(name.clone()),
        Column::Number(_) => {
            Err(anyhow!("{field} must name a key, \"{}\" has JSON lines", path.display()))
        }
    };
    let text = |column: &&Column| key(column, &field_of(sink.inputs, column));
    let texts = sink.inputs.columns().iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
    let label = key(&config.label_column, "data.label_column")?;
    for_each_line(path, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        sink.take(line, json_row(bytes, &texts, &label, &config.filter))
    })
}

fn json_row(
    bytes: &[u8],
    texts: &[String],
    label: &str,
    filter: &BTreeMap<String, String>,
) -> Result<Option<Row>, String> {
    let object: serde_json::Map<String, Json> =
        serde_json::from_slice(bytes).map_err(|error| format!("no JSON object: {error}"))?;
    let value = |key: &str| match object.get(key) {
        Some(Json::String(text)) => Ok(text.clone()),
        Some(scalar @ (Json::Number(_) | Json::Bool(_))) => Ok(scalar.to_string()),
        Some(_) => Err(format!("\"{key}\" is neither text nor number")),
        None => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            Err(format!("expected a key \"{key}\", found {}", keys.join(", ")))
        }
    };
    for (key, wanted) in filter {
        if value(key)? != *wanted {
            return Ok(None);
        }
    }
    let texts = texts.iter().map(|key| value(key)).collect::<Result<_, _>>()?;
    Ok(Some(Row { texts, label: value(label)? }))
}

fn read_fasttext(path: &Path, sink: &mut Sink) -> anyhow::Result<()> {
    for_each_line(path, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let row = fasttext_row(bytes);
        sink.take(line, row.map(Some))
    })
}

fn fasttext_row(bytes: &[u8]) -> Result<Row, String> {
    let line = std::str::from_utf8(bytes).map_err(|_| "found bytes that are not UTF-8")?;
    let line = line.trim_start();
    let (first, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match first.strip_prefix(FASTTEXT_LABEL) {
        Some(label) if !label.is_empty() => {
            if text.trim_start().starts_with(FASTTEXT_LABEL) {
                return Err("found more than one label; a text has one class here".into());
            }
            Ok(Row { texts: vec![text.to_owned()], label: label.to_owned() })
        }
        _ => Err(format!("expected {FASTTEXT_LABEL}NAME and a text, found {first:?}")),
    }
}

/// A folder per class with a file per text; only the folders of `data.labels` where it is set.
fn read_folder(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let wanted = |name: &String| {
        let label = config.label_names.get(name).unwrap_or(name);
        config.labels.is_empty() || config.labels.contains(label)
    };
    let mut classes: Vec<(String, PathBuf)> = Vec::new();
    for (name, entry) in sorted_entries(path)? {
        if entry.is_dir() && wanted(&name) {
            classes.push((name, entry));
        }
    }
    if classes.is_empty() {
        bail!("\"{}\": expected a folder for each class, found none", path.display());
    }
    for (label, folder) in classes {
        for (_, file) in sorted_entries(&folder)?.into_iter().filter(|(_, file)| file.is_file()) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut open(&file)?, &mut bytes)
                .with_context(|| format!("cannot read \"{}\"", file.display()))?;
            let row = String::from_utf8(bytes)
                .map(|text| Some(Row { texts: vec![text], label: label.clone() }))
                .map_err(|_| format!("found bytes that are not UTF-8 in \"{}\"", file.display()));
            sink.take(0, row)?;
        }
    }
    Ok(())
}

/// What lies in `folder`, hidden entries left out, by name.
fn sorted_entries(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let unreadable = || format!("cannot read the folder \"{}\"", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// Calls `each` with every line's number, from 1, and its bytes without the line end.
fn for_each_line(
    path: &Path,
    mut each: impl FnMut(u64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = open(path)?;
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes).with_context(|| {
            format!("cannot read \"{}\" beyond line {}", path.display(), line - 1)
        })?;
        if read == 0 {
            break;
        }
        let end = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        each(line, end.strip_suffix(b"\r").unwrap_or(end))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
