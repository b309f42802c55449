//! Short labels for fields and names for the runs of a sweep.

use serde_yaml::Value;

use crate::config::{Field, Override, PRETRAIN, Point, field_path, inline_yaml};
use crate::io::files::sha256;
use crate::output::format::unique_suffix;

/// Maximum length of the name of a run.
const MAX_LENGTH: usize = 100;
/// Hexadecimal digits of the hash that makes a shortened name unique.
const DIGITS: usize = 12;

/// Short labels for the fields that a sweep varies.
#[derive(Clone, Debug)]
pub struct Labels {
    /// The paths of all fields.
    paths: Vec<Vec<String>>,
}

impl Labels {
    /// Creates labels for the fields of a configuration and those that a sweep varies, which may be
    /// below `inputs`.
    pub fn new<'a>(fields: &[Field], varied: impl Iterator<Item = &'a str>) -> Self {
        let fields = fields.iter().filter(|field| !field.is_section());
        let mut paths: Vec<Vec<String>> = fields.map(|field| field.path.clone()).collect();
        for field in varied.map(field_path) {
            if !paths.contains(&field) {
                paths.push(field);
            }
        }
        Self { paths }
    }

    /// Returns the shortest suffix that no other field has, such as units for model.lstm.units. Fields of
    /// pre-training do not lengthen the labels of others.
    pub fn of(&self, field: &str) -> String {
        if field == "train.seed" {
            return "seed".to_owned();
        }
        let path = field_path(field);
        let is_pretraining = |path: &[String]| path[0] == PRETRAIN;
        let others = self.paths.iter().map(Vec::as_slice);
        let others = others
            .filter(|other| is_pretraining(&path) || !is_pretraining(other))
            .collect::<Vec<_>>();
        unique_suffix(&path, &others).join(".")
    }

    /// Returns the directory name of a point, such as `units=32-pooling=mean-seed=1`. It does not
    /// depend on the other points and needs no quoting in a shell.
    pub fn run_name(&self, point: &Point) -> String {
        let join = |format: fn(&Value) -> String| {
            let setting =
                |set: &Override| format!("{}={}", self.of(&set.field()), format(set.value()));
            match point.overrides().map(setting).collect::<Vec<_>>().join("-") {
                name if name.is_empty() => "base".to_owned(),
                name => name,
            }
        };
        let (plain, exact) = (join(unquoted), join(inline_yaml));
        let replace_unsafe =
            |c: char| if c.is_ascii_alphanumeric() || "=-_.+".contains(c) { c } else { '_' };
        let name: String = plain.chars().map(replace_unsafe).collect();
        if name == exact && name.len() <= MAX_LENGTH {
            return name;
        }
        let kept = name.len().min(MAX_LENGTH - DIGITS - 1);
        format!("{}-{}", &name[..kept], &digest(&exact)[..DIGITS])
    }
}

/// Formats a value as YAML on one line, without quotes around strings.
pub fn unquoted(value: &Value) -> String {
    value.as_str().map_or_else(|| inline_yaml(value), str::to_owned)
}

fn digest(text: &str) -> String {
    // Reading from memory cannot fail.
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
    fn labels_are_the_shortest_unique_suffixes() {
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
    fn fields_of_inputs_have_distinct_labels() {
        let fields = ["inputs.story.lstm.units", "inputs.question.lstm.units"];
        let label = labels(&fields).of(fields[0]);
        assert_eq!(label, "story.lstm.units");
    }

    #[test]
    fn a_name_lists_the_settings_of_a_run() {
        let settings = [("model.lstm.units", 32.into()), ("model.pooling", "mean".into())];
        assert_eq!(name(&settings), "units=32-pooling=mean-seed=3");
        assert_eq!(
            name(&[("train.learning_rate", 0.000_15.into())]),
            "learning_rate=0.00015-seed=3"
        );
        assert_eq!(labels(&[]).run_name(&Point { settings: Vec::new(), seed: None }), "base");
    }

    #[test]
    fn names_are_short_safe_and_unique() {
        let path = |text: &str| name(&[("model.embedding.vectors", text.into())]);
        let names = [
            path("../a b/c"),
            path("../a b:c"),
            path(&"deep/".repeat(60)),
            path(&"deep/".repeat(61)),
            path("größe"),
        ];
        for name in &names {
            assert!(name.len() <= MAX_LENGTH && name.starts_with("vectors="), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || "=-_.+".contains(c)),
                "{name}"
            );
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
        }
        assert!(names[0].starts_with("vectors=.._a_b_c-seed=3-"), "{}", names[0]);
        // A column number and a column name.
        let column = |value: Value| name(&[("data.label_column", value)]);
        assert_eq!(column(2.into()), "label_column=2-seed=3");
        assert_ne!(column(2.into()), column("2".into()));
    }
}
