//! Tells which values of a document are texts, and which are sections. Texts keep their spelling: a version `1.10` is not
//! `1.1`.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::fields::Field;
use super::schema::{CASES, SWEEP, defaults, input_fields};

/// Names of the fields that hold text, with `*` in place of the name of an input.
static TEXT_FIELDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let fields = defaults().into_iter().chain(input_fields("*"));
    fields.filter(|field| field.is_text).map(|field| field.path.join(".")).collect()
});

/// Paths of the sections, with `*` in place of the name of an input.
static SECTIONS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let fields = defaults().into_iter().chain(input_fields("*"));
    fields.filter(Field::is_section).map(|field| field.path.join(".")).collect()
});

/// Returns true if the value at `path` is a section.
pub fn is_section(path: &[String]) -> bool {
    let mut names: Vec<&str> = path.iter().map(String::as_str).collect();
    if let ["inputs", name, ..] = &mut names[..] {
        *name = "*";
    }
    SECTIONS.contains(&names.join("."))
}

/// Returns true if the scalar at `path`, within `lists` sequences, is text. A null that is the whole
/// value of a field stands for no value.
pub fn is_text(path: &[String], lists: usize, is_null: bool) -> bool {
    // The keys of the section sweep are names of fields, and each has a list of values.
    let (path, lists) = match path {
        [section, cases, path @ ..] if section == SWEEP && cases == CASES => {
            (path, lists.saturating_sub(1))
        }
        [section, path @ ..] if section == SWEEP => (path, lists.saturating_sub(1)),
        path => (path, lists),
    };
    let mut names: Vec<&str> = path.iter().flat_map(|key| key.split('.')).collect();
    if let ["inputs", name, ..] = &mut names[..] {
        *name = "*";
    }
    let field = (1..=names.len()).find(|length| TEXT_FIELDS.contains(&names[..*length].join(".")));
    field.is_some_and(|length| !is_null || lists > 0 || length < names.len())
}
