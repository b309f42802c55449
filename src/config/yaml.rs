//! Parses YAML into values, the position of every key, and text as it is spelled.
//!
//! serde_yaml reads the plain scalars `1.10`, `True` and `~` as a number, a boolean and null, and drops
//! their spelling and the positions. The events of the same grammar, libyaml's, have both, and allow
//! limits to be checked before memory is spent.

use std::collections::HashMap;

use libyaml_safer::{EventData, Mark, Parser, ScalarStyle};
use serde_yaml::{Mapping, Number, Value};

use super::spelling::is_text;
use super::value::FieldValue;
use crate::output::catch_panic;

/// Maximum depth of nested values.
const MAX_DEPTH: usize = 128;
/// Maximum number of values, with each alias counted as what it stands for.
const MAX_VALUES: usize = 500_000;

const MERGE: &str = "<<";

/// A parsed document.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub root: Value,
    pub positions: Positions,
}

/// Lines and columns, starting at 1, of the keys of a document.
#[derive(Clone, Debug, Default)]
pub struct Positions(HashMap<Vec<String>, Key>);

/// The position of a key. A key that comes from a merge (`<<`) yields to one that does not.
#[derive(Clone, Copy, Debug)]
struct Key {
    position: (usize, usize),
    is_merged: bool,
}

impl Positions {
    /// Returns the line and column of the key at `path`, if the key exists.
    pub fn get(&self, path: &[String]) -> Option<(usize, usize)> {
        self.0.get(path).map(|key| key.position)
    }

    fn add(&mut self, path: &[String], key: Key) {
        match self.0.get(path) {
            Some(other) if key.is_merged || !other.is_merged => {}
            _ => {
                self.0.insert(path.to_owned(), key);
            }
        }
    }
}

/// What is wrong with a document, with the line and column if they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub position: Option<(usize, usize)>,
    pub message: String,
}

impl Problem {
    fn new(position: (usize, usize), message: impl Into<String>) -> Self {
        Self { position: Some(position), message: message.into() }
    }
}

/// Parses a document whose value belongs to the field at `path`; empty for a whole configuration.
///
/// # Errors
/// Returns the error of the grammar or of a limit, or all duplicate keys.
pub fn parse(yaml: &str, path: &[String]) -> Result<Parsed, Vec<Problem>> {
    let events = events(yaml).map_err(|problem| vec![problem])?;
    let mut builder = Builder {
        events: &events,
        next: 0,
        values: 0,
        path: path.to_owned(),
        lists: 0,
        is_merged: false,
        positions: Positions::default(),
        duplicates: Vec::new(),
    };
    let mut root = match events.is_empty() {
        true => Value::Null,
        false => builder.value(0).map_err(|problem| vec![problem])?,
    };
    let Builder { positions, duplicates, .. } = builder;
    if !duplicates.is_empty() {
        return Err(duplicates);
    }
    let merged = root.apply_merge();
    merged.map_err(|error| vec![Problem { position: None, message: error.to_string() }])?;
    Ok(Parsed { root, positions })
}

/// Returns the value of a plain scalar.
pub fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match text.parse::<Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => large_integer(text).map_or_else(|| Value::from(text), Value::from),
        },
    }
}

/// Returns the value of an integer beyond 64 bits.
fn large_integer(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_integer = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number: &f64| is_integer && number.is_finite())
}

struct Event {
    kind: Kind,
    position: (usize, usize),
}

enum Kind {
    Scalar {
        text: String,
        is_plain: bool,
    },
    Sequence,
    Mapping,
    /// The end of a sequence or mapping.
    End,
    /// The value that starts at this event.
    Alias(usize),
}

/// Returns the events of the only document, without those of its start and end.
fn events(yaml: &str) -> Result<Vec<Event>, Problem> {
    let mut read = Vec::new();
    // The parser panics on some malformed tags.
    let result = catch_panic(|| read_events(yaml, &mut read));
    result.unwrap_or_else(|| {
        let position = read.last().map(|event| event.position);
        Err(Problem { position, message: "the YAML is malformed near this value".into() })
    })?;
    Ok(read)
}

