//! Differences between configurations. Values are compared, not the way they are written.

use std::collections::{HashMap, HashSet};

use serde_yaml::Value;

use super::fields::Field;
use super::print::inline_yaml;
use super::resolved::Resolved;
use super::value::FieldValue;

/// A field whose value differs between configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The names from the top level down, such as `["train", "epochs"]`.
    pub path: Vec<String>,
    /// The value in each configuration; `None` if a configuration has no such input.
    pub values: Vec<Option<Value>>,
}

impl Difference {
    /// Returns the name of the field, such as `train.epochs`.
    pub fn field(&self) -> String {
        self.path.join(".")
    }
}

/// Returns the fields that differ between configurations, in the order of the reference.
pub fn differences(configs: &[&Resolved]) -> Vec<Difference> {
    let leaves: Vec<Vec<Leaf>> = configs.iter().map(|config| leaves(&config.fields)).collect();
    let mut seen = HashSet::new();
    let paths = leaves.iter().flatten().map(|leaf| &leaf.path).filter(|path| seen.insert(*path));
    let configs: Vec<_> = leaves.iter().map(|leaves| by_path(leaves)).collect();
    let difference = |path: &Vec<String>| {
        let values: Vec<_> =
            configs.iter().map(|config| config.get(&path[..]).copied().cloned()).collect();
        let differ = values.windows(2).any(|pair| pair[0] != pair[1]);
        differ.then(|| Difference { path: path.clone(), values })
    };
    paths.filter_map(difference).collect()
}

/// Returns a line for each field, in the order of the reference: `train.epochs: 3`.
pub fn field_lines(config: &Resolved) -> Vec<String> {
    let line = |Leaf { path, value }: &Leaf| format!("{}: {}", path.join("."), inline_yaml(value));
    leaves(&config.fields).iter().map(line).collect()
}

/// A field that holds a value rather than other fields.
struct Leaf {
    path: Vec<String>,
    value: Value,
}

fn by_path(leaves: &[Leaf]) -> HashMap<&[String], &Value> {
    leaves.iter().map(|leaf| (&leaf.path[..], &leaf.value)).collect()
}

/// Returns every field with its value. The mapping `inputs` is split into its fields.
fn leaves(fields: &[Field]) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for field in fields.iter().filter(|field| !field.is_section()) {
        let (path, value) = (field.path.clone(), field.value.clone());
        match &value {
            Value::Mapping(_) if path == ["inputs"] => add_leaves(&mut leaves, path, &value),
            _ => leaves.push(Leaf { path, value }),
        }
    }
    leaves
}

fn add_leaves(leaves: &mut Vec<Leaf>, path: Vec<String>, value: &Value) {
    match value {
        Value::Mapping(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let name = String::from_yaml(key).unwrap_or_default();
                add_leaves(leaves, [&path[..], &[name]].concat(), value);
            }
        }
        _ => leaves.push(Leaf { path, value: value.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{inline_yaml, parse};

    fn shown(configs: &[&str]) -> Vec<(String, Vec<String>)> {
        let resolved: Vec<Resolved> =
            configs.iter().map(|yaml| parse(yaml, "test", &[]).unwrap()).collect();
        let value = |value: &Option<Value>| value.as_ref().map_or("-".into(), inline_yaml);
        differences(&resolved.iter().collect::<Vec<_>>())
            .iter()
            .map(|difference| (difference.field(), difference.values.iter().map(value).collect()))
            .collect()
    }

    fn row(field: &str, values: &[&str]) -> (String, Vec<String>) {
        (field.into(), values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn equal_values_do_not_differ_however_they_are_written() {
        let a = "data: {train: x}\ntrain: {epochs: 10, learning_rate: 0.002, batch_size: 64}\n";
        let b = "data:\n  train: ./x\ntrain: {batch_size: 64.0, epochs: 1e1}\n";
        assert_eq!(shown(&[a, b]), []);
        assert_eq!(shown(&[a]), []);
        assert_eq!(shown(&[]), []);
    }

    #[test]
    fn differences_follow_the_order_of_the_reference() {
        let a = "train: {seed: 1}\ndata: {train: x}\nmodel: {pooling: mean}\n";
        let b = "train: {seed: 2}\ndata: {train: x}\n";
        let c = "train: {seed: 2}\ndata: {train: x}\nmodel: {pooling: mean}\n";
        let expected =
            [row("model.pooling", &["mean", "max", "mean"]), row("train.seed", &["1", "2", "2"])];
        assert_eq!(shown(&[a, b, c]), expected);
    }

    #[test]
    fn inputs_are_compared_field_by_field() {
        let a = "data: {train: x}\ninputs: {story: {lstm: {units: 32}}, question: {}}\n";
        let b = "data: {train: x}\ninputs: {story: {lstm: {units: 16}}}\n";
        let expected =
            [row("inputs.story.lstm.units", &["32", "16"]), row("inputs.question", &["{}", "-"])];
        assert_eq!(shown(&[a, b]), expected);
    }
}
