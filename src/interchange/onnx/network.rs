//! The graph of a model: ids, lengths and rows of n-grams → logits and probabilities.
//!
//! Letters in shapes: B batch, T tokens, E embedding, H units of one direction, S = H · directions hidden
//! state, D pooled features, C logits, N rows of n-grams. The LSTM operator reads [T, B, …], so the batch is
//! the second dimension from the embedding to the pooling.

use std::collections::HashMap;

use anyhow::Context;

use super::graph::{Dimension, GraphBuilder, Tensor};
use super::messages::{AttributeProto, GraphProto, data_type};
use crate::config::{Input, Labelling, PadSide, Pooling};
use crate::model::parameters::{
    cell_name, embedding_name, in_order, ngram_value_name, ngram_weight_name, parameters,
    query_name,
};
use crate::model::{ModelSpec, NamedTensor};
use crate::objective::Scaling;

/// Blocks of PyTorch's gates i, f, g, o in ONNX's order i, o, f, c; c is g.
const GATES: [usize; 4] = [0, 3, 1, 2];

/// Returns the graph of a model with these weights, whose probabilities are scaled by `scaling`.
///
/// # Errors
/// Returns an error if the weights are not those of the model.
pub fn graph(
    spec: &ModelSpec,
    weights: Vec<NamedTensor>,
    scaling: Option<&Scaling>,
) -> anyhow::Result<GraphProto> {
    let config = spec.config;
    let logit_count = config.logit_count(spec.classes)?;
    let weights = in_order(&parameters(spec)?, weights)?;
    let mut network = Network {
        graph: GraphBuilder::default(),
        weights: weights.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect(),
    };
    let (mut features, mut ngrams) = (Vec::new(), Vec::new());
    for input in &*config.inputs {
        if input.has_lstm() {
            features.extend(network.branch(input)?);
        }
        if input.ngrams.is_on() {
            ngrams.push(network.ngrams(input, logit_count)?);
        }
    }
    let mut logits = network.head(&features)?;
    for linear in &ngrams {
        logits = network.graph.apply("Add", &[&logits, linear]);
    }
    let scaled = scaling.map(|scaling| network.scaled(&logits, scaling));
    let labelling = config.data.labelling();
    let probabilities =
        network.probabilities(scaled.as_ref().unwrap_or(&logits), labelling, logit_count);
    let mut graph = network.graph;
    let shape = |columns| [Dimension::batch(), Dimension::Fixed(columns)];
    graph.output("logits", &logits, &shape(logit_count));
    graph.output("probabilities", &probabilities, &shape(spec.classes));
    Ok(graph.finish("lstmtext"))
}

struct Network {
    graph: GraphBuilder,
    /// Weights that are not in the graph yet, by name.
    weights: HashMap<String, NamedTensor>,
}

impl Network {
    fn take(&mut self, name: &str) -> anyhow::Result<NamedTensor> {
        self.weights.remove(name).with_context(|| format!("the weights have no tensor {name}"))
    }

    /// Adds a weight in the shape that it has.
    fn weight(&mut self, name: &str) -> anyhow::Result<Tensor> {
        let NamedTensor { name, shape, values } = self.take(name)?;
        Ok(self.graph.floats(name, &shape, values))
    }

