//! Prints the field table: as a commented configuration, and as the reference in Markdown.

use serde_yaml::Value;

use super::Field;
use crate::output::table::wrap;

/// Comment lines end before this column.
const WIDTH: usize = 96;

/// The configuration with every field, its meaning above it.
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
            true => field.meaning.clone(),
            false => format!("{} [{}]", field.meaning, field.allowed),
        };
        for line in wrap(&comment, WIDTH - indent.len() - 2) {
            out.push_str(&format!("{indent}# {line}\n"));
        }
        match field.is_section() {
            true => out.push_str(&format!("{indent}{name}:\n")),
            false => out.push_str(&format!("{indent}{name}: {}\n", flow(&field.value))),
        }
    }
    out
}

/// Every field as Markdown tables, a table for each section.
pub fn reference(fields: &[Field]) -> String {
    let mut out = String::new();
    let mut section = None;
    for field in fields.iter().filter(|field| !field.is_section()) {
        let parent = &field.path[..field.path.len() - 1];
        if section != Some(parent) {
            section = Some(parent);
            let title = if parent.is_empty() { "top level".into() } else { parent.join(".") };
            out.push_str(&format!("\n**{title}**\n\n"));
            out.push_str("| field | allowed | default | meaning |\n|---|---|---|---|\n");
        }
        let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
        out.push_str(&format!(
            "| `{}` | {} | `{}` | {} |\n",
            field.path.join("."),
            cell(&field.allowed),
            flow(&field.default),
            cell(&field.meaning),
        ));
    }
    out
}

/// A value on one line, as YAML.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Sequence(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Mapping(entries) => {
            let entries =
                entries.iter().map(|(key, value)| format!("{}: {}", flow(key), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        // JSON's quoting is YAML's too, and is needed wherever a text could read as something else.
        Value::String(text) if !plain(text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::String(text) => text.clone(),
        scalar => serde_yaml::to_string(scalar).unwrap_or_default().trim_end().to_owned(),
    }
}

/// Whether YAML reads the bare text back as the same text.
fn plain(text: &str) -> bool {
    let harmless = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    harmless
        && starts_well
        && matches!(serde_yaml::from_str(text), Ok(Value::String(same)) if same == text)
}
