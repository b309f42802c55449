//! The traits of a backend, and of the set of backends that a program has.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::language_model::{LanguageModelLearner, LanguageModelSettings};
use super::learner::{AddTexts, Inference, Learner};
use super::memory::Concurrency;
use crate::config::{BackendKind, Config, ConfigError, TrainConfig};
use crate::data::Dataset;
use crate::distributed::Collective;
use crate::model::quantization::dequantized;
use crate::model::{LanguageModelSpec, ModelSpec, NamedTensor, StoredTensor};
use crate::objective::Objective;
use crate::system::device::{DeviceChoice, DriverDevice};
use crate::system::processes::LaunchedProcess;

/// A backend on a device, ready to compute. Displays the device and the number of threads.
pub trait Backend: fmt::Display {
    /// Creates a network that predicts with these weights.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model.
    fn inference(
        &self,
        spec: &ModelSpec,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn Inference>>;

    /// Creates a network that predicts with the tensors of a quantized model; by default in single precision.
    ///
    /// # Errors
    /// Returns an error if the tensors do not fit the model.
    fn quantized_inference(
        &self,
        spec: &ModelSpec,
        tensors: Vec<StoredTensor>,
    ) -> anyhow::Result<Box<dyn Inference>> {
        self.inference(spec, dequantized(spec, tensors)?)
    }

    /// Creates a network that starts training from these weights.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model.
    fn learner(
        &self,
        spec: &ModelSpec,
        objective: &Objective,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn Learner>>;

    /// Creates a language model that starts training from these weights.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model, or if the settings cannot be used.
    fn language_model(
        &self,
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn LanguageModelLearner>>;

    /// Returns the value of the field `backend` that selects this backend.
    fn kind(&self) -> BackendKind;

    /// Describes everything but the configuration that rounding depends on: program, library, device,
    /// and the number of threads if it matters.
    fn arithmetic(&self) -> String;

    /// Returns true if a CUDA device computes.
    fn is_cuda(&self) -> bool {
        false
    }

    /// Returns the part of a training step that is in the memory of the system at once; `None` if another
    /// device computes.
    fn concurrency(&self, train: &TrainConfig) -> Option<Concurrency>;

    /// Runs `work`; a panic of the library that computes becomes an error.
    ///
    /// # Errors
    /// Returns the errors of `work` and of the library.
    fn catch(&self, work: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        work()
    }

    /// Returns true if the library that computes reported this error, rather than this program.
    fn reported(&self, error: &anyhow::Error) -> bool {
        let _ = error;
        false
    }

    /// Returns the largest `train.token_budget` whose training steps fit into the memory of the device, with the
    /// batches that `added` adds to that of the examples; `None` if the backend does not measure it.
    ///
    /// # Errors
    /// Returns an error if not even the longest example fits.
    fn largest_token_budget(
        &self,
        learner: &mut dyn Learner,
        data: &Dataset,
        added: &mut AddTexts,
        clip: Option<f64>,
    ) -> anyhow::Result<Option<usize>> {
        let _ = (learner, data, added, clip);
        Ok(None)
    }

    /// Measures the floating-point operations per second of a large matrix product.
    fn multiplication_rate(&self) -> f64;

    /// Runs `work` and writes every operation in it to a new file in Chrome's trace format.
    ///
    /// # Errors
    /// Returns an error if the backend has no profiler or the file cannot be written.
    fn trace(
        &self,
        path: &Path,
        work: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let _ = (path, work);
        Err(ConfigError::new("--trace records libtorch, but the native backend computes").into())
    }
}

/// The libtorch of a program and the CUDA devices that it finds.
pub struct LibtorchDevices {
    /// Version of libtorch.
    pub version: String,
    /// CUDA devices, at least one, or the reason why there is none.
    pub cuda: Result<Vec<DriverDevice>, String>,
}

/// The backends that a program has besides the native one.
pub trait Backends {
    /// Checks that a CUDA device can compute.
    ///
    /// # Errors
    /// Returns the reason why none can.
    fn cuda(&self) -> Result<(), String>;

    /// Starts libtorch. A program without libtorch continues as one that has it, and returns only if
    /// that fails.
    ///
    /// # Errors
    /// Returns an error if libtorch cannot be used on this device.
    fn libtorch(&self, config: &Config, compute: Compute) -> anyhow::Result<Box<dyn Backend>>;

    /// Returns true if libtorch is installed.
    fn has_libtorch(&self) -> bool;

    /// Returns libtorch's version and devices; `None` if there is no libtorch. A program without libtorch
    /// continues as one that has it.
    ///
    /// # Errors
    /// Returns an error if the program with libtorch cannot be started.
    fn libtorch_devices(&self) -> anyhow::Result<Option<LibtorchDevices>>;

    /// Joins the other processes that a launcher has started. A program without libtorch continues as one
    /// that has it, and returns only if that fails. A process that does not respond for `timeout` counts
    /// as lost, now and later.
    ///
    /// # Errors
    /// Returns an error if libtorch is not installed, or if the processes do not find each other within
    /// `timeout`.
    fn join(
        &self,
        process: &LaunchedProcess,
        timeout: Duration,
    ) -> anyhow::Result<Box<dyn Collective>>;
}

/// Settings of a command for computing.
#[derive(Clone, Copy, Debug)]
pub struct Compute {
    /// Device to compute on.
    pub device: DeviceChoice,
    /// Number of CPU threads; by default one for each core.
    pub threads: Option<NonZeroUsize>,
    /// True if the command runs long enough to justify slow preparations.
    pub long_running: bool,
}
