//! Costs of wrong predictions, which are read from a file of their own.

use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::error::ConfigError;
use super::fields::{Fault, found};
use super::load::Document;
use super::schema::Labelling;
use super::value::FieldValue;

/// Names of the costs of a label.
const FALSE_POSITIVE: &str = "false_positive";
const FALSE_NEGATIVE: &str = "false_negative";

/// Costs of wrong predictions.
#[derive(Clone, Debug, PartialEq)]
pub enum Costs {
    /// A row for each true class with the cost of each predicted one, [C, C].
    Classes(Vec<Vec<f64>>),
    /// Costs of each label of which a text can have several, `[C]`.
    Labels(Vec<LabelCosts>),
}

/// Costs of wrong predictions of a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelCosts {
    /// Cost of a label that is predicted, but wrong.
    pub false_positive: f64,
    /// Cost of a label that is not predicted, but right.
    pub false_negative: f64,
}

impl Costs {
    /// Reads the costs for the labels of a model. If the classes exclude each other, a cost that the file does
    /// not have is 0 for a right prediction, and 1 for a wrong one.
    ///
    /// # Errors
    /// Returns an error that lists unknown labels, labels without costs, and costs that are no numbers ≥ 0.
    pub fn read(file: &Path, labelling: Labelling, labels: &[String]) -> Result<Self, ConfigError> {
        let document = Document::read(file)?;
        let root = document.with_overrides(&[])?;
        let mut reader = Reader { labels, faults: Vec::new() };
        let costs = match labelling {
            Labelling::One => Self::Classes(reader.classes(&root)),
            Labelling::Several => Self::Labels(reader.labels(&root)),
        };
        match reader.faults.is_empty() {
            true => Ok(costs),
            false => Err(document.error(&reader.faults, &[])),
        }
    }
}

