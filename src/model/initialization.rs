//! Initial weights, drawn from Keras's or PyTorch's distributions.
//!
//! Every value is a function of the run's seed, the name of its tensor and its index. The weights are
//! therefore identical, bit for bit, for both backends, every device and any number of threads, and a
//! change to one tensor does not affect the others.

use rayon::prelude::*;

use super::named_tensors::NamedTensor;
use super::parameters::{ModelSpec, Parameter, Role, parameters};
use crate::config::{EmbeddingInitialization, Initialization};
use crate::random::{named_seed, normal, uniform};

/// Number of values that a thread draws at a time.
const CHUNK: usize = 1 << 14;

/// Draws the initial weights from the distributions of Keras or PyTorch.
///
/// | tensor | Keras | PyTorch |
/// |---|---|---|
/// | embedding | U(−0.05, 0.05) | N(0, 1) |
/// | input weights | Glorot uniform (Glorot and Bengio 2010) | U(−1/√H, 1/√H) |
/// | recurrent weights | orthogonal (Saxe, McClelland and Ganguli 2014) | U(−1/√H, 1/√H) |
/// | bias | 0, forget gate 1 | sum of two U(−1/√H, 1/√H) |
/// | query of attention | 0 | 0 |
/// | head | Glorot uniform, bias 0 | U(−1/√D, 1/√D) |
/// | n-grams | 0 | 0 |
///
/// With a query of 0, attention starts as the mean over time, and a random preference among the hidden
/// states, which are still meaningless, does not have to be unlearned. The gradient of the query is
/// not 0.
///
/// Returns all tensors of [`parameters`], in their order.
///
/// # Errors
/// Returns an error if the head is a sigmoid and there are more than two classes.
pub fn initial_weights(spec: &ModelSpec, seed: u64) -> anyhow::Result<Vec<NamedTensor>> {
    let draw = |Parameter { name, shape, role, .. }: Parameter| {
        let seed = named_seed(seed, &name);
        let convention = match role {
            Role::Embedding { input } | Role::Subwords { input } => {
                match spec.config.inputs[input].embedding.initialization {
                    EmbeddingInitialization::Auto => spec.config.model.initialization,
                    EmbeddingInitialization::Keras => Initialization::Keras,
                    EmbeddingInitialization::Pytorch => Initialization::Pytorch,
                }
            }
            _ => spec.config.model.initialization,
        };
        let values = match convention {
            Initialization::Keras => keras(role, &shape, seed),
            Initialization::Pytorch => pytorch(role, &shape, seed, spec),
        };
        NamedTensor { name, shape, values }
    };
    Ok(parameters(spec)?.into_iter().map(draw).collect())
}

pub(super) fn keras(role: Role, shape: &[usize], seed: u64) -> Vec<f32> {
    let glorot = || (6.0 / (shape[0] + shape[1]) as f32).sqrt();
    match role {
        Role::Embedding { .. } | Role::Subwords { .. } => uniform_between(shape, 0.05, seed),
        Role::InputWeight | Role::HeadWeight => uniform_between(shape, glorot(), seed),
        Role::RecurrentWeight => orthogonal(shape[0], shape[1], seed),
        Role::Bias => {
            let units = shape[0] / 4;
            (0..shape[0]).map(|row| if row / units == 1 { 1.0 } else { 0.0 }).collect()
        }
        Role::ZeroBias | Role::AttentionQuery | Role::HeadBias => vec![0.0; shape[0]],
        Role::NgramWeight { .. } | Role::NgramValue { .. } => ngrams(role, shape),
    }
}

/// Weights of 0 and values of 1.
fn ngrams(role: Role, shape: &[usize]) -> Vec<f32> {
    let value = if matches!(role, Role::NgramValue { .. }) { 1.0 } else { 0.0 };
    vec![value; shape.iter().product()]
}

