//! The sum of the gradients of all shards, in PyTorch's layout. Passes over texts don't belong here.

use rayon::prelude::*;

use super::model::{EMBEDDING, Model, mask_recurrent_weights};
use super::negatives::Negatives;
use super::shard::{Shard, ShardSums};
use crate::backend::kernel::{GATES, packed_index};
use crate::backend::language_model::DropoutMasks;
use crate::backend::native::gradients::{Gradients, RowGradient};
use crate::backend::native::row_numbers::{RowNumbers, sort_words};

impl Model {
    /// Adds up the gradients of all shards, those of one direction after the other, in order. `masks` are those of the
    /// pass.
    pub fn collect_gradients(
        &self,
        shards: &mut [Shard],
        negatives: &Negatives,
        masks: &DropoutMasks,
        row_numbers: &mut RowNumbers,
        gradients: &mut Gradients,
    ) {
        let (lanes, scale) = (self.instructions.lanes(), self.scale());
        let Gradients { dense, rows, .. } = gradients;
        dense.resize_with(self.weights.len(), Vec::new);
        add_up(shards);
        let of_directions = shards.chunk_by(|a, b| a.direction == b.direction);
        for (index, (direction, shards)) in self.directions.iter().zip(of_directions).enumerate() {
            let sums = &shards[0].sums;
            for ((layer, cell), sums) in direction.cells.iter().enumerate().zip(&sums.cells) {
                let first = direction.cell_index(layer);
                let parts =
                    [(&sums.input, cell.inputs), (&sums.recurrent, cell.units), (&sums.bias, 1)];
                for (weight, (sum, columns)) in (first..).zip(parts) {
                    unpack(sum, columns, cell.units, lanes, &mut dense[weight]);
                }
                if masks.drops_weights() {
                    let recurrent = &mut dense[first + 1];
                    mask_recurrent_weights(masks, [index, layer], cell.units, recurrent);
                }
            }
            let projection = direction.projection_index();
            let (units, padded_units) = (direction.cells[0].units, self.padded_units());
            unpad(&sums.projection, [padded_units, units], scale, &mut dense[projection]);
            let sizes = [self.padded_size(), self.size];
            unpad(&sums.projection_bias, sizes, scale, &mut dense[projection + 1]);
        }
        rows.resize_with(1 + self.directions.len(), RowGradient::default);
        self.collect_rows(shards, negatives, row_numbers, rows);
    }

    /// Adds up the gradients of the word vectors, and of the output bias of each direction. The first shard of a
    /// direction has the sum over its negatives, and the very first one the gradients of all their vectors.
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
        }
        let of_negatives = shards.first().map_or(&[][..], |shard| &shard.sums.negatives);
        let of_negatives = rows_of_negatives.iter().zip(of_negatives.chunks_exact(padded_size));
        of_negatives.for_each(|(row, gradient)| add(row, gradient));
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
            }
            let of_negatives = rows_of_negatives.iter().zip(&*shards[0].sums.negative_biases);
            of_negatives.for_each(|(row, value)| add(row, *value));
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

/// Adds the gradients of all shards of a direction but those of words to the first one's, and those of the vectors of
/// the negatives to the very first one's.
fn add_up(shards: &mut [Shard]) {
    for shards in shards.chunk_by_mut(|a, b| a.direction == b.direction) {
        let Some((first, others)) = shards.split_first_mut() else { continue };
        let others: Vec<Vec<&[f32]>> = others.iter().map(|shard| shard.sums.dense()).collect();
        for (index, sum) in first.sums.dense_mut().into_iter().enumerate() {
            add_to(sum, others.iter().map(|gradients| gradients[index]).collect());
        }
    }
    if let Some((first, others)) = shards.split_first_mut() {
        let others = others.iter().map(|shard| &*shard.sums.negatives);
        add_to(&mut first.sums.negatives, others.collect());
    }
}

/// Adds values to a sum, one after the other, with all threads.
fn add_to(sum: &mut [f32], others: Vec<&[f32]>) {
    /// Number of values that a thread adds at a time; they stay in its cache.
    const CHUNK: usize = 1 << 13;
    sum.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sum)| {
        for values in &others {
            let values = &values[chunk * CHUNK..];
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    });
}

/// Unpacks a matrix [columns, P/lanes, i f g o, lanes] to [4H, columns].
fn unpack(packed: &[f32], columns: usize, units: usize, lanes: usize, plain: &mut Vec<f32>) {
    plain.resize(GATES * units * columns, 0.0);
    let gates_width = GATES * units.next_multiple_of(lanes);
    plain.par_chunks_mut(units * columns).enumerate().for_each(|(gate, rows)| {
        let vectors = rows.par_chunks_mut(lanes * columns).enumerate();
        vectors.for_each(|(vector, rows)| {
            let first = packed_index(gate, vector * lanes, lanes);
            for (column, packed) in packed.chunks_exact(gates_width).enumerate() {
                let to = rows[column..].iter_mut().step_by(columns);
                to.zip(&packed[first..first + lanes]).for_each(|(to, value)| *to = *value);
            }
        });
    });
}

/// Computes `factor` times a matrix without the padding of its rows.
fn unpad(padded: &[f32], [padded_size, size]: [usize; 2], factor: f32, plain: &mut Vec<f32>) {
    plain.clear();
    for row in padded.chunks_exact(padded_size) {
        plain.extend(row[..size].iter().map(|value| factor * value));
    }
}

impl ShardSums {
    /// Returns the gradients that all shards of a direction have for the same weights.
    pub fn dense(&self) -> Vec<&[f32]> {
        let Self { cells, projection, projection_bias, negative_biases, .. } = self;
        let cells = cells.iter().flat_map(|cell| [&cell.input, &cell.recurrent, &cell.bias]);
        let others = [projection, projection_bias, negative_biases];
        cells.chain(others).map(|values| &**values).collect()
    }

    /// Returns the same gradients for modification.
    fn dense_mut(&mut self) -> Vec<&mut [f32]> {
        let Self { cells, projection, projection_bias, negative_biases, .. } = self;
        let cells = cells.iter_mut();
        let cells = cells.flat_map(|cell| [&mut cell.input, &mut cell.recurrent, &mut cell.bias]);
        let others = [projection, projection_bias, negative_biases];
        cells.chain(others).map(|values| &mut **values).collect()
    }
}
