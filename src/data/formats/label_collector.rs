//! Collects the labels of the rows of all files as targets.

use std::collections::{HashMap, HashSet};

use super::super::appearance::appearance;
use super::super::targets::{Target, Targets};
use super::excerpt::excerpt;
use super::row_labels::RowLabels;
use crate::config::{DataConfig, Labelling};
use crate::output::format::join_names;
use crate::text::composed;

/// Message for a row without a label.
pub const NO_LABEL: &str = "the label is empty";

/// Largest difference from 1 of the sum of the probabilities of a row.
pub const SUM_TOLERANCE: f64 = 1e-3;
/// Difference from 1 up to which probabilities are left as they are.
const ROUNDING: f64 = 1e-6;

/// Collects labels and the targets of rows.
pub struct LabelCollector<'a> {
    data: &'a DataConfig,
    /// Distinct labels in order of first occurrence, or of `data.label_columns`.
    pub names: Vec<String>,
    /// Targets of the rows. Labels are indices into `names`.
    pub targets: Targets,
    /// Index in `names` of each label as it is in the file; `None` if it is renamed to nothing.
    indices: HashMap<String, Option<u32>>,
    /// Index of each of `names`.
    name_indices: HashMap<String, u32>,
    /// Index in `names` of each of `data.label_columns`.
    columns: Vec<Option<u32>>,
    /// Appearances of the known labels.
    appearances: HashSet<String>,
}

/// Target of a row.
#[derive(Debug, PartialEq)]
pub enum RowTarget {
    /// One label.
    Label(u32),
    /// Labels in ascending order.
    LabelSet(Vec<u32>),
    /// A probability for each of the names.
    Probabilities(Vec<f32>),
}

impl<'a> LabelCollector<'a> {
    /// Creates a collector. `known` has labels of other files.
    pub fn new(data: &'a DataConfig, known: &[String]) -> Self {
        let appearances = known.iter().chain(&data.labels).map(|label| appearance(label));
        let targets = match data.labelling() {
            Labelling::One => Targets::Labels(Vec::new()),
            Labelling::Several => Targets::LabelSets([].into_iter().collect()),
        };
        let mut collector = Self {
            data,
            names: Vec::new(),
            targets,
            indices: HashMap::new(),
            name_indices: HashMap::new(),
            columns: Vec::new(),
            appearances: appearances.collect(),
        };
        let columns = data.label_columns.iter().map(|name| collector.index(name));
        collector.columns = columns.collect();
        collector
    }

    /// Returns the target of a row.
    ///
    /// # Errors
    /// Returns a message if the row lacks a label, has one twice, or has probabilities that do not add up
    /// to 1.
    pub fn target(&mut self, labels: &RowLabels) -> Result<RowTarget, String> {
        match (labels, self.data.labelling()) {
            (RowLabels::Columns(values), labelling) => self.of_columns(values, labelling),
            (RowLabels::Value(label), Labelling::One) => {
                self.index(label).map(RowTarget::Label).ok_or_else(|| NO_LABEL.to_owned())
            }
            (RowLabels::Value(value), Labelling::Several) => {
                let labels = self.data.labels_in(value);
                self.label_set(&labels)
            }
            (RowLabels::List(labels), _) => {
                let labels: Vec<&str> = labels.iter().map(|label| label.trim()).collect();
                let labels: Vec<&str> =
                    labels.into_iter().filter(|label| !label.is_empty()).collect();
                self.label_set(&labels)
            }
        }
    }

    fn label_set(&mut self, labels: &[&str]) -> Result<RowTarget, String> {
        let mut seen = HashSet::new();
        if let Some(again) = labels.iter().find(|label| !seen.insert(composed(label))) {
            return Err(format!("found the label {:?} more than once", excerpt(again)));
        }
        // Labels that are renamed to the same one become one.
        let mut set: Vec<u32> = labels.iter().filter_map(|label| self.index(label)).collect();
        set.sort_unstable();
        set.dedup();
        Ok(RowTarget::LabelSet(set))
    }

