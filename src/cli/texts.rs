//! Texts of `predict`, `embed`, `explain` and `states`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};

use super::arguments::{SetArgs, column};
use super::hints::{program, relative};
use super::starter;
use crate::config::{Column, Config, ConfigError, Delimiter, Format};
use crate::data::{DataFile, Recognizer, format_of};
use crate::io::input::{Decoding, TextEncoding, detect_encoding};
use crate::io::spool::is_stdin;
use crate::output::format::group_digits;
use crate::output::shell::{quoted, quoted_path};
use crate::output::{message, note};
use crate::prediction::text_columns::{NamedText, TextColumns};
use crate::prediction::text_lines::TextLines;
use crate::run::saved_model::SavedModel;
use crate::tables::{self, Detects, TableBatch, TableFile, TableSchema};

/// Number of texts that are read at once.
const TEXTS: usize = 1 << 10;
/// Maximum number of lines that are read ahead.
const MAX_READ_AHEAD: usize = 1 << 14;

/// Texts as arguments or in a file.
#[derive(Debug, Args)]
pub struct TextArgs {
    /// Texts. Without texts and --file, they are read from stdin, one per line
    pub texts: Vec<String>,
    /// Text of one text column, if the model has several; repeat it for each
    #[arg(long = "input", value_name = "NAME=TEXT", conflicts_with_all = ["texts", "file"])]
    pub inputs: Vec<NamedText>,
    /// File, pattern, or - for stdin: a table (.csv, .tsv, .jsonl, .json, .parquet) with the columns of the
    /// training data, or lines of text, each of which is a JSON object if the model has several text
    /// columns. .gz and .zst are decompressed
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    pub file: Option<PathBuf>,
    /// Format of the file: text (one per line), csv, tsv, jsonl, json or parquet; by default that of its
    /// extension, or text
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, conflicts_with = "texts")]
    pub file_format: Option<FileFormat>,
    /// Column of the texts in a table, by its name or its number from 1; by default the one of the training
    /// data. If the model has several text columns, repeat it for each, in their order. A name that is a number
    /// needs quotes: '"3"'
    #[arg(long = "text", value_name = "COLUMN", conflicts_with = "texts")]
    pub columns: Vec<String>,
    /// Encoding of the file, such as cp1252 or utf-16; by default UTF-8, the one that a byte order mark
    /// names, that of the training data, or the most likely one
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = encoding)]
    pub encoding: TextEncoding,
    #[command(flatten)]
    pub set: SetArgs,
}

/// Format of a file with texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    Text,
    Csv,
    Tsv,
    Jsonl,
    Json,
    Parquet,
}

impl FileFormat {
    /// Returns the format of a table; `None` for lines of text.
    fn table(self) -> Option<Format> {
        match self {
            Self::Text => None,
            Self::Csv => Some(Format::Csv),
            Self::Tsv => Some(Format::Tsv),
            Self::Jsonl => Some(Format::Jsonl),
            Self::Json => Some(Format::Json),
            Self::Parquet => Some(Format::Parquet),
        }
    }
}

fn encoding(name: &str) -> Result<TextEncoding, String> {
    let unknown =
        "unknown encoding; use a name such as utf-8, utf-16, latin-1, cp1252 or shift_jis";
    TextEncoding::named(name).ok_or_else(|| unknown.to_owned())
}

impl TextArgs {
    /// Returns true if the texts come from a file or stdin.
    pub fn reads_a_stream(&self) -> bool {
        self.texts.is_empty() && self.inputs.is_empty()
    }

