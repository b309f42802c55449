//! LSTM layers in one or two directions (Hochreiter and Schmidhuber 1997, Gers et al. 2000), by
//! libtorch's oneDNN and cuDNN kernels.
//!
//! i = σ(W_i x + U_i h + b_i), f = σ(W_f x + U_f h + b_f), g = tanh(W_g x + U_g h + b_g),
//! o = σ(W_o x + U_o h + b_o), c ← f ⊙ c + i ⊙ g, h = o ⊙ tanh(c).
//!
//! Sequences are never packed: packing forbids oneDNN's kernel and cuDNN's persistent ones. Texts
//! are padded at the end instead, and nobody looks at what the LSTM makes of the padding (or in
//! front, where it is read, as Keras does). The backward direction is an LSTM of its own over each
//! text reversed within its length, because a padded `bidirectional` call would start it in the
//! padding.

use tch::{Device, Kind, Tensor};

use super::mode::Mode;
use super::tensors::Tensors;
use crate::batch::{Direction, Positions};
use crate::tensors::Named;
use lstmtext::config::Input;
use lstmtext::model::parameters::cell_name;

/// All layers and directions.
#[derive(Debug)]
pub struct Lstm {
    units: i64,
    dropout: f64,
    layers: Vec<Vec<Cell>>,
}

/// The weights of one direction of one layer; gates in the order i, f, g, o.
#[derive(Debug)]
struct Cell {
    direction: Direction,
    /// [4H, inputs]
    weight_ih: Tensor,
    /// [4H, H]
    weight_hh: Tensor,
    /// `[4H]`
    bias: Tensor,
    /// PyTorch's second bias `[4H]`: zero, not trained.
    zero: Tensor,
}

impl Cell {
    /// All weights lie in one piece of memory, in cuDNN's order: it would copy them there at every
    /// call.
    fn new(direction: Direction, parts: [Tensor; 4], device: Device) -> Self {
        let flat: Vec<Tensor> = parts.iter().map(|part| part.flatten(0, -1)).collect();
        let whole = Tensor::cat(&flat, 0).to_device(device);
        let mut start = 0;
        let [weight_ih, weight_hh, bias, zero] = parts.each_ref().map(|part| {
            let length = part.numel() as i64;
            let own = whole.narrow(0, start, length).view_as(part).detach();
            start += length;
            own
        });
        Self {
            direction,
            weight_ih: weight_ih.set_requires_grad(true),
            weight_hh: weight_hh.set_requires_grad(true),
            bias: bias.set_requires_grad(true),
            zero,
        }
    }

    /// Input and recurrent weights and the two biases, in the kind of number to compute with; again
    /// in one piece.
    fn weights(&self, kind: Kind) -> [Tensor; 4] {
        let own = [&self.weight_ih, &self.weight_hh, &self.bias, &self.zero];
        if kind == Kind::Float {
            return own.map(Tensor::shallow_clone);
        }
        let lengths = own.map(|weight| weight.numel() as i64);
        let whole = Tensor::cat(&own.map(|weight| weight.flatten(0, -1)), 0).to_kind(kind);
        let mut parts = whole.split_with_sizes(lengths, 0).into_iter().zip(own);
        std::array::from_fn(|_| {
            #[expect(clippy::expect_used, reason = "there are as many parts as lengths")]
            let (part, own) = parts.next().expect("a part for each weight");
            part.view_as(own)
        })
    }
}

/// What one direction of a layer made of a batch.
#[derive(Debug)]
pub struct Read {
    /// In which direction it read.
    pub direction: Direction,
    /// The hidden states [B, T, H], in the order in which they came about.
    pub states: Tensor,
}

impl Read {
    /// The hidden states [B, T, H], each at its word.
    pub fn in_text_order(&self, positions: &Positions) -> Tensor {
        turned(self.direction, &self.states, positions)
    }
}

