//! Reads tables: the columns of CSV and Parquet files, bAbI tasks and tables without quotes, and the latter
//! themselves.

use std::borrow::Cow;
use std::path::Path;

use anyhow::anyhow;

use super::excerpt::excerpt;
use super::lines::for_each_line;
use super::missing::missing;
use super::record::Cell;
use super::row_labels::RowLabels;
use super::sink::{Cells, Row, Sink, field_of, not_utf8};
use crate::config::{Column, DataConfig, Delimiter, Inputs, label_in_text};
use crate::text::composed;

/// Reads a table, such as a TSV file, into `sink`. Quotes have no special meaning.
pub fn read_plain(
    path: &Path,
    delimiter: u8,
    config: &DataConfig,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let mut table = Table::new(config, sink);
    for_each_line(path, config, |line, bytes| {
        if bytes.is_empty() {
            return Ok(());
        }
        let fields: Vec<&[u8]> = bytes.split(|byte| *byte == delimiter).collect();
        table.add(line, &fields, sink)
    })
}

/// Reads rows of fields, the first of which may be a header.
pub struct Table<'a> {
    config: &'a DataConfig,
    /// Set by the header.
    layout: Option<Layout>,
    /// Keep all columns.
    keeps_all: bool,
}

impl<'a> Table<'a> {
    /// Creates a table. Without a header, its layout is known; `add` returns the error if it is invalid.
    pub fn new(config: &'a DataConfig, sink: &Sink) -> Self {
        let (keeps_all, needs_label) = (sink.keeps_columns(), sink.needs_labels());
        let is_known = !config.header && !keeps_all;
        let layout = is_known.then(|| Layout::find(None, config, sink.inputs, needs_label).ok());
        Self { config, layout: layout.flatten(), keeps_all }
    }

    /// Adds the row with these fields, which begins at `line`.
    pub fn add(&mut self, line: u64, fields: &[&[u8]], sink: &mut Sink) -> anyhow::Result<()> {
        let layout = match &self.layout {
            Some(layout) => layout,
            None => {
                let header = self.config.header.then(|| header_names(fields, self.config));
                let needs_label = sink.needs_labels();
                let mut find = || {
                    let names = header.as_deref();
                    let layout = Layout::find(names, self.config, sink.inputs, needs_label)?;
                    let numbered = (1..=fields.len()).map(|number| format!("column_{number}"));
                    sink.set_columns(&names.map_or_else(|| numbered.collect(), <[_]>::to_vec))?;
                    // All rows have the same columns.
                    Ok(Layout {
                        width: layout.width.or(self.keeps_all.then_some(fields.len())),
                        ..layout
                    })
                };
                let layout = find()
                    .map_err(|message| match fields.iter().all(|field| is_utf8(field)) {
                        true => message,
                        // The name of the column may be there in another encoding.
                        false => format!("{}; {}", not_utf8("the header"), sink.conversion()),
                    })
                    .map_err(|message| anyhow!("{}:{line}: {message}", sink.file()))?;
                let layout = self.layout.insert(layout);
                if header.is_some() {
                    return Ok(());
                }
                layout
            }
        };
        let row = layout.row(fields, self.config).and_then(|row| match row {
            Some(row) if self.keeps_all => Ok(Some(Row { cells: cells(fields)?, ..row })),
            row => Ok(row),
        });
        sink.add(line, row)
    }

    /// Returns the labels of a row with these fields, unless it is broken or a header. Unless `width` is 0, the
    /// row may have more fields than the header, or without one, than `width`.
    pub fn labels_of(&self, fields: &[&[u8]], width: usize) -> Option<RowLabels> {
        let layout = self.layout.as_ref().filter(|layout| layout.has_labels())?;
        let has_more = width > 0;
        let width = layout.width.unwrap_or(width);
        if has_more && fields.len() > width {
            let label = layout.label?;
            let is_after_text = layout.texts.iter().any(|text| *text < label);
            let index = label + if is_after_text { fields.len() - width } else { 0 };
            let label = std::str::from_utf8(fields.get(index)?).ok()?;
            // In a text, a space follows a comma.
            return (!label.starts_with(' ')).then(|| RowLabels::Value(label.trim().to_owned()));
        }
        let strict = Layout { filter: Vec::new(), needs_labels: true, ..layout.clone() };
        Some(strict.row(fields, self.config).ok()??.labels)
    }