    /// Opens the texts for a model.
    ///
    /// # Errors
    /// Returns an error if the arguments do not fit the columns of the model, or if a table cannot be read.
    pub fn open(self, model: &SavedModel) -> anyhow::Result<TextSource> {
        let columns = TextColumns::of(model.config());
        if !self.reads_a_stream() {
            return Ok(TextSource::Arguments(columns.from_arguments(self.texts, self.inputs)?));
        }
        let path = self.file.clone().unwrap_or_else(|| "-".into());
        if path.is_dir() {
            let directory = || {
                let pattern = path.join("*.csv");
                format!(
                    "\"{}\" is a directory; name a file, or a pattern such as \"{}\"",
                    path.display(),
                    pattern.display()
                )
            };
            bail!(starter::not_data(&path).unwrap_or_else(directory));
        }
        let format = match self.file_format {
            Some(format) => format.table(),
            None => table_format(&path)?,
        };
        if let Some(format) = format {
            return self.open_table(&path, format, model);
        }
        if !self.columns.is_empty() {
            let message = format!(
                "--text names a column of a table, but {} is read as lines of text; pass its format, e.g. \
                 --file-format csv",
                shown(&path)
            );
            bail!(ConfigError::new(message));
        }
        let usual = model.config().data.encoding;
        let encoding = match self.encoding {
            encoding if encoding.is_auto() && path.is_file() => {
                let detected = detect_encoding(&path, usual);
                note_encoding(&path, detected, usual);
                detected
            }
            encoding => encoding,
        };
        let decoding = Decoding { encoding, setting: Some("pass --encoding ") };
        let check = TextsCheck::new(&path, model);
        Ok(TextSource::Lines(Box::new(Lines { path, decoding, columns, check })))
    }

    fn open_table(
        &self,
        path: &Path,
        format: Format,
        model: &SavedModel,
    ) -> anyhow::Result<TextSource> {
        let mut config = model.config().clone();
        let is_set = |field: &str| self.set.overrides.iter().any(|set| set.field() == field);
        // Another file than the training data may have another encoding, and another usual delimiter.
        let detects = Detects {
            encoding: self.encoding.is_auto() && !is_set("data.encoding"),
            header: !is_set("data.header"),
        };
        let usual = config.data.encoding;
        if !self.encoding.is_auto() {
            config.data.encoding = self.encoding;
        }
        let is_usual = |byte: u8| Delimiter::NAMED.iter().any(|(_, named)| *named == byte);
        if matches!(config.data.delimiter, Delimiter::Byte(byte) if is_usual(byte))
            && !is_set("data.delimiter")
        {
            config.data.delimiter = Delimiter::Auto;
        }
        if !self.columns.is_empty() {
            let columns: Vec<Column> = self.columns.iter().map(|name| column(name)).collect();
            let fitting = config.inputs.with_columns(&columns);
            config.inputs = fitting.ok_or_else(|| {
                let model = TextColumns::of(model.config());
                ConfigError::new(match model.names() {
                    [name] => format!("--text: the model has a single text column, {name}; name one column"),
                    names => format!(
                        "--text: the model has the text columns {}; name a column for each, all different, \
                         in this order",
                        names.join(", ")
                    ),
                })
            })?;
        }
        let table = TableFile::open(path, format, config, model.labels(), detects);
        let table = table.and_then(|table| Ok((table.schema()?, table)));
        let (schema, table) = table.map_err(|error| self.explain(&error))?;
        if detects.encoding {
            note_encoding(path, table.encoding(), usual);
        }
        if let Some((file, line, lines)) = &schema.long_row {
            let file = file.display();
            note(format!(
                "{file}:{line}: this row spans {lines} lines; check it for an unbalanced quote"
            ));
        }
        Ok(TextSource::Table(Box::new(table), schema))
    }

