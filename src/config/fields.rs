//! One walk over the configuration does everything: it reads the values, fills in defaults,
//! collects every fault, and leaves the table from which the resolved configuration and the
//! reference are printed. [`section!`] declares a struct together with its defaults, ranges and
//! meanings, so that these cannot drift apart.

use serde_yaml::{Mapping, Value};

use super::value::FieldValue;

/// The numbers a field accepts.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    low: f64,
    high: f64,
    low_excluded: bool,
}

/// At least `low`.
pub const fn at_least(low: f64) -> Range {
    Range { low, high: f64::INFINITY, low_excluded: false }
}

/// Above `low`.
pub const fn above(low: f64) -> Range {
    Range { low, high: f64::INFINITY, low_excluded: true }
}

/// From `low` to `high`, both allowed.
pub const fn between(low: f64, high: f64) -> Range {
    Range { low, high, low_excluded: false }
}

impl Range {
    fn holds(&self, number: f64) -> bool {
        let above = if self.low_excluded { number > self.low } else { number >= self.low };
        above && number <= self.high
    }

    fn words(&self) -> String {
        match (self.low_excluded, self.high.is_finite()) {
            (_, true) => format!("from {} to {}", self.low, self.high),
            (true, false) => format!("above {}", self.low),
            (false, false) => format!("at least {}", self.low),
        }
    }
}

/// A field as the reference and the resolved configuration show it.
#[derive(Clone, Debug)]
pub struct Field {
    /// The names from the top, `["train", "epochs"]`.
    pub path: Vec<String>,
    /// What it means.
    pub meaning: String,
    /// What may be written; empty for a section.
    pub allowed: String,
    /// What it is when it is not written.
    pub default: Value,
    /// What it is now.
    pub value: Value,
}

impl Field {
    /// Whether it groups other fields rather than holding a value.
    pub fn is_section(&self) -> bool {
        self.allowed.is_empty()
    }
}

/// Something wrong with the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The names from the top to where it is.
    pub path: Vec<String>,
    /// What was found and what is allowed.
    pub message: String,
}

/// What a walk over the configuration leaves behind.
#[derive(Default)]
pub struct Walk {
    pub table: Vec<Field>,
    pub faults: Vec<Fault>,
    pub unknown: Vec<Vec<String>>,
}

/// One section during the walk.
pub struct Fields<'a> {
    path: Vec<String>,
    mapping: Mapping,
    walk: &'a mut Walk,
}

/// What can stand under a name: a value, or a section of further fields.
pub trait Node: Sized {
    fn read(fields: &mut Fields, name: &str, about: About<Self>) -> Self;
}

/// What a declaration says of a field.
pub struct About<T> {
    pub meaning: String,
    pub default: Option<T>,
    pub range: Option<Range>,
}

impl<'a> Fields<'a> {
    /// Starts at the top of the document.
    pub fn top(value: &Value, walk: &'a mut Walk) -> Self {
        Self::section_of(Vec::new(), value, walk)
    }

    /// Starts at `path` with the value that stands there.
    pub fn at(path: Vec<String>, value: &Value, walk: &'a mut Walk) -> Self {
        Self::section_of(path, value, walk)
    }

    /// The section `name` below this one.
    pub fn section(&mut self, name: &str, meaning: String) -> Fields<'_> {
        let path = self.path_to(name);
        let value = self.mapping.shift_remove(name).unwrap_or(Value::Null);
        self.walk.table.push(Field {
            path: path.clone(),
            meaning,
            allowed: String::new(),
            default: Value::Null,
            value: Value::Null,
        });
        Self::section_of(path, &value, self.walk)
    }

    fn section_of<'b>(path: Vec<String>, value: &Value, walk: &'b mut Walk) -> Fields<'b> {
        let mapping = match value {
            Value::Mapping(mapping) => mapping.clone(),
            Value::Null => Mapping::new(),
            other => {
                let message = format!("found {}, allowed is a section of fields", found(other));
                walk.faults.push(Fault { path: path.clone(), message });
                Mapping::new()
            }
        };
        Fields { path, mapping, walk }
    }

    /// What nothing has asked for.
    pub fn rest(self) -> Mapping {
        self.mapping
    }

    /// Notes the names that nothing has asked for.
    pub fn finish(self) {
        for key in self.mapping.keys() {
            let name = String::from_yaml(key).unwrap_or_else(|| found(key));
            let mut path = self.path.clone();
            path.push(name);
            self.walk.unknown.push(path);
        }
    }

    fn path_to(&self, name: &str) -> Vec<String> {
        let mut path = self.path.clone();
        path.push(name.to_owned());
        path
    }

    fn value<T: FieldValue>(&mut self, name: &str, about: About<T>) -> T {
        let path = self.path_to(name);
        #[expect(
            clippy::expect_used,
            reason = "the macro that calls this gives every value a default"
        )]
        let default = about.default.expect("every value field declares a default");
        let allowed = match about.range {
            Some(range) => format!("{}, {}", T::allowed(), range.words()),
            None => T::allowed(),
        };
        let value = match self.mapping.shift_remove(name) {
            None => default.clone(),
            Some(yaml) => match read_value(&yaml, about.range) {
                Some(value) => value,
                None => {
                    let message = format!("found {}, allowed is {allowed}", found(&yaml));
                    self.walk.faults.push(Fault { path: path.clone(), message });
                    default.clone()
                }
            },
        }
        .absolute();
        self.walk.table.push(Field {
            path,
            meaning: about.meaning,
            allowed,
            default: default.to_yaml(),
            value: value.to_yaml(),
        });
        value
    }
}

impl<T: FieldValue> Node for T {
    fn read(fields: &mut Fields, name: &str, about: About<Self>) -> Self {
        fields.value(name, about)
    }
}

fn read_value<T: FieldValue>(yaml: &Value, range: Option<Range>) -> Option<T> {
    T::from_yaml(yaml).filter(|value| match (range, value.number()) {
        (Some(range), Some(number)) => range.holds(number),
        _ => true,
    })
}

/// A value as the user wrote it, short enough for a line.
pub fn found(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
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

/// Joins doc comment lines into one paragraph.
pub fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Declares a section: a struct whose fields carry meaning (the doc comment), default and range.
///
/// `name: Type = default, range;`: a value. `name: Type;`: a section below this one.
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
            /// Reads every field; what is wrong is noted in the walk.
            pub(crate) fn read_fields(fields: &mut $crate::config::fields::Fields) -> Self {
                use $crate::config::fields::{About, Node, paragraph};
                #[allow(unused_mut, unused_assignments)]
                Self { $( $field: {
                    let mut default = None;
                    let mut range = None;
                    $( default = Some($default); )?
                    $( range = Some($range); )?
                    let meaning = paragraph(&[$($doc),+]);
                    <$Type as Node>::read(fields, stringify!($field), About { meaning, default, range })
                }, )+ }
            }
        }

        impl $crate::config::fields::Node for $Name {
            fn read(
                fields: &mut $crate::config::fields::Fields,
                name: &str,
                about: $crate::config::fields::About<Self>,
            ) -> Self {
                let mut section = fields.section(name, about.meaning);
                let read = Self::read_fields(&mut section);
                section.finish();
                read
            }
        }
    };
}
pub(crate) use section;