    /// Returns true if a field of this index has a label.
    pub fn is_label(&self, field: usize) -> bool {
        self.layout.as_ref().is_some_and(|layout| {
            layout.label == Some(field) || layout.label_columns.contains(&field)
        })
    }
}

/// Returns the text of a field, given by its index.
fn text_of(index: usize, field: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(field).map_err(|_| not_utf8(format_args!("column {}", index + 1)))
}

fn cells(fields: &[&[u8]]) -> Result<Cells, String> {
    let cell = |(index, field): (usize, &&[u8])| Ok(Cell::Text(text_of(index, field)?.to_owned()));
    Ok(Cells::Ordered(fields.iter().enumerate().map(cell).collect::<Result<_, String>>()?))
}

fn is_utf8(field: &[u8]) -> bool {
    std::str::from_utf8(field).is_ok()
}

pub(super) fn header_names(fields: &[&[u8]], config: &DataConfig) -> Vec<String> {
    let name = |field: &&[u8]| {
        spelled(String::from_utf8_lossy(field).trim(), config.has_first_rules()).into_owned()
    };
    fields.iter().map(name).collect()
}

/// Returns a name or value as it is compared: with composed characters (Unicode NFC), except by the
/// `first_rules`, of lstmtext 0.1.
pub fn spelled(text: &str, first_rules: bool) -> Cow<'_, str> {
    match first_rules {
        true => Cow::Borrowed(text),
        false => composed(text),
    }
}

/// Indices of the columns that are needed.
#[derive(Clone)]
pub struct Layout {
    pub texts: Vec<usize>,
    /// `None` if the labels have columns of their own, or if the table needs no labels and has no such column.
    pub label: Option<usize>,
    /// Columns of `data.label_columns`, in their order; none if the table needs no labels and lacks one.
    pub label_columns: Vec<usize>,
    /// Column of `data.split.group`, if the table has it.
    pub group: Option<usize>,
    /// Columns to filter by, with the required values.
    pub filter: Vec<(usize, String)>,
    /// Number of columns, if there is a header.
    width: Option<usize>,
    first_rules: bool,
    /// A row without valid labels is broken.
    needs_labels: bool,
}

impl Layout {
    /// Looks the configured columns up in the header. Unless it `needs_label`, the table may lack that column.
    pub fn find(
        header: Option<&[String]>,
        config: &DataConfig,
        inputs: &Inputs,
        needs_label: bool,
    ) -> Result<Self, String> {
        let first_rules = config.has_first_rules();
        let by_name = |name: &str| -> Result<usize, String> {
            let composed_name = spelled(name, first_rules);
            let header = header.ok_or_else(|| {
                format!(
                    "cannot find column \"{name}\" without a header; use its number, counting \
                     from 1"
                )
            })?;
            let mut columns = (0..header.len()).filter(|column| header[*column] == composed_name);
            match (columns.next(), columns.next()) {
                (Some(column), None) => Ok(column),
                (Some(_), Some(_)) => Err(format!(
                    "the header has more than one column \"{name}\"; use its number, counting \
                     from 1"
                )),
                (None, _) => {
                    let names = header.iter().map(String::as_str);
                    Err(missing("column", name, names) + &separator_advice(header))
                }
            }
        };
        let find = |column: &Column| match column {
            Column::Name(name) => by_name(name),
            Column::Number(number) => match header {
                Some(header) if *number > header.len() => Err(format!(
                    "expected a column number {number}, found {} columns",
                    header.len()
                )),
                Some(header) if !first_rules => {
                    let name = number.to_string();
                    let named = header.iter().position(|other| *other == name);
                    match named.filter(|column| *column != number - 1) {
                        None => Ok(number - 1),
                        Some(column) => Err(format!(
                            "column number {number} has another name, \"{}\", and column number {} is named \
                             \"{number}\"; use that number, or quote the name: '\"{number}\"'",
                            excerpt(&header[number - 1]),
                            column + 1
                        )),
                    }
                }
                _ => Ok(number - 1),
            },
        };
        let text = |column: &&Column| {
            find(column).map_err(|fault| format!("{}: {fault}", field_of(inputs, column)))
        };
        let condition = |(name, value): (&String, &String)| {
            let column = by_name(name).map_err(|fault| format!("data.filter: {fault}"))?;
            Ok((column, spelled(value, first_rules).into_owned()))
        };
        let columns = inputs.columns();
        let texts = columns.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let (label_field, label_columns) = config.label_fields();
        let labels = label_columns.iter().map(find).collect::<Result<Vec<usize>, _>>();
        let labels = match needs_label {
            true => labels.map_err(|fault| format!("{label_field}: {fault}"))?,
            false => labels
                .ok()
                .filter(|labels| header.is_some() && !labels.iter().any(|it| texts.contains(it)))
                .unwrap_or_default(),
        };
        // The same column by its name and by its number.
        let reads_label = columns.iter().zip(&texts).find(|(_, text)| labels.contains(text));
        if let Some((column, _)) = reads_label
            && !config.has_first_rules()
        {
            let fault = label_in_text(column, label_field);
            return Err(format!("{}: {fault}", field_of(inputs, column)));
        }
        let (label, label_columns) = match config.label_columns.is_empty() {
            true => (labels.first().copied(), Vec::new()),
            false => (None, labels),
        };
        Ok(Self {
            texts,
            label,
            label_columns,
            group: config.split.group.as_ref().and_then(|column| find(column).ok()),
            filter: config.filter.iter().map(condition).collect::<Result<_, String>>()?,
            width: header.map(<[String]>::len),
            first_rules,
            needs_labels: needs_label,
        })
    }

