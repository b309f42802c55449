//! Recognizes lines of data files where plain texts are expected.

use serde_json::Value;

use super::csv::fields_of_line;
use super::fasttext::PREFIX;
use crate::config::{Column, Config};

/// Describes the first line of a file if it is a line of a data file rather than a text: a table header
/// with the columns of `config`, a row with one of `labels`, a JSON object or a fastText line.
pub fn describe_data_line(line: &str, config: &Config, labels: &[String]) -> Option<String> {
    let columns = config.inputs.columns();
    let names: Vec<&str> = columns.iter().filter_map(|column| name_of(column)).collect();
    let label_column = name_of(&config.data.label_column);
    if line.trim_start().starts_with(PREFIX) {
        return Some("a fastText line with a label".into());
    }
    // With several columns, each line is a JSON object.
    if columns.len() == 1
        && let Ok(Value::Object(object)) = serde_json::from_str(line)
        && let Some(key) =
            names.iter().copied().chain(label_column).find(|key| object.contains_key(*key))
    {
        return Some(format!("a JSON object with the key {key:?}"));
    }
    [b'\t', b','].into_iter().find_map(|separator| {
        let fields = match separator {
            b',' => fields_of_line(line)?,
            _ => line.split('\t').map(str::to_owned).collect(),
        };
        // In a text, a space follows a comma.
        let is_text = separator == b',' && fields.iter().any(|field| field.starts_with(' '));
        let found: Vec<&str> = match is_text {
            true => Vec::new(),
            false => fields.iter().map(|field| field.trim()).collect(),
        };
        let header =
            if names.is_empty() { label_column.into_iter().collect() } else { names.clone() };
        if !header.is_empty() && header.iter().all(|name| found.contains(name)) {
            let columns = if header.len() == 1 { "column" } else { "columns" };
            return Some(format!("the header of a table with the {columns} {}", header.join(", ")));
        }
        let is_label = |field: &str| labels.contains(&config.data.class_name(field));
        let label = match (&config.data.label_column, separator) {
            (Column::Number(number), _) if !config.data.header => fields.get(number - 1),
            // A tab hardly occurs in a text, but a comma does.
            (_, b'\t') => fields.iter().find(|field| is_label(field)),
            _ => None,
        };
        let label = label.filter(|label| fields.len() > 1 && is_label(label))?;
        Some(format!("a row of a table with the label {label:?}"))
    })
}

fn name_of(column: &Column) -> Option<&str> {
    match column {
        Column::Name(name) => Some(name),
        Column::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn describe(line: &str, data: &str) -> Option<String> {
        let yaml = format!("data: {{train: x{data}}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config;
        describe_data_line(line, &config, &["neg".into(), "pos".into()])
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
}
