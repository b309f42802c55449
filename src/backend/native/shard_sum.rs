//! Sum of the gradients of some shards, in the layout of the kernel.

use std::mem::swap;

use super::branch::{CellGradient, PaddingGradient, Workspace};
use crate::backend::kernel::AlignedVec;
use crate::backend::{BatchLoss, Times};
use crate::objective::AddedLosses;

/// Mark of a word whose row has not been added.
const ABSENT: u32 = u32::MAX;

/// Sum of the losses and gradients of some shards of a batch.
#[derive(Default)]
pub struct ShardSum {
    /// Gradients of each input's layers and words.
    pub branches: Vec<BranchSum>,
    /// Gradient of head.weight.
    pub head_weight: Vec<f32>,
    /// Gradient of head.bias.
    pub head_bias: Vec<f32>,
    /// Gradient of the logits of each example of the batch, [B, logits]; empty without n-grams.
    pub logits: Vec<f32>,
    /// Sum of the losses.
    pub losses: LossSum,
    /// Seconds of all threads together, by part.
    pub times: Times,
}

/// Sum of the losses of examples.
#[derive(Clone, Copy, Debug, Default)]
pub struct LossSum {
    /// Sum of the weighted losses.
    pub loss: f64,
    /// Number of correct predictions.
    pub correct: u64,
    /// Sums of the shares of the examples in the means of [`AddedLosses`], in the order of its fields.
    pub added: [f64; AddedLosses::COUNT],
}

impl LossSum {
    /// Adds the sum of other examples.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.add_means(other);
    }

    /// Adds the means of the added losses only, such as those of other texts.
    pub fn add_means(&mut self, other: Self) {
        self.added.iter_mut().zip(other.added).for_each(|(sum, value)| *sum += value);
    }

    /// Returns the mean loss of examples with this total weight.
    pub fn mean(self, weight: f64) -> BatchLoss {
        BatchLoss { mean: self.loss / weight, correct: self.correct }
    }
}

/// Gradients of an input's layers and words.
#[derive(Default)]
pub struct BranchSum {
    /// Gradient of the weights, for each layer and direction.
    pub cells: Vec<Vec<CellGradient>>,
    /// Gradient of the query of attention pooling.
    pub query: Vec<f32>,
    /// Gradient of the states of the shared padding, for each layer.
    padding: Vec<PaddingGradient>,
    /// Gradients of words, with one row for each.
    pub rows: WordRows,
}

/// Gradients of the words of some shards.
#[derive(Default)]
pub struct WordRows {
    /// Gradient of each row's word, [rows, padded embedding size].
    pub values: AlignedVec,
    /// Word of each row, as an index into the words of the batch.
    words: Vec<u32>,
    /// Row of each word of the batch; empty if the embedding is not trained.
    rows: Vec<u32>,
    /// Number of floats in a row.
    row_size: usize,
}

impl ShardSum {
    /// Adds the sum of other shards of the batch.
    pub fn add(&mut self, other: &Self) {
        for (sum, other) in self.branches.iter_mut().zip(&other.branches) {
            sum.add(other);
        }
        add(&mut self.head_weight, &other.head_weight);
        add(&mut self.head_bias, &other.head_bias);
        add(&mut self.logits, &other.logits);
        self.losses.add(other.losses);
        for (part, seconds) in &other.times.0 {
            self.times.add(part, *seconds);
        }
    }

    /// Adds the gradients of words and input weights of some branches, whose own are missing here.
    pub fn set_words(&mut self, words: Self) {
        for (sum, words) in self.branches.iter_mut().zip(words.branches) {
            let Some(layer) = words.cells.into_iter().next() else { continue };
            for (cell, words) in sum.cells.iter_mut().flatten().zip(layer) {
                (cell.input, cell.bias) = (words.input, words.bias);
            }
            sum.rows = words.rows;
        }
    }

    /// Adds up sums of other shards, of which there is at least one, in order.
    pub fn merge(sums: &mut Vec<Self>) -> Option<&mut Self> {
        let others = sums.split_off(sums.len().min(1));
        let sum = sums.first_mut()?;
        others.iter().for_each(|other| sum.add(other));
        Some(sum)
    }

    /// Appends all gradients to `values`, in an order and a number that are the same in all processes that
    /// compute shards of the batch.
    pub fn append_to(&mut self, values: &mut Vec<f32>) {
        self.layers().for_each(|gradient| values.extend_from_slice(gradient));
        self.branches.iter().for_each(|branch| branch.rows.append_to(values));
    }

