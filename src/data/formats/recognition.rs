//! Recognizes data files where a file of plain texts is expected, from its first lines.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::super::appearance::appearance;
use super::excerpt::excerpt;
use super::fasttext::PREFIX;
use super::line_rows::{LineRow, Shape, rows_of};
use super::table::spelled;
use crate::config::{Column, Config, Format};

/// Number of lines that are looked at.
const LINES: usize = 1000;
/// Size in bytes of a line above which it is taken for a text: fields take much more memory than a line.
const LONG: usize = 1 << 20;
/// Number of fields at each end of a row that are looked at.
const FIELDS: usize = 32;

/// A data file.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// Line by which it was recognized, from 1.
    pub line: usize,
    /// Description of the line.
    pub description: String,
    /// The file has labels.
    pub is_labelled: bool,
    /// Format of the file, if it can be read.
    pub format: Option<Format>,
    /// Fields of the configuration that must change for the file, with their values.
    pub fields: Vec<(&'static str, String)>,
}

/// Recognizes a data file: by a first line that names the columns, by `__label__`, or by a known label in
/// the same column of most lines. A text may contain commas, and begin or end with a word that is a label.
pub struct Recognizer {
    config: Config,
    /// Names of the text columns.
    texts: Vec<String>,
    /// Names of the columns of labels.
    label_names: Vec<String>,
    /// Appearances of the known labels.
    labels: HashSet<String>,
    /// Maximum size in bytes of a field that can be one.
    longest: usize,
    /// Number of lines so far.
    lines: usize,
    /// Number of those that are not blank.
    filled: usize,
    /// The first of these.
    first: Vec<Rc<LineRow>>,
    /// Its first bytes.
    begin: String,
    /// The first line that cannot be a text.
    found: Option<(usize, Found)>,
    /// Columns with labels: by their index from the start of the row, or from its end.
    columns: BTreeMap<(Shape, End, usize), LabelColumn>,
    /// Number of lines with this number of fields.
    widths: BTreeMap<(Shape, usize), usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Start,
    End,
}

/// A line that cannot be a text.
struct Found {
    description: String,
    is_labelled: bool,
    shape: Option<Shape>,
}

/// A column in which known labels are.
struct LabelColumn {
    /// Number of lines with a label in it.
    count: usize,
    /// Number of those that can also be texts.
    prose: usize,
    /// The first of the lines.
    line: usize,
    row: Rc<LineRow>,
    /// Index of the label in this row.
    index: usize,
}

impl Recognizer {
    /// Creates a recognizer of files that are no texts for a model with this configuration and these labels.
    pub fn new(config: &Config, labels: &[String]) -> Self {
        let renamed = config.data.label_names.keys();
        let labels = labels.iter().chain(renamed);
        let columns = config.inputs.columns();
        let (_, label_columns) = config.data.label_fields();
        Self {
            texts: columns.iter().filter_map(|column| name_of(column, config)).collect(),
            label_names: label_columns
                .iter()
                .filter_map(|column| name_of(column, config))
                .collect(),
            longest: 2 * labels.clone().map(String::len).max().unwrap_or(0) + 16,
            labels: labels.map(|label| appearance(label)).collect(),
            config: config.clone(),
            lines: 0,
            filled: 0,
            first: Vec::new(),
            begin: String::new(),
            found: None,
            columns: BTreeMap::new(),
            widths: BTreeMap::new(),
        }
    }

    /// Returns true if it has seen enough lines.
    pub fn is_done(&self) -> bool {
        self.lines >= LINES
    }

    /// Looks at the next lines. Returns the data file if all lines so far show that they belong to one.
    pub fn read(&mut self, lines: &[String]) -> Option<DataFile> {
        for line in lines {
            if self.is_done() {
                break;
            }
            self.lines += 1;
            if !line.trim().is_empty() {
                self.filled += 1;
                if line.len() <= LONG {
                    self.read_line(line);
                }
            }
        }
        let columns = self.columns.iter().map(|((shape, ..), column)| (*shape, column));
        let best = |(_, column): &(Shape, &LabelColumn)| (column.count, column.row.fields.len());
        if let Some((line, Found { description, is_labelled, shape })) = &self.found {
            let columns = columns.filter(|(found, _)| Some(*found) == *shape);
            let column = columns.max_by_key(best).map(|(_, column)| column);
            return Some(DataFile {
                line: *line,
                description: description.clone(),
                is_labelled: *is_labelled || column.is_some(),
                format: shape.map_or(Some(Format::Fasttext), Shape::format),
                fields: column.map_or(Vec::new(), |column| self.fields(column)),
            });
        }
        let certain = |column: &LabelColumn| column.count - column.prose;
        let is_likely =
            |column: &LabelColumn| certain(column) > 1 && self.are_most(certain(column));
        let (shape, column) = columns.filter(|(_, column)| is_likely(column)).max_by_key(best)?;
        Some(DataFile {
            line: column.line,
            description: row_description(&column.row, column.index),
            is_labelled: true,
            format: shape.format(),
            fields: self.fields(column),
        })
    }