    /// Adds the layers of an input from its ids to the pooled features [B, S] of each pooling.
    fn branch(&mut self, input: &Input) -> anyhow::Result<Vec<Tensor>> {
        let prefix = value_prefix(input);
        let tokens = Dimension::Named(format!("{prefix}tokens"));
        let ids = self.graph.input(format!("{prefix}ids"), &[Dimension::batch(), tokens]);
        let lengths = self.graph.input(format!("{prefix}lengths"), &[Dimension::batch()]);
        let perm = AttributeProto::ints("perm", &[1, 0]);
        let ids = self.graph.apply_with("Transpose", &[&ids], vec![perm]); // [T, B]
        let table = self.weight(&embedding_name(input))?; // [V, E]
        let embedded = self.graph.apply("Gather", &[&table, &ids]); // [T, B, E]
        let read_lengths = match input.text.pad {
            PadSide::Back => Some(self.cast(&lengths, data_type::INT32)),
            // The LSTM reads the padding too, like Keras without masking.
            PadSide::Front => None,
        };
        let [mut states, mut last] = self.lstm(input, 0, &embedded, read_lengths.as_ref())?;
        for layer in 1..input.lstm.layers {
            let below = self.joined_states(input, &states);
            [states, last] = self.lstm(input, layer, &below, read_lengths.as_ref())?;
        }
        let reads_states = input.pooling.iter().any(|pooling| *pooling != Pooling::Last);
        let sequence = reads_states.then(|| Sequence {
            states: self.joined_states(input, &states),
            words: self.words(input.text.pad, &ids, &lengths),
        });
        let mut features = Vec::new();
        for pooling in &*input.pooling {
            features.push(match (pooling, &sequence) {
                (Pooling::Last, _) => self.joined_last(input, &last),
                (Pooling::Mean, Some(sequence)) => self.mean(sequence),
                (Pooling::Max, Some(sequence)) => self.max(sequence),
                (Pooling::Attention, Some(sequence)) => self.attention(input, sequence)?,
                (_, None) => continue,
            });
        }
        Ok(features)
    }

    /// Adds an LSTM layer that reads `inputs` [T, B, E] or [T, B, S]. Returns its states
    /// [T, directions, B, H], and the last state of each direction [directions, B, H]; the backward
    /// direction ends at the first word.
    fn lstm(
        &mut self,
        input: &Input,
        layer: usize,
        inputs: &Tensor,
        lengths: Option<&Tensor>,
    ) -> anyhow::Result<[Tensor; 2]> {
        let weight = self.cells(input, layer, "W", &["weight_ih"])?; // [directions, 4H, E or S]
        let recurrent = self.cells(input, layer, "R", &["weight_hh"])?; // [directions, 4H, H]
        let bias = self.cells(input, layer, "B", &["bias_ih", "bias_hh"])?; // [directions, 8H]
        let mut operands = vec![inputs, &weight, &recurrent, &bias];
        operands.extend(lengths);
        let direction = if input.lstm.bidirectional { "bidirectional" } else { "forward" };
        let attributes = vec![
            AttributeProto::string("direction", direction),
            AttributeProto::int("hidden_size", input.lstm.units as i64),
        ];
        Ok(self.graph.apply_many("LSTM", &operands, attributes))
    }

    /// Joins the directions of states: [T, directions, B, H] → [T, B, S].
    fn joined_states(&mut self, input: &Input, states: &Tensor) -> Tensor {
        let perm = AttributeProto::ints("perm", &[0, 2, 1, 3]);
        let states = self.graph.apply_with("Transpose", &[states], vec![perm]);
        let shape = self.graph.ints(&[0, 0, input.state_size() as i64]);
        self.graph.apply("Reshape", &[&states, &shape])
    }

    /// Joins the directions of the last states: [directions, B, H] → [B, S].
    fn joined_last(&mut self, input: &Input, last: &Tensor) -> Tensor {
        let perm = AttributeProto::ints("perm", &[1, 0, 2]);
        let last = self.graph.apply_with("Transpose", &[last], vec![perm]);
        let shape = self.graph.ints(&[0, input.state_size() as i64]);
        self.graph.apply("Reshape", &[&last, &shape])
    }

    /// Adds the tensors `kinds` of the cells of a layer, with ONNX's order of gates, as one constant.
    fn cells(
        &mut self,
        input: &Input,
        layer: usize,
        name: &str,
        kinds: &[&str],
    ) -> anyhow::Result<Tensor> {
        let directions = input.lstm.directions();
        let (mut all, mut shape) = (Vec::new(), vec![directions]);
        for direction in 0..directions {
            for kind in kinds {
                let tensor = self.take(&cell_name(input, kind, layer, direction))?;
                append_gates(&mut all, &tensor.values);
                shape.splice(1.., tensor.shape);
            }
        }
        shape[1] *= kinds.len();
        let name = format!("{}lstm.{name}_l{layer}", input.prefix());
        Ok(self.graph.floats(name, &shape, all))
    }

