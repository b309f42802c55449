//! Formats the fields of a configuration as commented YAML and as a reference in Markdown.

use serde_yaml::Value;

use super::fields::Field;
use super::yaml;
use crate::output::sanitize::yaml_string;
use crate::output::width::wrap;

/// Maximum width of comments, that of a usual terminal.
const WIDTH: usize = 80;

/// Formats a configuration as YAML with the description of each field in a comment above it.
pub fn resolved_yaml(fields: &[Field]) -> String {
    let mut out = String::new();
    for field in fields {
        let depth = field.path.len() - 1;
        let indent = "  ".repeat(depth);
        let name = field.path.last().map(String::as_str).unwrap_or_default();
        if depth == 0 && !out.is_empty() {
            out.push('\n');
        }
        let comment = match field.is_section() {
            true => field.description.clone(),
            false => format!("{} [{}]", field.description, field.values),
        };
        for line in wrap(&comment, WIDTH - indent.len() - 2) {
            out.push_str(&format!("{indent}# {line}\n"));
        }
        let value = inline_yaml(&field.value);
        out.push_str(&match field.is_section() {
            true => format!("{indent}{name}:\n"),
            // Stays a default if the field on which it depends is changed.
            false if field.is_derived => format!("{indent}{name}: null  # {value}\n"),
            false => format!("{indent}{name}: {value}\n"),
        });
    }
    out
}

/// Formats the reference in Markdown, with a table for each section.
pub fn reference(fields: &[Field]) -> String {
    let mut out = table("Top level", "", fields, &[]);
    for section in fields.iter().filter(|field| field.is_section()) {
        out.push_str(&table(&section.path.join("."), &section.description, fields, &section.path));
    }
    out
}

/// A heading, a description and a table of the values directly under `parent`; empty if there are
/// none.
fn table(title: &str, description: &str, fields: &[Field], parent: &[String]) -> String {
    let is_child = |field: &&Field| {
        !field.is_section()
            && field.path.len() == parent.len() + 1
            && field.path.starts_with(parent)
    };
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    let rows: String = fields
        .iter()
        .filter(is_child)
        .map(|field| {
            format!(
                "| `{}` | {} | `{}` | {} |\n",
                field.path.join("."),
                cell(&field.values),
                inline_yaml(&field.default),
                cell(&field.description),
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let description = match description {
        "" => String::new(),
        text => format!("{}\n\n", cell(text)),
    };
    format!(
        "\n### {title}\n\n{description}| field | values | default | description |\n|---|---|---|---|\n{rows}"
    )
}

/// Formats a value as YAML on one line.
pub fn inline_yaml(value: &Value) -> String {
    match value {
        Value::Sequence(items) => {
            format!("[{}]", items.iter().map(inline_yaml).collect::<Vec<_>>().join(", "))
        }
        Value::Mapping(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", inline_yaml(key), inline_yaml(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        // Strings that YAML could parse as another type are quoted.
        Value::String(text) if !is_plain(text) => yaml_string(text),
        Value::String(text) => text.clone(),
        scalar => serde_yaml::to_string(scalar).unwrap_or_default().trim_end().to_owned(),
    }
}

/// Returns true if YAML parses the unquoted text as the same string.
fn is_plain(text: &str) -> bool {
    let safe = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let starts_safe = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    safe && starts_safe && yaml::plain(text).is_string() && !is_yaml_1_1_boolean(text)
}

/// Returns true for words that YAML 1.1, and thus PyYAML, reads as a boolean.
fn is_yaml_1_1_boolean(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}