    /// Describes the lines if they can be texts, but look like those of a data file.
    pub fn resemblance(&self) -> Option<String> {
        let labelled = self.columns.values().map(|column| column.count).max().unwrap_or(0);
        let is_json = |shape: &Shape| matches!(shape, Shape::Objects | Shape::Arrays);
        let objects = self.widths.iter().filter(|((shape, _), _)| is_json(shape));
        let width = self.widths.iter().max_by_key(|((_, width), count)| (**count, *width));
        match width {
            // An object or array of several lines.
            _ if matches!(self.begin.as_str(), "{" | "[" | "[{") => Some("JSON".to_owned()),
            _ if self.are_most(objects.map(|(_, count)| count).sum()) => {
                Some("JSON objects".to_owned())
            }
            _ if self.are_most(labelled) => Some("rows with labels".to_owned()),
            Some(((_, width), count)) if *count > 1 && self.are_most(*count) => {
                Some(format!("rows of a table with {width} columns"))
            }
            _ => None,
        }
    }

    /// Returns true if these are most of the lines, apart from the first, which can be a header.
    fn are_most(&self, count: usize) -> bool {
        count > 0 && 4 * count >= 3 * (self.filled - 1)
    }

    fn read_line(&mut self, line: &str) {
        let is_first = self.filled == 1;
        let mut fasttext = line.split_whitespace().filter_map(|word| word.strip_prefix(PREFIX));
        if is_first && line.trim_start().starts_with(PREFIX)
            || fasttext.any(|label| self.is_label(label))
        {
            let description = "a fastText line with a label".to_owned();
            return self.find(Found { description, is_labelled: true, shape: None });
        }
        let rows: Vec<Rc<LineRow>> = rows_of(line).into_iter().map(Rc::new).collect();
        for row in &rows {
            // With several columns, each text is a JSON object.
            if row.shape == Shape::Objects && self.config.inputs.columns().len() > 1 {
                return;
            }
            if is_first && let Some(found) = self.header(row).or_else(|| self.certain_row(row)) {
                self.find(found);
            }
            self.count(row);
        }
        if is_first {
            self.first = rows;
            self.begin = line.trim().chars().take(3).collect();
        }
    }

    fn find(&mut self, found: Found) {
        self.found.get_or_insert((self.lines, found));
    }

    /// Returns the first line if it names the columns.
    fn header(&self, row: &LineRow) -> Option<Found> {
        let found: Vec<String> = match &row.keys {
            Some(keys) => keys.iter().map(|key| self.spelled(key)).collect(),
            None if row.is_prose() => return None,
            None => row.fields.iter().map(|field| self.spelled(field)).collect(),
        };
        let has_label = match &self.config.data.label_fields().1[..] {
            [Column::Number(number)] => found.len() > 1 && *number <= found.len(),
            _ => self.label_names.iter().any(|name| found.contains(name)),
        };
        let description = if row.keys.is_some() {
            let key = self.texts.iter().chain(&self.label_names).find(|key| found.contains(key))?;
            format!("a JSON object with the key {key:?}")
        } else {
            let header: Vec<&str> = match self.texts.is_empty() {
                true => self.label_names.iter().map(String::as_str).collect(),
                false => self.texts.iter().map(String::as_str).collect(),
            };
            if header.is_empty() || !header.iter().all(|name| found.iter().any(|it| it == name)) {
                return None;
            }
            let columns = if header.len() == 1 { "column" } else { "columns" };
            format!("the header of a table with the {columns} {}", header.join(", "))
        };
        Some(Found { description, is_labelled: has_label, shape: Some(row.shape) })
    }

