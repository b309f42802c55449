//! Devices of libtorch, and reasons why there is no CUDA device.

use std::error::Error;
use std::ffi::c_int;

use anyhow::bail;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use tch::Device;

use lstmtext::backend::note_unused_gpu;
use lstmtext::system::device::{CudaVersion, DeviceChoice, DriverDevice, driver};

/// Returns the device for `--device`.
///
/// # Errors
/// Returns the reason if the chosen CUDA device does not exist or cannot be used.
pub fn resolve_device(choice: DeviceChoice) -> anyhow::Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::AutoLocal(rank) => match cuda_devices() {
            Ok(devices) if devices.len() == 1 => Ok(Device::Cuda(0)),
            Ok(devices) if rank >= devices.len() => bail!(
                "this is process {rank} on its machine, which has only {} CUDA devices: start one process for \
                 each device, or compute with --device cpu",
                devices.len()
            ),
            Ok(_) => Ok(Device::Cuda(rank)),
            Err(_) => resolve_device(DeviceChoice::Auto),
        },
        DeviceChoice::Auto => Ok(match cuda_devices() {
            Ok(_) => Device::Cuda(0),
            Err(reason) => {
                note_unused_gpu(&reason);
                Device::Cpu
            }
        }),
        DeviceChoice::Cuda(index) => match cuda_devices() {
            Ok(devices) if index < devices.len() => Ok(Device::Cuda(index)),
            Ok(devices) => {
                let existing: Vec<String> =
                    (0..devices.len()).map(|index| format!("cuda:{index}")).collect();
                bail!("--device cuda:{index}: the driver finds only {}", existing.join(", "))
            }
            Err(reason) if index == 0 => bail!("--device cuda: {reason}"),
            Err(reason) => bail!("--device cuda:{index}: {reason}"),
        },
    }
}

/// Memory of a CUDA device in bytes. `None` for the CPU, or if the driver does not report it.
pub fn device_memory(device: Device) -> Option<u64> {
    let Device::Cuda(index) = device else { return None };
    driver().ok()?.devices.get(index).map(|device| device.memory)
}

/// Loads `libtorch_cuda.so` if it is in the library path. The binary is not linked with it, so that
/// one binary works with and without CUDA.
pub fn load_cuda() {
    let _ = load_cuda_library();
}

fn load_cuda_library() -> Result<(), String> {
    // SAFETY: libtorch_cuda belongs to the libtorch of this process. Its initializers only register
    // kernels.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    match library {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        // The source of libloading's error has the message of dlopen.
        Err(error) => Err(error.source().map_or(error.to_string(), ToString::to_string)),
    }
}

/// Returns the CUDA devices, at least one.
///
/// # Errors
/// Returns the reason if there is none.
pub fn cuda_devices() -> Result<Vec<DriverDevice>, String> {
    let none = |reason: String| format!("no CUDA device: {reason}");
    load_cuda_library().map_err(|error| none(explain_load_error(&error)))?;
    let driver = driver().map_err(none)?;
    // Otherwise libtorch prints a warning of its own.
    if let Some(runtime) = runtime_version()
        && driver.cuda.major() < runtime.major()
    {
        return Err(none(format!(
            "the NVIDIA driver is too old: it supports CUDA up to {}, but this libtorch needs \
             {runtime}; update the driver",
            driver.cuda
        )));
    }
    match tch::Cuda::device_count() {
        0 => Err(none(
            "libtorch finds none, although the driver does; run nvidia-smi for details".to_owned(),
        )),
        _ => Ok(driver.devices),
    }
}

/// Explains why `libtorch_cuda.so` cannot be loaded, from the message of dlopen.
fn explain_load_error(error: &str) -> String {
    if error.contains("libtorch_cuda.so") && error.contains("No such file") {
        return "this libtorch is the CPU build; for the CUDA build, run make setup TORCH=cuda"
            .to_owned();
    }
    let cause = match error.contains("undefined symbol") {
        true => "the file is incomplete or from another version of libtorch",
        false => "a library that it needs is missing or from another version of CUDA",
    };
    format!("cannot load libtorch_cuda.so, {cause}: {error}")
}

/// Version of CUDA that libtorch was built with, as reported by its runtime library.
fn runtime_version() -> Option<CudaVersion> {
    let mut version = 0;
    // SAFETY: the function has the signature of CUDA's published header, and only writes `version`.
    unsafe {
        let get: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            Library::this().get(b"cudaRuntimeGetVersion\0").ok()?;
        (get(&mut version) == 0).then_some(CudaVersion(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_available() {
        assert_eq!(resolve_device(DeviceChoice::Cpu).unwrap(), Device::Cpu);
        if tch::Cuda::device_count() == 0 {
            let error = resolve_device(DeviceChoice::Cuda(0)).unwrap_err().to_string();
            assert!(error.starts_with("--device cuda: no CUDA device: "), "{error}");
        }
    }
}
