//! The table of layers and parameters: a pure function of the configuration.

use serde::Serialize;

use crate::config::{self, Config, Input, Labelling, LayerKind, Pooling, SubwordsConfig};
use crate::output::format::group_digits;
use crate::output::table::{Align, Table};

/// Row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Kind of the layer, prefixed with the name of its input if there are several.
    pub name: String,
    /// Sizes of the layer.
    pub description: String,
    /// Output shape for a batch.
    pub output: String,
    /// Number of parameters.
    pub parameters: usize,
    /// `true` if training changes the parameters.
    pub trainable: bool,
}

impl Layer {
    fn new(name: String, description: String, output: String, parameters: usize) -> Self {
        Self { name, description, output, parameters, trainable: true }
    }

    /// Marks the layer as frozen if the configuration freezes it.
    fn of(self, config: &Config, input: Option<usize>, kind: LayerKind) -> Self {
        Self { trainable: !config.is_frozen(config::Layer { input, kind }), ..self }
    }
}

/// Table of the layers of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Layers, from the ids to the logits.
    pub layers: Vec<Layer>,
}

/// Returns the layers of a model with these vocabulary sizes and numbers of n-grams of its inputs, and
/// `logits` logits.
pub fn summarize(
    config: &Config,
    vocabulary_sizes: &[usize],
    ngram_counts: &[usize],
    logits: usize,
) -> Summary {
    let inputs = config.inputs.iter().zip(vocabulary_sizes).zip(ngram_counts).enumerate();
    let mut layers: Vec<Layer> = inputs
        .flat_map(|(index, ((input, size), ngrams))| {
            let lstm = input.has_lstm().then(|| branch_layers(config, index, *size));
            let ngrams = input.ngrams.is_on().then(|| {
                let layer = ngram_layer(input, *ngrams, logits);
                layer.of(config, Some(index), LayerKind::Ngrams)
            });
            lstm.into_iter().flatten().chain(ngrams)
        })
        .collect();
    let total: usize = config.inputs.iter().map(Input::features).sum();
    let with_lstm = || config.inputs.iter().filter(|input| input.has_lstm());
    if with_lstm().count() > 1 {
        let sizes = with_lstm().map(|input| input.features().to_string());
        let sizes = sizes.collect::<Vec<_>>().join(" + ");
        layers.push(Layer::new("concatenate".into(), sizes, format!("[B, {total}]"), 0));
    }
    let has_sigmoid = logits == 1 || config.data.labelling() == Labelling::Several;
    let activation = if has_sigmoid { "sigmoid" } else { "softmax" };
    let output = if logits == 1 { "[B]".into() } else { format!("[B, {logits}]") };
    let description = match total {
        0 => activation.to_owned(),
        total => format!("{total} -> {logits}, {activation}"),
    };
    let head = Layer::new("head".into(), description, output, logits * (total + 1));
    layers.push(head.of(config, None, LayerKind::Head));
    Summary { layers }
}

/// Returns the linear branch of one input. Its values are not parameters: they are computed once.
fn ngram_layer(input: &Input, ngrams: usize, logits: usize) -> Layer {
    let sizes: Vec<String> = input.ngrams.sizes.0.iter().map(usize::to_string).collect();
    let description =
        format!("{} of {} tokens -> {logits}", group_digits(ngrams), sizes.join(", "));
    let name = format!("{}ngrams", input.prefix());
    Layer::new(name, description, format!("[B, {logits}]"), ngrams * logits)
}

/// Returns the layers of the input at `index`, which has an LSTM.
fn branch_layers(config: &Config, index: usize, vocabulary_size: usize) -> Vec<Layer> {
    let input = &config.inputs[index];
    let size = input.embedding.size;
    let units = input.lstm.units;
    let directions = input.lstm.directions();
    let states = input.state_size();
    let layer = |name: &str, kind, description, output, parameters| {
        let name = format!("{}{name}", input.prefix());
        Layer::new(name, description, output, parameters).of(config, Some(index), kind)
    };
    let words = format!("{} words x {size}", group_digits(vocabulary_size));
    let (kind, output) = (LayerKind::Embedding, format!("[B, T, {size}]"));
    let embedding = layer("embedding", kind, words, output.clone(), vocabulary_size * size);
    let mut layers = vec![embedding];
    let SubwordsConfig { sizes, buckets } = &input.embedding.subwords;
    if let Some([smallest, largest]) = sizes.0 {
        let ngrams = format!(
            "{} buckets of {smallest} to {largest} characters x {size}",
            group_digits(*buckets)
        );
        layers.push(layer("embedding.subwords", kind, ngrams, output, buckets * size));
    }
    for lstm in 0..input.lstm.layers {
        let inputs = if lstm == 0 { size } else { states };
        let suffix = if directions == 2 { ", two directions" } else { "" };
        let parameters = directions * 4 * units * (inputs + units + 1);
        let description = format!("{inputs} -> {units} units{suffix}");
        let (kind, output) = (LayerKind::Lstm(lstm), format!("[B, T, {states}]"));
        layers.push(layer("lstm", kind, description, output, parameters));
    }
    let query = if input.has_attention() { states } else { 0 };
    let output = format!("[B, {}]", input.features());
    let description = pooling_description(&input.pooling);
    layers.push(layer("pooling", LayerKind::Attention, description, output, query));
    layers
}