    /// Returns the first line if it has a label and cannot be a text.
    fn certain_row(&self, row: &LineRow) -> Option<Found> {
        let data = &self.config.data;
        let index = match &data.label_column {
            Column::Number(number) if !data.header && row.keys.is_none() => {
                Some(number - 1).filter(|index| self.is_label_at(row, *index))
            }
            // A tab hardly occurs in a text, but a comma does.
            _ if row.is_quoted || row.shape == Shape::Tabs => self.label_indices(row).next(),
            _ => None,
        };
        let index = index.filter(|_| row.keys.is_some() || !row.is_prose())?;
        let description = row_description(row, index);
        Some(Found { description, is_labelled: true, shape: Some(row.shape) })
    }

    fn count(&mut self, row: &Rc<LineRow>) {
        let width = row.fields.len();
        if row.keys.is_some() || width > 1 && !row.is_prose() {
            *self.widths.entry((row.shape, width)).or_default() += 1;
        }
        let indices: Vec<usize> = self.label_indices(row).collect();
        for index in indices {
            for (end, position) in [(End::Start, index), (End::End, width - 1 - index)] {
                let line = self.lines;
                let new = || LabelColumn { count: 0, prose: 0, line, row: row.clone(), index };
                let column = self.columns.entry((row.shape, end, position)).or_insert_with(new);
                column.count += 1;
                column.prose += usize::from(row.is_prose_at(index));
            }
        }
    }

    /// Returns the indices of the labels in a row, at least if they are near one of its ends.
    fn label_indices<'r>(&'r self, row: &'r LineRow) -> impl Iterator<Item = usize> + 'r {
        let width = row.fields.len();
        let near = (0..width).filter(move |index| *index < FIELDS || width - index <= FIELDS);
        near.filter(|index| self.is_label_at(row, *index))
    }

    /// Returns true if a field is a label, and another one can be a text. If each label has a column, only a
    /// header has labels.
    fn is_label_at(&self, row: &LineRow, index: usize) -> bool {
        if !self.config.data.label_columns.is_empty() {
            return false;
        }
        let is_text = |field: &String| field.contains(char::is_alphabetic) && !self.is_label(field);
        row.fields.get(index).is_some_and(|field| self.is_label(field))
            && row.fields.iter().any(is_text)
    }

    /// Returns true if a field is a known label, or has several.
    fn is_label(&self, field: &str) -> bool {
        let labels = self.config.data.labels_in(field);
        let is_known =
            |label: &&str| label.len() <= self.longest && self.labels.contains(&appearance(label));
        !labels.is_empty() && labels.iter().all(is_known)
    }

    fn spelled(&self, name: &str) -> String {
        spelled(name.trim(), self.config.data.has_first_rules()).into_owned()
    }

    /// Returns the fields of the configuration that must change for a file with this label column.
    fn fields(&self, column: &LabelColumn) -> Vec<(&'static str, String)> {
        let LabelColumn { row, index, .. } = column;
        let is_header = |first: &&Rc<LineRow>| {
            first.shape == row.shape
                && first.fields.len() == row.fields.len()
                && self.label_indices(first).next().is_none()
        };
        let header = self.first.iter().find(is_header).map(|first| &first.fields);
        let header = row.keys.as_ref().or(header);
        let header: Option<Vec<String>> =
            header.map(|names| names.iter().map(|name| self.spelled(name)).collect());
        let others = (0..row.fields.len()).filter(|other| other != index);
        let text = others.max_by_key(|other| row.fields[*other].len()).unwrap_or(0);
        let data = &self.config.data;
        let mut fields = Vec::new();
        if row.keys.is_none() && data.header != header.is_some() {
            fields.push(("data.header", header.is_some().to_string()));
        }
        let name = |index: usize| match &header {
            Some(header) => header[index].clone(),
            None => (index + 1).to_string(),
        };
        let is_found = |column: &Column| match (column, &header) {
            (Column::Name(_), Some(header)) => {
                name_of(column, &self.config).is_some_and(|name| header.contains(&name))
            }
            (Column::Name(_), None) => false,
            (Column::Number(number), _) => *number <= row.fields.len() && row.keys.is_none(),
        };
        let columns = self.config.inputs.columns();
        if columns.len() == 1 && !is_found(columns[0]) {
            fields.push(("data.text_column", name(text)));
        }
        let is_label = match &data.label_column {
            Column::Name(_) => self.label_names.contains(&name(*index)),
            Column::Number(number) => row.keys.is_none() && number - 1 == *index,
        };
        if !is_label && data.label_columns.is_empty() {
            fields.push(("data.label_column", name(*index)));
        }
        fields
    }
}

