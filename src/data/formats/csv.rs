//! Reads tables with quoted fields, such as CSV files (RFC 4180).
//!
//! A stray quote can swallow the rows up to the next quote, and the number of columns may still fit. Such
//! a quote is reported with the line of its row, and the rows behind it are read as rows of their own.

use std::collections::{HashSet, VecDeque};
use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, bail};

use super::super::appearance::appearance;
use super::excerpt::excerpt;
use super::lines::{limits, open_data};
use super::row_labels::RowLabels;
use super::sink::Sink;
use super::table::Table;
use crate::config::DataConfig;
use crate::io::input::{Limit, TextReader, unreadable};
use crate::output::format::pluralize;

/// Advice on an unbalanced quote.
const REMEDY: &str = "close it, or double each quote inside a quoted field";
/// Number of lines above which a row most likely has an unbalanced quote.
const MANY_LINES: u64 = 100;
/// Number of lines that are read ahead to learn the labels of the file.
const LINES_AHEAD: usize = 1000;

/// Reads the file `path`, whose columns are separated by `delimiter`, into `sink`.
pub fn read(
    path: &Path,
    delimiter: u8,
    config: &DataConfig,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let mut reader = Reader {
        lines: Lines::new(path, open_data(path, config)?),
        table: Table::new(config, sink),
        config,
        delimiter,
        limit: limits(config).line,
        ahead: None,
        stray_quote: None,
    };
    while let Some(first) = reader.lines.next()? {
        reader.read_row(first, sink)?;
    }
    Ok(())
}

struct Reader<'a> {
    lines: Lines<'a>,
    table: Table<'a>,
    config: &'a DataConfig,
    delimiter: u8,
    /// Limit on the size of a row.
    limit: Limit,
    /// Appearances of the labels of the lines that were read ahead.
    ahead: Option<HashSet<String>>,
    /// Line with a quote that closes the stray one of a broken row.
    stray_quote: Option<u64>,
}