    /// Number of columns that a row has at least.
    pub fn min_width(&self) -> usize {
        self.texts.iter().chain(self.labels()).max().map_or(0, |last| last + 1)
    }

    /// Columns of the labels.
    pub fn labels(&self) -> impl Iterator<Item = &usize> {
        self.label.iter().chain(&self.label_columns)
    }

    fn has_labels(&self) -> bool {
        self.labels().next().is_some()
    }

    /// Returns the row with these fields, or `None` if the filter excludes it.
    pub fn row<'r>(&self, fields: &[&'r [u8]], config: &DataConfig) -> Result<Option<Row>, String> {
        if let Some(width) = self.width.filter(|width| *width != fields.len()) {
            return Err(format!(
                "expected {width} columns as in the header, found {}",
                fields.len()
            ));
        }
        self.select(
            |index: usize| -> Result<&'r str, String> {
                let bytes = fields.get(index).ok_or_else(|| {
                    format!("expected at least {} columns, found {}", index + 1, fields.len())
                })?;
                text_of(index, bytes)
            },
            |_| false,
            config,
        )
    }

    /// Returns the row whose columns have these values, or `None` if the filter excludes it. A null is like an
    /// empty cell, but not a text.
    pub fn select<'r>(
        &self,
        value: impl Fn(usize) -> Result<&'r str, String>,
        is_null: impl Fn(usize) -> bool,
        config: &DataConfig,
    ) -> Result<Option<Row>, String> {
        let nullable = |index: usize| if is_null(index) { Ok("") } else { value(index) };
        for (index, wanted) in &self.filter {
            if spelled(nullable(*index)?, self.first_rules) != *wanted {
                return Ok(None);
            }
        }
        let text = |column: &usize| value(*column).map(str::to_owned);
        let texts = self.texts.iter().map(text).collect::<Result<_, _>>()?;
        let labels = match &self.label_columns[..] {
            [] => {
                let label = self.label.map_or(Ok(""), nullable)?;
                RowLabels::Value(label.trim().to_owned())
            }
            _ if !self.needs_labels => RowLabels::NONE,
            columns => RowLabels::of_columns(config, |index| nullable(columns[index]))?,
        };
        let group = self.group.map(nullable).transpose()?.map(str::to_owned);
        Ok(Some(Row { group, ..Row::new(texts, labels) }))
    }
}

/// Returns advice if a header has a single column that contains the separators of another format.
fn separator_advice(header: &[String]) -> String {
    let [only] = header else { return String::new() };
    match [';', '\t', '|', ','].into_iter().find(|separator| only.contains(*separator)) {
        Some('\t') => "; the columns are separated by tabs: set data.format to tsv".to_owned(),
        Some(',') => "; the columns are separated by commas: set data.format to csv".to_owned(),
        Some(other) => {
            let spelling = Delimiter::spelling(other as u8);
            format!("; the columns are separated by \"{other}\": set data.delimiter: {spelling}")
        }
        None => String::new(),
    }
}
