//! Names and shapes of the parameters of a network, a pure function of the configuration, the
//! vocabulary sizes and the number of classes.

use std::collections::HashMap;

use anyhow::{bail, ensure};

use super::named_tensors::NamedTensor;
use crate::config::{Config, Input, Layer, LayerKind, NgramWeighting};
use crate::data::prepared::PreparedData;

/// Everything that determines the shape of a network.
#[derive(Clone, Debug)]
pub struct ModelSpec<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Vocabulary size V of each input, special ids included.
    pub vocabulary_sizes: Vec<usize>,
    /// Number of n-grams V of each input.
    pub ngram_counts: Vec<usize>,
    /// Number of classes C.
    pub classes: usize,
}

impl<'a> From<&'a PreparedData> for ModelSpec<'a> {
    /// Returns the specification of the configured model for these classes and vocabularies.
    fn from(data: &'a PreparedData) -> Self {
        Self {
            config: &data.resolved.config,
            vocabulary_sizes: data.encoders.vocabulary_sizes(),
            ngram_counts: data.encoders.ngram_counts(),
            classes: data.labels.len(),
        }
    }
}

/// A tensor of the network, without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the tensor in PyTorch.
    pub name: String,
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// True if training can change the tensor. `train.freeze` only keeps its value.
    pub trainable: bool,
    /// Layer that it belongs to.
    pub layer: Layer,
    /// Role of the tensor in the network.
    pub role: Role,
}

/// Role of a parameter. Gates are in PyTorch's order i, f, g, o.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Word vectors [V, E] of an input.
    Embedding {
        /// Index of the input.
        input: usize,
    },
    /// Vectors of the buckets of character n-grams, [buckets, E], of an input.
    Subwords {
        /// Index of the input.
        input: usize,
    },
    /// Input weights [4H, E] or [4H, H · directions] of an LSTM cell.
    InputWeight,
    /// Recurrent weights [4H, H] of an LSTM cell.
    RecurrentWeight,
    /// Bias `[4H]` of an LSTM cell.
    Bias,
    /// PyTorch's second bias `[4H]` of an LSTM cell, which stays zero.
    ZeroBias,
    /// Query `[H · directions]` of attention pooling.
    AttentionQuery,
    /// Weights [V, 1] or [V, C] of the n-grams of an input.
    NgramWeight {
        /// Index of the input.
        input: usize,
    },
    /// Values [V, 1] or [V, C] of the n-grams of an input: a text that has an n-gram adds weight · value
    /// to each logit.
    NgramValue {
        /// Index of the input.
        input: usize,
    },
    /// Weights [1, D] or [C, D] of the head, if there is an LSTM.
    HeadWeight,
    /// Bias `[1]` or `[C]` of the head.
    HeadBias,
}

/// Returns the name of the word vectors of an input.
pub fn embedding_name(input: &Input) -> String {
    format!("{}embedding.weight", input.prefix())
}

/// Returns the name of the vectors of character n-grams of an input.
pub fn subwords_name(input: &Input) -> String {
    format!("{}embedding.subwords.weight", input.prefix())
}

/// Returns the name of the weights of an input's n-grams.
pub fn ngram_weight_name(input: &Input) -> String {
    format!("{}ngrams.weight", input.prefix())
}

/// Returns the name of the values of an input's n-grams.
pub fn ngram_value_name(input: &Input) -> String {
    format!("{}ngrams.value", input.prefix())
}

/// Returns the name of a tensor of an LSTM cell: `tensor` is `weight_ih`, `weight_hh`, `bias_ih` or
/// `bias_hh`; `direction` is 0 for forward and 1 for backward.
pub fn cell_name(input: &Input, tensor: &str, layer: usize, direction: usize) -> String {
    let suffix = if direction == 0 { "" } else { "_reverse" };
    format!("{}lstm.{tensor}_l{layer}{suffix}", input.prefix())
}

/// Returns the name of the query of attention pooling of an input.
pub fn query_name(input: &Input) -> String {
    format!("{}attention.query", input.prefix())
}

/// Returns all parameters: for each input the embedding, then the cells from the bottom layer up, the
/// query of attention pooling and the n-grams; at the end the head.
///
/// # Errors
/// Returns an error if the head is a sigmoid and there are more than two classes.
pub fn parameters(spec: &ModelSpec) -> anyhow::Result<Vec<Parameter>> {
    let config = spec.config;
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize], role: Role, layer: Layer| {
        all.push(Parameter {
            name,
            layer,
            shape: shape.to_vec(),
            trainable: match role {
                Role::Embedding { input } | Role::Subwords { input } => {
                    config.inputs[input].embedding.trainable
                }
                Role::ZeroBias | Role::NgramValue { .. } => false,
                _ => true,
            },
            role,
        });
    };
    let logits = config.logit_count(spec.classes)?;
    for (number, (input, size)) in config.inputs.iter().zip(&spec.vocabulary_sizes).enumerate() {
        let embedding_size = input.embedding.size;
        let layer = |kind| Layer { input: Some(number), kind };
        if input.has_lstm() {
            let shape = [*size, embedding_size];
            let role = Role::Embedding { input: number };
            add(embedding_name(input), &shape, role, layer(LayerKind::Embedding));
            if input.embedding.subwords.is_on() {
                let shape = [input.embedding.subwords.buckets, embedding_size];
                let role = Role::Subwords { input: number };
                add(subwords_name(input), &shape, role, layer(LayerKind::Embedding));
            }
        }
        let gates = 4 * input.lstm.units;
        for index in 0..input.lstm.layers {
            let layer = layer(LayerKind::Lstm(index));
            let inputs = if index == 0 { embedding_size } else { input.state_size() };
            for direction in 0..input.lstm.directions() {
                let name = |tensor| cell_name(input, tensor, index, direction);
                add(name("weight_ih"), &[gates, inputs], Role::InputWeight, layer);
                add(name("weight_hh"), &[gates, input.lstm.units], Role::RecurrentWeight, layer);
                add(name("bias_ih"), &[gates], Role::Bias, layer);
                add(name("bias_hh"), &[gates], Role::ZeroBias, layer);
            }
        }
        if input.has_attention() {
            let shape = [input.state_size()];
            add(query_name(input), &shape, Role::AttentionQuery, layer(LayerKind::Attention));
        }
        if input.ngrams.is_on() {
            let shape = [spec.ngram_counts[number], logits];
            let layer = layer(LayerKind::Ngrams);
            add(ngram_weight_name(input), &shape, Role::NgramWeight { input: number }, layer);
            if input.ngrams.weighting != NgramWeighting::None {
                add(ngram_value_name(input), &shape, Role::NgramValue { input: number }, layer);
            }
        }
    }
    let features: usize = config.inputs.iter().map(Input::features).sum();
    let head = Layer { input: None, kind: LayerKind::Head };
    if features > 0 {
        add("head.weight".to_owned(), &[logits, features], Role::HeadWeight, head);
    }
    add("head.bias".to_owned(), &[logits], Role::HeadBias, head);
    Ok(all)
}

