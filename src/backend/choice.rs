//! The one rule that decides which backend computes, and on which device.

use super::backends::{Backend, Backends, Compute, LibtorchDevices};
use super::native::NativeBackend;
use crate::config::{BackendKind, Config, ConfigError, TokenBudget};
use crate::output::note;
use crate::system::device::{DeviceChoice, driver};
use crate::system::torch_program;

/// Chooses a backend by the configuration's `backend` and the device, and starts it.
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
        (BackendKind::Auto, DeviceChoice::Auto) => match backends.cuda() {
            Ok(()) => false,
            Err(reason) => {
                // Users with a GPU want to know why it is idle.
                if driver().is_ok() {
                    note(format!("computing on the CPU; {reason}"));
                }
                true
            }
        },
    };
    let backend: Box<dyn Backend> = match native {
        true => Box::new(NativeBackend::start(compute.threads)?),
        false => backends.libtorch(config, compute)?,
    };
    if config.train.token_budget == Some(TokenBudget::Auto) && !backend.is_cuda() {
        return Err(ConfigError::new(
            "train.token_budget: auto measures the memory of a CUDA device; name a number of tokens \
             to train on the CPU",
        )
        .into());
    }
    if native && config.precision.is_half() {
        let precision = config.precision.as_str();
        note(format!("precision: {precision} is for CUDA; the native backend computes in fp32"));
    }
    Ok(backend)
}

/// The backends of a program without libtorch: it continues as `lstmtext-torch`, if that is installed
/// beside it.
#[derive(Clone, Copy, Debug)]
pub struct WithoutLibtorch;

impl Backends for WithoutLibtorch {
    fn cuda(&self) -> Result<(), String> {
        driver()?;
        match torch_program::is_installed() {
            true => Ok(()),
            false => Err("CUDA devices need lstmtext-torch, which is not installed".to_owned()),
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
}
