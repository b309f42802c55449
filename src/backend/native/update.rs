//! Update rules of the optimizers, for dense parameters and for the rows of an embedding.

use pulp::{Simd, WithSimd};

/// Number of values of a dense parameter that a thread updates at a time.
const CHUNK: usize = 1 << 14;
/// Number of parts into which an embedding is cut for each thread.
const PARTS: usize = 4;
/// Number of weights that are averaged at a time: their former values stay in the cache.
const BLOCK: usize = 256;

/// Update rule of one step.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Factor of the gradients, from clipping.
    pub factor: f32,
    /// Fraction of the weights that is added to the gradients (L2 regularization).
    pub l2: f32,
    /// Factor of the weights before the update (decoupled weight decay).
    pub decoupled: f32,
    /// Factor of the change of a weight by which the deviation of its average decreases.
    pub change: f32,
    pub update: Update,
}

/// Optimizer with the constants of one step.
#[derive(Clone, Copy)]
pub enum Update {
    Adam { beta1: f32, beta2: f32, step: f32, root: f32, epsilon: f32 },
    Rmsprop { rho: f32, epsilon: f32, momentum: f32, step: f32 },
    Adadelta { rho: f32, epsilon: f32, step: f32 },
    Sgd { momentum: f32, nesterov: bool, step: f32 },
}

impl Rule {
    /// Updates weights and state. The compiler vectorizes these plain loops inside [`WithSimd`].
    #[inline(always)]
    fn apply(self, weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let Self { factor, l2, decoupled, update, .. } = self;
        let all = weights.iter_mut().zip(gradients);
        match update {
            // Kingma and Ba 2015; with decoupled weight decay Loshchilov and Hutter 2019.
            Update::Adam { beta1, beta2, step, root, epsilon } => {
                for ((weight, gradient), (mean, square)) in all.zip(first.iter_mut().zip(second)) {
                    let weight_before = *weight * decoupled;
                    let gradient = gradient * factor + l2 * *weight;
                    *mean += (gradient - *mean) * (1.0 - beta1);
                    *square = *square * beta2 + gradient * gradient * (1.0 - beta2);
                    *weight = weight_before - step * *mean / (square.sqrt() * root + epsilon);
                }
            }
            // Hinton 2012.
            Update::Rmsprop { rho, epsilon, momentum, step } => {
                let mut momenta = second.iter_mut();
                for ((weight, gradient), square) in all.zip(first) {
                    let gradient = gradient * factor + l2 * *weight;
                    *square += (gradient * gradient - *square) * (1.0 - rho);
                    let mut change = gradient / (square.sqrt() + epsilon);
                    if let Some(past) = momenta.next() {
                        *past = *past * momentum + change;
                        change = *past;
                    }
                    *weight -= step * change;
                }
            }
            // Zeiler 2012.
            Update::Adadelta { rho, epsilon, step } => {
                for ((weight, gradient), (square, past)) in all.zip(first.iter_mut().zip(second)) {
                    let gradient = gradient * factor + l2 * *weight;
                    *square += (gradient * gradient - *square) * (1.0 - rho);
                    let change = (*past + epsilon).sqrt() / (*square + epsilon).sqrt() * gradient;
                    *past += (change * change - *past) * (1.0 - rho);
                    *weight -= step * change;
                }
            }
            Update::Sgd { momentum, nesterov, step } => {
                let mut momenta = first.iter_mut();
                for (weight, gradient) in all {
                    let mut gradient = gradient * factor + l2 * *weight;
                    if let Some(past) = momenta.next() {
                        *past = *past * momentum + gradient;
                        gradient = if nesterov { gradient + momentum * *past } else { *past };
                    }
                    *weight -= step * gradient;
                }
            }
        }
    }

    /// Updates weights and state, and the deviations of the averages of these weights. `former` is a
    /// buffer.
    #[inline(always)]
    fn apply_and_average(
        self,
        weights: &mut [f32],
        gradients: &[f32],
        first: &mut [f32],
        second: &mut [f32],
        deviations: &mut [f32],
        former: &mut [f32; BLOCK],
    ) {
        let (mut first, mut second) = (first.chunks_mut(BLOCK), second.chunks_mut(BLOCK));
        let blocks = weights.chunks_mut(BLOCK).zip(gradients.chunks(BLOCK));
        for ((weights, gradients), deviations) in blocks.zip(deviations.chunks_mut(BLOCK)) {
            let former = &mut former[..weights.len()];
            former.copy_from_slice(weights);
            let (first, second) = (first.next(), second.next());
            self.apply(weights, gradients, first.unwrap_or_default(), second.unwrap_or_default());
            let changes = weights.iter().zip(former).map(|(weight, former)| *weight - *former);
            for (deviation, change) in deviations.iter_mut().zip(changes) {
                *deviation -= self.change * change;
            }
        }
    }
}

