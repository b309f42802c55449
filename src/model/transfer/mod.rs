//! Weights of a model for a new one, with other words, n-grams and labels. All of them are matched by name.
//! Reading checkpoints does not belong here.

mod labels;
mod language_model;
mod ngrams;

use std::collections::{HashMap, HashSet};

use anyhow::{bail, ensure};

use self::labels::LabelMap;
pub use self::language_model::match_output_layers;
use super::named_tensors::NamedTensor;
use super::parameters::{
    ModelSpec, Parameter, Role, ngram_value_name, ngram_weight_name, parameters,
};
use crate::config::{Config, ConfigError, Input};
use crate::data::prepared::PreparedData;
use crate::output::format::{group_digits, join_names};
use crate::random::{SeedPurpose, derive_seed};
use crate::text::{Encoder, Encoders, FIRST_WORD, OOV, WordVectors, draw_missing};

/// A model from which another one starts.
pub struct TrainedModel<'a> {
    /// Its shape.
    pub spec: ModelSpec<'a>,
    /// Label of each class.
    pub labels: &'a [String],
    /// Encoder of each input.
    pub encoders: &'a Encoders,
    /// All weights.
    pub weights: Vec<NamedTensor>,
}

/// Weights with which the new model starts.
pub struct Transfer {
    /// All weights, in the order of [`parameters`].
    pub weights: Vec<NamedTensor>,
    /// Descriptions of what was matched, one line each.
    pub report: Vec<String>,
}

/// Checks that the layers that two models have in common have the same sizes.
///
/// # Errors
/// Returns an error with all sizes that differ, and the settings that make them equal.
pub fn check_sizes(source: &Config, target: &Config) -> Result<(), ConfigError> {
    let (mut differences, mut settings) = (Vec::new(), Vec::new());
    for input in target.inputs.iter().filter(|input| input.has_lstm()) {
        let Some(other) = input_named(source, input).filter(|other| other.has_lstm()) else {
            continue;
        };
        let sizes = |input: &Input| {
            let subwords = &input.embedding.subwords;
            let buckets = if subwords.is_on() { subwords.buckets } else { 0 };
            [
                ("embedding.size", input.embedding.size.to_string()),
                ("embedding.subwords.sizes", format!("{:?}", subwords.sizes.0.unwrap_or_default())),
                ("embedding.subwords.buckets", buckets.to_string()),
                ("lstm.units", input.lstm.units.to_string()),
                ("lstm.bidirectional", input.lstm.bidirectional.to_string()),
            ]
        };
        for ((name, size), (_, expected)) in sizes(input).into_iter().zip(sizes(other)) {
            if size != expected {
                let field = input.field(name);
                settings.push(format!("--set {field}={expected}"));
                differences.push(format!("{field} is {size}, but {expected} there"));
            }
        }
    }
    match differences.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::new(format!(
            "the model cannot start from the weights of the checkpoint: {}; pass {}",
            differences.join(", "),
            settings.join(" ")
        ))),
    }
}

fn input_named<'c>(config: &'c Config, input: &Input) -> Option<&'c Input> {
    config.inputs.iter().find(|other| other.name == input.name)
}

/// Replaces the initial weights of a new model by those of `source`, wherever both have the same layer, word,
/// n-gram or label.
///
/// New words have the given word vectors if `data` has some, and otherwise random ones with the mean and the
/// variance of the known vectors. New labels, n-grams and layers keep their initial weights.
///
/// # Errors
/// Returns the error of [`check_sizes`], and an error if the models have nothing in common.
pub fn transfer(
    source: TrainedModel,
    data: &PreparedData,
    initial: Vec<NamedTensor>,
) -> anyhow::Result<Transfer> {
    let spec = ModelSpec::from(data);
    check_sizes(source.spec.config, spec.config)?;
    let TrainedModel { spec: source_spec, labels, encoders, weights } = source;
    let known = weights.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let logits = |tensor: Option<&NamedTensor>| tensor.map_or(0, |bias| bias.shape[0]);
    let new = initial.iter().find(|tensor| tensor.name == HEAD_BIAS);
    let map = {
        let known: &HashMap<String, NamedTensor> = &known;
        LabelMap::new(labels, logits(known.get(HEAD_BIAS)), &data.labels, logits(new))
    };
    let work = Matching { source: source_spec.config, encoders, known, map, data };
    work.run(parameters(&spec)?, initial)
}

