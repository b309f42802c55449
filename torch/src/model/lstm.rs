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

use super::init::Init;
use super::{Mode, Named};
use crate::batch::{Direction, Positions};
use lstmtext::config::LstmConfig;

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
    fn new(
        direction: Direction,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor,
        device: Device,
    ) -> Self {
        let parts = [&weight_ih, &weight_hh, &bias, &bias.zeros_like()];
        let flat: Vec<Tensor> = parts.iter().map(|part| part.flatten(0, -1)).collect();
        let whole = Tensor::cat(&flat, 0).to_device(device);
        let mut start = 0;
        let [weight_ih, weight_hh, bias, zero] = parts.map(|part| {
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

    /// What the gates were at each step, [B, T, 4, H]. The library's kernels do not tell; but all
    /// that goes into them is known.
    fn gates(&self, inputs: &Tensor, states: &Tensor) -> Tensor {
        let units = self.weight_hh.size()[1];
        let before = states.narrow(1, 0, states.size()[1] - 1);
        let float = (Kind::Float, before.device());
        let start = Tensor::zeros([before.size()[0], 1, units], float);
        let before = Tensor::cat(&[&start, &before], 1);
        let sums = inputs.linear(&self.weight_ih, Some(&self.bias))
            + before.linear::<Tensor>(&self.weight_hh, None);
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| sums.narrow(2, gate * units, units));
        Tensor::stack(&[i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()], 2)
    }
}

/// What one direction of a layer made of a batch.
#[derive(Debug)]
pub struct Read {
    /// In which direction it read.
    pub direction: Direction,
    /// The hidden states [B, T, H], in the order in which they came about.
    pub states: Tensor,
    /// The cell state [B, H] after step T, padding at the end included.
    pub memory: Tensor,
}

impl Read {
    /// The hidden states [B, T, H], each at its word.
    pub fn in_text_order(&self, positions: &Positions) -> Tensor {
        turned(self.direction, &self.states, positions)
    }
}

impl Lstm {
    /// Initial layers over inputs of size `inputs`.
    pub fn new(config: &LstmConfig, inputs: i64, init: &Init, device: Device) -> Self {
        let units = config.units as i64;
        let directions: &[Direction] = match config.bidirectional {
            true => &[Direction::Forward, Direction::Backward],
            false => &[Direction::Forward],
        };
        let layers = (0..config.layers).map(|layer| {
            let inputs = if layer == 0 { inputs } else { units * directions.len() as i64 };
            let cell = |direction: &Direction| {
                let weight_ih = init.kernel(4 * units, inputs, units);
                let weight_hh = init.recurrent_kernel(units);
                Cell::new(*direction, weight_ih, weight_hh, init.gate_bias(units), device)
            };
            directions.iter().map(cell).collect()
        });
        Self { units, dropout: config.dropout, layers: layers.collect() }
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
        let (states, _, memory) = inputs.lstm(
            &[&start, &start],
            &weights.each_ref(),
            true,
            1,
            0.0,
            mode.training(),
            false,
            true,
        );
        Read { direction: cell.direction, states, memory: memory.squeeze_dim(0) }
    }

    /// The gates of each direction of layer number `layer`, [B, T, 4, H] in the order i, f, g, o, each
    /// at its word; `layers` is what [`Lstm::read`] made of `inputs`, without dropout.
    pub fn gates(
        &self,
        layer: usize,
        inputs: &Tensor,
        layers: &[Vec<Read>],
        positions: &Positions,
    ) -> Vec<Tensor> {
        let inputs = match layer.checked_sub(1) {
            None => inputs.shallow_clone(),
            Some(below) => joined(&layers[below], positions),
        };
        let gates = |(cell, read): (&Cell, &Read)| {
            let inputs = turned(cell.direction, &inputs, positions);
            turned(cell.direction, &cell.gates(&inputs, &read.states), positions)
        };
        self.layers[layer].iter().zip(&layers[layer]).map(gates).collect()
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
