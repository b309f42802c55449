//! Gradients, losses and states of a step, and their sums over all processes.

use std::ops::Range;

use tch::{Kind, Tensor};

use super::model::States;
use crate::sum_buffer::SumBuffer;
use lstmtext::distributed::Collective;

/// Results of a step.
pub struct StepResults {
    /// Gradient of each weight or of its rows.
    pub gradients: Vec<Tensor>,
    /// Contribution of the rows to the mean loss of each direction, float [directions].
    pub losses: Tensor,
    /// States of each direction after the batch.
    pub states: Vec<States>,
    /// Number of processes that are to stop after this step, float `[1]`.
    pub stops: Tensor,
}

impl StepResults {
    /// Adds up the results of all processes. This one has computed the rows `own` of `rows`.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn sum(
        &mut self,
        collective: &dyn Collective,
        own: &Range<usize>,
        rows: usize,
    ) -> anyhow::Result<()> {
        let mut buffer = SumBuffer::default();
        self.gradients.iter().chain([&self.losses, &self.stops]).for_each(|part| buffer.push(part));
        // Each row has the states that one process has computed, plus zeros.
        for state in self.states.iter().flatten().flatten() {
            let all = Tensor::zeros([rows as i64, state.size()[1]], (Kind::Float, state.device()));
            all.narrow(0, own.start as i64, own.len() as i64).copy_(state);
            buffer.push(&all);
        }
        let mut sums = buffer.sum(collective)?;
        let summed = self.gradients.iter_mut().chain([&mut self.losses, &mut self.stops]);
        for (part, sum) in summed.zip(&mut sums) {
            *part = sum.view_as(part);
        }
        for (state, sum) in self.states.iter_mut().flatten().flatten().zip(&mut sums) {
            // A view would keep the whole buffer.
            *state = sum.view([rows as i64, -1]).copy();
        }
        Ok(())
    }
}