/// Appends the events of a document to `events`.
fn read_events(yaml: &str, events: &mut Vec<Event>) -> Result<(), Problem> {
    // A byte order mark would shift the first line against the others. The parser panics at the end of a
    // block scalar without a line break.
    let yaml = yaml.strip_prefix('\u{FEFF}').unwrap_or(yaml);
    let end = if yaml.ends_with('\n') { "" } else { "\n" };
    let yaml = format!("{yaml}{end}");
    let mut bytes = yaml.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut bytes);
    let mut anchors: HashMap<String, usize> = HashMap::new();
    let (mut depth, mut documents) = (0, 0);
    loop {
        let event = parser.parse().map_err(|error| syntax_error(&error))?;
        let position = position(event.start_mark);
        let mut remember = |anchor: Option<String>, index| {
            anchor.map(|anchor| anchors.insert(anchor, index));
        };
        let kind = match event.data {
            EventData::StreamEnd => return Ok(()),
            EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => continue,
            EventData::DocumentStart { .. } => {
                documents += 1;
                if documents > 1 {
                    let message =
                        "a second document begins here; remove this line and what follows";
                    return Err(Problem::new(position, message));
                }
                continue;
            }
            EventData::Alias { anchor } => match anchors.get(&anchor) {
                Some(index) => Kind::Alias(*index),
                None => return Err(Problem::new(position, "unknown anchor")),
            },
            EventData::Scalar { anchor, tag, value, style, .. } => {
                remember(anchor, events.len());
                let is_string = is_string(tag.as_deref(), position)?;
                let is_plain = match is_string {
                    Some(is_string) => !is_string,
                    None => style == ScalarStyle::Plain,
                };
                Kind::Scalar { text: value, is_plain }
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                remember(anchor, events.len());
                is_string(tag.as_deref(), position)?;
                Kind::Sequence
            }
            EventData::MappingStart { anchor, tag, .. } => {
                remember(anchor, events.len());
                is_string(tag.as_deref(), position)?;
                Kind::Mapping
            }
            EventData::SequenceEnd | EventData::MappingEnd => Kind::End,
        };
        match kind {
            Kind::Sequence | Kind::Mapping => depth += 1,
            Kind::End => depth -= 1,
            Kind::Scalar { .. } | Kind::Alias(_) => {}
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(position));
        }
        events.push(Event { kind, position });
    }
}

/// Returns whether a tag declares a string, or `None` without a tag.
fn is_string(tag: Option<&str>, position: (usize, usize)) -> Result<Option<bool>, Problem> {
    let Some(tag) = tag else { return Ok(None) };
    match tag.strip_prefix("tag:yaml.org,2002:") {
        _ if tag == "!" => Ok(Some(true)),
        Some("str") => Ok(Some(true)),
        Some("int" | "float" | "bool" | "null" | "map" | "seq") => Ok(Some(false)),
        _ => {
            let message = format!("the tag {tag} has no meaning in a configuration; remove it");
            Err(Problem::new(position, message))
        }
    }
}

fn position(mark: Mark) -> (usize, usize) {
    (mark.line as usize + 1, mark.column as usize + 1)
}

fn too_deep(position: (usize, usize)) -> Problem {
    Problem::new(position, format!("values are nested more than {MAX_DEPTH} levels deep"))
}

fn syntax_error(error: &libyaml_safer::Error) -> Problem {
    let problem = error.problem();
    let is_misaligned = ["mapping values are not allowed", "did not find expected key"]
        .into_iter()
        .any(|symptom| problem.contains(symptom));
    let advice = if is_misaligned { "; check the indentation and quotes" } else { "" };
    let context = match (error.context(), error.context_mark().map(position)) {
        (Some(context), Some((line, _)))
            if Some(line) != error.problem_mark().map(|mark| position(mark).0) =>
        {
            format!(", {context} from line {line}")
        }
        (Some(context), _) => format!(", {context}"),
        (None, _) => String::new(),
    };
    Problem {
        position: error.problem_mark().map(position),
        message: format!("{problem}{context}{advice}"),
    }
}

