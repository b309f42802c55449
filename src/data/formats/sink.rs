//! Collects the rows that the readers of all formats produce.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use indexmap::IndexSet;

use super::excerpt::excerpt;
use super::label_collector::{LabelCollector, NO_LABEL};
use super::record::{Cell, Record};
use super::row_labels::RowLabels;
use super::rows::{NO_GROUP, Rows, Unit};
use crate::config::{BrokenLines, Column, Config, DataConfig, Input, Inputs};
use crate::distributed::Worker;
use crate::io::input::conversion;
use crate::output::format::group_digits;
use crate::text::composed;

/// Number of rows after a broken one that are read to see how many are broken.
const LOOK_AHEAD: usize = 1_000;

/// One example as it is in the file.
pub struct Row {
    /// Texts, one per column of the inputs.
    pub texts: Vec<String>,
    /// Its labels.
    pub labels: RowLabels,
    /// All columns, if they are needed.
    pub cells: Cells,
    /// Value of `data.split.group`, if there is one.
    pub group: Option<String>,
}

impl Row {
    /// Creates a row without other columns and without a group.
    pub fn new(texts: Vec<String>, labels: RowLabels) -> Self {
        Self { texts, labels, cells: Cells::Ordered(Vec::new()), group: None }
    }
}

/// All columns of a row.
pub enum Cells {
    /// In the order of the header.
    Ordered(Vec<Cell>),
    /// By the keys of an object.
    Named(Vec<(String, Cell)>),
}

/// Maximum number of columns of a table whose columns are all kept.
const MAX_COLUMNS: usize = 10_000;

/// Use of the labels of a file.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// Each row has one.
    Required {
        /// Labels of other files, by which rows are recognized that a stray quote swallows.
        known: &'a [String],
    },
    /// Rows may have labels or not.
    Ignored,
}

impl<'a> Labels<'a> {
    /// Returns true unless labels are ignored.
    pub fn are_required(self) -> bool {
        matches!(self, Self::Required { .. })
    }

    /// Labels of other files.
    pub fn known(self) -> &'a [String] {
        match self {
            Self::Required { known } => known,
            Self::Ignored => &[],
        }
    }
}

/// Callback that receives the texts of an example, one per column of the inputs.
pub type TextCallback<'a> = &'a mut dyn FnMut(Vec<String>) -> anyhow::Result<()>;

/// Callback that receives a row with all its columns.
pub type RecordCallback<'a> = &'a mut dyn FnMut(Record) -> anyhow::Result<()>;

