//! The events of a document, which libyaml's parser reports.

use std::collections::HashMap;

use libyaml_safer::{EventData, Mark, Parser, ScalarStyle};

use super::positions::Position;
use super::problem::{MAX_DEPTH, Problem};
use crate::output::catch_panic;

/// An event and its position.
pub struct Event {
    pub kind: Kind,
    pub position: Position,
}

/// The kind of an event.
pub enum Kind {
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
pub fn events(yaml: &str) -> Result<Vec<Event>, Problem> {
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
    let mut anchors = HashMap::new();
    let (mut depth, mut documents) = (0, 0);
    loop {
        let event = parser.parse().map_err(|error| syntax_error(&error))?;
        let position = position(event.start_mark);
        match event.data {
            EventData::StreamEnd => return Ok(()),
            EventData::DocumentStart { .. } if documents > 0 => {
                let message = "a second document begins here; remove this line and what follows";
                return Err(Problem::new(position, message));
            }
            EventData::DocumentStart { .. } => documents += 1,
            _ => {}
        }
        let Some(kind) = kind(event.data, position, events.len(), &mut anchors)? else { continue };
        match kind {
            Kind::Sequence | Kind::Mapping => depth += 1,
            Kind::End => depth -= 1,
            Kind::Scalar { .. } | Kind::Alias(_) => {}
        }
        if depth > MAX_DEPTH {
            return Err(Problem::too_deep(position));
        }
        events.push(Event { kind, position });
    }
}

/// Returns the kind of the event with this index, or `None` for the start or end of a document. Adds its
/// anchor to `anchors`.
fn kind(
    data: EventData,
    position: Position,
    index: usize,
    anchors: &mut HashMap<String, usize>,
) -> Result<Option<Kind>, Problem> {
    let mut add = |anchor: Option<String>| anchor.map(|anchor| anchors.insert(anchor, index));
    Ok(Some(match data {
        EventData::Alias { anchor } => match anchors.get(&anchor) {
            Some(target) => Kind::Alias(*target),
            None => return Err(Problem::new(position, "unknown anchor")),
        },
        EventData::Scalar { anchor, tag, value, style, .. } => {
            add(anchor);
            let is_string = is_string(tag.as_deref(), position)?;
            let is_plain = match is_string {
                Some(is_string) => !is_string,
                None => style == ScalarStyle::Plain,
            };
            Kind::Scalar { text: value, is_plain }
        }
        EventData::SequenceStart { anchor, tag, .. } => {
            add(anchor);
            is_string(tag.as_deref(), position)?;
            Kind::Sequence
        }
        EventData::MappingStart { anchor, tag, .. } => {
            add(anchor);
            is_string(tag.as_deref(), position)?;
            Kind::Mapping
        }
        EventData::SequenceEnd | EventData::MappingEnd => Kind::End,
        EventData::StreamStart { .. }
        | EventData::StreamEnd
        | EventData::DocumentStart { .. }
        | EventData::DocumentEnd { .. } => return Ok(None),
    }))
}

/// Returns true if a tag declares a string, and `None` without a tag.
fn is_string(tag: Option<&str>, position: Position) -> Result<Option<bool>, Problem> {
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

fn position(mark: Mark) -> Position {
    (mark.line as usize + 1, mark.column as usize + 1)
}

fn syntax_error(error: &libyaml_safer::Error) -> Problem {
    let problem = error.problem();
    let is_misaligned = ["mapping values are not allowed", "did not find expected key"]
        .into_iter()
        .any(|symptom| problem.contains(symptom));
    let advice = match problem {
        _ if is_misaligned => "; check the indentation and quotes",
        problem if problem.contains("cannot start any token") => {
            "; indent with spaces instead of tabs, and quote a text that begins with @, % or `"
        }
        _ => "",
    };
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
