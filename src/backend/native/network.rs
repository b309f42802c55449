//! The whole network: branches, head and loss, on all threads.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::branch::{Branch, CellGradient, Mode, Workspace};
use super::dropout::Dropout;
use super::head::{Objective, log_softmax, logits};
use super::sharding::{Shard, ShardedBatch};
use crate::backend::kernel::{Instructions, place};
use crate::backend::{Loss, Times, argmax};
use crate::config::{Config, logit_count};
use crate::model::named_tensors::{NamedTensor, in_order};

/// Weights, packed and plain, and the memory to compute with.
pub struct Network {
    instructions: Instructions,
    parameters: Vec<Parameter>,
    branches: Vec<Branch>,
    slots: Vec<BranchSlots>,
    /// Where head.weight stands; head.bias is behind it.
    head: usize,
    head_dropout: f64,
    classes: usize,
    /// What the threads worked with in the last step.
    shards: Vec<ShardWork>,
    /// The same for classifying.
    idle: Mutex<Vec<ShardWork>>,
    /// What the time of learning went into.
    pub times: Times,
}

/// A tensor of weights.
pub struct Parameter {
    /// Its name, shape and numbers.
    pub array: NamedTensor,
    /// Whether it has a gradient.
    pub trainable: bool,
}

/// Where the parameters of a branch stand among all.
struct BranchSlots {
    embedding: usize,
    /// For each layer and direction the first of weight_ih, weight_hh and bias_ih.
    cells: Vec<Vec<usize>>,
}

/// The parameters of a network under PyTorch's names, and their shapes.
#[derive(Default)]
struct Layout {
    parameters: Vec<(String, Vec<usize>)>,
    trainable: Vec<bool>,
}

impl Layout {
    fn add(&mut self, name: String, shape: Vec<usize>, trainable: bool) -> usize {
        self.parameters.push((name, shape));
        self.trainable.push(trainable);
        self.parameters.len() - 1
    }

    fn add_branch(&mut self, branch: &Branch, words: usize) -> BranchSlots {
        let (input, prefix) = (&branch.input, branch.input.prefix());
        let shape = vec![words, input.embedding.size];
        let name = format!("{prefix}embedding.weight");
        let embedding = self.add(name, shape, input.embedding.trainable);
        let mut cells = Vec::new();
        for (layer, directions) in branch.cells.iter().enumerate() {
            let mut firsts = Vec::new();
            for (cell, suffix) in directions.iter().zip(["", "_reverse"]) {
                let wide = 4 * cell.units;
                let name = |kind: &str| format!("{prefix}lstm.{kind}_l{layer}{suffix}");
                firsts.push(self.add(name("weight_ih"), vec![wide, cell.inputs], true));
                self.add(name("weight_hh"), vec![wide, cell.units], true);
                self.add(name("bias_ih"), vec![wide], true);
                // PyTorch's second bias is zero here.
                self.add(name("bias_hh"), vec![wide], false);
            }
            cells.push(firsts);
        }
        BranchSlots { embedding, cells }
    }
}

#[derive(Default)]
struct ShardWork {
    branches: Vec<Workspace>,
    head_weight: Vec<f32>,
    head_bias: Vec<f32>,
    loss: f64,
    correct: u64,
    features: Vec<f32>,
    kept: Vec<f32>,
    gradients: Vec<f32>,
    times: Times,
}

/// The gradient of every parameter; that of an embedding has only the rows that a batch reads.
#[derive(Default)]
pub struct Gradients {
    /// For each parameter; nothing for embeddings and what is not trained.
    pub dense: Vec<Vec<f32>>,
    /// For each embedding that is trained.
    pub rows: Vec<RowGradient>,
}

/// The gradient of an embedding.
#[derive(Default)]
pub struct RowGradient {
    /// The number of the parameter.
    pub parameter: usize,
    /// The words, each once and in order.
    pub words: Vec<u32>,
    /// A row for each.
    pub values: Vec<f32>,
}

impl Gradients {
    /// The norm of all gradients together.
    pub fn norm(&self) -> f64 {
        let rows = self.rows.iter().map(|rows| &rows.values);
        let squares = self.dense.iter().chain(rows).map(|values| sum_of_squares(values));
        squares.sum::<f64>().sqrt()
    }