    /// Adds the mask of the words among `ids` [T, B], and their number.
    fn words(&mut self, pad: PadSide, ids: &Tensor, lengths: &Tensor) -> Words {
        let graph = &mut self.graph;
        let first = vec![AttributeProto::int("start", 0), AttributeProto::int("end", 1)];
        let tokens = graph.apply_with("Shape", &[ids], first); // [1]
        let token_count = graph.apply("Squeeze", &[&tokens]);
        let (zero, one) = (graph.int(0), graph.int(1));
        let positions = graph.apply("Range", &[&zero, &token_count, &one]); // [T]
        let axes = graph.ints(&[1, 2]);
        let positions = graph.apply("Unsqueeze", &[&positions, &axes]); // [T, 1, 1]
        let axes = graph.ints(&[1]);
        let count = graph.apply("Unsqueeze", &[lengths, &axes]); // [B, 1]
        let mask = match pad {
            PadSide::Back => graph.apply("Less", &[&positions, &count]),
            PadSide::Front => {
                let start = graph.apply("Sub", &[&tokens, &count]); // [B, 1]
                graph.apply("GreaterOrEqual", &[&positions, &start])
            }
        };
        Words { mask, count: self.cast(&count, data_type::FLOAT) }
    }

    fn cast(&mut self, tensor: &Tensor, element: i32) -> Tensor {
        let to = AttributeProto::int("to", element.into());
        self.graph.apply_with("Cast", &[tensor], vec![to])
    }

    /// Adds the mean of the states of words: [B, S].
    fn mean(&mut self, Sequence { states, words }: &Sequence) -> Tensor {
        let states = self.masked(states, words, 0.0);
        let sum = self.sum(&states, 0);
        self.graph.apply("Div", &[&sum, &words.count])
    }

    /// Adds the maximum of the states of words: [B, S].
    fn max(&mut self, Sequence { states, words }: &Sequence) -> Tensor {
        let states = self.masked(states, words, f32::NEG_INFINITY);
        let attributes =
            vec![AttributeProto::ints("axes", &[0]), AttributeProto::int("keepdims", 0)];
        self.graph.apply_with("ReduceMax", &[&states], attributes)
    }

    /// Adds the mean of the states of words weighted by attention: [B, S].
    fn attention(
        &mut self,
        input: &Input,
        Sequence { states, words }: &Sequence,
    ) -> anyhow::Result<Tensor> {
        let NamedTensor { name, values, .. } = self.take(&query_name(input))?;
        let query = self.graph.floats(name, &[values.len(), 1], values);
        let scores = self.graph.apply("MatMul", &[states, &query]); // [T, B, 1]
        let scores = self.masked(&scores, words, f32::NEG_INFINITY);
        let axis = AttributeProto::int("axis", 0);
        let weights = self.graph.apply_with("Softmax", &[&scores], vec![axis]);
        let weighted = self.graph.apply("Mul", &[&weights, states]); // [T, B, S]
        Ok(self.sum(&weighted, 0))
    }

    /// Replaces the values [T, B, any] at padding.
    fn masked(&mut self, values: &Tensor, words: &Words, padding: f32) -> Tensor {
        let padding = self.graph.float(padding);
        self.graph.apply("Where", &[&words.mask, values, &padding])
    }

    /// Adds a sum over a dimension, which is removed.
    fn sum(&mut self, values: &Tensor, axis: i64) -> Tensor {
        let axes = self.graph.ints(&[axis]);
        let keep = AttributeProto::int("keepdims", 0);
        self.graph.apply_with("ReduceSum", &[values, &axes], vec![keep])
    }

    /// Adds the linear branch over the n-grams of an input: [B, C].
    fn ngrams(&mut self, input: &Input, logit_count: usize) -> anyhow::Result<Tensor> {
        let NamedTensor { mut shape, mut values, .. } = self.take(&ngram_weight_name(input))?;
        if let Some(factors) = self.weights.remove(&ngram_value_name(input)) {
            values.iter_mut().zip(&factors.values).for_each(|(value, factor)| *value *= factor);
        }
        // A last row of zeros, with which shorter lists are padded.
        values.reserve_exact(logit_count);
        values.resize(values.len() + logit_count, 0.0);
        shape[0] += 1;
        let table = self.graph.floats(format!("{}ngrams.table", input.prefix()), &shape, values);
        let prefix = value_prefix(input);
        let dimensions = [Dimension::batch(), Dimension::Named(format!("{prefix}rows"))];
        let rows = self.graph.input(format!("{prefix}ngrams"), &dimensions); // [B, N]
        let values = self.graph.apply("Gather", &[&table, &rows]); // [B, N, C]
        Ok(self.sum(&values, 1))
    }