    /// Names the arguments in place of the fields of a configuration.
    fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        let message = format!("{error:#}")
            .replace("set data.encoding: ", "pass --encoding ")
            .replace("data.text_column: ", "");
        let lacks_column = ["expected a column", "expected a key", "must be the name of a key"]
            .iter()
            .any(|fault| message.contains(fault));
        match lacks_column && self.columns.is_empty() {
            true => anyhow!("{message}; pass --text COLUMN to name the column of the text"),
            false => anyhow!(message),
        }
    }

    /// Returns all texts of each column of a model.
    ///
    /// # Errors
    /// Returns an error if there are no texts, if they do not fit the columns or if the file cannot be
    /// read.
    pub fn read(self, model: &SavedModel) -> anyhow::Result<Vec<Vec<String>>> {
        let file = self.file.clone();
        let mut all = vec![Vec::new(); TextColumns::of(model.config()).names().len()];
        self.open(model)?.for_each_batch(TEXTS, &mut |batch| {
            all.iter_mut().zip(batch.texts).for_each(|(all, texts)| all.extend(texts));
            Ok(())
        })?;
        match file {
            _ if !all[0].is_empty() => Ok(all),
            Some(file) => bail!("{} has no texts", shown(&file)),
            None => bail!(ConfigError::new(
                "no text given; pass one or more texts after the checkpoint, --file, or lines on stdin"
            )),
        }
    }
}

/// Notes the encoding of a file if it was detected and is not the usual one.
fn note_encoding(path: &Path, detected: TextEncoding, usual: TextEncoding) {
    if detected != usual {
        let encoding = match detected.is_auto() {
            true => "utf-8".to_owned(),
            false => detected.to_string(),
        };
        let file = if is_stdin(path) { "stdin".into() } else { path.display().to_string() };
        note(format!("{file} is read as {encoding}; --encoding NAME chooses another"));
    }
}

/// Returns the format of the table at `path`; `None` if it is a file of lines.
fn table_format(path: &Path) -> anyhow::Result<Option<Format>> {
    if is_stdin(path) { Ok(None) } else { tables::format_of_table(path) }
}

/// Returns the name of a file in messages.
fn shown(path: &Path) -> String {
    if is_stdin(path) { "stdin".into() } else { format!("\"{}\"", path.display()) }
}

/// Texts from arguments, lines or a table.
pub enum TextSource {
    /// Texts of each column of the model.
    Arguments(Vec<Vec<String>>),
    /// Lines of a file or of stdin.
    Lines(Box<Lines>),
    /// A table with its columns.
    Table(Box<TableFile>, TableSchema),
}

/// Lines of text, or of JSON objects with several texts.
pub struct Lines {
    path: PathBuf,
    decoding: Decoding,
    columns: TextColumns,
    check: TextsCheck,
}

impl TextSource {
    /// Returns the columns of a table; of other texts, one column per text.
    pub fn schema(&self, columns: &TextColumns) -> TableSchema {
        match self {
            Self::Table(_, schema) => schema.clone(),
            _ => TableSchema::of_texts(columns.names()),
        }
    }

    /// Calls `each` with batches of at most `limit` texts, as soon as they are available.
    ///
    /// # Errors
    /// Returns an error if the texts cannot be read, and the errors of `each`.
    pub fn for_each_batch(
        self,
        limit: usize,
        each: &mut dyn FnMut(TableBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Arguments(texts) => each(TableBatch::of_texts(texts)),
            Self::Lines(lines) => lines.for_each_batch(limit, each),
            Self::Table(table, _) => table.for_each_batch(limit, each),
        }
    }
}