    /// `factor` times the gradient of every trained parameter; of embeddings the rows that are not
    /// zero.
    pub fn arrays(&self, parameters: &[Parameter], factor: f32) -> Vec<NamedTensor> {
        let scaled = |values: &[f32]| -> Vec<f32> { values.iter().map(|v| v * factor).collect() };
        let array = |(number, parameter): (usize, &Parameter)| {
            let NamedTensor { name, shape, .. } = &parameter.array;
            let rows = self.rows.iter().find(|rows| rows.parameter == number);
            let (shape, values) = match rows {
                None => (shape.clone(), scaled(self.dense.get(number)?)),
                Some(rows) => {
                    let size = shape[1];
                    let rows = rows.values.chunks_exact(size);
                    let rows = rows.filter(|row| row.iter().any(|value| *value != 0.0));
                    let values: Vec<f32> = rows.flat_map(scaled).collect();
                    (vec![values.len() / size, size], values)
                }
            };
            Some(NamedTensor { name: name.clone(), shape, values })
        };
        let trained = parameters.iter().enumerate().filter(|(_, parameter)| parameter.trainable);
        trained.filter_map(array).collect()
    }
}

/// In double precision, in an order of its own.
fn sum_of_squares(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0_f64; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f64 = chunks.remainder().iter().map(|value| f64::from(*value).powi(2)).sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value).powi(2);
        }
    }
    sums.iter().sum::<f64>() + rest
}

impl Network {
    /// The network of a configuration with these weights, all that it has.
    ///
    /// # Errors
    /// Where the weights do not fit the configuration.
    pub fn new(
        config: &Config,
        vocabularies: &[usize],
        classes: usize,
        weights: Vec<NamedTensor>,
        instructions: Instructions,
    ) -> anyhow::Result<Self> {
        let mut branches = Vec::new();
        let mut slots = Vec::new();
        let mut layout = Layout::default();
        for (number, (input, words)) in config.inputs.iter().zip(vocabularies).enumerate() {
            let branch = Branch::new(input, number, instructions);
            slots.push(layout.add_branch(&branch, *words));
            branches.push(branch);
        }
        let features: usize = branches.iter().map(Branch::features).sum();
        let logits = logit_count(config.model.head.activation, classes)?;
        let head = layout.add("head.weight".into(), vec![logits, features], true);
        layout.add("head.bias".into(), vec![logits], true);
        let arrays = in_order(&layout.parameters, weights)?;
        let parameters = arrays.into_iter().zip(layout.trainable);
        let mut network = Self {
            instructions,
            parameters: parameters
                .map(|(array, trainable)| Parameter { array, trainable })
                .collect(),
            branches,
            slots,
            head,
            head_dropout: config.model.head.dropout,
            classes,
            shards: Vec::new(),
            idle: Mutex::default(),
            times: Times::default(),
        };
        network.pack();
        Ok(network)
    }

    /// Takes other weights.
    ///
    /// # Errors
    /// Where they do not fit.
    pub fn load(&mut self, weights: Vec<NamedTensor>) -> anyhow::Result<()> {
        let own =
            self.parameters.iter().map(|own| (own.array.name.clone(), own.array.shape.clone()));
        let arrays = in_order(&own.collect::<Vec<_>>(), weights)?;
        for (own, array) in self.parameters.iter_mut().zip(arrays) {
            own.array = array;
        }
        self.pack();
        Ok(())
    }

    /// Every parameter.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The weights, to be changed; call [`Network::pack`] afterwards.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// Packs the weights for the kernel anew.
    pub fn pack(&mut self) {
        for (branch, slots) in self.branches.iter_mut().zip(&self.slots) {
            for (cells, slots) in branch.cells.iter_mut().zip(&slots.cells) {
                for (cell, first) in cells.iter_mut().zip(slots) {
                    let [ih, hh, bias] =
                        [0, 1, 2].map(|n| &self.parameters[first + n].array.values[..]);
                    cell.pack(ih, hh, bias);
                }
            }
        }
    }

    fn head(&self) -> (&[f32], &[f32]) {
        let [weight, bias] = [0, 1].map(|n| &self.parameters[self.head + n].array.values[..]);
        (weight, bias)
    }

    /// The log probability of each class for every example, [B, C], in the order of the batch.
    pub fn log_probabilities(&self, reading: &ShardedBatch) -> Vec<f64> {
        let mode = Mode { backward: false, dropout: None };
        let mut all = vec![0.0; reading.examples * self.classes];
        let parts: Vec<Vec<f64>> = reading
            .shards
            .par_iter()
            .map(|shard| {
                let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let mut work = idle().pop().unwrap_or_default();
                let mut rows = Vec::new();
                self.run(shard, &mut work, mode, |row| rows.extend_from_slice(row));
                idle().push(work);
                rows
            })
            .collect();
        for (shard, rows) in reading.shards.iter().zip(&parts) {
            for (place, row) in shard.places.iter().zip(rows.chunks_exact(self.classes)) {
                all[*place as usize * self.classes..][..self.classes].copy_from_slice(row);
            }
        }
        all
    }