/// Reads costs, and collects everything that is wrong with them.
struct Reader<'a> {
    labels: &'a [String],
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn add(&mut self, path: &[&str], message: impl Into<String>) {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        self.faults.push(Fault { path, message: message.into() });
    }

    /// Returns the mapping at `path`, and reports keys that are not in `known`.
    fn mapping<'v>(
        &mut self,
        path: &[&str],
        value: &'v Value,
        known: &[&str],
        what: &str,
    ) -> Option<&'v Mapping> {
        let Some(mapping) = value.as_mapping() else {
            let expected = format!("found {}, expected a mapping of {what}s", found(value));
            self.add(path, expected);
            return None;
        };
        for key in mapping.keys() {
            let name = key.as_str().unwrap_or_default();
            if !known.contains(&name) {
                let message = format!("unknown {what}; expected {}", known.join(", "));
                self.add(&[path, &[name]].concat(), message);
            }
        }
        Some(mapping)
    }

    /// Reads a cost.
    fn cost(&mut self, path: &[&str], value: &Value) -> f64 {
        match f64::from_yaml(value) {
            Some(cost) if cost >= 0.0 => cost,
            _ => {
                self.add(path, format!("found {}, expected a number ≥ 0", found(value)));
                0.0
            }
        }
    }

    fn classes(&mut self, root: &Value) -> Vec<Vec<f64>> {
        let names: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        let rows = self.mapping(&[], root, &names, "label");
        let mut costs = Vec::with_capacity(names.len());
        for (class, label) in names.iter().enumerate() {
            let mut row: Vec<f64> =
                (0..names.len()).map(|other| f64::from(u8::from(other != class))).collect();
            if let Some(value) = rows.and_then(|rows| rows.get(*label)) {
                let given = self.mapping(&[label], value, &names, "label");
                for (cost, predicted) in row.iter_mut().zip(&names) {
                    if let Some(value) = given.and_then(|given| given.get(*predicted)) {
                        *cost = self.cost(&[label, predicted], value);
                    }
                }
            }
            costs.push(row);
        }
        costs
    }

    fn labels(&mut self, root: &Value) -> Vec<LabelCosts> {
        const NAMES: [&str; 2] = [FALSE_POSITIVE, FALSE_NEGATIVE];
        let names: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        let rows = self.mapping(&[], root, &names, "label");
        let mut costs = Vec::with_capacity(names.len());
        for label in &names {
            let mut both = [0.0; 2];
            match rows.and_then(|rows| rows.get(*label)) {
                None if rows.is_none() => {}
                None => self.add(&[label], "the label has no costs"),
                Some(value) => {
                    let given = self.mapping(&[label], value, &NAMES, "cost");
                    for (cost, name) in both.iter_mut().zip(NAMES) {
                        match given.and_then(|given| given.get(name)) {
                            Some(value) => *cost = self.cost(&[label, name], value),
                            None if given.is_some() => {
                                self.add(&[label], format!("{name} is missing"));
                            }
                            None => {}
                        }
                    }
                    if both == [0.0; 2] && self.faults.is_empty() {
                        self.add(&[label], "one of the costs must be greater than 0");
                    }
                }
            }
            let [false_positive, false_negative] = both;
            costs.push(LabelCosts { false_positive, false_negative });
        }
        costs
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(yaml: &str, labelling: Labelling) -> Result<Costs, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("costs.yaml");
        fs::write(&file, yaml).unwrap();
        let labels = ["ham", "spam"].map(str::to_owned);
        Costs::read(&file, labelling, &labels).map_err(|error| {
            error.to_string().replace(&format!("{}/", directory.path().display()), "")
        })
    }

    #[test]
    fn costs_of_classes_have_defaults() {
        let costs = read("ham: {spam: 20}\n", Labelling::One).unwrap();
        assert_eq!(costs, Costs::Classes(vec![vec![0.0, 20.0], vec![1.0, 0.0]]));
    }

    #[test]
    fn costs_of_labels_are_complete() {
        let yaml = "ham: {false_positive: 1, false_negative: 2}\nspam: {false_positive: 0.5, false_negative: 0}\n";
        let label = |false_positive, false_negative| LabelCosts { false_positive, false_negative };
        let costs = read(yaml, Labelling::Several).unwrap();
        assert_eq!(costs, Costs::Labels(vec![label(1.0, 2.0), label(0.5, 0.0)]));
    }

    #[test]
    fn wrong_costs_are_reported_with_their_position() {
        for (labelling, yaml, message) in [
            (
                Labelling::One,
                "ham: {spam: -1}\n",
                "costs.yaml:1:7: ham.spam: found -1, expected a number ≥ 0",
            ),
            (Labelling::One, "ham: {spam: .nan}\n", "costs.yaml:1:7: ham.spam: found"),
            (
                Labelling::One,
                "ham: {spam: 2}\neggs: {spam: 1}\n",
                "costs.yaml:2:1: eggs: unknown label; expected ham, spam",
            ),
            (
                Labelling::One,
                "ham: {eggs: 2}\n",
                "costs.yaml:1:7: ham.eggs: unknown label; expected ham, spam",
            ),
            (
                Labelling::One,
                "ham: 3\n",
                "costs.yaml:1:1: ham: found 3, expected a mapping of labels",
            ),
            (Labelling::One, "[1, 2]\n", "costs.yaml: found a list, expected a mapping of labels"),
            (
                Labelling::Several,
                "ham: {false_positive: 1, false_negative: 2}\n",
                "costs.yaml: spam: the label has no costs",
            ),
            (
                Labelling::Several,
                "ham: {false_positive: 1, false_negative: 2}\nspam: {false_positive: 1}\n",
                "costs.yaml:2:1: spam: false_negative is missing",
            ),
            (
                Labelling::Several,
                "ham: {false_positive: 0, false_negative: 0}\nspam: {false_positive: 1, false_negative: 1}\n",
                "costs.yaml:1:1: ham: one of the costs must be greater than 0",
            ),
            (
                Labelling::Several,
                "ham: {spam: 1}\n",
                "ham.spam: unknown cost; expected false_positive, false_negative",
            ),
        ] {
            let error = read(yaml, labelling).unwrap_err();
            assert!(error.contains(message), "{yaml}: {error}");
        }
    }
}