/// One step of a parameter whose values all have a gradient.
pub struct DenseUpdate<'a> {
    pub rule: Rule,
    pub weights: &'a mut [f32],
    pub gradients: &'a [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    /// Deviations of the averages; empty if the weights are not averaged.
    pub deviations: &'a mut [f32],
}

impl DenseUpdate<'_> {
    /// Cuts the parameter into parts that threads can update concurrently.
    pub fn parts(self) -> Vec<Self> {
        let Self { rule, weights, gradients, first, second, deviations } = self;
        let (mut first, mut second) = (first.chunks_mut(CHUNK), second.chunks_mut(CHUNK));
        let mut deviations = deviations.chunks_mut(CHUNK);
        let parts = weights.chunks_mut(CHUNK).zip(gradients.chunks(CHUNK));
        let part = |(weights, gradients)| Self {
            rule,
            weights,
            gradients,
            first: first.next().unwrap_or_default(),
            second: second.next().unwrap_or_default(),
            deviations: deviations.next().unwrap_or_default(),
        };
        parts.map(part).collect()
    }
}

impl WithSimd for DenseUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rule, weights, gradients, first, second, deviations } = self;
        match deviations.is_empty() {
            true => rule.apply(weights, gradients, first, second),
            false => {
                let former = &mut [0.0; BLOCK];
                rule.apply_and_average(weights, gradients, first, second, deviations, former);
            }
        }
    }
}

/// Applies `steps` gradients of zero to the state of a row.
#[inline(always)]
pub fn decay_row(state: &mut [f32], decay: f32, steps: u32) {
    for _ in 0..steps {
        let mut changed = false;
        for value in &mut *state {
            let before = *value;
            *value += (0.0 - *value) * decay;
            changed |= *value != before;
        }
        if !changed {
            break;
        }
    }
}

/// One step of consecutive rows of an embedding.
pub struct EmbeddingUpdate<'a> {
    pub rule: Rule,
    /// Number of values in a row, E.
    pub row_size: usize,
    /// Index of the first row.
    pub first_row: usize,
    pub weights: &'a mut [f32],
    /// Rows that have a gradient, sorted.
    pub words: &'a [u32],
    /// Gradients of these rows.
    pub gradients: &'a [f32],
    /// Update of all other rows.
    pub remaining: RemainingRows<'a>,
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    /// Deviations of the averages; empty if the weights are not averaged.
    pub deviations: &'a mut [f32],
}

/// Update of the rows that have no gradient.
pub enum RemainingRows<'a> {
    /// Keep weights and state.
    Frozen,
    /// Update with this gradient of zeros.
    Dense(&'a [f32]),
    /// Keep the weights and postpone the update of the state, which shrinks by `decay` in each step,
    /// until the row has a gradient. The state of each row includes `steps_seen` of `steps` steps.
    Lazy { steps_seen: &'a mut [u32], steps: u32, decay: f32 },
}

impl RemainingRows<'_> {
    /// Removes the first `count` rows, or all if there are fewer, and returns them.
    fn take(&mut self, count: usize) -> Self {
        match self {
            Self::Frozen => Self::Frozen,
            Self::Dense(zeros) => Self::Dense(zeros),
            Self::Lazy { steps_seen, steps, decay } => {
                let count = count.min(steps_seen.len());
                let steps_seen = steps_seen.split_off_mut(..count).unwrap_or_default();
                Self::Lazy { steps_seen, steps: *steps, decay: *decay }
            }
        }
    }
}

impl EmbeddingUpdate<'_> {
    /// Cuts the embedding into parts that threads can update concurrently.
    pub fn parts(self) -> Vec<Self> {
        let Self { rule, row_size, weights, mut words, mut gradients, mut remaining, .. } = self;
        let count = weights.len() / row_size;
        let rows = count.div_ceil(PARTS * rayon::current_num_threads()).max(1);
        let mut first = self.first.chunks_mut(rows * row_size);
        let mut second = self.second.chunks_mut(rows * row_size);
        let mut deviations = self.deviations.chunks_mut(rows * row_size);
        let part = |(index, weights)| {
            let first_row = self.first_row + index * rows;
            let updated = words.partition_point(|word| (*word as usize) < first_row + rows);
            Self {
                rule,
                row_size,
                first_row,
                weights,
                words: words.split_off(..updated).unwrap_or_default(),
                gradients: gradients.split_off(..updated * row_size).unwrap_or_default(),
                remaining: remaining.take(rows),
                first: first.next().unwrap_or_default(),
                second: second.next().unwrap_or_default(),
                deviations: deviations.next().unwrap_or_default(),
            }
        };
        weights.chunks_mut(rows * row_size).enumerate().map(part).collect()
    }
}

