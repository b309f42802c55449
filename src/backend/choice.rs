//! Selection of the backend and the device.

use std::time::Duration;

use anyhow::ensure;

use super::backends::{Backend, Backends, Compute, LibtorchDevices};
use super::native::NativeBackend;
use crate::config::{AutoNumber, BackendKind, Config, ConfigError, Input, Precision};
use crate::distributed::Collective;
use crate::output::note;
use crate::system::device::{DeviceChoice, driver};
use crate::system::processes::LaunchedProcess;
use crate::system::torch_program;

/// Selects a backend according to the field `backend` and the device, and starts it.
///
/// # Errors
/// Returns an error if the configuration and the device contradict each other, or if the device
/// cannot be used.
pub fn start(
    backends: &dyn Backends,
    config: &Config,
    compute: Compute,
) -> anyhow::Result<Box<dyn Backend>> {
    let native = match (config.backend, compute.device) {
        (BackendKind::Native, DeviceChoice::Cuda(_)) => {
            return Err(ConfigError::new(
                "backend: native computes on the CPU, but --device names a CUDA device",
            )
            .into());
        }
        (BackendKind::Native, _) | (BackendKind::Auto, DeviceChoice::Cpu) => true,
        (BackendKind::Libtorch, _) | (BackendKind::Auto, DeviceChoice::Cuda(_)) => false,
        (BackendKind::Auto, DeviceChoice::Auto | DeviceChoice::AutoLocal(_)) => {
            match backends.cuda() {
                Ok(()) => false,
                Err(reason) => {
                    note_unused_gpu(&reason);
                    true
                }
            }
        }
    };
    let backend: Box<dyn Backend> = match native {
        true => {
            let has_lstm = config.inputs.iter().any(Input::has_lstm);
            let precision = if has_lstm { config.precision } else { Precision::Fp32 };
            Box::new(NativeBackend::start(compute.threads)?.with_precision(precision))
        }
        false => backends.libtorch(config, compute)?,
    };
    if native && config.precision == Precision::Fp16 {
        note("precision: fp16 is for CUDA; the native backend computes in fp32");
    }
    Ok(backend)
}

/// Prints a note if training on the CPU would be as fast without `precision: bf16`.
pub fn note_slow_bf16(backend: &dyn Backend, config: &Config) {
    let is_bf16 = config.precision == Precision::Bf16 && config.inputs.iter().any(Input::has_lstm);
    if is_bf16 && backend.kind() == BackendKind::Native && !NativeBackend::has_bf16() {
        note(
            "precision: bf16 saves no time here, because this processor does not multiply it faster (AMD's with AVX-512 \
             BF16 do); the native backend rounds to bf16 and computes in fp32",
        );
    }
}

/// Prints the reason why the CPU computes, if the machine has a GPU.
pub fn note_unused_gpu(reason: &str) {
    if driver().is_ok() {
        note(format!("computing on the CPU; {reason}"));
    }
}

/// Starts a backend to train `config`, like [`start`].
///
/// # Errors
/// Returns the errors of [`start`], and an error if the backend cannot determine the token budget.
pub fn start_training(
    backends: &dyn Backends,
    config: &Config,
    compute: Compute,
) -> anyhow::Result<Box<dyn Backend>> {
    let backend = start(backends, config, compute)?;
    if config.train.token_budget == Some(AutoNumber::Auto) && !backend.is_cuda() {
        return Err(ConfigError::new(
            "train.token_budget: auto needs a CUDA device, whose memory it measures; set a number of \
             tokens to train on the CPU",
        )
        .into());
    }
    Ok(backend)
}

/// Backends of `lstmtext`, which is not linked with libtorch. If libtorch is needed, it replaces itself
/// with `lstmtext-torch` from the same directory.
#[derive(Clone, Copy, Debug)]
pub struct WithoutLibtorch;

impl Backends for WithoutLibtorch {
    fn cuda(&self) -> Result<(), String> {
        driver()?;
        match torch_program::is_installed() {
            true => Ok(()),
            false => Err(format!(
                "CUDA devices need lstmtext-torch and libtorch, which are not installed; {}",
                torch_program::installation()
            )),
        }
    }

    fn libtorch(&self, _: &Config, compute: Compute) -> anyhow::Result<Box<dyn Backend>> {
        Err(torch_program::launch(compute.long_running))
    }

    fn has_libtorch(&self) -> bool {
        torch_program::is_installed()
    }

    fn libtorch_devices(&self) -> anyhow::Result<Option<LibtorchDevices>> {
        match torch_program::is_installed() {
            true => Err(torch_program::launch(false)),
            false => Ok(None),
        }
    }

    fn join(&self, process: &LaunchedProcess, _: Duration) -> anyhow::Result<Box<dyn Collective>> {
        ensure!(
            torch_program::is_installed(),
            "this is process {} of {}, and several processes communicate by means of lstmtext-torch, which \
             is not installed beside this program; {}, or unset WORLD_SIZE and RANK to run a single process",
            process.rank,
            process.size,
            torch_program::installation()
        );
        Err(torch_program::launch(true))
    }
}