impl Lstm {
    /// The layers of an input with weights from `tensors`.
    pub fn new(input: &Input, tensors: &mut Tensors, device: Device) -> anyhow::Result<Self> {
        let mut cell = |layer: usize, direction: usize| -> anyhow::Result<Cell> {
            let mut take = |tensor| tensors.take(&cell_name(input, tensor, layer, direction));
            let (weight_ih, weight_hh) = (take("weight_ih")?, take("weight_hh")?);
            let (bias, zero) = (take("bias_ih")?, take("bias_hh")?);
            let direction = [Direction::Forward, Direction::Backward][direction];
            Ok(Cell::new(direction, [weight_ih, weight_hh, bias, zero], device))
        };
        let layers = (0..input.lstm.layers).map(|layer| {
            (0..input.lstm.directions()).map(|direction| cell(layer, direction)).collect()
        });
        let layers = layers.collect::<anyhow::Result<_>>()?;
        Ok(Self { units: input.lstm.units as i64, dropout: input.lstm.dropout, layers })
    }

    /// Every layer's states, the bottom layer first; a [`Read`] for each direction.
    pub fn read(&self, inputs: &Tensor, positions: &Positions, mode: Mode) -> Vec<Vec<Read>> {
        let mut inputs = inputs.shallow_clone(); // [B, T, E], then [B, T, H·directions]
        let mut layers: Vec<Vec<Read>> = Vec::with_capacity(self.layers.len());
        for cells in &self.layers {
            if let Some(below) = layers.last() {
                inputs = joined(below, positions).dropout(self.dropout, mode.training());
            }
            let run = |cell| self.run(cell, &inputs, positions, mode);
            layers.push(cells.iter().map(run).collect());
        }
        layers
    }

    /// One direction of one layer over [B, T, inputs], computed in the kind of number that these are.
    fn run(&self, cell: &Cell, inputs: &Tensor, positions: &Positions, mode: Mode) -> Read {
        let inputs = turned(cell.direction, inputs, positions);
        let kind = inputs.kind();
        let start = Tensor::zeros([1, inputs.size()[0], self.units], (kind, inputs.device()));
        let weights = cell.weights(kind);
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
        Read { direction: cell.direction, states }
    }

    /// The trainable tensors under PyTorch's names.
    pub fn parameters(&self) -> Vec<Named> {
        let named = self.cells().flat_map(|(suffix, cell)| {
            [
                ("weight_ih", &cell.weight_ih),
                ("weight_hh", &cell.weight_hh),
                ("bias_ih", &cell.bias),
            ]
            .map(|(kind, tensor)| (format!("lstm.{kind}_{suffix}"), tensor.shallow_clone()))
        });
        named.collect()
    }

    /// The zeros that stand where PyTorch has a second bias.
    pub fn constants(&self) -> Vec<Named> {
        let named = self.cells();
        named
            .map(|(suffix, cell)| (format!("lstm.bias_hh_{suffix}"), cell.zero.shallow_clone()))
            .collect()
    }

    /// Every cell with the end of its parameters' names, as `l0_reverse`.
    fn cells(&self) -> impl Iterator<Item = (String, &Cell)> {
        self.layers.iter().enumerate().flat_map(|(layer, cells)| {
            cells.iter().map(move |cell| match cell.direction {
                Direction::Forward => (format!("l{layer}"), cell),
                Direction::Backward => (format!("l{layer}_reverse"), cell),
            })
        })
    }
}

/// The states of all directions beside each other, [B, T, H·directions], each at its word.
fn joined(reads: &[Read], positions: &Positions) -> Tensor {
    Tensor::cat(&reads.iter().map(|read| read.in_text_order(positions)).collect::<Vec<_>>(), 2)
}

/// Turns text order into the reading order of `direction`, and back.
fn turned(direction: Direction, sequence: &Tensor, positions: &Positions) -> Tensor {
    match direction {
        Direction::Forward => sequence.shallow_clone(),
        Direction::Backward => positions.reverse(sequence),
    }
}