    /// The loss of a batch, the mean over its examples, and its gradient.
    pub fn gradients(
        &mut self,
        reading: &ShardedBatch,
        criterion: &impl Objective,
        dropout: Option<&Dropout>,
        gradients: &mut Gradients,
    ) -> Loss {
        let total: f64 = reading.shards.iter().map(|shard| criterion.weight(&shard.labels)).sum();
        let mode = Mode { backward: true, dropout };
        let mut works = std::mem::take(&mut self.shards);
        works.resize_with(reading.shards.len().max(works.len()), ShardWork::default);
        let network = &*self;
        let start = Instant::now();
        works.par_iter_mut().zip(&reading.shards).for_each(|(work, shard)| {
            network.learn(shard, work, criterion, total, mode);
        });
        let mut waiting = start.elapsed().as_secs_f64();
        let used = &mut works[..reading.shards.len()];
        for work in &mut *used {
            for (part, seconds) in work.times.0.drain(..) {
                let share = seconds / reading.shards.len() as f64;
                self.times.add(part, share);
                waiting -= share;
            }
        }
        self.times.add("wait", waiting);
        let start = Instant::now();
        self.merge(reading, used, gradients);
        self.times.add("merge", start.elapsed().as_secs_f64());
        let loss = Loss {
            mean: used.iter().map(|work| work.loss).sum::<f64>() / total,
            correct: used.iter().map(|work| work.correct).sum(),
        };
        self.shards = works;
        loss
    }

    /// Forward over a shard; calls `visit` with the log probabilities of each example in turn.
    fn run(&self, shard: &Shard, work: &mut ShardWork, mode: Mode, mut visit: impl FnMut(&[f64])) {
        work.branches.resize_with(self.branches.len(), Workspace::default);
        self.begin(shard, work, mode);
        let (weight, bias) = self.head();
        let stride = weight.len() / bias.len();
        let mut row = Vec::new();
        for block in 0..shard.blocks.len() {
            self.forward(shard, block, work, mode, stride);
            for features in work.features.chunks_exact(stride) {
                logits(features, weight, bias, &mut row);
                log_softmax(&mut row);
                visit(&row);
            }
        }
    }

    fn begin(&self, shard: &Shard, work: &mut ShardWork, mode: Mode) {
        for (number, branch) in self.branches.iter().enumerate() {
            let embedding = &self.parameters[self.slots[number].embedding].array.values;
            branch.begin(&shard.inputs[number], embedding, &mut work.branches[number], mode);
        }
    }

    /// The pooled states of a block into `work.features`, [examples, stride].
    fn forward(
        &self,
        shard: &Shard,
        block: usize,
        work: &mut ShardWork,
        mode: Mode,
        stride: usize,
    ) {
        let places = &shard.places[shard.blocks[block].clone()];
        work.features.clear();
        work.features.resize(places.len() * stride, 0.0);
        let mut offset = 0;
        for (number, branch) in self.branches.iter().enumerate() {
            let (texts, work_here) = (&shard.inputs[number], &mut work.branches[number]);
            let features = (&mut work.features[..], stride, offset);
            branch.forward(texts, block, places, work_here, mode, features);
            offset += branch.features();
        }
    }

    /// Forward and backward over a shard.
    fn learn(
        &self,
        shard: &Shard,
        work: &mut ShardWork,
        criterion: &impl Objective,
        total: f64,
        mode: Mode,
    ) {
        work.branches.resize_with(self.branches.len(), Workspace::default);
        let mut times = std::mem::take(&mut work.times);
        times.measure("embed", || self.begin(shard, work, mode));
        let (weight, bias) = self.head();
        let stride = weight.len() / bias.len();
        for (gradient, like) in [(&mut work.head_weight, weight), (&mut work.head_bias, bias)] {
            gradient.clear();
            gradient.resize(like.len(), 0.0);
        }
        (work.loss, work.correct) = (0.0, 0);
        let mut row = Vec::new();
        for (block, range) in shard.blocks.iter().enumerate() {
            times.measure("forward", || self.forward(shard, block, work, mode, stride));
            let start = Instant::now();
            let places = &shard.places[range.clone()];
            work.kept.clone_from(&work.features);
            work.gradients.clear();
            work.gradients.resize(work.features.len(), 0.0);
            for (index, example) in range.clone().enumerate() {
                let features = &mut work.kept[index * stride..][..stride];
                let gradient = &mut work.gradients[index * stride..][..stride];
                if let Some(dropout) = mode.dropout {
                    dropout.head(places[index], self.head_dropout, features);
                }
                logits(features, weight, bias, &mut row);
                log_softmax(&mut row);
                let label = shard.labels[example] as usize;
                work.correct += u64::from(argmax(&row) == label);
                work.loss += criterion.loss(&mut row, label);
                let first = row.len() - bias.len();
                for (logit, slope) in row[first..].iter().enumerate() {
                    let slope = (slope / total) as f32;
                    work.head_bias[logit] += slope;
                    let to = &mut work.head_weight[logit * stride..][..stride];
                    to.iter_mut().zip(&*features).for_each(|(to, feature)| *to += slope * feature);
                    let from = &weight[logit * stride..][..stride];
                    gradient.iter_mut().zip(from).for_each(|(to, weight)| *to += slope * weight);
                }
                if let Some(dropout) = mode.dropout {
                    dropout.head(places[index], self.head_dropout, gradient);
                }
            }
            times.add("head", start.elapsed().as_secs_f64());
            let start = Instant::now();
            let mut offset = 0;
            for (number, branch) in self.branches.iter().enumerate() {
                let (texts, work_here) = (&shard.inputs[number], &mut work.branches[number]);
                let features = (&work.features[..], &work.gradients[..], stride, offset);
                branch.backward(texts, block, places, work_here, mode, features);
                offset += branch.features();
            }
            times.add("backward", start.elapsed().as_secs_f64());
        }
        times.measure("embed", || {
            for (number, branch) in self.branches.iter().enumerate() {
                branch.end(&shard.inputs[number], &mut work.branches[number], mode);
            }
        });
        work.times = times;
    }

