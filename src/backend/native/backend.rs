//! [`Backend`] for the CPU.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Instant;

use rayon::prelude::*;

use super::language_model::NativeLanguageModel;
use super::learner::{NativeInference, NativeLearner};
use super::network::operand_format;
use super::sharding::BLOCK;
use crate::backend::backends::Backend;
use crate::backend::kernel::{AlignedVec, Cell, InputProjection, Instructions, OperandFormat};
use crate::backend::learner::{Inference, Learner};
use crate::backend::memory::Concurrency;
use crate::backend::{LanguageModelLearner, LanguageModelSettings};
use crate::config::{BackendKind, Precision, TrainConfig};
use crate::model::{LanguageModelSpec, ModelSpec, NamedTensor, StoredTensor};
use crate::objective::Objective;
use crate::output::format::pluralize;
use crate::system::threads;

/// The native backend on this process's threads.
#[derive(Debug)]
pub struct NativeBackend {
    /// Precision of LSTMs in training and prediction.
    precision: Precision,
}

impl NativeBackend {
    /// Starts the threads.
    ///
    /// # Errors
    /// Returns an error if the system refuses to start a thread.
    pub fn start(threads: Option<NonZeroUsize>) -> anyhow::Result<Self> {
        threads::set_count(threads)?;
        Ok(Self { precision: Precision::Fp32 })
    }

    /// Returns the backend for models of this precision.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Format of the operands of LSTMs.
    fn format(&self) -> OperandFormat {
        operand_format(self.precision, Instructions::best())
    }

    /// Returns true if this processor multiplies bf16 faster than floats.
    pub fn has_bf16() -> bool {
        OperandFormat::bf16(Instructions::best()) == OperandFormat::Bf16Pairs
    }

    /// Describes the instructions.
    fn instructions(&self) -> String {
        let bf16 = match self.format() {
            OperandFormat::Float => "",
            OperandFormat::RoundedFloat => " (bf16 in fp32)",
            OperandFormat::Bf16Pairs => " BF16",
        };
        format!("{}{bf16}", Instructions::best())
    }

    /// Returns how much of a training step is in memory at once.
    pub fn concurrency(&self, train: &TrainConfig) -> Concurrency {
        Concurrency { shards: train.shard_count(), threads: threads::count(), block: BLOCK }
    }
}

impl fmt::Display for NativeBackend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CPU, {}, {}", self.instructions(), pluralize(threads::count(), "thread"))
    }
}

impl Backend for NativeBackend {
    fn inference(
        &self,
        spec: &ModelSpec,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn Inference>> {
        Ok(Box::new(NativeInference::new(spec, weights)?))
    }

    fn quantized_inference(
        &self,
        spec: &ModelSpec,
        tensors: Vec<StoredTensor>,
    ) -> anyhow::Result<Box<dyn Inference>> {
        Ok(Box::new(NativeInference::quantized(spec, tensors)?))
    }

    fn learner(
        &self,
        spec: &ModelSpec,
        objective: &Objective,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn Learner>> {
        Ok(Box::new(NativeLearner::new(spec, objective, weights)?))
    }

    fn language_model(
        &self,
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn LanguageModelLearner>> {
        Ok(Box::new(NativeLanguageModel::new(spec, settings, weights)?))
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Native
    }

    /// The threads only share out the shards. The order of sums depends on the length of vectors.
    fn arithmetic(&self) -> String {
        format!("lstmtext {}, {}", env!("CARGO_PKG_VERSION"), self.instructions())
    }

    fn concurrency(&self, train: &TrainConfig) -> Option<Concurrency> {
        Some(self.concurrency(train))
    }

    fn multiplication_rate(&self) -> f64 {
        /// Length of each dimension of both matrices.
        const SIZE: usize = 1024;
        const REPETITIONS: usize = 10;
        let instructions = Instructions::best();
        let format = [self.format(); 2];
        let mut cell = Cell::new(SIZE, SIZE / 4, instructions.lanes(), format);
        cell.pack(&vec![1e-3; SIZE * SIZE], &vec![0.0; SIZE * SIZE / 4], &vec![0.0; SIZE]);
        let rows = SIZE.div_ceil(threads::count());
        let mut outputs: Vec<AlignedVec> =
            (0..threads::count()).map(|_| AlignedVec::zeros(rows * cell.gates_width())).collect();
        let inputs = vec![1e-3; rows * SIZE];
        let mut multiply = |repetitions: usize| {
            let start = Instant::now();
            for _ in 0..repetitions {
                outputs.par_iter_mut().for_each(|projected| {
                    let (cell, inputs) = (&cell, &inputs);
                    instructions.multiply(InputProjection {
                        cell,
                        inputs,
                        row_stride: SIZE,
                        projected,
                    });
                });
            }
            start.elapsed().as_secs_f64() / repetitions as f64
        };
        multiply(1);
        let operations = 2.0 * (rows * threads::count() * SIZE * SIZE) as f64;
        operations / multiply(REPETITIONS)
    }
}
