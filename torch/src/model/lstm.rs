//! LSTM layers in one or two directions (Hochreiter and Schmidhuber 1997, Gers et al. 2000),
//! computed by libtorch's oneDNN and cuDNN kernels.
//!
//! i = σ(W_i x + U_i h + b_i), f = σ(W_f x + U_f h + b_f), g = tanh(W_g x + U_g h + b_g),
//! o = σ(W_o x + U_o h + b_o), c ← f ⊙ c + i ⊙ g, h = o ⊙ tanh(c).
//!
//! Sequences are padded, not packed, because packing rules out oneDNN's kernel and cuDNN's
//! persistent kernels. States in padding at the end are ignored; padding in front is read like
//! text, as in Keras. The backward direction is a separate LSTM over each text reversed within its
//! length, because a `bidirectional` call would start it in the padding.

use tch::{Device, Tensor};

use super::cell::CellWeights;
use super::mode::Mode;
use super::weights::Weights;
use crate::batch::{Direction, Padding};
use lstmtext::config::Input;
use lstmtext::model::parameters::cell_name;

/// All layers and directions.
#[derive(Debug)]
pub struct Lstm {
    units: i64,
    dropout: f64,
    layers: Vec<Vec<Cell>>,
}

/// One direction of one layer.
#[derive(Debug)]
struct Cell {
    direction: Direction,
    weights: CellWeights,
}

/// Hidden states of one direction of a layer.
#[derive(Debug)]
pub struct HiddenStates {
    /// Direction of the LSTM.
    pub direction: Direction,
    /// States in the order in which the LSTM computed them, [B, T, H].
    pub states: Tensor,
}

impl HiddenStates {
    /// Returns the states in text order, [B, T, H].
    fn in_text_order(&self, padding: &Padding) -> Tensor {
        reverse_if_backward(self.direction, &self.states, padding)
    }
}

impl Lstm {
    /// Creates the layers of an input and takes their weights.
    pub fn new(input: &Input, weights: &mut Weights, device: Device) -> anyhow::Result<Self> {
        let mut cell = |layer: usize, direction: usize| -> anyhow::Result<Cell> {
            let mut take = |tensor| weights.take(&cell_name(input, tensor, layer, direction));
            let weights =
                [take("weight_ih")?, take("weight_hh")?, take("bias_ih")?, take("bias_hh")?];
            let direction = [Direction::Forward, Direction::Backward][direction];
            Ok(Cell { direction, weights: CellWeights::new(weights, device) })
        };
        let layers = (0..input.lstm.layers).map(|layer| {
            (0..input.lstm.directions()).map(|direction| cell(layer, direction)).collect()
        });
        let layers = layers.collect::<anyhow::Result<_>>()?;
        Ok(Self { units: input.lstm.units as i64, dropout: input.lstm.dropout, layers })
    }

    /// Returns the hidden states of every layer, from the bottom, and direction.
    pub fn forward(
        &self,
        inputs: &Tensor,
        padding: &Padding,
        mode: Mode,
    ) -> Vec<Vec<HiddenStates>> {
        let mut inputs = inputs.shallow_clone(); // [B, T, E], then [B, T, H · directions]
        let mut layers: Vec<Vec<HiddenStates>> = Vec::with_capacity(self.layers.len());
        for cells in &self.layers {
            if let Some(below) = layers.last() {
                inputs = concatenate(below, padding).dropout(self.dropout, mode.training());
            }
            let run = |cell| self.run(cell, &inputs, padding, mode);
            layers.push(cells.iter().map(run).collect());
        }
        layers
    }

    /// Runs one direction of one layer over [B, T, inputs], with the data type of the inputs.
    fn run(&self, cell: &Cell, inputs: &Tensor, padding: &Padding, mode: Mode) -> HiddenStates {
        let inputs = reverse_if_backward(cell.direction, inputs, padding);
        let kind = inputs.kind();
        let start = Tensor::zeros([1, inputs.size()[0], self.units], (kind, inputs.device()));
        let weights = cell.weights.tensors(kind, None);
        let (states, ..) = inputs.lstm(
            &[&start, &start],
            &weights.each_ref(),
            true,
            1,
            0.0,
            mode.training(),
            false,
            true,
        );
        HiddenStates { direction: cell.direction, states }
    }

    /// Returns the trainable tensors under PyTorch's names.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let named = self.cells().flat_map(|(suffix, cell)| {
            [
                ("weight_ih", &cell.weights.weight_ih),
                ("weight_hh", &cell.weights.weight_hh),
                ("bias_ih", &cell.weights.bias_ih),
            ]
            .map(|(kind, tensor)| (format!("lstm.{kind}_{suffix}"), tensor.shallow_clone()))
        });
        named.collect()
    }

    /// Returns PyTorch's second biases, which are zero.
    pub fn constants(&self) -> Vec<(String, Tensor)> {
        let named = |(suffix, cell): (String, &Cell)| {
            (format!("lstm.bias_hh_{suffix}"), cell.weights.bias_hh.shallow_clone())
        };
        self.cells().map(named).collect()
    }

    /// Returns every cell with the suffix of its parameters' names, such as `l0_reverse`.
    fn cells(&self) -> impl Iterator<Item = (String, &Cell)> {
        self.layers.iter().enumerate().flat_map(|(layer, cells)| {
            cells.iter().map(move |cell| match cell.direction {
                Direction::Forward => (format!("l{layer}"), cell),
                Direction::Backward => (format!("l{layer}_reverse"), cell),
            })
        })
    }
}

/// Concatenates the hidden states of all directions in text order, [B, T, H · directions].
pub fn concatenate(directions: &[HiddenStates], padding: &Padding) -> Tensor {
    let states = directions.iter().map(|states| states.in_text_order(padding));
    Tensor::cat(&states.collect::<Vec<_>>(), 2)
}

/// Converts a sequence between the order of the text and the order in which `direction` reads.
fn reverse_if_backward(direction: Direction, sequence: &Tensor, padding: &Padding) -> Tensor {
    match direction {
        Direction::Forward => sequence.shallow_clone(),
        Direction::Backward => padding.reverse(sequence),
    }
}
