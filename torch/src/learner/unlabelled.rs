//! Gradients of the terms of unlabelled texts: entropy, and virtual adversarial training.

use tch::{Kind, Tensor};

use super::batch::TorchBatch;
use super::distinct_ids::sorted_union;
use super::{Step, TorchLearner, scaled_gradients};
use crate::batch::to_device;
use crate::loss::{log_probabilities, mean_divergence, mean_entropy, scaled_divergence};
use crate::model::Mode;
use lstmtext::config::TrainConfig;

/// Gradients of the terms of unlabelled texts.
pub(super) struct UnlabelledGradients {
    /// Gradients of all parameters, and those of the weights of the batch's n-grams.
    pub gradients: (Vec<Tensor>, Vec<Tensor>),
    /// Mean of each term, float [], in the order of [`AddedLosses`](lstmtext::objective::AddedLosses).
    pub losses: Vec<Tensor>,
}

impl TorchLearner {
    /// Computes the gradients of the terms of unlabelled texts. All passes have the same dropout masks.
    pub(super) fn unlabelled_gradients(
        &self,
        batch: &TorchBatch,
        deviations: &[Tensor],
    ) -> UnlabelledGradients {
        let TorchBatch { batch, signs, seed, .. } = batch;
        let (model, TrainConfig { virtual_adversarial, entropy_weight, .. }) =
            (&self.model, &self.config);
        let labelling = model.labelling();
        let selected = model.select_ngrams(batch, true);
        let forward = |perturbations: &[Tensor]| {
            tch::manual_seed(*seed as i64);
            let logits = match model.separates_branches() {
                true => model.lstm_logits(batch, Mode::Train, perturbations),
                false => model.logits_from(batch, &selected, Mode::Train, perturbations),
            };
            log_probabilities(&logits, labelling)
        };
        let predictions = match *entropy_weight > 0.0 {
            true => forward(&[]),
            false => tch::no_grad(|| forward(&[])),
        };
        let entropy = mean_entropy(&predictions, labelling);
        let mut loss = &entropy * *entropy_weight;
        let mut losses = Vec::new();
        if let Some(epsilon) = virtual_adversarial.epsilon {
            let predictions = predictions.detach();
            let random =
                model.random_perturbations(batch, signs, deviations, virtual_adversarial.xi);
            let random: Vec<Tensor> =
                random.into_iter().map(|tensor| tensor.set_requires_grad(true)).collect();
            let divergence = scaled_divergence(&predictions, &forward(&random), labelling);
            let gradients = Tensor::run_backward(&[&divergence], &random, false, false);
            let perturbations =
                model.adversarial_perturbations(batch, &gradients, deviations, epsilon);
            let divergence = mean_divergence(&predictions, &forward(&perturbations), labelling);
            losses.push(divergence.detach());
            loss += divergence * virtual_adversarial.weight;
        }
        losses.extend((*entropy_weight > 0.0).then(|| entropy.detach()));
        let gradients =
            scaled_gradients(&self.optimizer, self.loss_scale.as_ref(), &loss, &selected);
        UnlabelledGradients { gradients, losses }
    }

    /// Adds gradients of unlabelled texts to those of the step in progress, whose batch is `labelled`. The
    /// embedding rows and n-grams of the step become those of both batches.
    pub(super) fn add_gradients(
        &mut self,
        (gradients, of_ngrams): (Vec<Tensor>, Vec<Tensor>),
        unlabelled: &TorchBatch,
        labelled: &TorchBatch,
    ) {
        let device = self.model.device();
        let Step { gradients: sums, ngrams, distinct_ids, .. } = &mut self.step;
        for (sum, gradient) in sums.iter_mut().zip(&gradients) {
            let _ = sum.g_add_(gradient);
        }
        let ids = labelled.distinct_ids.iter().zip(&unlabelled.distinct_ids);
        for (ids, (first, second)) in distinct_ids.iter_mut().zip(ids) {
            *ids = first.union(Some(second), device).ids;
        }
        let [labelled, unlabelled] = [labelled, unlabelled].map(|batch| &batch.batch.ngrams);
        let bags = labelled.iter().flatten().zip(unlabelled.iter().flatten());
        for (((rows, sum), gradient), (first, second)) in ngrams.iter_mut().zip(of_ngrams).zip(bags)
        {
            let all = to_device(&sorted_union(&first.host_rows, &second.host_rows), device);
            let size = [all.size()[0], sum.size()[1]];
            let mut sums = Tensor::zeros(size, (Kind::Float, device));
            for (rows, gradient) in [(&first.rows, &*sum), (&second.rows, &gradient)] {
                // All are sorted, and `all` has all of `rows`.
                let positions = Tensor::bucketize(rows, &all, false, false);
                let _ = sums.index_add_(0, &positions, gradient);
            }
            (*rows, *sum) = (all, sums);
        }
    }
}
