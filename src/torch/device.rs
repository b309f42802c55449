//! Which device computes, and why there may be no CUDA device.

use std::error::Error;
use std::fmt;

use anyhow::bail;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::Device;

use crate::device::{DeviceChoice, driver_devices};

/// The device to compute on.
///
/// # Errors
/// Where a CUDA device is asked for that is not there; says why.
pub fn resolve(choice: DeviceChoice) -> anyhow::Result<Device> {
    let count = tch::Cuda::device_count().max(0) as usize;
    match choice {
        DeviceChoice::Auto if count > 0 => Ok(Device::Cuda(0)),
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda(number) if number < count => Ok(Device::Cuda(number)),
        DeviceChoice::Cuda(number) if count > 0 => {
            bail!("--device cuda:{number}: there are {count} CUDA devices, counted from 0")
        }
        DeviceChoice::Cuda(_) => bail!("--device cuda: {}", cuda_report()),
    }
}

/// The memory of a CUDA device in bytes, where the driver tells it.
pub fn memory(device: Device) -> Option<u64> {
    let Device::Cuda(number) = device else { return None };
    driver_devices().ok()?.get(number).map(|device| device.memory)
}

/// Loads libtorch's CUDA half where it lies in the library path. The linker leaves it out of the
/// binary, so that one binary serves machines with CUDA and without.
pub fn load_cuda() {
    let _ = load_cuda_library();
}

fn load_cuda_library() -> Result<(), String> {
    // SAFETY: libtorch_cuda belongs to the libtorch that this process runs with; its initialisers
    // register kernels and nothing else.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    match library {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        // What dlopen itself says stands behind libloading's own words.
        Err(error) => Err(error.source().map_or(error.to_string(), ToString::to_string)),
    }
}

/// The CUDA devices, or why there is none.
#[derive(Clone, Debug)]
pub enum CudaReport {
    /// A line about each.
    Devices(Vec<String>),
    /// Why there is none.
    None(String),
}

impl fmt::Display for CudaReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Devices(devices) => f.write_str(&devices.join("; ")),
            Self::None(reason) => f.write_str(reason),
        }
    }
}

/// Looks for CUDA devices.
pub fn cuda_report() -> CudaReport {
    if let Err(error) = load_cuda_library() {
        let reason = match error.contains("libtorch_cuda.so") && error.contains("No such file") {
            true => "this libtorch is the CPU set (make setup TORCH=cuda gets the CUDA set)".into(),
            false => format!("libtorch_cuda.so does not load: {error}"),
        };
        return CudaReport::None(format!("no CUDA device: {reason}"));
    }
    let devices = match driver_devices() {
        Ok(devices) => devices,
        Err(reason) => return CudaReport::None(format!("no CUDA device: {reason}")),
    };
    if tch::Cuda::device_count() > 0 {
        return CudaReport::Devices(devices.iter().map(ToString::to_string).collect());
    }
    let reason = match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => format!("CUDA_VISIBLE_DEVICES is \"{value}\", which shows none"),
        Err(_) => "libtorch finds none, though the driver does; is the driver too old?".to_owned(),
    };
    CudaReport::None(format!("no CUDA device: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(resolve(DeviceChoice::Cpu).unwrap(), Device::Cpu);
        if tch::Cuda::device_count() == 0 {
            let error = resolve(DeviceChoice::Cuda(0)).unwrap_err().to_string();
            assert!(error.starts_with("--device cuda: no CUDA device: "), "{error}");
        }
    }
}
