//! Fitting the output layer to convergence, before training: multinomial or binary logistic regression with an L2
//! penalty on the pooled states of a model whose other layers stay as they are (linear probing).

use rayon::prelude::*;

use super::lbfgs::{Limits, minimize};
use crate::backend::native::NativeInference;
use crate::config::{Labelling, TrainConfig};
use crate::data::Dataset;
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::data::prepared::PreparedData;
use crate::model::{ModelSpec, NamedTensor};
use crate::objective::{LossFunction, Objective};

/// Strengths of the penalty λ/2 ‖W‖² that are tried, from the strongest. The loss is a mean over the examples.
const STRENGTHS: [f64; 8] = [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5];
/// Number of examples whose gradients a thread sums at a time. Sums do not depend on the number of threads.
const CHUNK: usize = 256;
const LIMITS: Limits = Limits { steps: 500, gradient: 1e-6 };

const WEIGHT: &str = "head.weight";
const BIAS: &str = "head.bias";

/// Outcome of a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadFit {
    /// Strength λ of the penalty with the lowest validation loss.
    pub strength: f64,
    /// Mean loss of the validation examples.
    pub validation_loss: f64,
}

/// Fits the head to the training examples, with the strength of the penalty that has the lowest loss on the validation
/// examples, and puts it into `weights`. N-grams do not take part. Returns `None` for a model without an LSTM.
///
/// # Errors
/// Returns an error if the weights do not fit the model.
pub fn fit_head(
    data: &PreparedData,
    objective: &Objective,
    weights: &mut [NamedTensor],
) -> anyhow::Result<Option<HeadFit>> {
    let config = &data.resolved.config;
    let Some(shape) = shape_of(weights) else { return Ok(None) };
    let network = NativeInference::new(&ModelSpec::from(data), weights.to_vec())?;
    let features = |set: &Dataset| features(&network, set, shape.features, &config.train);
    let train = Examples { features: features(&data.train), set: &data.train, shape, objective };
    let validation =
        Examples { features: features(&data.validation), set: &data.validation, shape, objective };
    let mut head = vec![0.0; shape.logits * (shape.features + 1)];
    let mut best: Option<(HeadFit, Vec<f64>)> = None;
    for strength in STRENGTHS {
        // Each fit starts from the one with a stronger penalty.
        head = minimize(head, LIMITS, |head| train.penalized_loss(head, strength));
        let validation_loss = validation.loss(&head).0;
        if best.as_ref().is_none_or(|(fit, _)| validation_loss < fit.validation_loss) {
            best = Some((HeadFit { strength, validation_loss }, head.clone()));
        }
    }
    let Some((fit, head)) = best else { return Ok(None) };
    for tensor in weights.iter_mut() {
        let values = match tensor.name.as_str() {
            WEIGHT => &head[..shape.logits * shape.features],
            BIAS => &head[shape.logits * shape.features..],
            _ => continue,
        };
        tensor.values = values.iter().map(|value| *value as f32).collect();
    }
    Ok(Some(fit))
}

/// Shape of a head.
#[derive(Clone, Copy, Debug)]
struct Shape {
    logits: usize,
    features: usize,
}

fn shape_of(weights: &[NamedTensor]) -> Option<Shape> {
    let weight = weights.iter().find(|tensor| tensor.name == WEIGHT)?;
    Some(Shape { logits: weight.shape[0], features: weight.shape[1] })
}

/// Returns the pooled features of all examples, [N, D].
fn features(
    network: &NativeInference,
    set: &Dataset,
    width: usize,
    config: &TrainConfig,
) -> Vec<f32> {
    let limit = BatchLimit::Examples(config.validation_batch_size);
    let plan = Bucketing::sorted(limit, &set.lengths());
    let batches: Vec<&[u32]> = plan.batches().collect();
    let mut all = vec![0.0; set.len() * width];
    let rows = network.features_of_batches(&set.inputs, &batches);
    for (examples, rows) in batches.into_iter().zip(rows) {
        for (example, row) in examples.iter().zip(rows.chunks_exact(width)) {
            all[*example as usize * width..][..width].copy_from_slice(row);
        }
    }
    all
}

/// Examples with their features.
struct Examples<'a> {
    /// [N, D].
    features: Vec<f32>,
    set: &'a Dataset,
    shape: Shape,
    objective: &'a Objective,
}

