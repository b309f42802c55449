//! Gradients of the losses of unlabelled texts: entropy, and virtual adversarial training (Miyato, Dai and
//! Goodfellow 2017).
//!
//! With the prediction p(x) for the word vectors x of a text, the virtual adversarial loss is
//! KL(p(x) ‖ p(x + r)), in which p(x) is constant. Of all r of norm ε, r is the one that raises it most. The
//! divergence is smallest at r = 0, where its gradient vanishes; one power iteration finds the direction:
//! that of its gradient at a small random perturbation.

use super::block_passes::BlockPasses;
use super::gradients::PartialGradients;
use super::{Block, Network, ShardWorkspace};
use crate::backend::native::branch::{Mode, Pass};
use crate::backend::native::dropout::Dropout;
use crate::backend::native::perturbation::Perturbation;
use crate::backend::native::shard_sum::ShardSum;
use crate::backend::native::sharding::ShardedBatch;
use crate::backend::{RandomSigns, Times};
use crate::objective::AddedLosses;

/// Terms of the loss that need no labels. Each is a mean over the texts of a batch.
#[derive(Clone, Copy)]
pub struct UnlabelledTerms<'a> {
    /// Weight of the entropy; 0 for none.
    pub entropy_weight: f64,
    /// Virtual adversarial training.
    pub virtual_adversarial: Option<VirtualPerturbation<'a>>,
}

/// Perturbations of virtual adversarial training.
#[derive(Clone, Copy)]
pub struct VirtualPerturbation<'a> {
    /// Perturbations by which the predictions change most, and the weight of the divergence.
    pub perturbation: Perturbation<'a>,
    /// Norm of the random perturbations from which their directions are found.
    pub xi: f64,
    /// Directions of the random perturbations.
    pub signs: RandomSigns,
}

/// Passes over unlabelled texts.
struct UnlabelledPasses<'a> {
    terms: &'a UnlabelledTerms<'a>,
    /// Number of texts of the batch.
    total: f64,
}

impl BlockPasses for UnlabelledPasses<'_> {
    fn run(
        &self,
        network: &Network,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        times: &mut Times,
    ) {
        times.measure("unlabelled", || self.add_gradients(network, block, work, sum));
    }
}

impl UnlabelledPasses<'_> {
    fn add_gradients(
        &self,
        network: &Network,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
    ) {
        let UnlabelledTerms { entropy_weight, virtual_adversarial } = *self.terms;
        let has_entropy = entropy_weight > 0.0;
        let clean = Block { mode: Mode { backward: has_entropy, ..block.mode }, ..block };
        // Log-probabilities of the unperturbed texts, [examples, C].
        let mut predictions = Vec::new();
        let (mut entropy, losses) = (0.0, network.lstm_losses());
        network.pooled_features(clean, work);
        network.head_gradients(clean, work, sum, losses, |_, _, row| {
            network.labelling.log_probabilities(row);
            predictions.extend_from_slice(row);
            entropy += network.labelling.entropy(row);
            row.iter_mut().for_each(|slope| *slope *= entropy_weight / self.total);
        });
        sum.losses.added[AddedLosses::ENTROPY] += entropy / self.total;
        if has_entropy {
            network.backward(clean, work);
        }
        let Some(VirtualPerturbation { perturbation, xi, signs }) = virtual_adversarial else {
            return;
        };
        let Perturbation { epsilon, weight, normalization } = perturbation;
        let (first, classes) = (block.examples().start, network.classes);
        let differentiate = |example: usize, row: &mut [f64]| {
            network.labelling.log_probabilities(row);
            let clean = &predictions[(example - first) * classes..][..classes];
            network.labelling.divergence(clean, row)
        };

        let mut squares = vec![0.0; block.examples().len()];
        for (branch, buffers) in network.branches.iter().zip(&mut work.branches) {
            let (texts, positions) = (&block.shard.inputs[branch.input_index], block.positions());
            branch.draw_direction(texts, block.index, positions, buffers, signs, &mut squares);
        }
        network.scale_perturbations(block, work, normalization, xi, &squares);
        let direction = block.with_pass(Pass::Direction);
        network.pooled_features(direction, work);
        network.head_gradients(direction, work, sum, losses, |_, example, row| {
            differentiate(example, row);
            scale_to_one(row);
        });
        network.backward(direction, work);

        network.perturb(block, work, normalization, epsilon);
        let perturbed = block.with_pass(Pass::Perturbed);
        let mut divergence = 0.0;
        network.pooled_features(perturbed, work);
        network.head_gradients(perturbed, work, sum, losses, |_, example, row| {
            divergence += differentiate(example, row);
            row.iter_mut().for_each(|slope| *slope *= weight / self.total);
        });
        sum.losses.added[AddedLosses::VIRTUAL_ADVERSARIAL] += divergence / self.total;
        network.backward(perturbed, work);
    }
}

/// Scales a vector of which only the direction matters, so that its largest value is 1. The gradient of a
/// confident prediction is so small that its square could vanish.
fn scale_to_one(values: &mut [f64]) {
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest > 0.0 {
        values.iter_mut().for_each(|value| *value /= largest);
    }
}

impl Network {
    /// Computes the gradient of the terms of a batch of unlabelled texts.
    pub fn unlabelled_gradients(
        &mut self,
        batch: &ShardedBatch,
        dropout: Option<&Dropout>,
        terms: &UnlabelledTerms,
    ) -> PartialGradients {
        let passes = UnlabelledPasses { terms, total: batch.examples as f64 };
        self.partial_gradients(batch, dropout, &passes, false)
    }
}
