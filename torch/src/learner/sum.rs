//! Sums of gradients over all processes.

use anyhow::Context;
use tch::{Kind, Tensor};

use super::batch::TorchBatch;
use super::distinct_ids::DistinctIds;
use super::share::scale;
use super::{Step, TorchLearner};
use crate::sum_buffer::SumBuffer;
use lstmtext::backend::PreparedBatch;
use lstmtext::distributed::Group;

impl TorchLearner {
    /// Replaces the gradients, the loss and the number of correct predictions by their sums over all processes.
    ///
    /// # Errors
    /// Returns an error if a process is lost, or if the batch is another backend's.
    pub(super) fn sum_over(
        &mut self,
        batch: &PreparedBatch,
        Group { collective, stop }: Group,
    ) -> anyhow::Result<()> {
        if collective.is_alone() {
            return Ok(());
        }
        let unlabelled: Option<&TorchBatch> = match self.config.has_unlabelled_terms() {
            true => batch.unlabelled().map(PreparedBatch::get).transpose()?,
            false => None,
        };
        let labelled: &TorchBatch = batch.get()?;
        self.in_step("sum", |learner| {
            let device = learner.model.device();
            let union = |ids: fn(&TorchBatch) -> &[DistinctIds]| -> Vec<DistinctIds> {
                let others = unlabelled.map_or(&[][..], ids).iter().map(Some);
                let pairs = ids(labelled).iter().zip(others.chain(std::iter::repeat(None)));
                pairs.map(|(first, second)| first.union(second, device)).collect()
            };
            let ids = union(|batch| &batch.distinct_ids);
            let of_ngrams = union(|batch| &batch.distinct_ngrams);
            let embeddings = learner.model.embedding_inputs();
            let Step { gradients, ngrams, distinct_ids, loss_and_correct, added, stops, .. } =
                &mut learner.step;
            let [loss, correct] = loss_and_correct.as_mut().context("the step has no loss yet")?;
            let _no_grad = tch::no_grad_guard();
            let mut buffer = SumBuffer::default();
            // The other rows of an embedding have no gradient in any process.
            for (gradient, input) in gradients.iter().zip(&embeddings) {
                match input.map(|input| &ids[input].ids) {
                    Some(rows) => buffer.push(&gradient.index_select(0, rows)),
                    None => buffer.push(gradient),
                }
            }
            for ((rows, gradient), all) in ngrams.iter_mut().zip(&of_ngrams) {
                *gradient = spread_rows(rows, gradient, all);
                *rows = all.ids.shallow_clone();
                buffer.push(gradient);
            }
            scale([&mut *loss], labelled.share);
            let of_labelled = usize::from(learner.config.adversarial.epsilon.is_some());
            let (of_labels, of_texts) = added.split_at_mut(of_labelled);
            scale(of_labels, labelled.share);
            scale(of_texts, unlabelled.unwrap_or(labelled).text_share);
            if labelled.text_share == 0.0 {
                let _ = correct.zero_();
            }
            let stop = Tensor::full_like(loss, f64::from(u8::from(stop)));
            let totals: Vec<&Tensor> =
                [&*loss, correct, &stop].into_iter().chain(&*added).collect();
            buffer.push(&Tensor::stack(&totals, 0));
            let mut sums = buffer.sum(collective)?;
            for ((gradient, input), sum) in gradients.iter_mut().zip(&embeddings).zip(&mut sums) {
                match input.map(|input| &ids[input].ids) {
                    Some(rows) => {
                        let sum = sum.view([rows.size()[0], gradient.size()[1]]);
                        let _ = gradient.index_copy_(0, rows, &sum);
                    }
                    None => *gradient = sum.view_as(gradient),
                }
            }
            for ((_, gradient), sum) in ngrams.iter_mut().zip(&mut sums) {
                *gradient = sum.view_as(gradient);
            }
            if let Some(sum) = sums.next() {
                [*loss, *correct] = [sum.get(0), sum.get(1)];
                *stops = Some(sum.get(2));
                for (index, added) in (3..).zip(added) {
                    *added = sum.get(index);
                }
            }
            *distinct_ids = ids.into_iter().map(|ids| ids.ids).collect();
            Ok(())
        })
    }
}

/// Returns rows in the order of `all`, which has all ids of `own`; zeros for the others. Both are sorted.
fn spread_rows(own: &Tensor, rows: &Tensor, all: &DistinctIds) -> Tensor {
    let size = [all.host_ids.len() as i64, rows.size()[1]];
    let mut spread = Tensor::zeros(size, (Kind::Float, rows.device()));
    let _ = spread.index_copy_(0, &Tensor::bucketize(own, &all.ids, false, false), rows);
    spread
}