impl Examples<'_> {
    /// Returns the mean loss with a penalty on the weights, and its gradient.
    fn penalized_loss(&self, head: &[f64], strength: f64) -> (f64, Vec<f64>) {
        let (mut loss, mut gradient) = self.loss(head);
        let weights = self.shape.logits * self.shape.features;
        for (slope, weight) in gradient[..weights].iter_mut().zip(head) {
            *slope += strength * weight;
            loss += 0.5 * strength * weight * weight;
        }
        (loss, gradient)
    }

    /// Returns the mean loss of a head, weights [C, D] and biases `[C]`, and its gradient.
    fn loss(&self, head: &[f64]) -> (f64, Vec<f64>) {
        let indices: Vec<u32> = (0..self.set.targets.len() as u32).collect();
        let sums: Vec<(f64, Vec<f64>)> =
            indices.par_chunks(CHUNK).map(|examples| self.loss_sum(head, examples)).collect();
        let total = self.objective.weight(&self.set.targets).max(f64::MIN_POSITIVE);
        let (mut loss, mut gradient) = (0.0, vec![0.0; head.len()]);
        for (part, slopes) in sums {
            loss += part;
            gradient.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
        }
        gradient.iter_mut().for_each(|slope| *slope /= total);
        (loss / total, gradient)
    }

    fn loss_sum(&self, head: &[f64], examples: &[u32]) -> (f64, Vec<f64>) {
        let Shape { logits, features } = self.shape;
        let (weights, biases) = head.split_at(logits * features);
        let (mut loss, mut gradient) = (0.0, vec![0.0; head.len()]);
        let mut row = Vec::new();
        for example in examples.iter().map(|example| *example as usize) {
            let inputs = &self.features[example * features..][..features];
            row.clear();
            // With a single logit, the first class has logit 0.
            row.extend(
                (logits == 1 && self.objective.labelling() == Labelling::One).then_some(0.0),
            );
            let products = weights.chunks_exact(features).zip(biases).map(|(weights, bias)| {
                weights.iter().zip(inputs).map(|(w, x)| w * f64::from(*x)).sum::<f64>() + bias
            });
            row.extend(products);
            self.objective.log_probabilities(&mut row);
            loss += self.objective.loss(&mut row, self.set.targets.get(example));
            let slopes = &row[row.len() - logits..];
            let (of_weights, of_biases) = gradient.split_at_mut(logits * features);
            for (logit, slope) in slopes.iter().enumerate() {
                of_biases[logit] += slope;
                let sums = of_weights[logit * features..][..features].iter_mut();
                sums.zip(inputs).for_each(|(sum, x)| *sum += slope * f64::from(*x));
            }
        }
        (loss, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Targets;
    use crate::random::normal;

    /// Examples with random features, which the label shifts.
    fn examples(set: &Dataset, shape: Shape, objective: &Objective) -> Vec<f32> {
        assert_eq!(objective.labelling(), Labelling::One);
        let Targets::Labels(labels) = &set.targets else { panic!("labels") };
        let value = |index: usize| {
            let label = labels[index / shape.features] as f64;
            (normal(1, index as u64) + 0.5 * label * (index % shape.features) as f64) as f32
        };
        (0..labels.len() * shape.features).map(value).collect()
    }

    #[test]
    fn the_fit_is_a_minimum_of_the_penalized_loss() {
        for (classes, logits) in [(2, 1), (3, 3)] {
            let labels = (0..300).map(|example| example % classes).collect();
            let set = Dataset { inputs: Vec::new(), targets: Targets::Labels(labels) };
            let (shape, objective) =
                (Shape { logits, features: 4 }, Objective::plain(Labelling::One));
            let features = examples(&set, shape, &objective);
            let examples = Examples { features, set: &set, shape, objective: &objective };
            let evaluate = |head: &[f64]| examples.penalized_loss(head, 0.01);
            let start: Vec<f64> = (0..logits * 5).map(|index| normal(2, index as u64)).collect();
            let (_, gradient) = evaluate(&start);
            for index in 0..start.len() {
                let at = |offset: f64| {
                    let mut moved = start.clone();
                    moved[index] += offset;
                    evaluate(&moved).0
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((gradient[index] - expected).abs() < 1e-7, "{index}");
            }
            let fitted = minimize(start.clone(), LIMITS, evaluate);
            let (loss, gradient) = evaluate(&fitted);
            assert!(loss < evaluate(&start).0 && loss < 0.6, "{loss}");
            assert!(gradient.iter().all(|slope| slope.abs() < 1e-5), "{gradient:?}");
        }
    }
}