/// Builds values from events.
struct Builder<'e> {
    events: &'e [Event],
    /// Index of the next event.
    next: usize,
    /// Number of values built.
    values: usize,
    /// The keys from the top level down to the current value.
    path: Vec<String>,
    /// Number of sequences around the current value.
    lists: usize,
    /// The current value is merged into another mapping.
    is_merged: bool,
    positions: Positions,
    duplicates: Vec<Problem>,
}

impl Builder<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Problem> {
        let event = &self.events[self.next];
        self.next += 1;
        self.values += 1;
        if self.values > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values, counting each alias in full");
            return Err(Problem::new(event.position, message));
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(event.position));
        }
        match &event.kind {
            Kind::Scalar { text, is_plain: true } => Ok(self.plain(text)),
            Kind::Scalar { text, is_plain: false } => Ok(Value::from(text.as_str())),
            Kind::Sequence => self.sequence(depth),
            Kind::Mapping => self.mapping(depth),
            Kind::Alias(target) => {
                let next = std::mem::replace(&mut self.next, *target);
                let value = self.value(depth + 1);
                self.next = next;
                value
            }
            Kind::End => Ok(Value::Null),
        }
    }

    /// Returns the value of a plain scalar: of one in a text field, its spelling.
    fn plain(&self, text: &str) -> Value {
        let value = plain(text);
        let is_exact = String::from_yaml(&value).is_some_and(|read| read == text);
        match !is_exact && is_text(&self.path, self.lists, value.is_null()) {
            true => Value::from(text),
            false => value,
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        self.lists += 1;
        while !self.at_end() {
            items.push(self.value(depth + 1)?);
        }
        self.lists -= 1;
        Ok(Value::Sequence(items))
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries = Mapping::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        while !self.at_end() {
            let (key, position) = self.key()?;
            let is_merge = key == MERGE;
            let was_merged = self.is_merged;
            if is_merge {
                self.is_merged = true;
            } else {
                self.path.push(key.clone());
                self.positions.add(&self.path, Key { position, is_merged: was_merged });
            }
            let value = self.value(depth + 1)?;
            match lines.get(&key) {
                Some(line) => {
                    let field = if is_merge { MERGE.to_owned() } else { self.path.join(".") };
                    let message = format!("{field}: duplicate key; the first is in line {line}");
                    self.duplicates.push(Problem::new(position, message));
                }
                None => {
                    entries.insert(Value::from(key.as_str()), value);
                    lines.insert(key, position.0);
                }
            }
            if !is_merge {
                self.path.pop();
            }
            self.is_merged = was_merged;
        }
        Ok(Value::Mapping(entries))
    }

    /// Returns true and skips the end if the current sequence or mapping ends.
    fn at_end(&mut self) -> bool {
        let is_end = self.events.get(self.next).is_none_or(|event| matches!(event.kind, Kind::End));
        self.next += usize::from(is_end);
        is_end
    }

    /// Returns the next key as it is spelled, and its position.
    fn key(&mut self) -> Result<(String, (usize, usize)), Problem> {
        let event = &self.events[self.next];
        self.next += 1;
        let target = match &event.kind {
            Kind::Alias(index) => &self.events[*index],
            _ => event,
        };
        match &target.kind {
            Kind::Scalar { text, .. } => Ok((text.clone(), event.position)),
            _ => Err(Problem::new(event.position, "a key must be a single value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(yaml: &str) -> String {
        let problems = parse(yaml, &[]).unwrap_err();
        let line = |Problem { position, message }: &Problem| match position {
            Some((line, column)) => format!("{line}:{column}: {message}"),
            None => message.clone(),
        };
        problems.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn at(yaml: &str, path: &str) -> Option<(usize, usize)> {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        parse(yaml, &[]).unwrap().positions.get(&path)
    }

    #[test]
    fn keys_have_positions_at_every_depth() {
        let yaml = "# comment\ntrain:\n  seed: 1\n\n  epochs: 3\nmodel: {lstm: {units: 5}}\n";
        assert_eq!(at(yaml, "train"), Some((2, 1)));
        assert_eq!(at(yaml, "train.epochs"), Some((5, 3)));
        assert_eq!(at(yaml, "model.lstm.units"), Some((6, 16)));
        assert_eq!(at("train: {seed: 1}\n", "train.epochs"), None);
        assert_eq!(at("- a\n- b\n", "train"), None);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        for yaml in ["a:\n  b: 1\nc: 2\n", "a:\r\n  b: 1\r\nc: 2\r\n"] {
            let marked = format!("\u{FEFF}{yaml}");
            assert_eq!(parse(&marked, &[]).unwrap().root, parse(yaml, &[]).unwrap().root);
            assert_eq!((at(&marked, "a"), at(&marked, "c")), (Some((1, 1)), Some((3, 1))));
        }
        assert_eq!(parse("\u{FEFF}", &[]).unwrap().root, Value::Null);
    }

    #[test]
    fn values_are_those_of_serde_yaml() {
        for text in [
            "",
            "~",
            "null",
            "Null",
            "NULL",
            "nULL",
            "true",
            "True",
            "TRUE",
            "yes",
            "off",
            "0",
            "-0",
            "1",
            "+1",
            "-17",
            "007",
            "0x1F",
            "0o17",
            "0b11",
            "1_000",
            "1.10",
            "1e3",
            "1E-3",
            "-.5",
            "5.",
            ".inf",
            "-.INF",
            ".nan",
            "inf",
            "nan",
            "2020-01-01",
            "1:30",
            "18446744073709551615",
            "-9223372036854775808",
            "a b",
            "<<",
            "é",
            "0x",
            "+",
            ".",
            "1e",
            "e1",
        ] {
            let expected: Value = serde_yaml::from_str(text).unwrap();
            assert_eq!(plain(text), expected, "{text}");
        }
        assert_eq!(plain("100000000000000000000"), Value::from(1e20));
        for yaml in [
            "a: {b: [1, {c: 'x'}], d: !!str 5}\ne: |\n  two\n  lines\nf: >-\n  one\n  line\n",
            "a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: [*a, *a]\nf: {<<: [*a, {g: 4}]}\n",
            "\"a\": 'it''s'\n? b\n: \"\\u00e9\"\nlist:\n- 1\n-\n  - 2\n",
        ] {
            let mut expected: Value = serde_yaml::from_str(yaml).unwrap();
            expected.apply_merge().unwrap();
            assert_eq!(parse(yaml, &[]).unwrap().root, expected, "{yaml}");
        }
    }

    #[test]
    fn duplicate_keys_are_reported_at_the_second_with_the_line_of_the_first() {
        assert_eq!(
            problem("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n\"a\": 4\na: 5\n"),
            "5:3: b.c: duplicate key; the first is in line 3\n\
             6:1: a: duplicate key; the first is in line 1\n\
             7:1: a: duplicate key; the first is in line 1"
        );
        assert!(parse("- {a: 1}\n- {a: 1}\n", &[]).is_ok());
        // A key takes precedence over the same key of a merge.
        let merged = "b: &b {x: 1}\nc:\n  <<: *b\n  x: 2\nd:\n  <<: *b\n";
        assert_eq!((at(merged, "c.x"), at(merged, "d.x")), (Some((4, 3)), Some((1, 8))));
    }

    #[test]
    fn faults_of_the_grammar_have_positions_and_reasons() {
        for (yaml, expected) in [
            (
                "a: [1,\nb: 2\n",
                "3:1: did not find expected ',' or ']', while parsing a flow sequence from line 1",
            ),
            ("a:\n\tb: 1\n", "2:1: found character that cannot start any token, while scanning"),
            ("a: *b\n", "1:4: unknown anchor"),
            ("a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
            ("a: !foo 1\n", "1:4: the tag !foo has no meaning in a configuration; remove it"),
            ("? [a, b]\n: 1\n", "1:3: a key must be a single value"),
            ("a: \u{1}\n", "control characters are not allowed"),
            ("<<: 1\n", "expected a mapping or list of mappings for merging"),
        ] {
            assert!(problem(yaml).starts_with(expected), "{yaml:?}: {}", problem(yaml));
        }
    }

    #[test]
    fn malformed_tags_are_an_error() {
        for yaml in ["a: 1\nb: [!x,y]\n", "a: 1\nb: !<tag:%ff> x\n", "a: 1\nb: !e%FF x\n"] {
            let problems = parse(yaml, &[]).unwrap_err();
            assert_eq!(problems[0].position.map(|(line, _)| line), Some(2), "{problems:?}");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_limited() {
        let too_deep = "nested more than 128 levels deep";
        for yaml in [
            format!("a: {}", "[".repeat(100_000)),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "a: &a [*a]".to_owned(),
            "a: &a {<<: *a}".to_owned(),
        ] {
            assert!(problem(&yaml).contains(too_deep), "{}", problem(&yaml));
        }
        let nine = |name: char| format!("[{}]", vec![format!("*{name}"); 9].join(", "));
        let mut laughs = "a: &a 1\n".to_owned();
        for (name, next) in ('a'..='y').zip('b'..='z') {
            laughs += &format!("{next}: &{next} {}\n", nine(name));
        }
        assert!(problem(&laughs).contains("more than 500000 values"), "{}", problem(&laughs));
    }

    /// Pieces of documents without tags and with keys that are strings.
    const PIECES: [&str; 44] = [
        "a: ",
        "b:",
        "\"c\": ",
        "<<: ",
        "d : ",
        "- ",
        "-\n",
        "? a\n",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "\r\n",
        " ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "&y ",
        "*y ",
        "1",
        "1.10",
        "~",
        "true",
        "text",
        "'q'",
        "\"\\u00e9\"",
        "|\n  ",
        ">-\n  ",
        "# c\n",
        "---\n",
        "...\n",
        "%",
        "é",
        "a b",
        "\u{feff}",
        "\u{d7a3}\u{1f600}\u{a0}",
        "\u{85}",
        "\u{2028}",
        "\"\\",
    ];

    fn has_text_keys(value: &Value) -> bool {
        match value {
            Value::Mapping(entries) => {
                entries.iter().all(|(key, value)| key.is_string() && has_text_keys(value))
            }
            Value::Sequence(items) => items.iter().all(has_text_keys),
            _ => true,
        }
    }

    proptest::proptest! {
        #[test]
        fn documents_are_read_as_serde_yaml_reads_them(
            pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24)
        ) {
            let yaml = pieces.concat() + "\n";
            // A byte order mark confuses serde_yaml.
            let yaml = yaml.trim_start_matches('\u{feff}');
            let expected = serde_yaml::from_str::<Value>(yaml).and_then(|mut value| {
                value.apply_merge()?;
                Ok(value)
            });
            let parsed = parse(yaml, &[]);
            proptest::prop_assume!(expected.as_ref().is_ok_and(has_text_keys) || expected.is_err());
            match (&expected, &parsed) {
                (Ok(expected), Ok(parsed)) => proptest::prop_assert_eq!(expected, &parsed.root),
                (Err(_), Err(_)) => {}
                _ => proptest::prop_assert!(false, "{expected:?} {parsed:?}"),
            }
        }
    }
}