    /// Adds up the shards' gradients, always in their order, and puts them into PyTorch's layout.
    fn merge(&self, reading: &ShardedBatch, works: &mut [ShardWork], gradients: &mut Gradients) {
        gradients.dense.resize_with(self.parameters.len(), Vec::new);
        type Pick = fn(&ShardWork) -> &Vec<f32>;
        let picks: [Pick; 2] = [|work| &work.head_weight, |work| &work.head_bias];
        for (parameter, pick) in (self.head..).zip(picks) {
            let gradient = &mut gradients.dense[parameter];
            gradient.clone_from(pick(&works[0]));
            for work in &works[1..] {
                gradient.iter_mut().zip(pick(work)).for_each(|(sum, value)| *sum += value);
            }
        }
        for (number, (branch, slots)) in self.branches.iter().zip(&self.slots).enumerate() {
            for (layer, cells) in branch.cells.iter().enumerate() {
                for (direction, cell) in cells.iter().enumerate() {
                    let (first, rest) = works.split_at_mut(1);
                    let sum = &mut first[0].branches[number].gradients[layer][direction];
                    for work in rest {
                        sum.add(&work.branches[number].gradients[layer][direction]);
                    }
                    let slot = slots.cells[layer][direction];
                    let lanes = self.instructions.lanes();
                    unpack(&sum.input, cell.inputs, cell.units, lanes, &mut gradients.dense[slot]);
                    unpack(
                        &sum.recurrent,
                        cell.units,
                        cell.units,
                        lanes,
                        &mut gradients.dense[slot + 1],
                    );
                    unpack(&sum.bias, 1, cell.units, lanes, &mut gradients.dense[slot + 2]);
                }
            }
        }
        let trained =
            self.branches.iter().enumerate().filter(|(_, branch)| branch.input.embedding.trainable);
        let trained: Vec<usize> = trained.map(|(number, _)| number).collect();
        gradients.rows.resize_with(trained.len(), RowGradient::default);
        for (number, sum) in trained.into_iter().zip(&mut gradients.rows) {
            let branch = &self.branches[number];
            let (size, row) = (branch.input.embedding.size, branch.row());
            sum.parameter = self.slots[number].embedding;
            sum.words.clone_from(&reading.words[number]);
            sum.values.clear();
            sum.values.resize(sum.words.len() * size, 0.0);
            for (work, shard) in works.iter().zip(&reading.shards) {
                let rows = work.branches[number].rows.chunks_exact(row);
                for (from, at) in rows.zip(&shard.inputs[number].union) {
                    let to = &mut sum.values[*at as usize * size..][..size];
                    to.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
                }
            }
        }
    }
}

impl CellGradient {
    fn add(&mut self, other: &Self) {
        for (sum, values) in [
            (&mut self.input, &other.input),
            (&mut self.recurrent, &other.recurrent),
            (&mut self.bias, &other.bias),
        ] {
            sum.iter_mut().zip(&**values).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// [columns, P/lanes, i f g o, lanes] → [4H, columns].
fn unpack(packed: &[f32], columns: usize, units: usize, lanes: usize, plain: &mut Vec<f32>) {
    plain.resize(4 * units * columns, 0.0);
    let wide = 4 * units.next_multiple_of(lanes);
    for gate in 0..4 {
        for unit in 0..units {
            let from = place(gate, unit, lanes);
            let row = &mut plain[(gate * units + unit) * columns..][..columns];
            for (column, value) in row.iter_mut().enumerate() {
                *value = packed[column * wide + from];
            }
        }
    }
}
