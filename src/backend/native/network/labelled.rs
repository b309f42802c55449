//! The passes over labelled examples, and the gradients of head and n-grams.

use super::block_passes::BlockPasses;
use super::{Block, Network, ShardWorkspace};
use crate::backend::Times;
use crate::backend::native::branch::Pass;
use crate::backend::native::head::logits;
use crate::backend::native::perturbation::Perturbation;
use crate::backend::native::shard_sum::{LossSum, ShardSum};
use crate::objective::{AddedLosses, LossFunction};

/// The logits of an example that a loss is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LossOf {
    /// The logits of all branches together.
    Sum,
    /// The logits of the LSTMs, without the bias.
    Lstms,
    /// The logits of the n-grams, with the bias.
    Ngrams,
}

/// Passes over labelled examples.
pub(super) struct LabelledPasses<'a, Loss: ?Sized> {
    pub(super) loss_function: &'a Loss,
    /// Sum of the weights of all examples.
    pub(super) total: f64,
    pub(super) perturbation: Option<Perturbation<'a>>,
}

impl<Loss: LossFunction + ?Sized> BlockPasses for LabelledPasses<'_, Loss> {
    fn run(
        &self,
        network: &Network,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        times: &mut Times,
    ) {
        let Self { loss_function, total, perturbation } = *self;
        let target = |example: usize| block.shard.targets.get(example);
        let pass = if perturbation.is_some() { Pass::First } else { Pass::Only };
        let first = block.with_pass(pass);
        times.measure("forward", || network.pooled_features(first, work));
        times.measure("head", || {
            let LossSum { mut loss, mut correct, added } = sum.losses;
            network.head_gradients(
                first,
                work,
                sum,
                network.labelled_losses(),
                |of, example, row| {
                    loss_function.log_probabilities(row);
                    let is_correct = loss_function.is_correct(row, target(example));
                    let loss_of_example = loss_function.loss(row, target(example));
                    if of == LossOf::Sum {
                        correct += u64::from(is_correct);
                        loss += loss_of_example;
                    }
                    row.iter_mut().for_each(|slope| *slope /= total);
                },
            );
            sum.losses = LossSum { loss, correct, added };
        });
        times.measure("backward", || network.backward(first, work));
        let Some(Perturbation { epsilon, weight, normalization }) = perturbation else { return };
        times.measure("adversarial", || {
            network.perturb(block, work, normalization, epsilon);
            let perturbed = block.with_pass(Pass::Perturbed);
            network.pooled_features(perturbed, work);
            let mut loss = 0.0;
            network.head_gradients(
                perturbed,
                work,
                sum,
                network.lstm_losses(),
                |_, example, row| {
                    loss_function.log_probabilities(row);
                    loss += loss_function.loss(row, target(example));
                    row.iter_mut().for_each(|slope| *slope /= total / weight);
                },
            );
            sum.losses.added[AddedLosses::ADVERSARIAL] += loss / total;
            network.backward(perturbed, work);
        });
    }
}

impl Network {
    /// Losses of labelled examples. If the branches are separated, that of the sum is only measured.
    pub(super) fn labelled_losses(&self) -> &'static [LossOf] {
        match self.separates_branches {
            true => &[LossOf::Sum, LossOf::Lstms, LossOf::Ngrams],
            false => &[LossOf::Sum],
        }
    }

    /// Losses that have gradients of the LSTMs.
    pub(super) fn lstm_losses(&self) -> &'static [LossOf] {
        match self.separates_branches {
            true => &[LossOf::Lstms],
            false => &[LossOf::Sum],
        }
    }

    /// Computes the logits of a block, for each of the losses. `differentiate` replaces those of an example, given
    /// by its index in the shard, by the gradient of its loss with respect to them. Adds the gradients of the head
    /// and of n-grams to `sum` if the pass trains, and writes the gradient of the features to `work`.
    pub(super) fn head_gradients(
        &self,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        losses: &[LossOf],
        mut differentiate: impl FnMut(LossOf, usize, &mut [f64]),
    ) {
        let Block { batch, shard, mode, .. } = block;
        let (stride, (weight, bias)) = (self.features(), self.head());
        let trains = mode.backward && mode.pass.trains();
        let no_bias = vec![0.0; bias.len()];
        let ShardWorkspace { features, dropped_features, features_gradient, row, .. } = work;
        dropped_features.clone_from(features);
        features_gradient.clear();
        features_gradient.resize(features.len(), 0.0);
        for (index, example) in block.examples().enumerate() {
            let position = shard.positions[example];
            let features = &mut dropped_features[index * stride..][..stride];
            let gradient = &mut features_gradient[index * stride..][..stride];
            let drop_out = |values: &mut [f32]| {
                if let Some(dropout) = mode.dropout {
                    dropout.head(position, self.head_dropout, values);
                }
            };
            drop_out(features);
            for of in losses {
                match of {
                    LossOf::Sum => self.logits(batch, position, features, row),
                    LossOf::Lstms => logits(features, weight, &no_bias, row),
                    LossOf::Ngrams => self.ngram_logits(batch, position, row),
                }
                differentiate(*of, example, row);
                let of_sum = *of == LossOf::Sum && !self.separates_branches;
                let slopes = row[row.len() - bias.len()..].iter().map(|slope| *slope as f32);
                if trains && (of_sum || *of == LossOf::Ngrams) {
                    for (logit, slope) in slopes.clone().enumerate() {
                        sum.head_bias[logit] += slope;
                        if !self.ngrams.is_empty() {
                            sum.logits[position as usize * bias.len() + logit] += slope;
                        }
                    }
                }
                if of_sum || *of == LossOf::Lstms {
                    for (logit, slope) in slopes.enumerate() {
                        if trains {
                            let to = &mut sum.head_weight[logit * stride..][..stride];
                            let pairs = to.iter_mut().zip(&*features);
                            pairs.for_each(|(to, feature)| *to += slope * feature);
                        }
                        let from = &weight[logit * stride..][..stride];
                        gradient
                            .iter_mut()
                            .zip(from)
                            .for_each(|(to, weight)| *to += slope * weight);
                    }
                }
            }
            drop_out(gradient);
        }
    }
}
