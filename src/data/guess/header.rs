//! Recognizes whether the first row of a table names its columns.

use std::collections::HashSet;
use std::path::Path;

use anyhow::bail;

use super::super::appearance::appearance;
use super::super::formats::{excerpt, first_rows};
use super::columns::is_usual_name;
use super::sample::LONG_NAME;
use crate::config::{Column, Config, DataConfig, Format};

/// Checks that a table has a header if the data of the model had one, and none if it had none. Otherwise the
/// header would be read as an example, or an example as the header. `known` has the labels of the model.
///
/// # Errors
/// Returns an error with the settings that read the file, or one of reading it.
pub fn check_header(
    path: &Path,
    format: Format,
    config: &Config,
    known: &[String],
) -> anyhow::Result<()> {
    if !matches!(format, Format::Csv | Format::Tsv) {
        return Ok(());
    }
    let rows = first_rows(path, format, config)?;
    let Some(first) = rows.first() else { return Ok(()) };
    let data = &config.data;
    let columns = config.inputs.columns();
    let labels = known.iter().chain(data.label_names.keys());
    let known: HashSet<String> = labels.map(|label| appearance(label)).collect();
    let known = KnownLabels { data, appearances: known };
    let is_found = |column: &&Column| match column {
        Column::Name(name) => first.iter().any(|cell| cell.trim() == name),
        Column::Number(_) => false,
    };
    let shown = excerpt(&first.join(", "));
    let file = path.display();
    match (data.header, first_row(&rows, &columns, &known)) {
        (false, FirstRow::Header) => bail!(
            "{file}:1: the first row, \"{shown}\", seems to name the columns, but the training data has no \
             header; skip the row with --set data.header=true, or read it as an example with \
             --set data.header=false"
        ),
        (true, FirstRow::Example) if !columns.iter().any(is_found) => {
            let label = label_column(&rows, &known);
            let length = |column: &usize| rows.iter().map(|row| row[*column].len()).sum::<usize>();
            let others = (0..first.len()).filter(|column| Some(*column) != label);
            let text = others.max_by_key(length).unwrap_or(0);
            // The number of a column that is not read must differ from that of the text.
            let label = label.unwrap_or(if text == 0 { 1 } else { 0 });
            let text = match columns.len() {
                1 => (text + 1).to_string(),
                _ => "'[NUMBERS]'".to_owned(),
            };
            bail!(
                "{file}:1: the first row, \"{shown}\", seems to be an example, but the training data has a \
                 header; add a header with the names of the columns, or read the file with \
                 --set data.header=false --set data.text_column={text} --set data.label_column={}",
                label + 1
            )
        }
        _ => Ok(()),
    }
}

/// Labels of the model.
struct KnownLabels<'a> {
    data: &'a DataConfig,
    appearances: HashSet<String>,
}

impl KnownLabels<'_> {
    /// Returns true if a cell has a label, or several, and all are known.
    fn are_in(&self, cell: &str) -> bool {
        let labels = self.data.labels_in(cell.trim());
        let is_known = |label: &&str| self.appearances.contains(&appearance(label));
        !labels.is_empty() && labels.iter().all(is_known)
    }
}

/// Content of the first row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstRow {
    /// The names of the columns.
    Header,
    /// An example like those below.
    Example,
    /// It can be both.
    Unclear,
}

/// Returns what the first row has. In a column of labels or of numbers, it is like the others or differs from
/// all of them; a text column has a usual name or a long text.
fn first_row(rows: &[Vec<String>], texts: &[&Column], known: &KnownLabels) -> FirstRow {
    let [first, others @ ..] = rows else { return FirstRow::Unclear };
    if others.is_empty() {
        return FirstRow::Unclear;
    }
    let cell = |row: &'_ Vec<String>, column: usize| row[column].trim().to_owned();
    if let Some(column) = label_column(rows, known) {
        return match known.are_in(&cell(first, column)) {
            true => FirstRow::Example,
            false => FirstRow::Header,
        };
    }
    let is_number = |row: &Vec<String>, column: usize| cell(row, column).parse::<f64>().is_ok();
    let of_numbers =
        |column: &usize| others.len() > 1 && others.iter().all(|row| is_number(row, *column));
    if let Some(column) = (0..first.len()).find(of_numbers) {
        return match (is_number(first, column), cell(first, column).is_empty()) {
            (true, _) => FirstRow::Example,
            (false, false) => FirstRow::Header,
            (false, true) => FirstRow::Unclear,
        };
    }
    let is_text = |column: usize| texts.contains(&&Column::Number(column + 1));
    let is_long = |cell: &String| cell.trim().chars().count() >= LONG_NAME;
    match () {
        () if first.iter().any(is_long) => FirstRow::Example,
        () if (0..first.len())
            .any(|column| is_text(column) && is_usual_name(&cell(first, column))) =>
        {
            FirstRow::Header
        }
        () => FirstRow::Unclear,
    }
}

/// Returns the column of labels: in most rows below the first one, it has a known label.
fn label_column(rows: &[Vec<String>], known: &KnownLabels) -> Option<usize> {
    let [first, others @ ..] = rows else { return None };
    let count = |column: usize| others.iter().filter(|row| known.are_in(&row[column])).count();
    (0..first.len())
        .map(|column| (count(column), column))
        .filter(|(count, _)| *count > 0 && 4 * count >= 3 * others.len())
        .max_by_key(|(count, _)| *count)
        .map(|(_, column)| column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(content: &str, text: usize) -> FirstRow {
        let row = |line: &str| line.split(',').map(str::to_owned).collect();
        let rows: Vec<Vec<String>> = content.lines().map(row).collect();
        let appearances = ["neg", "pos"].map(appearance).into_iter().collect();
        let yaml = "data: {train: x, label_separator: '+'}";
        let data = &crate::config::parse(yaml, "test", &[]).unwrap().config.data;
        first_row(&rows, &[&Column::Number(text)], &KnownLabels { data, appearances })
    }

    #[test]
    fn a_header_differs_from_the_rows_below() {
        for (content, text, expected) in [
            ("avis,note\nbon,pos\nmauvais,neg\n", 1, FirstRow::Header),
            ("bon,pos\nmauvais,neg\n", 1, FirstRow::Example),
            ("bon,pos+neg\nmauvais,neg+pos\n", 1, FirstRow::Example),
            ("avis,note\nbon,pos+neg\n", 1, FirstRow::Header),
            ("a,b\nbon,pos\nmauvais,neg\nbien,pos\nwho knows,?\n", 1, FirstRow::Header),
            ("n,avis\n1,bon\n2,mauvais\n", 2, FirstRow::Header),
            ("1,bon\n2,mauvais\n3,neutre\n", 2, FirstRow::Example),
            (",bon\n2,mauvais\n3,neutre\n", 2, FirstRow::Unclear),
            ("text\na good film\n", 1, FirstRow::Header),
            ("Review\na good film\n", 1, FirstRow::Header),
            ("Review,x\na good film,y\n", 2, FirstRow::Unclear),
            ("a good film\na bad film\n", 1, FirstRow::Unclear),
            ("text\n", 1, FirstRow::Unclear),
        ] {
            assert_eq!(first(content, text), expected, "{content}");
        }
        let long = format!("{}\nshort\n", "a long text ".repeat(9));
        assert_eq!(first(&long, 1), FirstRow::Example);
    }
}
