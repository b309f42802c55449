//! Gradients of a network, and their norm.

use super::weight::Weight;
use crate::model::named_tensors::NamedTensor;

/// Gradient of every parameter. The gradient of an embedding has only the rows of a batch's words.
#[derive(Default)]
pub struct Gradients {
    /// Gradient of each parameter; empty for embeddings, n-grams, and parameters that are not trained.
    pub dense: Vec<Vec<f32>>,
    /// Gradient of each trained embedding.
    pub rows: Vec<RowGradient>,
    /// Gradient of the weights of each input's n-grams. It counts neither for the norm nor for clipping,
    /// so that a linear branch does not change how the other weights are trained.
    pub ngrams: Vec<RowGradient>,
}

/// Gradient of an embedding or of the weights of n-grams.
#[derive(Default)]
pub struct RowGradient {
    /// Index of the parameter.
    pub parameter: usize,
    /// Distinct words or n-grams, sorted.
    pub words: Vec<u32>,
    /// Gradient of each one's row, [words, E].
    pub values: Vec<f32>,
}

impl Gradients {
    /// Returns the norm of all gradients together, except for those of n-grams.
    pub fn norm(&self) -> f64 {
        let rows = self.rows.iter().map(|rows| &rows.values);
        let squares = self.dense.iter().chain(rows).map(|values| sum_of_squares(values));
        squares.sum::<f64>().sqrt()
    }

    /// Adds other gradients of the same network. The gradient of an embedding gets the rows of the words of
    /// both.
    pub fn add(&mut self, other: &Self) {
        for (sum, values) in self.dense.iter_mut().zip(&other.dense) {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let rows = self.rows.iter_mut().chain(&mut self.ngrams);
        rows.zip(other.rows.iter().chain(&other.ngrams)).for_each(|(sum, rows)| sum.add(rows));
    }

    /// Adds `factor` times the gradient of parameter `of` of other weights to that of a parameter, unless that has none
    /// because it is frozen.
    pub fn add_parameter(&mut self, parameter: usize, other: &Self, of: usize, factor: f32) {
        let scaled = |values: &[f32]| values.iter().map(|value| value * factor).collect();
        if let Some(rows) = other.rows_of(of) {
            if let Some(sum) = self.rows.iter_mut().find(|rows| rows.parameter == parameter) {
                let (words, values) = (rows.words.clone(), scaled(&rows.values));
                sum.add(&RowGradient { parameter, words, values });
            }
        } else if let Some((sum, values)) = self.dense.get_mut(parameter).zip(other.dense.get(of)) {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
        }
    }

    /// Removes the gradient of a parameter.
    pub fn remove_parameter(&mut self, parameter: usize) {
        self.rows.retain(|rows| rows.parameter != parameter);
        if let Some(values) = self.dense.get_mut(parameter) {
            values.clear();
        }
    }

    /// Removes the gradients of frozen weights, so that the norm does not include them.
    pub fn remove_frozen(&mut self, weights: &[Weight]) {
        for (values, weight) in self.dense.iter_mut().zip(weights) {
            if weight.is_frozen() {
                values.clear();
            }
        }
        for rows in [&mut self.rows, &mut self.ngrams] {
            rows.retain(|rows| !weights[rows.parameter].is_frozen());
        }
    }

    /// Returns the rows of the gradient of a parameter, if it has a gradient by rows.
    pub fn rows_of(&self, parameter: usize) -> Option<&RowGradient> {
        self.rows.iter().chain(&self.ngrams).find(|rows| rows.parameter == parameter)
    }

    /// Returns `factor` times the gradient of every weight that is trained and not frozen, for n-grams the gradient itself. The
    /// gradient of an embedding or of n-grams has only its nonzero rows.
    pub fn tensors(&self, weights: &[Weight], factor: f32) -> Vec<NamedTensor> {
        let gradient = |(index, weight): (usize, &Weight)| {
            let NamedTensor { name, shape, .. } = &weight.tensor;
            let factor = if weight.ngram_l2.is_some() { 1.0 } else { factor };
            let scaled = |values: &[f32]| -> Vec<f32> {
                values.iter().map(|value| value * factor).collect()
            };
            let (shape, values) = match self.rows_of(index) {
                None => (shape.clone(), scaled(self.dense.get(index)?)),
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
        let trained = weights.iter().enumerate();
        let trained = trained.filter(|(_, weight)| weight.trainable && !weight.is_frozen());
        trained.filter_map(gradient).collect()
    }
}

impl RowGradient {
    /// Adds other rows of the same parameter.
    fn add(&mut self, other: &Self) {
        let size = self.values.len().checked_div(self.words.len());
        let Some(size) = size.or(other.values.len().checked_div(other.words.len())) else { return };
        let mut words = [&self.words[..], &other.words].concat();
        words.sort();
        words.dedup();
        let mut sums = vec![0.0; words.len() * size];
        for rows in [&*self, other] {
            let mut sums = words.iter().zip(sums.chunks_exact_mut(size));
            for (word, row) in rows.words.iter().zip(rows.values.chunks_exact(size)) {
                // All are sorted, and `words` has all of `rows.words`.
                if let Some((_, sum)) = sums.find(|(other, _)| *other == word) {
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        (self.words, self.values) = (words, sums);
    }
}

/// Returns the sum of squares in double precision, added in an order that vectorizes.
fn sum_of_squares(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0_f64; LANES];
    let chunks = values.chunks_exact(LANES);
    let remainder: f64 = chunks.remainder().iter().map(|value| f64::from(*value).powi(2)).sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value).powi(2);
        }
    }
    sums.iter().sum::<f64>() + remainder
}