fn pytorch(role: Role, shape: &[usize], seed: u64, spec: &ModelSpec) -> Vec<f32> {
    let bound = |fan: usize| 1.0 / (fan as f32).sqrt();
    match role {
        Role::Embedding { .. } | Role::Subwords { .. } => normals(shape, seed),
        // A matrix has H rows for each of the 4 gates.
        Role::InputWeight | Role::RecurrentWeight => {
            uniform_between(shape, bound(shape[0] / 4), seed)
        }
        // PyTorch has two biases, which it adds; this is their sum.
        Role::Bias => {
            let one = uniform_between(shape, bound(shape[0] / 4), named_seed(seed, "ih"));
            let other = uniform_between(shape, bound(shape[0] / 4), named_seed(seed, "hh"));
            one.iter().zip(&other).map(|(one, other)| one + other).collect()
        }
        Role::ZeroBias | Role::AttentionQuery => vec![0.0; shape[0]],
        Role::NgramWeight { .. } | Role::NgramValue { .. } => ngrams(role, shape),
        Role::HeadWeight => uniform_between(shape, bound(shape[1]), seed),
        Role::HeadBias => {
            let features: usize = spec.config.inputs.iter().map(|input| input.features()).sum();
            uniform_between(shape, bound(features.max(1)), seed)
        }
    }
}

/// Fills a tensor with `value(index)`, on all threads.
fn draw(shape: &[usize], value: impl Fn(u64) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0.0; shape.iter().product()];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        for (index, slot) in (chunk * CHUNK..).zip(values) {
            *slot = value(index as u64);
        }
    });
    values
}

/// Draws values uniformly from (−bound, bound).
fn uniform_between(shape: &[usize], bound: f32, seed: u64) -> Vec<f32> {
    draw(shape, |index| (2.0 * uniform(seed, index) - 1.0) * bound)
}

/// Draws values from a normal distribution with mean 0 and variance 1.
pub(super) fn normals(shape: &[usize], seed: u64) -> Vec<f32> {
    draw(shape, |index| normal(seed, index) as f32)
}

/// Draws a matrix [rows, columns] with orthonormal columns, uniformly from all such matrices: the Q of
/// the QR decomposition of a matrix of normal values, with a positive diagonal in R.
///
/// Uses the modified Gram-Schmidt process in double precision, which is accurate enough for random
/// matrices and gives the same bits on any number of threads.
fn orthogonal(rows: usize, columns: usize, seed: u64) -> Vec<f32> {
    // In column-major order.
    let mut q: Vec<f64> =
        (0..rows * columns).into_par_iter().map(|index| normal(seed, index as u64)).collect();
    let mut rest = &mut q[..];
    while !rest.is_empty() {
        let (column, later) = rest.split_at_mut(rows);
        let norm = dot(column, column).sqrt();
        column.iter_mut().for_each(|value| *value /= norm);
        later.par_chunks_mut(rows).with_min_len(8).for_each(|other| {
            let projection = dot(column, other);
            other.iter_mut().zip(&*column).for_each(|(value, unit)| *value -= projection * unit);
        });
        rest = later;
    }
    draw(&[rows, columns], |index| {
        let (row, column) = (index as usize / columns, index as usize % columns);
        q[column * rows + row] as f32
    })
}

