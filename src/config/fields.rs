//! The fields of a configuration.
//!
//! [`section!`] declares a struct together with the default, range and description of each field.
//! One pass over a document reads the values, fills in defaults, and collects every fault as well as
//! the list of fields from which the resolved configuration and the reference are printed.

use serde_yaml::{Mapping, Value};

use super::value::{FieldValue, Range, expected, is_flushed};

/// A field as the resolved configuration and the reference show it.
#[derive(Clone, Debug)]
pub struct Field {
    /// The names from the top level down, such as `["train", "epochs"]`.
    pub path: Vec<String>,
    /// The description.
    pub description: String,
    /// The values it accepts, such as "an integer ≥ 1"; empty for a section.
    pub values: String,
    /// The default value.
    pub default: Value,
    /// The current value.
    pub value: Value,
    /// It holds text, which keeps its spelling.
    pub is_text: bool,
    /// The value is a default that depends on another field.
    pub is_derived: bool,
}

impl Field {
    /// Returns true if the field is a section, which holds other fields rather than a value.
    pub fn is_section(&self) -> bool {
        self.values.is_empty()
    }
}

/// Sets the value of the field at `path`.
pub fn set_value(fields: &mut [Field], path: &[&str], value: Value) {
    if let Some(field) = fields.iter_mut().find(|field| field.path == path) {
        field.value = value;
    }
}

/// A fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The names from the top level down to the faulty field.
    pub path: Vec<String>,
    /// The problem and what is expected instead.
    pub message: String,
}

/// Everything collected while a document is read.
#[derive(Default)]
pub struct Collector {
    pub fields: Vec<Field>,
    pub faults: Vec<Fault>,
    /// The paths of unknown fields.
    pub unknown: Vec<Vec<String>>,
}

/// Returns the fault of a section that has a single value.
fn no_mapping(path: &[String], value: &Value) -> Fault {
    let advice = match path {
        [train, section] if train == "train" && section == "early_stopping" => {
            "; train.early_stopping.patience: null turns it off"
        }
        _ => "",
    };
    let message = format!("found {}, expected a mapping of fields{advice}", found(value));
    Fault { path: path.to_owned(), message }
}

/// Returns the field that switches a section off, and its value; null in place of the section sets it.
pub fn switch(section: &str) -> Option<(&'static str, Value)> {
    match section {
        "lstm" => Some(("layers", Value::from(0))),
        "ngrams" | "subwords" => Some(("sizes", Value::Sequence(Vec::new()))),
        _ => None,
    }
}

/// Reads the fields of one section.
pub struct SectionReader<'a> {
    path: Vec<String>,
    /// The entries that have not been read yet.
    mapping: Mapping,
    collector: &'a mut Collector,
}

/// A type that a field can have: a value or a section.
pub trait ReadField: Sized {
    /// Reads the field `name`. If it is missing or faulty, returns the default.
    fn read(section: &mut SectionReader, name: &str, declaration: Declaration<Self>) -> Self;
}

/// The declaration of a field.
pub struct Declaration<T> {
    pub description: String,
    pub default: Option<T>,
    pub range: Option<Range>,
}

impl<'a> SectionReader<'a> {
    /// Creates a reader for the top level of a document.
    pub fn root(value: &Value, collector: &'a mut Collector) -> Self {
        Self::at(Vec::new(), value, collector)
    }

    /// Creates a reader for the section `value` at `path`.
    pub fn at(path: Vec<String>, value: &Value, collector: &'a mut Collector) -> Self {
        let mapping = match value {
            Value::Mapping(mapping) => mapping.clone(),
            Value::Null => Mapping::new(),
            other => {
                collector.faults.push(no_mapping(&path, other));
                Mapping::new()
            }
        };
        Self { path, mapping, collector }
    }