impl WithSimd for EmbeddingUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.deviations.is_empty() {
            true => self.apply::<false>(),
            false => self.apply::<true>(),
        }
    }
}

impl EmbeddingUpdate<'_> {
    #[inline(always)]
    fn apply<const AVERAGED: bool>(self) {
        let Self {
            rule,
            row_size,
            first_row,
            weights,
            words,
            gradients,
            mut remaining,
            first,
            second,
            deviations,
        } = self;
        let count = weights.len() / row_size;
        let mut former = [0.0; BLOCK];
        let mut update = |row: usize, gradient: &[f32], missed: Option<(u32, f32)>| {
            let range = row * row_size..(row + 1) * row_size;
            let first = first.get_mut(range.clone()).unwrap_or_default();
            let second = second.get_mut(range.clone()).unwrap_or_default();
            if let Some((steps, decay)) = missed {
                decay_row(first, decay, steps);
                decay_row(second, decay, steps);
            }
            if AVERAGED {
                let (weights, deviations) = (&mut weights[range.clone()], &mut deviations[range]);
                rule.apply_and_average(weights, gradient, first, second, deviations, &mut former);
            } else {
                rule.apply(&mut weights[range], gradient, first, second);
            }
        };
        let mut next = 0;
        for (word, gradient) in words.iter().zip(gradients.chunks_exact(row_size)) {
            let row = *word as usize - first_row;
            let missed = match &mut remaining {
                RemainingRows::Frozen => None,
                RemainingRows::Dense(zeros) => {
                    (next..row).for_each(|row| update(row, zeros, None));
                    next = row + 1;
                    None
                }
                RemainingRows::Lazy { steps_seen, steps, decay } => {
                    let seen = std::mem::replace(&mut steps_seen[row], *steps);
                    Some((*steps - 1 - seen, *decay))
                }
            };
            update(row, gradient, missed);
        }
        if let RemainingRows::Dense(zeros) = remaining {
            (next..count).for_each(|row| update(row, zeros, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::kernel::Instructions;

    /// Lazy updates give the same bits as dense updates.
    #[test]
    fn lazy_rows_catch_up_exactly() {
        const ROW: usize = 5;
        const ROWS: usize = 7;
        let (rho, decay) = (0.9, 1.0 - 0.9);
        for (slots, update) in [
            (2, Update::Adadelta { rho, epsilon: 1e-6, step: 0.7 }),
            (1, Update::Rmsprop { rho, epsilon: 1e-7, momentum: 0.0, step: 0.01 }),
        ] {
            let rule = Rule { factor: 0.5, l2: 0.0, decoupled: 1.0, change: 0.7, update };
            let slot = |index| vec![0.0; if index < slots { ROWS * ROW } else { 0 }];
            let start = || {
                let all = || vec![0.25_f32; ROWS * ROW];
                (all(), slot(0), slot(1), all())
            };
            let (mut dense, mut lazy, mut steps_seen) = (start(), start(), vec![0; ROWS]);
            let zeros = [0.0; ROW];
            let steps = 60;
            for step in 1..=steps {
                let words: Vec<u32> =
                    (0..ROWS as u32).filter(|word| step % (3 * word + 2) == 1).collect();
                let values: Vec<f32> = (0..words.len() * ROW)
                    .map(|at| ((at as u32 * 7 + step) as f32).sin())
                    .collect();
                let steps_seen = &mut steps_seen;
                for (all, remaining) in [
                    (&mut dense, RemainingRows::Dense(&zeros)),
                    (&mut lazy, RemainingRows::Lazy { steps_seen, steps: step, decay }),
                ] {
                    let (weights, first, second, deviations) = all;
                    Instructions::best().run(EmbeddingUpdate {
                        rule,
                        row_size: ROW,
                        first_row: 0,
                        weights,
                        words: &words,
                        gradients: &values,
                        remaining,
                        first,
                        second,
                        deviations,
                    });
                }
            }
            assert!(steps_seen.iter().any(|seen| *seen < steps), "some row must be behind");
            for (row, seen) in steps_seen.iter().enumerate() {
                for slot in [&mut lazy.1, &mut lazy.2] {
                    let state = slot.get_mut(row * ROW..(row + 1) * ROW).unwrap_or_default();
                    decay_row(state, decay, steps - seen);
                }
            }
            assert_eq!(dense, lazy);
            assert!(dense.0.iter().all(|weight| *weight != 0.25), "every row must have changed");
        }
    }
}