impl Reader<'_> {
    /// Reads the row that begins with the line `first`.
    fn read_row(&mut self, first: Line, sink: &mut Sink) -> anyhow::Result<()> {
        let start = first.number;
        if self.stray_quote == Some(start) {
            let message =
                "a quote closes in this row that opens in a row before it; remove the quotes";
            return sink.add(start, Err(message.into()));
        }
        let Parsed { record, mut lines, fault } = self.parse_row(first, sink)?;
        let last = lines.last().map_or(start, |line| line.number);
        let swallowed = match lines.len() > 1 && !self.config.has_first_rules() {
            true => self.swallowed_rows(&record, &lines, fault.is_none(), sink)?,
            false => None,
        };
        let message = match fault {
            None if swallowed.is_none() => {
                let count = last - start + 1;
                if count > MANY_LINES {
                    sink.long_row.get_or_insert((start, count));
                }
                let fields = record.fields();
                return match fields[..] {
                    [b""] => Ok(()),
                    _ => self.table.add(start, &fields, sink),
                };
            }
            None => format!(
                "a quote opens in this row and closes in line {last}, and the lines between are rows of \
                 their own; remove the quotes, or double each quote inside a quoted field"
            ),
            Some(Fault::Malformed(rest)) => {
                let at = if last > start { format!(" in line {last}") } else { String::new() };
                format!(
                    "found {:?} after a closing quote{at}; double each quote inside a quoted field",
                    excerpt(&rest)
                )
            }
            Some(Fault::Unclosed) => {
                let Opened { line, column } = record.opened;
                let line = start + line;
                if swallowed.is_none() {
                    // Skipping the row would silently drop the rest of the file.
                    let row = if line > start {
                        format!(" of the row that begins in line {start}")
                    } else {
                        String::new()
                    };
                    let rest = match last - line {
                        0 => String::new(),
                        count => format!(
                            ", and the {} after it would belong to this field",
                            pluralize(count as usize, "line")
                        ),
                    };
                    bail!(
                        "{}:{line}: unclosed quote: it opens here in column {column}{row}, nothing closes \
                         it{rest}; {REMEDY}",
                        sink.file()
                    );
                }
                format!("unclosed quote in column {column}; {REMEDY}")
            }
        };
        sink.add(start, Err(message))?;
        match swallowed {
            None => {}
            Some(Swallowed::UpToRow) => self.lines.put_back(lines.split_off(1)),
            Some(Swallowed::UpToStrayQuote) => {
                self.stray_quote = Some(last);
                self.lines.put_back(lines.split_off(1));
            }
        }
        Ok(())
    }

    /// Parses the lines of the row that begins with the line `first`.
    fn parse_row(&mut self, first: Line, sink: &Sink) -> anyhow::Result<Parsed> {
        let start = first.number;
        let mut record = Record::new(self.delimiter, self.config.has_first_rules());
        let mut lines = Vec::new();
        let mut next = Some(first);
        let mut size = 0;
        let fault = loop {
            let Some(line) = next else { break Some(Fault::Unclosed) };
            size += line.bytes.len() as u64;
            if size > self.limit.bytes {
                let subject = format!("{}:{start}: the row", sink.file());
                bail!("{}; check it for an unclosed quote", self.limit.exceeded(&subject));
            }
            let state = record.feed(&line.bytes);
            lines.push(line);
            match state {
                State::Ended => break None,
                State::Malformed => break Some(Fault::Malformed(record.rest(&lines))),
                _ => next = self.lines.next()?,
            }
        };
        Ok(Parsed { record, lines, fault })
    }

    /// Returns how the rows end that a stray quote in the first line swallows, if there is one: without
    /// it, the line is a row with a known label. If the quotes are well-formed, so must be the last line and
    /// most others, because a text can contain a line that looks like a row. A label has no line breaks: a
    /// quote before it that is closed in another line is always stray.
    fn swallowed_rows(
        &mut self,
        record: &Record,
        lines: &[Line],
        well_formed: bool,
        sink: &Sink,
    ) -> anyhow::Result<Option<Swallowed>> {
        let Some(opening) = record.opening else { return Ok(None) };
        let first = without(&lines[0].bytes, opening.position);
        let [_, others @ .., last] = lines else { return Ok(None) };
        let others = if well_formed { others } else { &[] };
        let cleaned = record.closing.map(|closing| without(&last.bytes, closing));
        let cleaned = cleaned.and_then(|line| self.labels_in(&line, 0));
        if well_formed && self.table.is_label(opening.field) && record.has_line_break(opening.field)
        {
            return Ok(Some(match cleaned {
                Some(_) => Swallowed::UpToStrayQuote,
                None => Swallowed::UpToRow,
            }));
        }
        let middle = self.labels_between(others, record);
        let has_rows = middle.iter().any(Option::is_some);
        let width = if has_rows { record.ends.len() } else { 0 };
        let Some(labels) = self.labels_in(&first, width) else { return Ok(None) };
        if !self.is_known(&labels, sink)? {
            return Ok(None);
        }
        let mut end = Swallowed::UpToRow;
        if well_formed {
            let names = |labels: &RowLabels| labels.class_names(self.config);
            let is_same = |a: &RowLabels, b: &RowLabels| names(a) == names(b);
            let is_at_the_end = |closing: usize| last.bytes[closing..].trim_ascii_end() == b"\"";
            let cleaned = cleaned.filter(|_| record.closing.is_some_and(is_at_the_end));
            let labels = match (self.labels_in(&last.bytes, 0), cleaned) {
                (Some(labels), cleaned)
                    if cleaned.as_ref().is_none_or(|it| is_same(it, &labels)) =>
                {
                    labels
                }
                (_, Some(cleaned)) => {
                    end = Swallowed::UpToStrayQuote;
                    cleaned
                }
                (_, None) => return Ok(None),
            };
            if !self.is_known(&labels, sink)? {
                return Ok(None);
            }
        }
        let mut known = 0;
        for labels in middle.iter().flatten() {
            known += usize::from(self.is_known(labels, sink)?);
        }
        Ok((4 * known >= 3 * middle.len()).then_some(end))
    }

    /// Returns the labels of the lines within a row that are rows. If some are, others may have a comma too
    /// many.
    fn labels_between(&self, lines: &[Line], record: &Record) -> Vec<Option<RowLabels>> {
        let lines = lines.iter().map(|line| &*line.bytes);
        let lines: Vec<&[u8]> = lines.filter(|line| !line.trim_ascii().is_empty()).collect();
        let has_rows = lines.iter().any(|line| self.labels_in(line, 0).is_some());
        let width = if has_rows { record.ends.len() } else { 0 };
        lines.into_iter().map(|line| self.labels_in(line, width)).collect()
    }

    /// Returns true if labels look like known ones, or like those of the next rows: the first rows of the
    /// file have labels that occur later.
    fn is_known(&mut self, labels: &RowLabels, sink: &Sink) -> anyhow::Result<bool> {
        if sink.labels.knows(labels, &HashSet::new()) {
            return Ok(true);
        }
        let Self { lines, table, config, ahead, delimiter, .. } = self;
        let ahead = match ahead {
            Some(ahead) => ahead,
            None => {
                let lines = lines.peek(LINES_AHEAD)?;
                let labels = lines.filter_map(|line| labels_in(table, *delimiter, &line.bytes, 0));
                let names = labels.flat_map(|labels| labels.class_names(config));
                ahead.insert(names.map(|name| appearance(&name)).collect())
            }
        };
        Ok(sink.labels.knows(labels, ahead))
    }

    fn labels_in(&self, line: &[u8], width: usize) -> Option<RowLabels> {
        labels_in(&self.table, self.delimiter, line, width)
    }
}