fn pooling_description(poolings: &[Pooling]) -> String {
    match poolings {
        [Pooling::Last] => "last state".into(),
        [Pooling::Mean] => "mean over the text".into(),
        [Pooling::Max] => "maximum over the text".into(),
        [Pooling::Attention] => "attention over the text".into(),
        several => several.iter().map(|each| each.as_str()).collect::<Vec<_>>().join(" + "),
    }
}

impl Summary {
    /// Number of parameters of all layers.
    pub fn total(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// Number of trainable parameters.
    pub fn trainable(&self) -> usize {
        self.layers.iter().filter(|layer| layer.trainable).map(|layer| layer.parameters).sum()
    }

    /// Formats the layers as a table of at most `width` columns, and the number of parameters.
    pub fn to_text(&self, width: usize) -> String {
        let left = ["layer", "", "output"].map(|heading| (heading.to_owned(), Align::Left));
        let mut table = Table::new(left.into_iter().chain([("parameters".into(), Align::Right)]));
        for Layer { name, description, output, parameters, .. } in &self.layers {
            let parameters = group_digits(*parameters);
            table.add(vec![name.clone(), description.clone(), output.clone(), parameters]);
        }
        let mut lines = table.lines_within(width);
        let (total, trainable) = (self.total(), self.trainable());
        lines.push(format!("Total params: {}", group_digits(total)));
        if trainable < total {
            lines.push(format!("Trainable params: {}", group_digits(trainable)));
            lines.push(format!("Non-trainable params: {}", group_digits(total - trainable)));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn total(model: &str, vocabulary_size: usize, logits: usize) -> usize {
        let yaml = format!("data: {{train: x}}\nmodel: {model}\n");
        summarize(&config::parse_plain(&yaml).config, &[vocabulary_size], &[0], logits).total()
    }

    /// Expected counts are those that Keras prints for the reference systems.
    #[test]
    fn counts_match_keras() {
        assert_eq!(total("{embedding: {size: 64}, lstm: {units: 32}}", 10_000, 1), 652_449);
        assert_eq!(total("{embedding: {size: 32}, lstm: {units: 100}}", 5_000, 1), 213_301);
        assert_eq!(total("{embedding: {size: 128}, lstm: {units: 32}}", 10_000, 1), 1_300_641);
        assert_eq!(total("{embedding: {size: 128}, lstm: {units: 128}}", 10_000, 2), 1_411_842);
    }

    #[test]
    fn counts_of_two_inputs_match_keras() {
        let yaml = "data: {train: x}\ninputs:\n  text: {embedding: {size: 64}, lstm: {units: 32}}\n  \
                    question: {embedding: {size: 32, trainable: false}, lstm: {units: 16}}\n";
        let config = config::parse_plain(yaml).config;
        let summary = summarize(&config, &[10_000, 10_000], &[0, 0], 500);
        assert_eq!((summary.total(), summary.trainable()), (1_000_052, 680_052));
        assert!(summary.to_text(80).ends_with("Non-trainable params: 320,000"));
        let names: Vec<&str> = summary.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(
            names[3..],
            ["question.embedding", "question.lstm", "question.pooling", "concatenate", "head"]
        );
    }

    #[test]
    fn frozen_layers_are_not_trainable() {
        let yaml = "data: {train: x}\nmodel: {embedding: {size: 6}, lstm: {units: 5, layers: 2}}\n\
                    train: {freeze: [embedding, lstm.1]}\n";
        let config = config::parse_plain(yaml).config;
        let summary = summarize(&config, &[100], &[0], 1);
        let trainable: Vec<bool> = summary.layers.iter().map(|layer| layer.trainable).collect();
        assert_eq!(trainable, [false, true, false, true, true]);
        assert_eq!(summary.trainable(), 4 * 5 * (6 + 5 + 1) + 6);
    }

    #[test]
    fn poolings_are_concatenated_and_attention_has_a_query() {
        let yaml = "data: {train: x}\nmodel: {embedding: {size: 6}, \
                    lstm: {units: 5, bidirectional: true}, pooling: [max, attention, last]}\n";
        let config = config::parse_plain(yaml).config;
        let summary = summarize(&config, &[100], &[0], 1);
        let [pooling, head] = &summary.layers[2..] else { panic!("{summary:?}") };
        assert_eq!(pooling.description, "max + attention + last");
        assert_eq!((pooling.output.as_str(), pooling.parameters), ("[B, 30]", 10));
        assert_eq!(head.parameters, 31);
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let yaml = "data: {train: x}\nmodel: {embedding: {size: 64}, lstm: {units: 32}}\n";
        let config = config::parse_plain(yaml).config;
        let table = summarize(&config, &[10_000], &[0], 1).to_text(80);
        assert_eq!(table.lines().last(), Some("Total params: 652,449"));
    }
}
