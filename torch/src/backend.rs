//! The traits of [`lstmtext::backend`] for libtorch.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tch::Device;

use crate::language_model::TorchLanguageModel;
use crate::learner::TorchLearner;
use crate::libtorch::{
    self, LibtorchError, Numerics, catch_libtorch_panics, cuda_devices, multiplication_rate,
    record_trace, resolve_device, set_threads, version,
};
use crate::model::Model;
use crate::process_group::ProcessGroup;
use crate::token_budget;
use lstmtext::backend::{
    AddTexts, Backend, Backends, Compute, Concurrency, Inference, LanguageModelLearner,
    LanguageModelSettings, Learner, LibtorchDevices,
};
use lstmtext::config::{BackendKind, Config, TrainConfig};
use lstmtext::data::Dataset;
use lstmtext::distributed::Collective;
use lstmtext::model::{LanguageModelSpec, ModelSpec, NamedTensor};
use lstmtext::objective::Objective;
use lstmtext::output::format::pluralize;
use lstmtext::system::processes::LaunchedProcess;

/// The backends of a program that is linked with libtorch.
#[derive(Clone, Copy, Debug)]
pub struct WithLibtorch;

impl Backends for WithLibtorch {
    fn cuda(&self) -> Result<(), String> {
        cuda_devices().map(drop)
    }

    fn libtorch(&self, config: &Config, compute: Compute) -> anyhow::Result<Box<dyn Backend>> {
        set_threads(compute.threads)?;
        Numerics::new(config).apply()?;
        Ok(Box::new(LibtorchBackend { device: resolve_device(compute.device)? }))
    }

    fn has_libtorch(&self) -> bool {
        true
    }

    fn libtorch_devices(&self) -> anyhow::Result<Option<LibtorchDevices>> {
        Ok(Some(LibtorchDevices { version: version().to_owned(), cuda: cuda_devices() }))
    }

    fn join(
        &self,
        process: &LaunchedProcess,
        timeout: Duration,
    ) -> anyhow::Result<Box<dyn Collective>> {
        Ok(Box::new(ProcessGroup::join(process, timeout)?))
    }
}

/// libtorch on one device.
#[derive(Clone, Copy, Debug)]
struct LibtorchBackend {
    device: Device,
}

impl fmt::Display for LibtorchBackend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let threads = pluralize(libtorch::thread_count(), "thread");
        match self.device {
            Device::Cuda(index) => write!(f, "CUDA device {index}, {threads}"),
            _ => write!(f, "CPU, libtorch, {threads}"),
        }
    }
}

impl Backend for LibtorchBackend {
    fn inference(
        &self,
        spec: &ModelSpec,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn Inference>> {
        Ok(Box::new(Model::new(spec, weights, self.device)?))
    }

    fn learner(
        &self,
        spec: &ModelSpec,
        objective: &Objective,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn Learner>> {
        let model = Model::new(spec, weights, self.device)?;
        Ok(Box::new(TorchLearner::new(model, &spec.config.train, objective)))
    }

    fn language_model(
        &self,
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Box<dyn LanguageModelLearner>> {
        Ok(Box::new(TorchLanguageModel::new(spec, settings, weights, self.device)?))
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Libtorch
    }

    fn is_cuda(&self) -> bool {
        matches!(self.device, Device::Cuda(_))
    }

    fn concurrency(&self, _: &TrainConfig) -> Option<Concurrency> {
        // The whole batch is computed at once.
        (!self.is_cuda()).then_some(Concurrency { shards: 1, threads: 1, block: usize::MAX })
    }

    fn catch(&self, work: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        catch_libtorch_panics(work)
    }

    fn reported(&self, error: &anyhow::Error) -> bool {
        error.is::<LibtorchError>()
    }

    fn largest_token_budget(
        &self,
        learner: &mut dyn Learner,
        data: &Dataset,
        added: &mut AddTexts,
        clip: Option<f64>,
    ) -> anyhow::Result<Option<usize>> {
        token_budget::search(learner, data, added, clip).map(Some)
    }

    fn arithmetic(&self) -> String {
        let versions = format!("lstmtext {}, libtorch {}", env!("CARGO_PKG_VERSION"), version());
        match self.device {
            Device::Cuda(index) => {
                let devices = cuda_devices().unwrap_or_default();
                let name = devices.into_iter().nth(index).map(|device| device.name);
                format!("{versions}, {}", name.unwrap_or_else(|| "CUDA".to_owned()))
            }
            _ => {
                let threads = pluralize(libtorch::thread_count(), "thread");
                format!("{versions}, CPU, {threads}")
            }
        }
    }

    fn multiplication_rate(&self) -> f64 {
        multiplication_rate(self.device)
    }

    fn trace(
        &self,
        path: &Path,
        work: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        record_trace(path, self.device, work)
    }
}