/// End of the rows that a stray quote swallows.
enum Swallowed {
    /// The last of their lines is a row too.
    UpToRow,
    /// The last of their lines is a row with the other stray quote.
    UpToStrayQuote,
}

/// Returns a line without the byte at a position.
fn without(line: &[u8], position: usize) -> Vec<u8> {
    [&line[..position], &line[position + 1..]].concat()
}

/// Returns the labels of a line that is a whole row. `width` is the number of columns that it may exceed,
/// or 0.
fn labels_in(table: &Table, delimiter: u8, line: &[u8], width: usize) -> Option<RowLabels> {
    let mut record = Record::new(delimiter, false);
    match record.feed(line) {
        State::Ended => table.labels_of(&record.fields(), width),
        _ => None,
    }
}

/// Returns the fields of a line if it is a whole row.
pub fn fields_of_line(line: &str, separator: u8) -> Option<Vec<String>> {
    let mut record = Record::new(separator, false);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    match record.feed(format!("{line}\n").as_bytes()) {
        State::Ended => Some(record.fields().into_iter().map(text).collect()),
        _ => None,
    }
}

/// Returns the error of a quote that is not closed in a text, and thus swallows the rows up to its end.
pub fn unclosed_quote(text: &str, delimiter: u8) -> Option<String> {
    let mut lines = text.split_inclusive('\n').zip(1..).peekable();
    while let Some((_, start)) = lines.peek().copied() {
        let mut record = Record::new(delimiter, false);
        loop {
            let Some((line, _)) = lines.next() else {
                let Opened { line, column } = record.opened;
                let line: u64 = start + line;
                return Some(format!(
                    "line {line} has an unclosed quote in column {column}; {REMEDY}"
                ));
            };
            let state = match line.ends_with('\n') {
                true => record.feed(line.as_bytes()),
                false => record.feed(format!("{line}\n").as_bytes()),
            };
            if matches!(state, State::Ended | State::Malformed) {
                break;
            }
        }
    }
    None
}

/// A row with the lines that it was parsed from.
struct Parsed {
    record: Record,
    lines: Vec<Line>,
    fault: Option<Fault>,
}

enum Fault {
    /// The file ends in a quoted field.
    Unclosed,
    /// This text follows a closing quote.
    Malformed(String),
}

struct Line {
    /// Number of the line, from 1.
    number: u64,
    /// Content with the line ending.
    bytes: Vec<u8>,
}

/// Lines of a file, of which some can be put back.
struct Lines<'a> {
    path: &'a Path,
    reader: TextReader,
    read: u64,
    /// Lines to return before those of the reader.
    pending: VecDeque<Line>,
}

impl<'a> Lines<'a> {
    fn new(path: &'a Path, reader: TextReader) -> Self {
        Self { path, reader, read: 0, pending: VecDeque::new() }
    }

    fn next(&mut self) -> anyhow::Result<Option<Line>> {
        match self.pending.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read(),
        }
    }

    fn read(&mut self) -> anyhow::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let length = self.reader.read_until(b'\n', &mut bytes);
        let length = length.with_context(|| unreadable(self.path, self.read))?;
        if length == 0 {
            return Ok(None);
        }
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        self.read += 1;
        Ok(Some(Line { number: self.read, bytes }))
    }

    /// Returns the next `count` lines, which remain to be read.
    fn peek(&mut self, count: usize) -> anyhow::Result<impl Iterator<Item = &Line>> {
        while self.pending.len() < count
            && let Some(line) = self.read()?
        {
            self.pending.push_back(line);
        }
        Ok(self.pending.iter().take(count))
    }

    /// Returns lines, so that they are read next.
    fn put_back(&mut self, lines: Vec<Line>) {
        lines.into_iter().rev().for_each(|line| self.pending.push_front(line));
    }
}

