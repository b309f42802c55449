//! One reader for each format; all of them yield labelled texts with their lines.

mod babi;
mod fasttext;
mod folder;
mod jsonl;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use glob::{MatchOptions, Pattern};

use crate::config::{BrokenLines, Column, Config, DataConfig, Format, Input, Inputs};
use crate::io::input::{Limits, format_of, open_limited};

/// What is known of labelled texts besides the texts, as one file or folder has them, or several
/// files that a pattern names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Where they were read: the path or pattern that was asked for.
    pub path: PathBuf,
    /// Each file with the number of its first example.
    pub files: Vec<(PathBuf, usize)>,
    /// For each text, the index of its label in `names`.
    pub labels: Vec<u32>,
    /// The labels, in the order in which they were first met.
    pub names: Vec<String>,
    /// For each text, the line it began in, from 1; 0 where a file is one text.
    pub lines: Vec<u64>,
    /// The broken lines that were left out.
    pub skipped: usize,
    /// The first row that is very long: file, line, and how many lines it has.
    pub long_row: Option<(PathBuf, u64, u64)>,
}

impl Rows {
    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The file of example `index`, and its line where the file is not one text.
    pub fn file_and_line(&self, index: usize) -> (&Path, Option<u64>) {
        let file = self.files.iter().rev().find(|(_, first)| *first <= index);
        let line = self.lines[index];
        (file.map_or(&self.path, |(path, _)| path), (line > 0).then_some(line))
    }

    /// The file and line of example `index`, as a message begins with them.
    pub fn place(&self, index: usize) -> String {
        match self.file_and_line(index) {
            (path, None) => format!("\"{}\": ", path.display()),
            (path, Some(line)) => format!("\"{}\": line {line}: ", path.display()),
        }
    }
}

/// Reads the file or folder `path`, or all files that match it as a pattern, as the data section
/// says; hands `each` the texts of every example in turn, one for each column of the inputs.
///
/// # Errors
/// Names the file, the line, what was found and what was expected. Where `each` fails.
pub fn read_rows(path: &Path, config: &Config, each: Each) -> anyhow::Result<Rows> {
    let mut sink = Sink::new(path, config, each);
    for file in matching(path, config.data.format)? {
        sink.read.files.push((file.clone(), sink.read.len()));
        read_one(&file, &config.data, &mut sink)?;
        if let Some((line, lines)) = sink.long_row.take() {
            sink.read.long_row.get_or_insert((file, line, lines));
        }
    }
    Ok(sink.read)
}

/// As [`read_rows`], for texts that are wanted all together: for each column of the inputs its texts.
///
/// # Errors
/// As [`read_rows`].
pub fn read_texts(path: &Path, config: &Config) -> anyhow::Result<(Rows, Vec<Vec<String>>)> {
    let mut columns = vec![Vec::new(); config.inputs.columns().len()];
    let rows = read_rows(path, config, &mut |texts| {
        columns.iter_mut().zip(texts).for_each(|(column, text)| column.push(text));
        Ok(())
    })?;
    Ok((rows, columns))
}

/// The files that `path` matches as a pattern, in the order of their names; `path` itself where it
/// is none, or is there under just this name.
///
/// # Errors
/// Where there is none.
pub fn matching(path: &Path, format: Format) -> anyhow::Result<Vec<PathBuf>> {
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
        let (path, format) = (path.display(), format.as_str());
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
        Format::Csv => table::read_csv(path, config, sink),
        Format::Tsv => table::read_tsv(path, config, sink),
        Format::Jsonl => jsonl::read(path, config, sink),
        Format::Fasttext => fasttext::read(path, config, sink),
        Format::Folder => folder::read(path, config, sink),
        Format::Babi => babi::read(path, config, sink),
        // By its extension or because it is a folder, a path has a format of its own.
        Format::Auto => bail!("cannot tell the format of \"{}\"", path.display()),
    }
}

/// What a line that can be an example consists of.
struct Row {
    /// A text for each column of the inputs.
    texts: Vec<String>,
    label: String,
}

/// Takes the texts of an example, one for each column of the inputs.
pub type Each<'a> = &'a mut dyn FnMut(Vec<String>) -> anyhow::Result<()>;

/// Hands rows on, and stops at or counts the broken ones.
struct Sink<'a> {
    read: Rows,
    each: Each<'a>,
    /// The first row of very many lines: line, and how many.
    long_row: Option<(u64, u64)>,
    inputs: &'a Inputs,
    numbers: HashMap<String, u32>,
    broken: BrokenLines,
    label_names: &'a BTreeMap<String, String>,
}

impl<'a> Sink<'a> {
    fn new(path: &Path, config: &'a Config, each: Each<'a>) -> Self {
        Self {
            read: Rows { path: path.to_owned(), ..Rows::default() },
            each,
            long_row: None,
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
            Ok(Some(row)) => self.push(line, row)?,
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

    fn push(&mut self, line: u64, row: Row) -> anyhow::Result<()> {
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
        self.read.labels.push(number);
        self.read.lines.push(line);
        (self.each)(row.texts)
    }
}

/// The path of the field that asks for a column.
fn field_of(inputs: &Inputs, column: &Column) -> String {
    let asks = |input: &&Input| input.columns.0.contains(column);
    inputs.iter().find(asks).map_or(String::new(), |input| input.field("column"))
}

/// The beginning of a text of unknown origin, as a message may show it.
pub fn excerpt(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    let mut excerpt: String = shown.take(200).collect();
    if text.chars().nth(200).is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// Calls `each` with every line's number, from 1, and its bytes without the line end.
fn for_each_line(
    path: &Path,
    config: &DataConfig,
    mut each: impl FnMut(u64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = open_limited(path, Limits::of(config))?;
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
