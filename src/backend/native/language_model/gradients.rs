//! The sum of the gradients of all shards, in PyTorch's layout. Passes over texts don't belong here.

use rayon::prelude::*;

use super::model::{EMBEDDING, Model};
use super::negatives::Negatives;
use super::shard::Shard;
use crate::backend::kernel::{GATES, packed_index};
use crate::backend::native::gradients::{Gradients, RowGradient};
use crate::backend::native::row_numbers::{RowNumbers, sort_words};

impl Model {
    /// Adds up the gradients of all shards, those of one direction after the other, in order.
    pub fn collect_gradients(
        &self,
        shards: &[Shard],
        negatives: &Negatives,
        row_numbers: &mut RowNumbers,
        gradients: &mut Gradients,
    ) {
        let (lanes, scale) = (self.instructions.lanes(), self.scale());
        let Gradients { dense, rows, .. } = gradients;
        dense.resize_with(self.weights.len(), Vec::new);
        let of_directions = shards.chunk_by(|a, b| a.direction == b.direction);
        for (direction, shards) in self.directions.iter().zip(of_directions) {
            for (layer, cell) in direction.cells.iter().enumerate() {
                let first = direction.cell_index(layer);
                let sums = || shards.iter().map(|shard| &shard.sums.cells[layer]);
                let parts: [(Vec<&[f32]>, usize); 3] = [
                    (sums().map(|sums| &*sums.input).collect(), cell.inputs),
                    (sums().map(|sums| &*sums.recurrent).collect(), cell.units),
                    (sums().map(|sums| &*sums.bias).collect(), 1),
                ];
                for (index, (parts, columns)) in (first..).zip(parts) {
                    unpack(&parts, columns, cell.units, lanes, &mut dense[index]);
                }
            }
            let index = direction.projection_index();
            let (units, padded_units) = (direction.cells[0].units, self.padded_units());
            let sums = || shards.iter().map(|shard| &shard.sums);
            let parts: Vec<&[f32]> = sums().map(|sums| &*sums.projection).collect();
            add_rows(&parts, [padded_units, units], scale, &mut dense[index]);
            let parts: Vec<&[f32]> = sums().map(|sums| &*sums.projection_bias).collect();
            add_rows(&parts, [self.padded_size(), self.size], scale, &mut dense[index + 1]);
        }
        rows.resize_with(1 + self.directions.len(), RowGradient::default);
        self.collect_rows(shards, negatives, row_numbers, rows);
    }

    /// Adds up the gradients of the word vectors, and of the output bias of each direction.
    fn collect_rows(
        &self,
        shards: &[Shard],
        negatives: &Negatives,
        row_numbers: &mut RowNumbers,
        gradients: &mut [RowGradient],
    ) {
        let (size, padded_size) = (self.size, self.padded_size());
        row_numbers.reset();
        let mut words = Vec::new();
        let mut union_rows = |own: &[u32]| -> Vec<u32> {
            own.iter().map(|word| row_numbers.get_or_add(*word, &mut words)).collect()
        };
        let mut rows_of_shards: Vec<Vec<u32>> =
            shards.iter().map(|shard| union_rows(&shard.words)).collect();
        let mut rows_of_negatives = union_rows(&negatives.words);
        let ranks = sort_words(&mut words);
        for rows in rows_of_shards.iter_mut().chain([&mut rows_of_negatives]) {
            rows.iter_mut().for_each(|row| *row = ranks[*row as usize]);
        }
        let Some((embedding, output_biases)) = gradients.split_first_mut() else { return };
        let values = &mut embedding.values;
        values.clear();
        values.resize(words.len() * size, 0.0);
        let mut add = |row: &u32, gradient: &[f32]| {
            let to = &mut values[*row as usize * size..][..size];
            to.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        };
        for (shard, rows) in shards.iter().zip(&rows_of_shards) {
            for gradients in [&shard.sums.inputs, &shard.sums.targets] {
                let gradients = rows.iter().zip(gradients.chunks_exact(padded_size));
                gradients.for_each(|(row, gradient)| add(row, gradient));
            }
            let gradients =
                rows_of_negatives.iter().zip(shard.sums.negatives.chunks_exact(padded_size));
            gradients.for_each(|(row, gradient)| add(row, gradient));
        }
        let of_directions = shards.chunk_by(|a, b| a.direction == b.direction);
        let mut rows_of_shards = rows_of_shards.iter();
        for ((direction, shards), gradient) in
            self.directions.iter().zip(of_directions).zip(output_biases)
        {
            // A word that is only read has no gradient here.
            let mut sums: Vec<Option<f32>> = vec![None; words.len()];
            let mut add = |row: &u32, value: f32| {
                let sum = &mut sums[*row as usize];
                *sum = Some(sum.unwrap_or(0.0) + value);
            };
            for (shard, rows) in shards.iter().zip(&mut rows_of_shards) {
                let targets = rows.iter().zip(&shard.is_target).zip(&shard.sums.target_biases);
                let targets = targets.filter(|((_, is_target), _)| **is_target);
                targets.for_each(|((row, _), value)| add(row, *value));
                let negatives = rows_of_negatives.iter().zip(&*shard.sums.negative_biases);
                negatives.for_each(|(row, value)| add(row, *value));
            }
            gradient.parameter = direction.output_bias_index();
            gradient.words.clear();
            gradient.values.clear();
            for (word, sum) in words.iter().zip(sums) {
                if let Some(sum) = sum {
                    gradient.words.push(*word);
                    gradient.values.push(sum);
                }
            }
        }
        (embedding.parameter, embedding.words) = (EMBEDDING, words);
    }
}

/// Unpacks the sum of matrices [columns, P/lanes, i f g o, lanes] to [4H, columns].
fn unpack(parts: &[&[f32]], columns: usize, units: usize, lanes: usize, plain: &mut Vec<f32>) {
    plain.resize(GATES * units * columns, 0.0);
    let gates_width = GATES * units.next_multiple_of(lanes);
    plain.par_chunks_mut(units * columns).enumerate().for_each(|(gate, rows)| {
        let vectors = rows.par_chunks_mut(lanes * columns).enumerate();
        vectors.for_each(|(vector, rows)| {
            let first = packed_index(gate, vector * lanes, lanes);
            for (index, part) in parts.iter().enumerate() {
                for (column, packed) in part.chunks_exact(gates_width).enumerate() {
                    let to = rows[column..].iter_mut().step_by(columns);
                    let values = to.zip(&packed[first..first + lanes]);
                    match index {
                        0 => values.for_each(|(to, value)| *to = *value),
                        _ => values.for_each(|(to, value)| *to += value),
                    }
                }
            }
        });
    });
}

/// Computes `factor` times the sum of matrices with padded rows.
fn add_rows(parts: &[&[f32]], [padded_size, size]: [usize; 2], factor: f32, plain: &mut Vec<f32>) {
    plain.clear();
    plain.resize(parts.first().map_or(0, |part| part.len() / padded_size * size), 0.0);
    for part in parts {
        let rows = plain.chunks_exact_mut(size).zip(part.chunks_exact(padded_size));
        for (row, values) in rows {
            row.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
        }
    }
}
