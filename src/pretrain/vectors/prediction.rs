//! One prediction: the scores of a word and of the words that it is compared with, and the updates of their output
//! vectors.

use pulp::Simd;

use super::shared::{SharedMatrix, SharedVector};
use crate::backend::kernel::mul_add;

/// Trains the output vectors u of `targets` on the prediction from `hidden`, h. The first target is the word to
/// predict, with label 1; the others have label 0.
///
/// With g = rate · (label − σ(h · u)), adds g u to `gradient`, for the caller to add to the input vectors, and g h
/// to u (Goldberg and Levy 2014, with the gradient of the log-likelihood). All scores are computed before the first
/// update. `scores` receives h · u of each target.
#[inline(always)]
pub fn predict<S: Simd>(
    simd: S,
    outputs: &SharedMatrix,
    (hidden, gradient): (&[S::f32s], &mut [S::f32s]),
    targets: &[u32],
    scores: &mut [f32],
    rate: f32,
) {
    for (target, score) in targets.iter().zip(&mut *scores) {
        *score = dot(simd, outputs.row(simd, *target), hidden);
    }
    for (index, (target, score)) in targets.iter().zip(scores).enumerate() {
        let label = if index == 0 { 1.0 } else { 0.0 };
        let step = simd.splat_f32s(rate * (label - sigmoid(*score)));
        let output = outputs.row(simd, *target);
        for ((output, hidden), gradient) in output.iter().zip(hidden).zip(&mut *gradient) {
            let old = output.load();
            *gradient = mul_add(simd, step, old, *gradient);
            output.store(mul_add(simd, step, *hidden, old));
        }
    }
}

/// Returns the dot product of a shared row with a vector.
#[inline(always)]
fn dot<S: Simd>(simd: S, row: &[SharedVector<S>], vector: &[S::f32s]) -> f32 {
    let mut sum = simd.splat_f32s(0.0);
    for (shared, own) in row.iter().zip(vector) {
        sum = mul_add(simd, shared.load(), *own, sum);
    }
    simd.reduce_sum_f32s(sum)
}

/// Adds a vector to a shared row.
#[inline(always)]
pub fn add_to<S: Simd>(simd: S, row: &[SharedVector<S>], vector: &[S::f32s]) {
    for (shared, own) in row.iter().zip(vector) {
        shared.store(simd.add_f32s(shared.load(), *own));
    }
}

/// Adds a shared row to a vector.
#[inline(always)]
pub fn add_row<S: Simd>(simd: S, vector: &mut [S::f32s], row: &[SharedVector<S>]) {
    for (own, shared) in vector.iter_mut().zip(row) {
        *own = simd.add_f32s(*own, shared.load());
    }
}

/// Logistic function.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Returns the loss of a prediction with these scores: −log σ(s) of the word, and −log σ(−s) of the others.
pub fn loss(scores: &[f32]) -> f64 {
    let softplus = |x: f32| f64::from(x).max(0.0) + (-f64::from(x).abs()).exp().ln_1p();
    let (word, others) = match scores {
        [word, others @ ..] => (softplus(-word), others),
        [] => (0.0, scores),
    };
    word + others.iter().map(|score| softplus(*score)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::backend::kernel::{AlignedVec, Instructions};

    struct Predict<'a> {
        outputs: &'a SharedMatrix,
        hidden: &'a AlignedVec,
        gradient: &'a mut AlignedVec,
        targets: &'a [u32],
        scores: &'a mut [f32],
    }

    impl WithSimd for Predict<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { outputs, hidden, gradient, targets, scores } = self;
            let vectors = (S::as_simd_f32s(hidden).0, S::as_mut_simd_f32s(gradient).0);
            predict(simd, outputs, vectors, targets, scores, 0.25);
        }
    }

    #[test]
    fn a_prediction_moves_vectors_along_the_gradient_of_its_loss() {
        const COLUMNS: usize = 37;
        let value = |index: usize| ((index * 7 + 3) % 11) as f32 / 20.0 - 0.25;
        let targets = [2_usize, 0, 3];
        let hidden: Vec<f64> = (0..COLUMNS).map(|at| f64::from(value(at + 5))).collect();
        let rows: Vec<Vec<f64>> = (0..4)
            .map(|row| (0..COLUMNS).map(|at| f64::from(value(row * COLUMNS + at))).collect())
            .collect();
        // The naive computation, in f64.
        let (mut expected, mut expected_gradient) = (rows.clone(), vec![0.0; COLUMNS]);
        let mut expected_loss = 0.0;
        for (index, target) in targets.iter().enumerate() {
            let score: f64 = rows[*target].iter().zip(&hidden).map(|(u, h)| u * h).sum();
            let probability = 1.0 / (1.0 + (-score).exp());
            let label = f64::from(u8::from(index == 0));
            expected_loss -= if index == 0 { probability.ln() } else { (1.0 - probability).ln() };
            for at in 0..COLUMNS {
                expected_gradient[at] += 0.25 * (label - probability) * rows[*target][at];
                expected[*target][at] += 0.25 * (label - probability) * hidden[at];
            }
        }
        for instructions in Instructions::available() {
            let outputs = SharedMatrix::new(4, COLUMNS, value);
            let mut vectors = [(); 2].map(|()| AlignedVec::zeros(outputs.padded_columns()));
            hidden.iter().zip(&mut *vectors[0]).for_each(|(from, to)| *to = *from as f32);
            let [hidden, gradient] = &mut vectors;
            let (targets, mut scores) = (targets.map(|target| target as u32), [0.0; 3]);
            let scores_of = &mut scores;
            instructions.run(Predict {
                outputs: &outputs,
                hidden,
                gradient,
                targets: &targets,
                scores: scores_of,
            });
            let close = |actual: f32, expected: &f64| (f64::from(actual) - expected).abs() < 1e-6;
            for (row, expected) in (0..).zip(&expected) {
                let mut pairs = outputs.values(row).zip(expected);
                assert!(pairs.all(|(a, b)| close(a, b)), "{instructions}, row {row}");
            }
            let mut pairs = gradient.iter().zip(&expected_gradient);
            assert!(pairs.all(|(a, b)| close(*a, b)), "{instructions}: {:?}", &**gradient);
            assert!(gradient[COLUMNS..].iter().all(|padding| *padding == 0.0));
            assert!((loss(&scores) - expected_loss).abs() < 1e-6);
        }
    }
}
