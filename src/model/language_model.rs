//! Shape, parameter names and initial weights of a language model, a pure function of the configuration and the
//! vocabulary size.

use super::initialization::{keras, normals};
use super::named_tensors::NamedTensor;
use super::parameters::{Parameter, Role, cell_name, embedding_name};
use crate::config::{Input, Layer, LayerKind};
use crate::random::named_seed;

/// Everything that determines the shape of a language model.
///
/// A direction reads the ids of a text in its order and predicts each following id. Its states h pass through a
/// projection, and the logit of a word is the scaled product with the vector of the word, which is also its input:
/// (P h + p) · x / √E + b.
#[derive(Clone, Debug)]
pub struct LanguageModelSpec<'a> {
    /// Input whose embedding and LSTM layers are those of the language model.
    pub input: &'a Input,
    /// Vocabulary size V, special ids included.
    pub vocabulary_size: usize,
}

impl LanguageModelSpec<'_> {
    /// Number of LSTM layers of each direction. Only the lowest one of a bidirectional model is a language model,
    /// because those above it see both sides of each word.
    pub fn layers(&self) -> usize {
        if self.input.lstm.bidirectional { 1 } else { self.input.lstm.layers }
    }

    /// Returns all parameters: the embedding [V, E], the cells of each direction, and for each direction the
    /// projection P [E, H] with its bias `[E]`, and the output bias `[V]`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let Self { input, vocabulary_size, .. } = self;
        let (size, units) = (input.embedding.size, input.lstm.units);
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize], role: Role, kind: LayerKind| {
            let trainable = role != Role::ZeroBias;
            let layer = Layer { input: Some(0), kind };
            all.push(Parameter { name, shape: shape.to_vec(), trainable, layer, role });
        };
        let embedding = Role::Embedding { input: 0 };
        add(embedding_name(input), &[*vocabulary_size, size], embedding, LayerKind::Embedding);
        for direction in 0..input.lstm.directions() {
            for index in 0..self.layers() {
                let (inputs, kind) =
                    (if index == 0 { size } else { units }, LayerKind::Lstm(index));
                let name = |tensor| cell_name(input, tensor, index, direction);
                add(name("weight_ih"), &[4 * units, inputs], Role::InputWeight, kind);
                add(name("weight_hh"), &[4 * units, units], Role::RecurrentWeight, kind);
                add(name("bias_ih"), &[4 * units], Role::Bias, kind);
                add(name("bias_hh"), &[4 * units], Role::ZeroBias, kind);
            }
            let suffix = if direction == 0 { "" } else { "_reverse" };
            let name = |tensor| format!("{}{tensor}{suffix}", input.prefix());
            add(name("projection.weight"), &[size, units], Role::HeadWeight, LayerKind::Head);
            add(name("projection.bias"), &[size], Role::HeadBias, LayerKind::Head);
            add(name("output.bias"), &[*vocabulary_size], Role::HeadBias, LayerKind::Head);
        }
        all
    }

    /// Draws initial weights: word vectors from N(0, 1), all others as Keras does, biases 0 and those of forget
    /// gates 1.
    pub fn initial_weights(&self, seed: u64) -> Vec<NamedTensor> {
        let draw = |Parameter { name, shape, role, .. }: Parameter| {
            let seed = named_seed(seed, &name);
            let values = match role {
                Role::Embedding { .. } => normals(&shape, seed),
                _ => keras(role, &shape, seed),
            };
            NamedTensor { name, shape, values }
        };
        self.parameters().into_iter().map(draw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn names(fields: &str) -> Vec<(String, Vec<usize>)> {
        let yaml = format!(
            "data: {{train: x}}\nmodel: {{embedding: {{size: 5}}, lstm: {{units: 3, {fields}}}}}\n"
        );
        let config = config::parse_plain(&yaml).config;
        let spec = LanguageModelSpec { input: &config.inputs[0], vocabulary_size: 10 };
        let weights = spec.initial_weights(1);
        assert!(
            weights
                .iter()
                .all(|tensor| tensor.values.len() == tensor.shape.iter().product::<usize>())
        );
        weights.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
    }

    #[test]
    fn parameters_are_named_as_in_the_classifier() {
        let both = names("bidirectional: true, layers: 2");
        let all: Vec<&str> = both.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(all[..2], ["embedding.weight", "lstm.weight_ih_l0"]);
        assert_eq!(
            all[5..10],
            [
                "projection.weight",
                "projection.bias",
                "output.bias",
                "lstm.weight_ih_l0_reverse",
                "lstm.weight_hh_l0_reverse",
            ]
        );
        assert_eq!(both.len(), 1 + 2 * 7, "the second layer is not part of it");
        let forward = names("bidirectional: false, layers: 2");
        assert_eq!(forward[5], ("lstm.weight_ih_l1".to_owned(), vec![12, 3]));
        assert_eq!(forward[9], ("projection.weight".to_owned(), vec![5, 3]));
        assert_eq!(forward.len(), 1 + 2 * 4 + 3);
    }
}