fn row_description(row: &LineRow, index: usize) -> String {
    let kind = if row.keys.is_some() { "a JSON object" } else { "a row of a table" };
    format!("{kind} with the label {:?}", excerpt(row.fields[index].trim()))
}

fn name_of(column: &Column, config: &Config) -> Option<String> {
    match column {
        Column::Name(name) => Some(spelled(name, config.data.has_first_rules()).into_owned()),
        Column::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn recognizer(data: &str) -> Recognizer {
        let yaml = format!("data: {{train: x{data}}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config;
        Recognizer::new(&config, &["neg".into(), "pos".into()])
    }

    fn describe(line: &str, data: &str) -> Option<String> {
        recognizer(data).read(&[line.to_owned()]).map(|file| file.description)
    }

    #[test]
    fn lines_of_data_files_are_recognized() {
        let header = ", header: false, text_column: 2, label_column: 1";
        for (line, data, description) in [
            ("text,label", "", "the header of a table with the column text"),
            ("id\t text \tx", "", "the header of a table with the column text"),
            ("text", "", "the header of a table with the column text"),
            ("label,\"text\"", ", text_column: 2", "the header of a table with the column label"),
            (
                "title,x,body",
                ", text_column: [title, body]",
                "the header of a table with the columns title, body",
            ),
            ("pos,good", header, "a row of a table with the label \"pos\""),
            ("good\tpos", "", "a row of a table with the label \"pos\""),
            ("1\tgood", ", label_names: {1: pos}", "a row of a table with the label \"1\""),
            ("{\"review\": 1, \"label\": 1}", "", "a JSON object with the key \"label\""),
            ("{\"text\": \"a\", \"label\": 1}", "", "a JSON object with the key \"text\""),
            ("{\"review\": \"a\", \"y\": \"Pos\"}", "", "a JSON object with the label \"Pos\""),
            ("text;label", "", "the header of a table with the column text"),
            ("text|label", "", "the header of a table with the column text"),
            ("\"good, very\",pos", "", "a row of a table with the label \"pos\""),
            ("\"good; very\";\"pos\"", "", "a row of a table with the label \"pos\""),
            ("[\"good\", \"pos\"]", "", "a row of a table with the label \"pos\""),
            ("[{\"text\": \"a\"}]", "", "a JSON object with the key \"text\""),
            ("good __label__pos", "", "a fastText line with a label"),
            (" __label__pos good", "", "a fastText line with a label"),
        ] {
            assert_eq!(describe(line, data).as_deref(), Some(description), "{line}");
        }
        for line in [
            "a text, label and all",
            "text, call or write",
            "call, text, or write",
            "good, pos",
            "good,pos",
            "pos",
            "{\"other\": 1}",
            "{text: x}",
            "\"text,label",
            "",
            "a\tb",
        ] {
            assert_eq!(describe(line, ""), None, "{line}");
        }
        assert_eq!(describe("bad,good", header), None);
        let two = ", text_column: [a, b]";
        assert_eq!(describe("{\"a\": \"x\", \"b\": \"y\"}", two), None);
    }

    #[test]
    fn lines_with_several_known_labels_are_recognized() {
        let comma = ", label_separator: ','";
        assert!(describe("{\"x\": \"pos,neg\", \"y\": \"a film\"}", comma).is_some());
        assert_eq!(describe("a film\tpos,neg", ""), None);
        let found = read("great film\tpos, neg\nbad film\tneg\n", comma).0.unwrap();
        assert_eq!(found.description, "a row of a table with the label \"pos, neg\"");
        assert_eq!(read("great film\tpos, other\nbad film\tother\n", comma).0, None);
        let columns = ", label_columns: [pos, neg]";
        let found = read("text,pos,neg\ngreat,1,0\n", columns).0.unwrap();
        assert!(found.is_labelled && found.fields.is_empty(), "{found:?}");
    }

    fn read(content: &str, data: &str) -> (Option<DataFile>, Option<String>) {
        let lines: Vec<String> = content.lines().map(str::to_owned).collect();
        let mut recognizer = recognizer(data);
        let file = recognizer.read(&lines);
        let resemblance = recognizer.resemblance().filter(|_| file.is_none());
        (file, resemblance)
    }

    #[test]
    fn tables_are_recognized_by_labels_in_a_column_of_most_lines() {
        let columns = |text: &str, label: &str| {
            vec![("data.text_column", text.to_owned()), ("data.label_column", label.to_owned())]
        };
        let numbers = |text: &str, label: &str| {
            [vec![("data.header", "false".to_owned())], columns(text, label)].concat()
        };
        for (content, line, format, fields) in [
            ("great film,pos\nbad film,neg\n", 1, Some(Format::Csv), numbers("1", "2")),
            ("pos,great\nneg,bad, but long\n", 1, Some(Format::Csv), numbers("2", "1")),
            ("Some title\ngreat film,pos\nbad film,neg\n", 2, Some(Format::Csv), numbers("1", "2")),
            (
                "review,sentiment\n\"great, long\",pos\nbad film,NEG\n",
                2,
                Some(Format::Csv),
                columns("review", "sentiment"),
            ),
            (
                "{\"review\": \"great film\", \"y\": \"pos\"}\n",
                1,
                Some(Format::Jsonl),
                columns("review", "y"),
            ),
            ("great film;pos\nbad film;neg\n", 1, None, numbers("1", "2")),
            ("| great film | pos |\n| bad film | neg |\n", 1, None, numbers("2", "3")),
            ("\n\ntext,label\ngreat film,x\n", 3, Some(Format::Csv), vec![]),
            (
                "text,sentiment\na film,pos\n",
                1,
                Some(Format::Csv),
                columns("", "sentiment")[1..].to_vec(),
            ),
            ("a plain text\n__label__pos great film\n", 2, Some(Format::Fasttext), vec![]),
            (
                "id\ttext\n1\tgreat film\tpos\n2\tbad film\tneg\n",
                1,
                Some(Format::Tsv),
                numbers("2", "3"),
            ),
        ] {
            let file = read(content, "").0.expect(content);
            assert_eq!((file.line, file.format, file.fields), (line, format, fields), "{content}");
            assert!(file.is_labelled, "{content}");
        }
        let rest = "great film,pos\n".repeat(3) + "a text\n";
        assert!(read(&rest, "").0.is_some());
        assert!(read(&format!("{rest}a\nb\nc\n"), "").0.is_none());
        for unlabelled in ["text\ngreat film\n", "id,text\n1,great film\n", "{\"text\": \"a\"}\n"] {
            assert!(!read(unlabelled, "").0.expect(unlabelled).is_labelled, "{unlabelled}");
        }
    }

    #[test]
    fn texts_with_commas_remain_texts() {
        for content in [
            "Pos, I liked it\nNeg, I did not\nPos, again\n",
            "It was good, pos\nIt was bad, neg\n",
            "good,very good,pos\nbad\nfine\nlong\nshort\n",
            "1,000 people, all told\n2,500 people, all told\n",
            "a; b; neg\nc; d; pos\n",
            "pos,neg\nneg,pos\n",
            "He said \"pos\", and left\nShe said \"neg\", and stayed\n",
            "text about __label__ lines\n",
        ] {
            assert_eq!(read(content, "").0, None, "{content}");
        }
        let numbers = ", label_names: {3: neg, 5: pos}";
        for content in ["I give it 2,5\nI give it 3,5\n", "3,5 of 5\n5,0 of 5\n"] {
            assert_eq!(read(content, numbers).0, None, "{content}");
        }
        assert!(read("good,3\nbad,5\n", numbers).0.is_some());
    }

    #[test]
    fn lines_that_look_like_rows_are_described() {
        for (content, expected) in [
            ("great film, pos\nbad film, neg\n", Some("rows with labels")),
            ("good,pos\n", Some("rows with labels")),
            ("review,stars\ngreat film,5\nbad film,1\n", Some("rows of a table with 2 columns")),
            ("\"a, b\",\"c\"\n\"d\",\"e, f\"\n", Some("rows of a table with 2 columns")),
            ("{\"a\": 1}\n{\"b\": 1, \"c\": 2}\n", Some("JSON objects")),
            ("[{\"a\": 1}, {\"a\": 2}]\n", Some("JSON objects")),
            ("[\n  {\n    \"text\": \"good\"\n  }\n]\n", Some("JSON")),
            ("pos good film\nneg: bad film\n", Some("rows with labels")),
            ("good, very\nbad, very\n", None),
            ("one line, two\nanother\n", None),
        ] {
            let (file, resemblance) = read(content, "");
            assert_eq!((file, resemblance.as_deref()), (None, expected), "{content}");
        }
    }
}