const HEAD_BIAS: &str = "head.bias";

/// Matching of the tensors of two models.
struct Matching<'a> {
    /// Configuration of the model from which the new one starts.
    source: &'a Config,
    /// Its encoders.
    encoders: &'a Encoders,
    /// Its weights.
    known: HashMap<String, NamedTensor>,
    /// Its labels.
    map: LabelMap,
    /// Data of the new model.
    data: &'a PreparedData,
}

impl Matching<'_> {
    fn run(
        &self,
        parameters: Vec<Parameter>,
        initial: Vec<NamedTensor>,
    ) -> anyhow::Result<Transfer> {
        let config = &self.data.resolved.config;
        let keeps_head = self.map.matches() && self.has_same_features();
        let (mut weights, mut report) = (Vec::new(), Vec::new());
        let (mut new_layers, mut used) = (Vec::new(), HashSet::new());
        let mut is_anything_known = false;
        for (parameter, mut tensor) in parameters.iter().zip(initial) {
            let known = self.known.get(&parameter.name);
            let mut is_known = known.is_some();
            match (parameter.role, known) {
                (Role::Embedding { input }, Some(known)) => {
                    report.push(self.match_words(input, known, &mut tensor));
                }
                // Both tensors of n-grams are matched below.
                (Role::NgramWeight { .. } | Role::NgramValue { .. }, _) => {}
                (Role::HeadWeight | Role::HeadBias, Some(known)) => {
                    is_known = keeps_head;
                    if keeps_head {
                        tensor.values = self.map.rows(&known.values, &tensor.values);
                    }
                }
                (_, Some(known)) => {
                    ensure!(
                        known.shape == tensor.shape,
                        "{} has shape {:?} in the checkpoint, but {:?} in the model",
                        tensor.name,
                        known.shape,
                        tensor.shape
                    );
                    tensor.values.clone_from(&known.values);
                }
                (_, None) => {}
            }
            let layer = config.layer_name(parameter.layer);
            match is_known {
                true => drop(used.insert(layer)),
                false if used.contains(&layer) || new_layers.contains(&layer) => {}
                false => new_layers.push(layer),
            }
            is_anything_known |= is_known;
            weights.push(tensor);
        }
        for index in 0..config.inputs.len() {
            report.extend(self.match_ngrams(index, &mut weights));
        }
        if !is_anything_known {
            bail!(
                "the model has no layer in common with the checkpoint from which it starts; are the inputs \
                 named alike?"
            );
        }
        report.push(self.map.describe(keeps_head));
        let source_layers = self.source.layers().into_iter();
        let mut unused: Vec<String> =
            source_layers.map(|layer| self.source.layer_name(layer)).collect();
        unused.retain(|layer| !used.contains(layer) && !new_layers.contains(layer));
        for (title, layers) in [("new layers", new_layers), ("unused layers", unused)] {
            if !layers.is_empty() {
                report.push(format!("{title}: {}", join_names(&layers)));
            }
        }
        report.extend(self.tokenizer_note());
        Ok(Transfer { weights, report })
    }

    /// Returns true if the heads of both models read the same features.
    fn has_same_features(&self) -> bool {
        let features = |config: &Config| -> Vec<_> {
            let inputs = config.inputs.iter().filter(|input| input.has_lstm());
            let features =
                inputs.map(|input| (input.name.clone(), input.pooling.clone(), input.features()));
            features.collect()
        };
        features(self.source) == features(&self.data.resolved.config)
    }

    /// Returns the encoder of the source's input with the name of the input at `index`.
    fn encoder_of(&self, index: usize) -> Option<&Encoder> {
        let input = &self.data.resolved.config.inputs[index];
        let position = self.source.inputs.iter().position(|other| other.name == input.name)?;
        Some(&self.encoders[position])
    }

    /// Replaces the rows of the words that the source knows, and draws those of new words.
    fn match_words(&self, input: usize, known: &NamedTensor, tensor: &mut NamedTensor) -> String {
        let config = &self.data.resolved.config;
        let size = tensor.shape[1];
        let words = self.data.encoders[input].vocabulary().words();
        let mut vectors = WordVectors {
            values: vec![0.0; tensor.values.len()],
            size,
            found: vec![false; words.len()],
            skipped: 0,
        };
        let row = |values: &[f32], id: usize| values[id * size..][..size].to_vec();
        let first = FIRST_WORD as usize;
        let given = self.data.vectors.get(input).and_then(Option::as_ref);
        let (mut matched, mut from_file) = (0, 0);
        for (id, word) in words.iter().enumerate().skip(first) {
            let known_id = self.encoder_of(input).map_or(OOV, |known| known.vocabulary().id(word));
            let values = match (known_id, given) {
                (OOV, Some(given)) if given.found[id] => {
                    from_file += 1;
                    row(&given.values, id)
                }
                (OOV, _) => continue,
                (known_id, _) => {
                    matched += 1;
                    row(&known.values, known_id as usize)
                }
            };
            vectors.values[id * size..][..size].copy_from_slice(&values);
            vectors.found[id] = true;
        }
        if vectors.found.contains(&true) {
            draw_missing(
                &mut vectors,
                derive_seed(config.train.seed, SeedPurpose::WordVectors(input)),
            );
            tensor.values = vectors.values;
        }
        tensor.values[..first * size].copy_from_slice(&known.values[..first * size]);
        let words = words.len() - first;
        let mut line = format!(
            "{}words: {} of {} known",
            config.inputs[input].prefix(),
            group_digits(matched),
            group_digits(words)
        );
        let drawn = words - matched - from_file;
        for (count, origin) in
            [(from_file, "from the word vectors"), (drawn, "drawn like the known ones")]
        {
            if count > 0 {
                line += &format!(", {} new {origin}", group_digits(count));
            }
        }
        line
    }

    /// Replaces weights and values of the n-grams that the source knows. Returns a description, if the
    /// input has n-grams.
    fn match_ngrams(&self, index: usize, weights: &mut [NamedTensor]) -> Option<String> {
        let input = &self.data.resolved.config.inputs[index];
        let new = self.data.encoders[index].ngrams()?;
        let tensor_at = |name: String| weights.iter().position(|tensor| tensor.name == name);
        let weight_at = tensor_at(ngram_weight_name(input))?;
        let value_at = tensor_at(ngram_value_name(input));
        let known = self.encoder_of(index).and_then(Encoder::ngrams);
        let (prefix, all) = (input.prefix(), group_digits(new.len()));
        let mut matched = 0;
        if let (Some(known), Some(known_weights)) =
            (known, self.known.get(&ngram_weight_name(input)))
        {
            if !self.map.matches() {
                // The n-grams may be known, but not what they say about these labels.
                return Some(format!("{prefix}n-grams: {all} start anew, as the labels are new"));
            }
            let known_values = self.known.get(&ngram_value_name(input));
            let known_values = known_values.map(|tensor| &tensor.values[..]);
            let rows = ngrams::matching_rows(new, known);
            let mut weight = std::mem::take(&mut weights[weight_at].values);
            let mut values = value_at.map(|at| std::mem::take(&mut weights[at].values));
            matched = self.map.ngram_rows(
                &rows,
                (&known_weights.values, known_values),
                (&mut weight, values.as_deref_mut()),
            );
            weights[weight_at].values = weight;
            if let Some((at, values)) = value_at.zip(values) {
                weights[at].values = values;
            }
        }
        Some(format!("{prefix}n-grams: {} of {all} known", group_digits(matched)))
    }

    /// Returns a note if the tokenizers differ, so that few words match.
    fn tokenizer_note(&self) -> Option<String> {
        let mut fields = Vec::new();
        for input in self.data.resolved.config.inputs.iter() {
            let Some(other) = input_named(self.source, input) else { continue };
            let settings = |input: &Input| {
                let text = &input.text;
                let tokenizer = text.tokenizer.identity();
                [
                    ("text.tokenizer", tokenizer),
                    ("text.lowercase", text.lowercase.to_string()),
                    ("text.strip_tags", text.strip_tags.to_string()),
                    ("text.version", text.version.to_string()),
                ]
            };
            for ((name, value), (_, known)) in settings(input).into_iter().zip(settings(other)) {
                if value != known {
                    fields.push(format!("{} is {value} (was {known})", input.field(name)));
                }
            }
        }
        (!fields.is_empty())
            .then(|| format!("note: texts are tokenized in another way: {}", fields.join(", ")))
    }
}