/// Returns the weights of `expected` in its order.
///
/// # Errors
/// Returns an error if a tensor is missing, unknown, or has another shape.
pub fn in_order(
    expected: &[Parameter],
    tensors: Vec<NamedTensor>,
) -> anyhow::Result<Vec<NamedTensor>> {
    let mut given: HashMap<String, NamedTensor> =
        tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let mut take = |Parameter { name, shape, .. }: &Parameter| {
        let Some(tensor) = given.remove(name) else { bail!("the weights have no tensor {name}") };
        ensure!(
            tensor.shape == *shape,
            "{name} has shape {:?} in the file, but {shape:?} in the model",
            tensor.shape
        );
        Ok(tensor)
    };
    let ordered = expected.iter().map(&mut take).collect::<anyhow::Result<_>>()?;
    match given.keys().min() {
        Some(name) => bail!("the weights have a tensor {name}, which the model does not have"),
        None => Ok(ordered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::summary::summarize;

    #[test]
    fn names_match_pytorch_and_counts_match_the_summary() {
        let yaml = "data: {train: x}\ninputs:\n  \
                    story: {embedding: {size: 5}, lstm: {units: 3, layers: 2, bidirectional: true}}\n  \
                    question: {embedding: {size: 4, trainable: false}, lstm: {units: 2}, \
                    pooling: [attention, mean]}\n";
        let config = config::parse_plain(yaml).config;
        let spec = ModelSpec {
            config: &config,
            vocabulary_sizes: vec![10, 7],
            ngram_counts: vec![0, 0],
            classes: 3,
        };
        let parameters = parameters(&spec).unwrap();
        let shapes: Vec<(&str, &[usize])> =
            parameters.iter().map(|each| (each.name.as_str(), &each.shape[..])).collect();
        assert_eq!(shapes[0], ("story.embedding.weight", &[10, 5][..]));
        assert_eq!(shapes[5], ("story.lstm.weight_ih_l0_reverse", &[12, 5][..]));
        assert_eq!(shapes[9], ("story.lstm.weight_ih_l1", &[12, 6][..]));
        assert_eq!(shapes[17], ("question.embedding.weight", &[7, 4][..]));
        assert_eq!(
            shapes[shapes.len() - 3..],
            [
                ("question.attention.query", &[2][..]),
                ("head.weight", &[3, 10]),
                ("head.bias", &[3])
            ]
        );
        let count = |trainable: bool| -> usize {
            let counted = parameters.iter().filter(|each| each.trainable == trainable);
            counted.map(|each| each.shape.iter().product::<usize>()).sum()
        };
        let summary = summarize(&config, &[10, 7], &[0, 0], 3);
        assert_eq!(count(true), summary.trainable());
        let second_biases = 4 * (4 * 3) + 4 * 2;
        assert_eq!(count(false), summary.total() - summary.trainable() + second_biases);
    }

    #[test]
    fn a_sigmoid_takes_two_classes() {
        let yaml = "data: {train: x}\nmodel: {head: {activation: sigmoid}}\n";
        let config = config::parse_plain(yaml).config;
        let of = |classes| {
            parameters(&ModelSpec {
                config: &config,
                vocabulary_sizes: vec![5],
                ngram_counts: vec![0],
                classes,
            })
        };
        assert_eq!(of(2).unwrap().last().unwrap().shape, [1]);
        assert!(of(3).unwrap_err().to_string().contains("sigmoid"));
    }

    #[test]
    fn tensors_of_another_model_are_rejected() {
        let tensor = |name: &str, shape: &[usize]| NamedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: vec![0.0; shape.iter().product()],
        };
        let (shape, role) = (vec![2], Role::HeadBias);
        let layer = Layer { input: None, kind: LayerKind::Head };
        let expected = [Parameter { name: "a".to_owned(), shape, trainable: true, layer, role }];
        let error = |tensors| in_order(&expected, tensors).unwrap_err().to_string();
        assert_eq!(error(vec![]), "the weights have no tensor a");
        let wrong_shape = "a has shape [3] in the file, but [2] in the model";
        assert_eq!(error(vec![tensor("a", &[3])]), wrong_shape);
        let unknown = vec![tensor("a", &[2]), tensor("b", &[1])];
        let message = "the weights have a tensor b, which the model does not have";
        assert_eq!(error(unknown), message);
        assert_eq!(in_order(&expected, vec![tensor("a", &[2])]).unwrap().len(), 1);
    }
}
