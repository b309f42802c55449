//! Builds values from events.

use std::collections::HashMap;

use serde_yaml::{Mapping, Value};

use super::events::{Event, Kind};
use super::positions::{Key, Position, Positions};
use super::problem::{MAX_DEPTH, Problem};
use super::scalar::plain;
use crate::config::spelling::{is_section, is_text};
use crate::config::value::FieldValue;

/// Maximum number of values, with each alias counted as what it stands for.
const MAX_VALUES: usize = 500_000;

const MERGE: &str = "<<";

/// Builds the value of a document, which belongs to the field at `path`, and the positions of its keys.
///
/// # Errors
/// Returns the error of a limit, or all duplicate keys.
pub fn build(events: &[Event], path: &[String]) -> Result<(Value, Positions), Vec<Problem>> {
    let mut builder = Builder {
        events,
        next: 0,
        values: 0,
        path: path.to_owned(),
        lists: 0,
        is_merged: false,
        positions: Positions::default(),
        duplicates: Vec::new(),
    };
    let value = match events.is_empty() {
        true => Value::Null,
        false => builder.value(0).map_err(|problem| vec![problem])?,
    };
    match builder.duplicates.is_empty() {
        true => Ok((value, builder.positions)),
        false => Err(builder.duplicates),
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
            return Err(Problem::too_deep(event.position));
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
        if text.is_empty() && is_section(&self.path) {
            // A section of which all fields are commented out.
            return Value::Mapping(Mapping::new());
        }
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
    fn key(&mut self) -> Result<(String, Position), Problem> {
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