/// A row, parsed line by line.
struct Record {
    /// Contents of all fields, concatenated.
    bytes: Vec<u8>,
    /// End of each field in `bytes`.
    ends: Vec<usize>,
    state: State,
    separator: u8,
    /// Accept any text after a closing quote, as in lstmtext 0.1.
    lenient: bool,
    /// Number of lines that were parsed.
    lines: usize,
    /// The last quote in the first line that opens a field.
    opening: Option<Opening>,
    /// The last quote that opens a field.
    opened: Opened,
    /// Position in the last line of the last quote that closes a field.
    closing: Option<usize>,
    /// Position of the last byte that was parsed, in its line.
    position: usize,
}

/// Place of a quote that opens a field.
#[derive(Clone, Copy, Default)]
struct Opened {
    /// Number of lines of the row before it.
    line: u64,
    /// Number of the column, from 1.
    column: usize,
}

/// A quote that opens a field.
#[derive(Clone, Copy)]
struct Opening {
    /// Position in the line.
    position: usize,
    /// Index of the field.
    field: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// At the start of a field.
    Start,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field, which closes it or is the first of two.
    Quote,
    /// After a quoted field.
    Closed,
    /// The row has ended.
    Ended,
    /// Text follows a closing quote.
    Malformed,
}

impl Record {
    fn new(separator: u8, lenient: bool) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            state: State::Start,
            separator,
            lenient,
            lines: 0,
            opening: None,
            opened: Opened::default(),
            closing: None,
            position: 0,
        }
    }

    /// Parses the next line, which ends in LF.
    fn feed(&mut self, line: &[u8]) -> State {
        let mut position = 0;
        self.closing = None;
        while self.state != State::Malformed && self.state != State::Ended {
            let rest = &line[position..];
            let plain = match self.state {
                State::Quoted => rest.iter().position(|byte| *byte == b'"'),
                State::Unquoted => {
                    rest.iter().position(|byte| *byte == self.separator || *byte == b'\n')
                }
                _ => Some(0),
            };
            let plain = plain.unwrap_or(rest.len());
            self.bytes.extend_from_slice(&rest[..plain]);
            position += plain;
            let Some(byte) = line.get(position) else { break };
            self.state = self.after(*byte, position);
            self.position = position;
            position += 1;
        }
        self.lines += 1;
        self.state
    }

    /// Adds a byte at this position of the line to the record, and returns the next state.
    fn after(&mut self, byte: u8, position: usize) -> State {
        match (self.state, byte) {
            (State::Start, b'"') => {
                self.opened = Opened { line: self.lines as u64, column: self.ends.len() + 1 };
                if self.lines == 0 {
                    self.opening = Some(Opening { position, field: self.ends.len() });
                }
                State::Quoted
            }
            (State::Quoted, b'"') => {
                self.closing = Some(position);
                State::Quote
            }
            (State::Quote, b'"') => self.push(b'"', State::Quoted),
            (State::Quoted, byte) => self.push(byte, State::Quoted),
            (_, byte) if byte == self.separator => self.end_field(State::Start),
            (state, b'\n') => {
                let start = self.ends.last().copied().unwrap_or(0);
                if state == State::Unquoted && self.bytes[start..].ends_with(b"\r") {
                    self.bytes.pop();
                }
                self.end_field(State::Ended)
            }
            (State::Start | State::Unquoted, byte) => self.push(byte, State::Unquoted),
            (_, byte) if self.lenient => self.push(byte, State::Unquoted),
            (_, b' ' | b'\t' | b'\r') => State::Closed,
            _ => State::Malformed,
        }
    }

    fn push(&mut self, byte: u8, state: State) -> State {
        self.bytes.push(byte);
        state
    }

    fn end_field(&mut self, state: State) -> State {
        self.ends.push(self.bytes.len());
        state
    }

    /// Returns the text that follows a closing quote.
    fn rest(&self, lines: &[Line]) -> String {
        let line = lines.last().map_or(&[][..], |line| &line.bytes[self.position..]);
        String::from_utf8_lossy(line).trim_end().to_owned()
    }

    /// Returns true if a field has a line break between two words.
    fn has_line_break(&self, field: usize) -> bool {
        self.fields().get(field).is_some_and(|field| field.trim_ascii().contains(&b'\n'))
    }

    fn fields(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]).collect()
    }
}
