//! Gradients of the loss of labelled texts, with that of adversarial training.

use anyhow::Context;
use tch::{Kind, Tensor};

use super::batch::TorchBatch;
use super::share::scale;
use super::{Step, TorchLearner, scaled_gradients};
use crate::loss::log_probabilities;
use crate::model::Mode;
use lstmtext::config::AdversarialConfig;

impl TorchLearner {
    /// Starts a step: computes the gradients of the loss of its labelled texts. `deviations` are those of word vectors,
    /// if these are perturbed.
    ///
    /// # Errors
    /// Returns an error if the texts have no labels.
    pub(super) fn labelled_step(
        &mut self,
        labelled: &TorchBatch,
        deviations: &[Tensor],
    ) -> anyhow::Result<Step> {
        let TorchBatch { context, batch, targets, distinct_ids, share, seed, .. } = labelled;
        let targets = targets.as_ref().context("the examples have no labels")?;
        let selected = self.model.select_ngrams(batch, true);
        // Both passes of adversarial training have the same dropout masks.
        let loss_of = |logits: &Tensor| {
            let log_probabilities = log_probabilities(logits, self.loss.labelling);
            let loss = self.loss.loss(logits, &log_probabilities, targets);
            (log_probabilities, loss)
        };
        let logits = |perturbations: &[Tensor]| {
            tch::manual_seed(*seed as i64);
            match self.model.separates_branches() {
                true => self.model.lstm_logits(batch, Mode::Train, perturbations),
                false => self.model.logits_from(batch, &selected, Mode::Train, perturbations),
            }
        };
        // The measured log-probabilities and loss, and the loss of which the gradient is taken.
        let forward = |perturbations: &[Tensor]| {
            let logits = logits(perturbations);
            let (log_probabilities, loss) = loss_of(&logits);
            if !self.model.separates_branches() {
                return (log_probabilities, loss.detach(), loss);
            }
            let of_ngrams = self.model.ngram_logits_from(batch, &selected);
            let (log_probabilities, of_sum) = tch::no_grad(|| loss_of(&(logits + &of_ngrams)));
            (log_probabilities, of_sum, loss + loss_of(&of_ngrams).1)
        };
        let backward = |loss: &Tensor, others: &[Tensor]| {
            scaled_gradients(&self.optimizer, self.loss_scale.as_ref(), loss, others)
        };
        let AdversarialConfig { epsilon, weight } = self.config.adversarial;
        let zeros = match epsilon {
            Some(_) => self.model.zero_perturbations(batch),
            None => Vec::new(),
        };
        let others = selected.iter().chain(&zeros).map(Tensor::shallow_clone);
        let others: Vec<Tensor> = others.collect();
        let (log_probabilities, measured, loss) = self.times.measure("forward", || forward(&zeros));
        let (mut gradients, mut of_ngrams) =
            self.times.measure("backward", || backward(&loss, &others));
        let of_inputs = of_ngrams.split_off(selected.len());
        let mut adversarial_loss = None;
        if let Some(epsilon) = epsilon {
            self.times.measure("adversarial", || {
                let model = &self.model;
                let perturbations =
                    model.adversarial_perturbations(batch, &of_inputs, deviations, epsilon);
                let (_, loss) = loss_of(&logits(&perturbations));
                let (others, others_of_ngrams) = backward(&(&loss * weight), &selected);
                adversarial_loss = Some(loss.detach());
                let all = gradients.iter_mut().chain(&mut of_ngrams);
                for (gradient, other) in all.zip(others.iter().chain(&others_of_ngrams)) {
                    let _ = gradient.g_add_(other);
                }
            });
        }
        let rows = batch.ngrams.iter().flatten().map(|bags| bags.rows.shallow_clone());
        let correct = self.loss.count_correct(&log_probabilities, targets).to_kind(Kind::Float);
        scale(gradients.iter_mut().chain(&mut of_ngrams), *share);
        Ok(Step {
            context: Some(*context),
            gradients,
            ngrams: rows.zip(of_ngrams).collect(),
            distinct_ids: distinct_ids.iter().map(|ids| ids.ids.shallow_clone()).collect(),
            loss_and_correct: Some([measured, correct]),
            added: adversarial_loss.into_iter().collect(),
            stops: None,
            norm: None,
        })
    }
}