/// Receiver of the rows.
pub enum Receiver<'a> {
    /// Labelled texts.
    Examples(TextCallback<'a>),
    /// Texts that need no labels.
    Texts(TextCallback<'a>),
    /// Rows with all their columns. They need no labels, and none is left out.
    Records(RecordCallback<'a>),
}

/// Passes texts on, records labels and lines, and rejects or counts broken rows.
pub struct Sink<'a> {
    pub rows: Rows,
    receiver: Receiver<'a>,
    /// Names of the columns, if the receiver gets all of them.
    pub columns: IndexSet<String>,
    /// First row of the current file that spans suspiciously many lines: line and number of lines.
    pub long_row: Option<(u64, u64)>,
    pub inputs: &'a Inputs,
    /// Unit of the locations in the current file.
    pub unit: Unit,
    /// File of the current text, if each text is a file of its own.
    pub text_file: Option<PathBuf>,
    /// Labels of the rows.
    pub labels: LabelCollector<'a>,
    /// Process whose rows are passed on: every N-th one.
    pub worker: Worker,
    /// Number of rows of all processes.
    row_count: usize,
    data: &'a DataConfig,
    fault: Option<Fault>,
}

/// The first broken row.
struct Fault {
    /// Location and message.
    error: String,
    /// Advice if the row is in another encoding.
    conversion: Option<String>,
    /// Number of broken rows, this one included.
    broken: usize,
    /// Number of those whose label is empty.
    unlabelled: usize,
    /// Number of rows before it.
    before: usize,
    /// Number of rows after it so far.
    after: usize,
}

impl Fault {
    /// Returns the error with advice. Rows may be skipped if only few are broken: otherwise, the format is most
    /// likely wrong, unless all of them lack nothing but a label. Text in another encoding is not broken, and
    /// its message says how to convert it.
    fn into_error(self, limit: f64) -> anyhow::Error {
        let Self { error, conversion, broken, unlabelled, before, after } = self;
        let rows = before + 1 + after;
        if let Some(conversion) = conversion {
            anyhow!("{error}; {conversion}")
        } else if is_many(broken, rows) && unlabelled < broken {
            let (broken, rows) = (group_digits(broken), group_digits(rows));
            anyhow!(
                "{error} (broken rows: {broken} of {rows}; correct the file, or check data.format)"
            )
        } else if broken as f64 > limit * rows as f64 {
            let share = 100.0 * broken as f64 / rows as f64;
            anyhow!(
                "{error} (to skip such rows, {share:.1} % of the file, set data.broken_lines: skip and increase \
                 data.max_skipped)"
            )
        } else {
            anyhow!("{error} (to skip such rows, set data.broken_lines: skip)")
        }
    }
}

/// Returns true if a tenth of the rows or more are broken.
fn is_many(broken: usize, rows: usize) -> bool {
    10 * broken >= rows
}

impl<'a> Sink<'a> {
    /// Creates a sink for the rows of `path`. `known` has labels of other files.
    pub fn new(path: &Path, config: &'a Config, known: &[String], receiver: Receiver<'a>) -> Self {
        Self {
            labels: LabelCollector::new(&config.data, known),
            rows: Rows { path: path.to_owned(), ..Rows::default() },
            receiver,
            columns: IndexSet::new(),
            long_row: None,
            inputs: &config.inputs,
            unit: Unit::Line,
            text_file: None,
            worker: Worker::ALONE,
            row_count: 0,
            data: &config.data,
            fault: None,
        }
    }

    /// Returns the path of the current file.
    pub fn file(&self) -> std::path::Display<'_> {
        self.path().display()
    }

    fn path(&self) -> &Path {
        self.rows.files.last().map_or(&self.rows.path, |file| &file.path)
    }

    /// Returns advice on the encoding of the current file.
    pub fn conversion(&self) -> String {
        let file = self.text_file.as_deref().unwrap_or(self.path());
        conversion(Some(file), self.data.decoding())
    }

    /// Returns true if each row needs a label.
    pub fn needs_labels(&self) -> bool {
        matches!(self.receiver, Receiver::Examples(_))
    }

    /// Returns true if the receiver gets all columns.
    pub fn keeps_columns(&self) -> bool {
        matches!(self.receiver, Receiver::Records(_))
    }

    /// Sets the names of all columns; those of further files must be the same.
    ///
    /// # Errors
    /// Returns a message if a name occurs twice, or if the columns differ from those of the files before.
    pub fn set_columns(&mut self, names: &[String]) -> Result<(), String> {
        if !self.keeps_columns() {
            return Ok(());
        }
        let mut columns = IndexSet::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            // Spreadsheets export empty columns.
            let is_again_unnamed = name.is_empty() && columns.contains("");
            let number = || format!("column_{}", index + 1);
            if !columns.insert(if is_again_unnamed { number() } else { name.clone() }) {
                let name = excerpt(name);
                return Err(format!("two columns are named \"{name}\"; rename one of them"));
            }
        }
        if self.columns.is_empty() {
            self.columns = columns;
        } else if !self.columns.iter().eq(&columns) {
            return Err("the columns differ from those of the files before".to_owned());
        }
        Ok(())
    }

    /// Returns the cells of a row in the order of the columns, to which it may add.
    fn cells(&mut self, cells: Cells) -> Result<Vec<Cell>, String> {
        let named = match cells {
            Cells::Ordered(cells) => return Ok(cells),
            Cells::Named(cells) => cells,
        };
        let mut cells = vec![Cell::Missing; self.columns.len()];
        for (name, cell) in named {
            let (index, is_new) = self.columns.insert_full(name);
            match is_new {
                true => cells.push(cell),
                false => cells[index] = cell,
            }
        }
        match cells.len() > MAX_COLUMNS {
            true => Err(format!("there are more than {MAX_COLUMNS} different keys")),
            false => Ok(cells),
        }
    }

    /// Adds the row at this line, or with this number; 0 stands for a whole file. `row` is `Ok(None)` if the
    /// filter excludes the row, and a message if the row is broken.
    pub fn add(&mut self, line: u64, row: Result<Option<Row>, String>) -> anyhow::Result<()> {
        if self.keeps_columns() {
            return self.add_record(line, row);
        }
        let with_target = |row: Row| match self.needs_labels() {
            true => Ok((Some(self.labels.target(&row.labels)?), row.texts, row.group)),
            false => Ok((None, row.texts, row.group)),
        };
        let row = row.and_then(|row| row.map(with_target).transpose());
        if let Some(fault) = &mut self.fault {
            if let Err(message) = &row {
                fault.broken += 1;
                fault.unlabelled += usize::from(message == NO_LABEL);
            }
            fault.after += 1;
            return if fault.after < LOOK_AHEAD { Ok(()) } else { self.check() };
        }
        match row {
            Ok(Some((target, texts, group))) => {
                let Worker { rank, world_size } = self.worker;
                self.row_count += 1;
                if (self.row_count - 1) % world_size != rank {
                    return Ok(());
                }
                if self.needs_labels() && self.data.split.group.is_some() {
                    let group = self.group_index(group);
                    self.rows.groups.push(group);
                }
                if let Some(target) = target {
                    self.labels.push(target);
                }
                self.rows.lines.push(line);
                match &mut self.receiver {
                    Receiver::Examples(each) | Receiver::Texts(each) => each(texts)?,
                    Receiver::Records(_) => {}
                }
            }
            Ok(None) => {}
            Err(message) if self.data.broken_lines == BrokenLines::Error => {
                let error = self.located(line, &message);
                let conversion = is_not_utf8(&message).then(|| self.conversion());
                let is_final = conversion.is_some();
                let before = self.row_count;
                let unlabelled = usize::from(message == NO_LABEL);
                self.fault =
                    Some(Fault { error, conversion, broken: 1, unlabelled, before, after: 0 });
                if is_final {
                    return self.check();
                }
            }
            Err(message) => {
                if self.rows.first_skipped.is_none() {
                    let location = self.unit.location(self.path(), line);
                    self.rows.first_skipped = Some(format!("{location}: {message}"));
                }
                self.rows.skipped += 1;
                self.rows.not_utf8 += usize::from(is_not_utf8(&message));
            }
        }
        Ok(())
    }

    /// Passes a row with all its columns on.
    fn add_record(&mut self, line: u64, row: Result<Option<Row>, String>) -> anyhow::Result<()> {
        let record = row.and_then(|row| {
            let Some(Row { texts, cells, .. }) = row else { return Ok(None) };
            Ok(Some(Record { texts, cells: self.cells(cells)? }))
        });
        match record {
            Ok(Some(record)) => match &mut self.receiver {
                Receiver::Records(each) => each(record),
                Receiver::Examples(_) | Receiver::Texts(_) => Ok(()),
            },
            Ok(None) => Ok(()),
            Err(message) => {
                let advice = match is_not_utf8(&message) {
                    true => format!("; {}", self.conversion()),
                    false => String::new(),
                };
                bail!("{}{advice}", self.located(line, &message))
            }
        }
    }

    /// Returns a message with its location.
    fn located(&self, line: u64, message: &str) -> String {
        let error = format!("{}: {message}", self.unit.location(self.path(), line));
        match self.data.encoding {
            encoding if encoding.is_auto() => error,
            encoding => error.replace(NOT_UTF8, &format!(" is not valid {encoding}")),
        }
    }

    /// Returns the error of the first broken row, if there is one. It precedes the errors of what
    /// follows.
    ///
    /// # Errors
    /// Returns an error if a row is broken and broken rows are not skipped.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let limit = self.data.max_skipped;
        self.fault.take().map_or(Ok(()), |fault| Err(fault.into_error(limit)))
    }

    /// Returns the index of a group; [`NO_GROUP`] for an empty value. Groups are compared like labels: trimmed,
    /// with composed characters.
    fn group_index(&mut self, group: Option<String>) -> u32 {
        let Some(group) = group.filter(|group| !group.trim().is_empty()) else { return NO_GROUP };
        let (group, names) = (composed(group.trim()), &mut self.rows.group_names);
        let known = names.get_index_of(&*group);
        known.unwrap_or_else(|| names.insert_full(group.into_owned()).0) as u32
    }
}

/// Returns the name of the configuration field that requests a column.
pub fn field_of(inputs: &Inputs, column: &Column) -> String {
    let requests = |input: &&Input| input.columns.0.contains(column);
    inputs.iter().find(requests).map_or(String::new(), |input| input.field("column"))
}

/// End of messages of [`not_utf8`].
const NOT_UTF8: &str = " is not valid UTF-8";

/// Message for text that is not UTF-8, such as a CSV file in Windows-1252 or Latin-1. [`Sink`] adds the
/// advice.
pub fn not_utf8(subject: impl fmt::Display) -> String {
    format!("{subject}{NOT_UTF8}")
}

/// Returns true for messages of [`not_utf8`].
fn is_not_utf8(message: &str) -> bool {
    message.ends_with(NOT_UTF8)
}