    /// Returns the target of a row with a value for each label column. Values of columns with the same
    /// label are added up, or if a text can have several labels, the greatest counts.
    fn of_columns(&self, values: &[f64], labelling: Labelling) -> Result<RowTarget, String> {
        let sum: f64 = values.iter().sum();
        if labelling == Labelling::One && (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(format!(
                "the label columns {} add up to {}; expected 1 (within {SUM_TOLERANCE}), because \
                 each text has one label; if it can have several, set data.multi_label: true",
                excerpt(&join_names(&self.data.label_columns)),
                (1e6 * sum).round() / 1e6
            ));
        }
        let mut probabilities = vec![0.0; self.names.len()];
        let columns = self.columns.iter().zip(values);
        for (index, value) in columns.filter_map(|(index, value)| Some(((*index)?, *value))) {
            let probability: &mut f64 = &mut probabilities[index as usize];
            *probability = match labelling {
                Labelling::One => *probability + value,
                Labelling::Several => probability.max(value),
            };
        }
        let ones = (0..).zip(&probabilities).filter(|(_, value)| **value == 1.0);
        let ones: Vec<u32> = ones.map(|(index, _)| index).collect();
        let are_binary = probabilities.iter().all(|value| *value == 0.0 || *value == 1.0);
        match (labelling, are_binary, &ones[..]) {
            (Labelling::One, true, [label]) => return Ok(RowTarget::Label(*label)),
            (Labelling::Several, true, _) => return Ok(RowTarget::LabelSet(ones)),
            _ => {}
        }
        if labelling == Labelling::One {
            // Without the columns that are renamed to nothing.
            let sum: f64 = probabilities.iter().sum();
            if sum <= 0.0 {
                return Err(NO_LABEL.to_owned());
            }
            if (sum - 1.0).abs() > ROUNDING {
                probabilities.iter_mut().for_each(|probability| *probability /= sum);
            }
        }
        let probabilities = probabilities.into_iter().map(|probability| probability as f32);
        Ok(RowTarget::Probabilities(probabilities.collect()))
    }

    /// Adds the target of a row. From the first one with probabilities on, all have probabilities.
    pub fn push(&mut self, target: RowTarget) {
        let classes = self.names.len();
        let is_soft = matches!(target, RowTarget::Probabilities(_));
        if is_soft && !matches!(self.targets, Targets::Probabilities { .. }) {
            let rows = self.targets.iter().flat_map(|target| target.shares(classes));
            let probabilities = rows.collect();
            self.targets = Targets::Probabilities { classes, probabilities };
        }
        match (&mut self.targets, target) {
            (Targets::Labels(labels), RowTarget::Label(label)) => labels.push(label),
            (Targets::LabelSets(sets), RowTarget::LabelSet(set)) => sets.push(&set),
            (Targets::Probabilities { probabilities, .. }, target) => match target {
                RowTarget::Probabilities(row) => probabilities.extend(row),
                RowTarget::Label(label) => {
                    probabilities.extend(Target::Label(label).shares(classes));
                }
                RowTarget::LabelSet(set) => {
                    probabilities.extend(Target::LabelSet(&set).shares(classes));
                }
            },
            // Rows of one kind of labels have targets of that kind.
            (Targets::Labels(_) | Targets::LabelSets(_) | Targets::Distilled { .. }, _) => {}
        }
    }

    /// Returns true if the labels of a row look like ones that are configured, that another file has, or that
    /// are among the rows so far. `others` has appearances of further ones.
    pub fn knows(&self, labels: &RowLabels, others: &HashSet<String>) -> bool {
        if let RowLabels::Columns(_) = labels {
            return true;
        }
        let names = labels.class_names(self.data);
        let is_known = |name: &String| {
            let appearance = || appearance(name);
            self.name_indices.contains_key(name)
                || self.appearances.contains(&appearance())
                || others.contains(&appearance())
        };
        !names.is_empty() && names.iter().all(is_known)
    }

    /// Returns the index of a label, and adds its name if it is new; `None` if it is empty.
    fn index(&mut self, label: &str) -> Option<u32> {
        if let Some(index) = self.indices.get(label) {
            return *index;
        }
        let name = self.data.class_name(label);
        let index = (!name.is_empty()).then(|| {
            let names = &mut self.names;
            *self.name_indices.entry(name).or_insert_with_key(|name| {
                names.push(name.clone());
                self.appearances.insert(appearance(name));
                names.len() as u32 - 1
            })
        });
        self.indices.insert(label.to_owned(), index);
        index
    }
}