    /// Replaces all gradients by values in the order of [`ShardSum::append_to`].
    pub fn take_from(&mut self, mut values: &[f32]) {
        for gradient in self.layers() {
            let (own, rest) = values.split_at(gradient.len());
            gradient.copy_from_slice(own);
            values = rest;
        }
        for branch in &mut self.branches {
            values = branch.rows.take_from(values);
        }
    }

    /// Returns all gradients but those of words.
    fn layers(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let head = [&mut self.head_weight, &mut self.head_bias, &mut self.logits];
        let branches = self.branches.iter_mut().flat_map(BranchSum::layers);
        branches.chain(head.into_iter().map(Vec::as_mut_slice))
    }
}

impl BranchSum {
    fn add(&mut self, other: &Self) {
        for (sum, other) in self.cells.iter_mut().flatten().zip(other.cells.iter().flatten()) {
            add(&mut sum.input, &other.input);
            add(&mut sum.recurrent, &other.recurrent);
            add(&mut sum.bias, &other.bias);
        }
        add(&mut self.query, &other.query);
        for (sum, other) in self.padding.iter_mut().zip(&other.padding) {
            add(&mut sum.hidden, &other.hidden);
            add(&mut sum.cell, &other.cell);
        }
        self.rows.add(&other.rows);
    }

    /// Returns the gradients of the layers.
    fn layers(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let cells = self.cells.iter_mut().flatten();
        let cells = cells.flat_map(|cell| [&mut cell.input, &mut cell.recurrent, &mut cell.bias]);
        let padding = self.padding.iter_mut();
        let padding = padding.flat_map(|padding| [&mut padding.hidden, &mut padding.cell]);
        cells.chain(padding).map(|values| &mut **values).chain([&mut self.query[..]])
    }

    /// Exchanges the buffers for the gradients of layers, so that a pass adds to those of this sum.
    pub fn swap_layers(&mut self, buffers: &mut Workspace) {
        swap(&mut self.cells, &mut buffers.gradients);
        swap(&mut self.query, &mut buffers.attention.query_gradient);
        swap(&mut self.padding, &mut buffers.padding_gradients);
    }
}

impl WordRows {
    /// Exchanges the buffer for the gradients of words.
    pub fn swap_values(&mut self, buffers: &mut Workspace) {
        swap(&mut self.values, &mut buffers.word_gradients);
    }

    /// Sets the words of the rows in `values`, as indices into the `count` words of the batch, and
    /// the number of floats in a row.
    pub fn set_words(&mut self, words: &[u32], count: usize, row_size: usize) {
        self.row_size = row_size;
        self.values.resize(words.len() * row_size);
        self.words.clear();
        self.words.extend_from_slice(words);
        self.rows.clear();
        self.rows.resize(count, ABSENT);
        for (row, word) in (0..).zip(words) {
            self.rows[*word as usize] = row;
        }
    }

    /// Appends the row of each word of the batch. The rows of words that are not in these shards are −0.0, which
    /// changes no bit of a number to which it is added; 0.0 would change −0.0.
    fn append_to(&self, values: &mut Vec<f32>) {
        let start = values.len();
        values.resize(start + self.rows.len() * self.row_size, -0.0);
        let all = &mut values[start..];
        for (word, row) in self.iter() {
            all[word * self.row_size..][..self.row_size].copy_from_slice(row);
        }
    }

    /// Replaces the rows by one for each word of the batch. Returns the values that are left.
    fn take_from<'a>(&mut self, values: &'a [f32]) -> &'a [f32] {
        let count = self.rows.len() as u32;
        let (own, rest) = values.split_at(self.rows.len() * self.row_size);
        self.values.resize(own.len());
        self.values.copy_from_slice(own);
        self.rows.clear();
        self.rows.extend(0..count);
        self.words.clone_from(&self.rows);
        rest
    }

    /// Returns the gradient of each word, as an index into the words of the batch.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let words = self.words.iter().map(|word| *word as usize);
        words.zip(self.values.chunks_exact(self.row_size))
    }

    /// Adds other rows. Words that only they have get a new row.
    pub fn add(&mut self, other: &Self) {
        let size = self.row_size;
        let mut count = self.words.len();
        for word in &other.words {
            let row = &mut self.rows[*word as usize];
            if *row == ABSENT {
                *row = count as u32;
                count += 1;
            }
        }
        let present = self.words.len();
        self.values.resize(count * size);
        self.words.resize(count, ABSENT);
        for (word, values) in other.iter() {
            let row = self.rows[word] as usize;
            let to = &mut self.values[row * size..][..size];
            match row < present {
                true => add(to, values),
                false => {
                    self.words[row] = word as u32;
                    to.copy_from_slice(values);
                }
            }
        }
    }
}

fn add(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}