/// Computes a dot product with one partial sum per SIMD lane, so that the compiler can vectorize it.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (chunks, rest) = a.as_chunks::<LANES>();
    let (others, other_rest) = b.as_chunks::<LANES>();
    for (chunk, other) in chunks.iter().zip(others) {
        for ((sum, a), b) in sums.iter_mut().zip(chunk).zip(other) {
            *sum += a * b;
        }
    }
    let rest: f64 = rest.iter().zip(other_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn weights(model: &str, classes: usize) -> Vec<NamedTensor> {
        let yaml = format!("data: {{train: x}}\nmodel: {{{model}}}\n");
        let config = config::parse_plain(&yaml).config;
        let spec = ModelSpec {
            config: &config,
            vocabulary_sizes: vec![500],
            ngram_counts: vec![0],
            classes,
        };
        initial_weights(&spec, 7).unwrap()
    }

    fn values<'a>(weights: &'a [NamedTensor], name: &str) -> &'a [f32] {
        &weights.iter().find(|tensor| tensor.name == name).unwrap().values
    }

    /// Checks that the values reach the bound without exceeding it, and that their mean is near 0.
    fn assert_uniform(values: &[f32], bound: f32) {
        let largest = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(largest <= bound && largest > 0.98 * bound, "{largest} of {bound}");
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        // The standard deviation of a uniform value is bound/√3.
        assert!(mean.abs() < 5.0 * bound / 3.0_f32.sqrt() / (values.len() as f32).sqrt(), "{mean}");
    }

    fn assert_normal(values: &[f32]) {
        let count = values.len() as f64;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let moment = |power: i32| {
            values.iter().map(|value| (f64::from(*value) - mean).powi(power)).sum::<f64>() / count
        };
        assert!(mean.abs() < 5.0 / count.sqrt(), "{mean}");
        assert!((moment(2) - 1.0).abs() < 8.0 / count.sqrt(), "{}", moment(2));
        // The kurtosis of a normal distribution is 3.
        assert!((moment(4) / moment(2).powi(2) - 3.0).abs() < 25.0 / count.sqrt(), "{}", moment(4));
    }

    #[test]
    fn keras_distributions_match_its_documentation() {
        let weights = weights("embedding: {size: 40}, lstm: {units: 32}, initialization: keras", 3);
        assert_uniform(values(&weights, "embedding.weight"), 0.05);
        assert_uniform(values(&weights, "lstm.weight_ih_l0"), (6.0_f32 / (128.0 + 40.0)).sqrt());
        assert_uniform(values(&weights, "head.weight"), (6.0_f32 / 35.0).sqrt());
        let bias = values(&weights, "lstm.bias_ih_l0");
        assert!(bias[..32].iter().chain(&bias[64..]).all(|value| *value == 0.0));
        assert!(bias[32..64].iter().all(|value| *value == 1.0), "the forget gate starts open");
        assert!(values(&weights, "head.bias").iter().all(|value| *value == 0.0));
    }

    #[test]
    fn pytorch_distributions_match_its_documentation() {
        let weights =
            weights("embedding: {size: 40}, lstm: {units: 100}, initialization: pytorch", 2);
        assert_normal(values(&weights, "embedding.weight"));
        for name in ["lstm.weight_ih_l0", "lstm.weight_hh_l0"] {
            assert_uniform(values(&weights, name), 0.1);
        }
        assert_uniform(values(&weights, "head.weight"), 0.1);
        // The sum of two uniform values has a triangular distribution with variance 2·bound²/3.
        let bias = values(&weights, "lstm.bias_ih_l0");
        assert!(bias.iter().all(|value| value.abs() < 0.2));
        let variance = bias.iter().map(|value| value * value).sum::<f32>() / bias.len() as f32;
        assert!((variance / (2.0 * 0.01 / 3.0) - 1.0).abs() < 0.3, "{variance}");
        assert!(values(&weights, "lstm.bias_hh_l0").iter().all(|value| *value == 0.0));
    }

    #[test]
    fn attention_starts_as_the_mean() {
        for initialization in ["keras", "pytorch"] {
            let model = format!("pooling: [max, attention], initialization: {initialization}");
            assert!(values(&weights(&model, 2), "attention.query").iter().all(|x| *x == 0.0));
        }
    }

    #[test]
    fn recurrent_weights_are_orthogonal_and_uniformly_distributed() {
        let (rows, columns) = (64, 16);
        let mut corner = 0.0;
        for seed in 0..200 {
            let q = orthogonal(rows, columns, seed);
            for a in 0..columns {
                for b in 0..columns {
                    let product: f64 = (0..rows)
                        .map(|row| {
                            f64::from(q[row * columns + a]) * f64::from(q[row * columns + b])
                        })
                        .sum();
                    assert!((product - f64::from(u8::from(a == b))).abs() < 1e-6, "{product}");
                }
            }
            corner += f64::from(q[columns - 1]).powi(2);
        }
        // The squares of a unit vector's components have the mean 1/rows.
        assert!((corner / 200.0 * rows as f64 - 1.0).abs() < 0.4, "{corner}");
    }

    #[test]
    fn weights_do_not_depend_on_the_number_of_threads() {
        let draw = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| weights("embedding: {size: 70}, lstm: {units: 48, layers: 2}", 2))
        };
        let one = draw(1);
        assert_eq!(draw(2), one);
        assert_eq!(draw(5), one);
    }

    #[test]
    fn a_tensor_does_not_depend_on_the_others() {
        let small = weights("embedding: {size: 8}, lstm: {units: 4}", 2);
        let stacked = weights("embedding: {size: 8}, lstm: {units: 4, layers: 2}", 2);
        for name in ["embedding.weight", "lstm.weight_hh_l0", "head.weight"] {
            assert_eq!(values(&small, name), values(&stacked, name), "{name}");
        }
        assert_ne!(values(&stacked, "lstm.weight_hh_l0"), values(&stacked, "lstm.weight_hh_l1"));
    }
}
