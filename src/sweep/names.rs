//! What fields and runs of a sweep are called.

use serde_yaml::Value;

use crate::config::{Field, Override, Point, flow, path_of};
use crate::io::files::sha256;

/// Longer names are cut.
const MOST_CHARACTERS: usize = 100;
/// Hexadecimal digits that tell apart what cut names no longer do.
const DIGITS: usize = 12;

/// Short names for the fields that a sweep varies.
#[derive(Clone, Debug)]
pub struct Labels {
    /// The names of every field, from the top.
    known: Vec<Vec<String>>,
}

impl Labels {
    /// For the fields of a configuration and those that a sweep varies, which may lie in `inputs`.
    pub fn new<'a>(fields: &[Field], varied: impl Iterator<Item = &'a str>) -> Self {
        let fields = fields.iter().filter(|field| !field.is_section());
        let mut known: Vec<Vec<String>> = fields.map(|field| field.path.clone()).collect();
        for field in varied.map(path_of) {
            if !known.contains(&field) {
                known.push(field);
            }
        }
        Self { known }
    }

    /// So much of a field's end as no other field ends with: units for model.lstm.units.
    pub fn of(&self, field: &str) -> String {
        if field == "train.seed" {
            return "seed".to_owned();
        }
        let path = path_of(field);
        let alone =
            |part: &&[String]| self.known.iter().filter(|path| path.ends_with(part)).count() <= 1;
        let ends = (0..path.len()).rev().map(|start| &path[start..]);
        { ends }.find(alone).unwrap_or(&path).join(".")
    }

    /// The name of a point's folder, as `units=32-pooling=mean-seed=1`: the same whatever other
    /// points there are, and made of harmless characters.
    pub fn run_name(&self, point: &Point) -> String {
        let words = |text: fn(&Value) -> String| {
            let word = |set: &Override| format!("{}={}", self.of(&set.field()), text(set.value()));
            match point.changes().map(word).collect::<Vec<_>>().join("-") {
                none if none.is_empty() => "base".to_owned(),
                name => name,
            }
        };
        let (plain, exact) = (words(text_of), words(flow));
        let harmless =
            |c: char| if c.is_ascii_alphanumeric() || "=-_.+".contains(c) { c } else { '_' };
        let name: String = plain.chars().map(harmless).collect();
        if name == exact && name.len() <= MOST_CHARACTERS {
            return name;
        }
        let kept = name.len().min(MOST_CHARACTERS - DIGITS - 1);
        format!("{}-{}", &name[..kept], &digest(&exact)[..DIGITS])
    }
}

/// A value without quotes.
pub fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| flow(value), str::to_owned)
}

fn digest(text: &str) -> String {
    // Reading from memory does not fail.
    sha256(text.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;

    fn labels(varied: &[&str]) -> Labels {
        Labels::new(&defaults(), varied.iter().copied())
    }

    fn name(settings: &[(&str, Value)]) -> String {
        let settings = settings.iter().map(|(field, value)| Override::new(field, value.clone()));
        let seed = Some(Override::new("train.seed", Value::from(3)));
        labels(&[]).run_name(&Point { settings: settings.collect(), seed })
    }

    #[test]
    fn a_label_is_as_short_as_can_be() {
        let fields = [
            ("model.lstm.units", "units"),
            ("train.learning_rate", "learning_rate"),
            ("model.head.dropout", "head.dropout"),
            ("train.schedule.name", "schedule.name"),
            ("name", "name"),
            ("train.seed", "seed"),
            ("data.split.seed", "split.seed"),
        ];
        let labels = labels(&fields.map(|(field, _)| field));
        for (field, label) in fields {
            assert_eq!(labels.of(field), label);
        }
    }

    #[test]
    fn fields_of_inputs_are_told_apart() {
        let fields = ["inputs.story.lstm.units", "inputs.question.lstm.units"];
        let labels = labels(&fields).of(fields[0]);
        assert_eq!(labels, "story.lstm.units");
    }

    #[test]
    fn a_name_says_what_a_run_has() {
        let settings = [("model.lstm.units", 32.into()), ("model.pooling", "mean".into())];
        assert_eq!(name(&settings), "units=32-pooling=mean-seed=3");
        assert_eq!(
            name(&[("train.learning_rate", 0.000_15.into())]),
            "learning_rate=0.00015-seed=3"
        );
        assert_eq!(labels(&[]).run_name(&Point { settings: Vec::new(), seed: None }), "base");
    }

    #[test]
    fn names_stay_short_harmless_and_different() {
        let path = |text: &str| name(&[("model.embedding.vectors", text.into())]);
        let names = [
            path("../a b/c"),
            path("../a b:c"),
            path(&"deep/".repeat(60)),
            path(&"deep/".repeat(61)),
            path("größe"),
        ];
        for name in &names {
            assert!(name.len() <= MOST_CHARACTERS && name.starts_with("vectors="), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || "=-_.+".contains(c)),
                "{name}"
            );
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
        }
        assert!(names[0].starts_with("vectors=.._a_b_c-seed=3-"), "{}", names[0]);
        // A number is a column's, a text its name.
        let column = |value: Value| name(&[("data.label_column", value)]);
        assert_eq!(column(2.into()), "label_column=2-seed=3");
        assert_ne!(column(2.into()), column("2".into()));
    }
}
