//! What computes in this process: the kernel or libtorch, and on which device.

use std::fmt;

use tch::Device;

use crate::learner::model;
use crate::libtorch::{self, Numerics, resolve, set_threads};
use lstmtext::backend::Inference;
use lstmtext::backend::kernel::Instructions;
use lstmtext::cli::ComputeArgs;
use lstmtext::config::{Backend, Config, ConfigError, TokenBudget};
use lstmtext::output::note;
use lstmtext::run::checkpoint::Checkpoint;
use lstmtext::system::device::DeviceChoice;
use lstmtext::system::threads;

/// A backend on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The kernel, on the CPU.
    Native,
    /// libtorch.
    Libtorch(Device),
}

impl Engine {
    /// What the configuration's `backend` and `--device` mean together on this machine.
    ///
    /// # Errors
    /// Where a CUDA device is asked for that is not there, or for the kernel.
    pub fn choose(backend: Backend, device: DeviceChoice) -> anyhow::Result<Self> {
        match (backend, device) {
            (Backend::Native, DeviceChoice::Cuda(_)) => Err(ConfigError::new(
                "backend: native computes on the CPU, --device names a CUDA device".to_owned(),
            )
            .into()),
            (Backend::Native, _) => Ok(Self::Native),
            (Backend::Auto, _) => Ok(match resolve(device)? {
                Device::Cpu => Self::Native,
                device => Self::Libtorch(device),
            }),
            (Backend::Libtorch, _) => Ok(Self::Libtorch(resolve(device)?)),
        }
    }

    /// Sets the threads and how CUDA computes, and chooses what computes.
    ///
    /// # Errors
    /// As [`Engine::choose`], and where the configuration asks for what only CUDA has.
    pub fn start(compute: &ComputeArgs, config: &Config) -> anyhow::Result<Self> {
        set_threads(compute.threads)?;
        Numerics::of(config).set()?;
        let engine = Self::choose(config.backend, compute.device)?;
        if config.train.token_budget == Some(TokenBudget::Auto) && !engine.is_cuda() {
            return Err(ConfigError::new(
                "train.token_budget: auto is the largest that fits into the memory of a CUDA device; \
                 for the CPU name a number",
            )
            .into());
        }
        if engine == Self::Native && config.precision.is_half() {
            let precision = config.precision.as_str();
            note(format!(
                "precision: {precision} is for CUDA; the native backend computes in fp32"
            ));
        }
        Ok(engine)
    }

    /// Whether a CUDA device computes.
    pub fn is_cuda(self) -> bool {
        matches!(self, Self::Libtorch(Device::Cuda(_)))
    }

    /// The CPU threads that it computes with.
    pub fn threads(self) -> usize {
        match self {
            Self::Native => threads::count(),
            Self::Libtorch(_) => libtorch::threads(),
        }
    }

    /// The network of a checkpoint.
    ///
    /// # Errors
    /// Where the weights do not fit the configuration.
    pub fn classifier(self, checkpoint: &Checkpoint) -> anyhow::Result<Box<dyn Inference>> {
        Ok(match self {
            Self::Native => Box::new(checkpoint.native()?),
            Self::Libtorch(device) => Box::new(model(checkpoint, device)?),
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Native => {
                write!(f, "CPU, {}, {}", Instructions::best(), in_words(self.threads()))
            }
            Self::Libtorch(Device::Cuda(number)) => {
                write!(f, "CUDA device {number}, {}", in_words(self.threads()))
            }
            Self::Libtorch(_) => write!(f, "CPU, libtorch, {}", in_words(self.threads())),
        }
    }
}

/// How many threads, in words.
pub fn in_words(threads: usize) -> String {
    match threads {
        1 => "1 thread".to_owned(),
        many => format!("{many} threads"),
    }
}
