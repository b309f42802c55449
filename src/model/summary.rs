//! The parameter table: a pure function of the configuration.

use serde::Serialize;

use crate::config::{ModelConfig, Pooling};
use crate::numbers::grouped;

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Its kind.
    pub name: &'static str,
    /// What it does, in numbers.
    pub description: String,
    /// Its output for one batch, in letters and numbers.
    pub output: String,
    /// Its trainable numbers.
    pub parameters: usize,
}

/// The layers of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The layers, from the ids to the logits.
    pub layers: Vec<Layer>,
}

/// The layers of a model with `vocabulary` ids and `logits` logits.
pub fn summarize(config: &ModelConfig, vocabulary: usize, logits: usize) -> Summary {
    let size = config.embedding.size;
    let units = config.lstm.units;
    let directions = if config.lstm.bidirectional { 2 } else { 1 };
    let features = units * directions;
    let mut layers = vec![Layer {
        name: "embedding",
        description: format!("{} words x {size}", grouped(vocabulary)),
        output: format!("[B, T, {size}]"),
        parameters: vocabulary * size,
    }];
    for layer in 0..config.lstm.layers {
        let inputs = if layer == 0 { size } else { features };
        let both = if directions == 2 { ", two directions" } else { "" };
        layers.push(Layer {
            name: "lstm",
            description: format!("{inputs} -> {units} units{both}"),
            output: format!("[B, T, {features}]"),
            parameters: directions * 4 * units * (inputs + units + 1),
        });
    }
    let pooling = match config.pooling {
        Pooling::Last => "last state",
        Pooling::Mean => "mean over the text",
        Pooling::Max => "maximum over the text",
    };
    layers.push(Layer {
        name: "pooling",
        description: pooling.into(),
        output: format!("[B, {features}]"),
        parameters: 0,
    });
    let activation = if logits == 1 { "sigmoid" } else { "softmax" };
    layers.push(Layer {
        name: "head",
        description: format!("{features} -> {logits}, {activation}"),
        output: if logits == 1 { "[B]".into() } else { format!("[B, {logits}]") },
        parameters: logits * (features + 1),
    });
    Summary { layers }
}

impl Summary {
    /// The trainable numbers of all layers.
    pub fn total(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let rows: Vec<[String; 4]> = self
            .layers
            .iter()
            .map(|layer| {
                let parameters = grouped(layer.parameters);
                [layer.name.into(), layer.description.clone(), layer.output.clone(), parameters]
            })
            .collect();
        let header = ["layer", "", "output", "parameters"].map(str::to_owned);
        let width = |column: usize| {
            rows.iter().chain([&header]).map(|row| row[column].len()).max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2), width(3)];
        for row in [&header].into_iter().chain(&rows) {
            let [name, description, output, parameters] = row;
            let [a, b, c, d] = widths;
            writeln!(f, "{name:a$}  {description:b$}  {output:c$}  {parameters:>d$}")?;
        }
        write!(f, "Total params: {}", grouped(self.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn total(model: &str, vocabulary: usize, logits: usize) -> usize {
        let yaml = format!("data: {{train: x}}\nmodel: {model}\n");
        summarize(&config::parse(&yaml, "test", &[]).unwrap().config.model, vocabulary, logits)
            .total()
    }

    /// The counts that Keras prints for the reference systems.
    #[test]
    fn counts_are_those_of_keras() {
        assert_eq!(total("{embedding: {size: 64}, lstm: {units: 32}}", 10_000, 1), 652_449);
        assert_eq!(total("{embedding: {size: 32}, lstm: {units: 100}}", 5_000, 1), 213_301);
        assert_eq!(total("{embedding: {size: 128}, lstm: {units: 32}}", 10_000, 1), 1_300_641);
        assert_eq!(total("{embedding: {size: 128}, lstm: {units: 128}}", 10_000, 2), 1_411_842);
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let yaml = "data: {train: x}\nmodel: {embedding: {size: 64}, lstm: {units: 32}}\n";
        let config = config::parse(yaml, "test", &[]).unwrap().config.model;
        let table = summarize(&config, 10_000, 1).to_string();
        assert_eq!(table.lines().last(), Some("Total params: 652,449"));
    }
}
