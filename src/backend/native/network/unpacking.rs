//! Gradients in PyTorch's layout, from those in the layout of the kernel.

use super::Network;
use crate::backend::kernel::{GATES, packed_index};
use crate::backend::native::gradients::{Gradients, RowGradient};
use crate::backend::native::shard_sum::ShardSum;
use crate::backend::native::sharding::ShardedBatch;

impl Network {
    /// Converts the sum of all shards to PyTorch's layout.
    pub(super) fn unpack(&self, batch: &ShardedBatch, sum: &ShardSum, gradients: &mut Gradients) {
        gradients.dense.resize_with(self.weights.len(), Vec::new);
        if let Some(weight) = self.head_weight {
            gradients.dense[weight].clone_from(&sum.head_weight);
        }
        gradients.dense[self.head_bias].clone_from(&sum.head_bias);
        let lanes = self.instructions.lanes();
        for (index, (branch, indices)) in self.branches.iter().zip(&self.indices).enumerate() {
            for (layer, cells) in branch.cells.iter().enumerate() {
                for (direction, cell) in cells.iter().enumerate() {
                    let sum = &sum.branches[index].cells[layer][direction];
                    let units = cell.units;
                    let first_weight = indices.cells[layer][direction];
                    let dense = &mut gradients.dense;
                    unpack(&sum.input, cell.inputs, units, lanes, &mut dense[first_weight]);
                    unpack(&sum.recurrent, units, units, lanes, &mut dense[first_weight + 1]);
                    unpack(&sum.bias, 1, units, lanes, &mut dense[first_weight + 2]);
                }
            }
            if let Some(query) = indices.query {
                gradients.dense[query].clone_from(&sum.branches[index].query);
            }
        }
        let trained =
            self.branches.iter().enumerate().filter(|(_, branch)| branch.input.embedding.trainable);
        let trained: Vec<usize> = trained.map(|(index, _)| index).collect();
        let subwords = trained.iter().filter(|index| self.indices[**index].subwords.is_some());
        gradients.rows.resize_with(trained.len() + subwords.count(), RowGradient::default);
        let mut rows = gradients.rows.iter_mut();
        for index in trained {
            let (branch, indices) = (&self.branches[index], &self.indices[index]);
            let (input, size) = (branch.input_index, branch.input.embedding.size);
            let Some(gradient) = rows.next() else { break };
            gradient.parameter = indices.embedding;
            gradient.words.clone_from(&batch.words[input]);
            // The sum has a row for each word, which replaces the values of an earlier batch.
            gradient.values.resize(gradient.words.len() * size, 0.0);
            for (word, row) in sum.branches[index].rows.iter() {
                gradient.values[word * size..][..size].copy_from_slice(&row[..size]);
            }
            if let (Some(parameter), Some(subwords)) = (indices.subwords, &batch.subwords[input]) {
                let Some(of_buckets) = rows.next() else { break };
                of_buckets.parameter = parameter;
                subwords.split(size, gradient, of_buckets);
            }
        }
        gradients.ngrams.resize_with(self.ngrams.len(), RowGradient::default);
        for (branch, gradient) in self.ngrams.iter().zip(&mut gradients.ngrams) {
            let ngrams = &batch.ngrams[branch.input_index];
            branch.gradient(&self.weights, ngrams, &sum.logits, gradient);
        }
    }
}

/// Unpacks [columns, P/lanes, i f g o, lanes] to [4H, columns].
fn unpack(packed: &[f32], columns: usize, units: usize, lanes: usize, plain: &mut Vec<f32>) {
    plain.resize(GATES * units * columns, 0.0);
    let gates_width = GATES * units.next_multiple_of(lanes);
    for gate in 0..GATES {
        for unit in 0..units {
            let from = packed_index(gate, unit, lanes);
            let row = &mut plain[(gate * units + unit) * columns..][..columns];
            for (column, value) in row.iter_mut().enumerate() {
                *value = packed[column * gates_width + from];
            }
        }
    }
}