impl Lines {
    fn for_each_batch(
        mut self,
        limit: usize,
        each: &mut dyn FnMut(TableBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let columns = &self.columns;
        if is_stdin(&self.path) && io::stdin().is_terminal() {
            let what = if columns.is_single() { "texts" } else { "JSON objects" };
            message(format!("reading {what} from the terminal, one per line; press Ctrl-D to end"));
        }
        let mut lines = TextLines::open(&self.path, self.decoding, limit.min(MAX_READ_AHEAD))?;
        loop {
            let first = lines.count() + 1;
            let Some(texts) = lines.next_batch(limit)? else { break };
            self.check.check(&texts)?;
            let (texts, error) = columns.parse_lines(texts, first);
            each(TableBatch::of_texts(texts))?;
            if let Some(error) = error {
                return Err(error);
            }
        }
        self.check.finish();
        if lines.invalid() > 1 {
            note(format!("{} lines are not valid UTF-8", group_digits(lines.invalid())));
        }
        Ok(())
    }
}

/// Checks that a file of texts is no data file, of which each line would be read as a text, columns and
/// labels included.
pub struct TextsCheck {
    file: PathBuf,
    recognizer: Recognizer,
    config: Config,
    /// Directory of the model.
    model: PathBuf,
}

impl TextsCheck {
    /// Creates the check of `file` with texts for a model.
    pub fn new(file: &Path, model: &SavedModel) -> Self {
        let config = model.config();
        Self {
            file: file.to_owned(),
            recognizer: Recognizer::new(config, model.labels()),
            config: config.clone(),
            model: model.path.clone(),
        }
    }

    /// Checks the next lines.
    ///
    /// # Errors
    /// Returns an error with the command for data files if the lines so far belong to one.
    pub fn check(&mut self, lines: &[String]) -> anyhow::Result<()> {
        if self.recognizer.is_done() {
            return Ok(());
        }
        let Some(found) = self.recognizer.read(lines) else { return Ok(()) };
        let expected = match TextColumns::of(&self.config).is_single() {
            true => "a text",
            false => "a JSON object with texts",
        };
        let DataFile { line, description, .. } = &found;
        bail!(
            "{}:{line}: expected {expected} on each line, found {description}; {}",
            self.name(),
            self.advice(&found)
        )
    }

    /// Prints a note if the lines may be those of a data file.
    pub fn finish(&self) {
        if !TextColumns::of(&self.config).is_single() {
            return;
        }
        let name = self.name();
        if let Some(resemblance) = self.recognizer.resemblance() {
            note(format!(
                "{name}: each whole line is read as a text, but the lines look like {resemblance}"
            ));
        } else if let Ok(Format::Csv | Format::Tsv | Format::Jsonl | Format::Json) =
            format_of(&self.file)
        {
            note(format!("{name}: each whole line is read as a text"));
        }
    }

    fn name(&self) -> String {
        match is_stdin(&self.file) {
            true => "stdin".to_owned(),
            false => self.file.display().to_string(),
        }
    }

    /// Returns the options and the command that read the file.
    fn advice(&self, found: &DataFile) -> String {
        let Some(format) = found.format else {
            return "save it as CSV, with a header, to classify or score its rows".to_owned();
        };
        let (data, assumed) = match is_stdin(&self.file) {
            true => ("FILE".to_owned(), None),
            false => (quoted_path(&self.file), format_of(&self.file).ok()),
        };
        let assumed = match self.config.data.format {
            Format::Auto => assumed,
            configured => Some(configured),
        };
        let name = format.as_str();
        let set = |(field, value): &(&str, String)| {
            format!(" --set {}", quoted(format!("{field}={value}").as_ref()))
        };
        let is_table = format.has_columns() && format != Format::Babi;
        let classify = is_table.then(|| {
            let sets: String = found.fields.iter().map(set).collect();
            format!("to classify the rows of a table, add --file-format {name}{sets}")
        });
        let format = (assumed != Some(format)).then(|| ("data.format", name.to_owned()));
        let sets: String = format
            .into_iter()
            .chain(found.fields.iter().cloned())
            .map(|field| set(&field))
            .collect();
        let score = found.is_labelled.then(|| {
            format!(
                "to score a file with labels: {} evaluate {} --data {data}{sets}",
                program(),
                quoted_path(&relative(&self.model)),
            )
        });
        let advice: Vec<String> = classify.into_iter().chain(score).collect();
        match advice.is_empty() {
            true => "pass a file with the texts alone, one on each line".to_owned(),
            false => advice.join("; "),
        }
    }
}