    /// Adds the head: the pooled features [B, S] of all inputs → logits [B, C]. Without any, the logits are
    /// its bias `[C]`.
    fn head(&mut self, features: &[Tensor]) -> anyhow::Result<Tensor> {
        let bias = self.weight("head.bias")?;
        if features.is_empty() {
            return Ok(bias);
        }
        let weight = self.weight("head.weight")?; // [C, D]
        let features = match features {
            [feature] => feature.clone(),
            _ => self.concatenated(&features.iter().collect::<Vec<_>>()),
        }; // [B, D]
        let transposed = AttributeProto::int("transB", 1);
        Ok(self.graph.apply_with("Gemm", &[&features, &weight, &bias], vec![transposed]))
    }

    /// Concatenates the columns of matrices.
    fn concatenated(&mut self, columns: &[&Tensor]) -> Tensor {
        let axis = AttributeProto::int("axis", 1);
        self.graph.apply_with("Concat", columns, vec![axis])
    }

    /// Scales logits [B, C] as a calibrated model does.
    fn scaled(&mut self, logits: &Tensor, scaling: &Scaling) -> Tensor {
        match scaling {
            Scaling::Temperature(temperature) => {
                let temperature = self.graph.float(*temperature as f32);
                self.graph.apply("Div", &[logits, &temperature])
            }
            Scaling::LogOdds(lines) => {
                let slopes = lines.iter().map(|line| line.slope as f32).collect();
                let slopes =
                    self.graph.floats("calibration.slope".to_owned(), &[lines.len()], slopes);
                let offsets = lines.iter().map(|line| line.offset as f32).collect();
                let offsets =
                    self.graph.floats("calibration.offset".to_owned(), &[lines.len()], offsets);
                let product = self.graph.apply("Mul", &[logits, &slopes]);
                self.graph.apply("Add", &[&product, &offsets])
            }
        }
    }

    /// Adds the activation: logits [B, C] → the probability of each label.
    fn probabilities(
        &mut self,
        logits: &Tensor,
        labelling: Labelling,
        logit_count: usize,
    ) -> Tensor {
        match (labelling, logit_count) {
            (Labelling::Several, _) => self.graph.apply("Sigmoid", &[logits]),
            // One logit, that of the second label.
            (Labelling::One, 1) => {
                let negated = self.graph.apply("Neg", &[logits]);
                let both = self.concatenated(&[&negated, logits]);
                self.graph.apply("Sigmoid", &[&both])
            }
            (Labelling::One, _) => {
                let axis = AttributeProto::int("axis", 1);
                self.graph.apply_with("Softmax", &[logits], vec![axis])
            }
        }
    }
}

/// Output of the LSTM layers of an input.
struct Sequence {
    /// Hidden states [T, B, S].
    states: Tensor,
    words: Words,
}

/// Words of the texts of an input, without padding.
struct Words {
    /// True at words [T, B, 1].
    mask: Tensor,
    /// Their number as a float [B, 1].
    count: Tensor,
}

/// Prefix of the names of an input's tensors; empty for a single input.
fn value_prefix(input: &Input) -> String {
    input.name.as_ref().map_or(String::new(), |name| format!("{name}_"))
}

/// Appends the values of a tensor [4H, …] in ONNX's order of gates.
fn append_gates(all: &mut Vec<f32>, values: &[f32]) {
    let length = values.len() / GATES.len();
    for gate in GATES {
        all.extend_from_slice(&values[gate * length..][..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_in_the_order_of_onnx() {
        let mut all = vec![0.0];
        append_gates(&mut all, &[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
        assert_eq!(all, [0.0, 1.0, 1.5, 4.0, 4.5, 2.0, 2.5, 3.0, 3.5]);
    }
}