    /// Creates a reader for the subsection `name`.
    pub fn section(&mut self, name: &str, description: String) -> SectionReader<'_> {
        let path = self.path_to(name);
        let value = match (self.mapping.shift_remove(name), switch(name)) {
            (Some(Value::Null), Some((field, off))) => {
                Value::Mapping([(Value::from(field), off)].into_iter().collect())
            }
            (Some(Value::Null), None) => {
                self.collector.faults.push(no_mapping(&path, &Value::Null));
                Value::Null
            }
            (value, _) => value.unwrap_or(Value::Null),
        };
        self.collector.fields.push(Field {
            path: path.clone(),
            description,
            values: String::new(),
            default: Value::Null,
            value: Value::Null,
            is_text: false,
            is_derived: false,
        });
        SectionReader::at(path, &value, self.collector)
    }

    /// Returns the entries that have not been read.
    pub fn rest(self) -> Mapping {
        self.mapping
    }

    /// Collects the entries that have not been read as unknown fields.
    pub fn collect_unknown(self) {
        for key in self.mapping.keys() {
            let name = String::from_yaml(key).unwrap_or_else(|| found(key));
            let mut path = self.path.clone();
            path.push(name);
            self.collector.unknown.push(path);
        }
    }

    fn path_to(&self, name: &str) -> Vec<String> {
        let mut path = self.path.clone();
        path.push(name.to_owned());
        path
    }

    fn value<T: FieldValue>(&mut self, name: &str, declaration: Declaration<T>) -> T {
        let path = self.path_to(name);
        #[expect(clippy::expect_used, reason = "section! gives every value a default")]
        let default = declaration.default.expect("every value has a default");
        let values = expected::<T>(declaration.range);
        let value = match self.mapping.shift_remove(name) {
            None => default.clone(),
            Some(yaml) => match read_value(&yaml, declaration.range) {
                Some(value) => value,
                None => {
                    let mut message = format!("found {}, expected {values}", found(&yaml));
                    if yaml.as_f64().is_some_and(is_flushed) {
                        message += &format!("; numbers below {:.1e} count as 0", f32::MIN_POSITIVE);
                    }
                    if let Some(suggestion) = T::suggestion(&yaml) {
                        message += &format!("; did you mean {suggestion}?");
                    }
                    self.collector.faults.push(Fault { path: path.clone(), message });
                    default.clone()
                }
            },
        }
        .absolute();
        self.collector.fields.push(Field {
            path,
            description: declaration.description,
            values,
            default: default.to_yaml(),
            value: value.to_yaml(),
            is_text: T::IS_TEXT,
            is_derived: false,
        });
        value
    }
}

impl<T: FieldValue> ReadField for T {
    fn read(section: &mut SectionReader, name: &str, declaration: Declaration<Self>) -> Self {
        section.value(name, declaration)
    }
}

fn read_value<T: FieldValue>(yaml: &Value, range: Option<Range>) -> Option<T> {
    T::from_yaml(yaml).filter(|value| match (range, value.number()) {
        (Some(range), Some(number)) => range.contains(number),
        _ => true,
    })
}

/// Describes a value in a message, in at most 60 characters.
pub fn found(value: &Value) -> String {
    let text = match value {
        Value::Null => "null".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Tagged(tagged) => format!("the tag {}", tagged.tag),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Joins the lines of a doc comment into one paragraph.
pub fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Declares a section: a struct whose fields each have a description (the doc comment), a default and
/// an optional range.
///
/// `name: Type = default, range;` declares a value, `name: Type;` a subsection.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $Type:ty $(= $default:expr)? $(, $range:expr)?; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Name { $( $(#[doc = $doc])+ pub $field: $Type, )+ }

        impl $Name {
            /// Reads every field and collects the faults.
            pub(in $crate::config) fn read_fields(
                section: &mut $crate::config::fields::SectionReader,
            ) -> Self {
                use $crate::config::fields::{Declaration, ReadField, paragraph};
                #[allow(unused_mut, unused_assignments)]
                Self { $( $field: {
                    let mut default = None;
                    let mut range = None;
                    $( default = Some($default); )?
                    $( range = Some($range); )?
                    let description = paragraph(&[$($doc),+]);
                    let declaration = Declaration { description, default, range };
                    <$Type as ReadField>::read(section, stringify!($field), declaration)
                }, )+ }
            }
        }

        impl $crate::config::fields::ReadField for $Name {
            fn read(
                section: &mut $crate::config::fields::SectionReader,
                name: &str,
                declaration: $crate::config::fields::Declaration<Self>,
            ) -> Self {
                let mut subsection = section.section(name, declaration.description);
                let read = Self::read_fields(&mut subsection);
                subsection.collect_unknown();
                read
            }
        }
    };
}
pub(super) use section;
