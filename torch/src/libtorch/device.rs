//! Which device computes, and why there may be no CUDA device.

use std::error::Error;
use std::ffi::c_int;

use anyhow::bail;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use tch::Device;

use lstmtext::output::format::pluralize;
use lstmtext::output::note;
use lstmtext::system::device::{CudaVersion, DeviceChoice, DriverDevice, driver};

/// The device to compute on.
///
/// # Errors
/// Where a CUDA device is asked for that is not there; says why.
pub fn resolve(choice: DeviceChoice) -> anyhow::Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto => Ok(match cuda_devices() {
            Ok(_) => Device::Cuda(0),
            Err(reason) => {
                // Who has a GPU wants to know.
                if driver().is_ok() {
                    note(format!("the CPU computes; {reason}"));
                }
                Device::Cpu
            }
        }),
        DeviceChoice::Cuda(number) => match cuda_devices() {
            Ok(devices) if number < devices.len() => Ok(Device::Cuda(number)),
            Ok(devices) => {
                let devices = pluralize(devices.len(), "CUDA device");
                bail!("--device cuda:{number}: the driver shows {devices}, counted from 0")
            }
            Err(reason) if number == 0 => bail!("--device cuda: {reason}"),
            Err(reason) => bail!("--device cuda:{number}: {reason}"),
        },
    }
}

/// The memory of a CUDA device in bytes, where the driver tells it.
pub fn memory(device: Device) -> Option<u64> {
    let Device::Cuda(number) = device else { return None };
    driver().ok()?.devices.get(number).map(|device| device.memory)
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

/// The CUDA devices, at least one.
///
/// # Errors
/// Why there is none.
pub fn cuda_devices() -> Result<Vec<DriverDevice>, String> {
    let none = |reason: String| format!("no CUDA device: {reason}");
    load_cuda_library().map_err(|error| none(unloadable(&error)))?;
    let driver = driver().map_err(none)?;
    // libtorch would print a warning of its own.
    if let Some(runtime) = runtime_version()
        && driver.cuda.major() < runtime.major()
    {
        return Err(none(format!(
            "the NVIDIA driver is too old: it knows CUDA up to {}, this libtorch needs {runtime}; update \
             the driver",
            driver.cuda
        )));
    }
    match tch::Cuda::device_count() {
        0 => Err(none("libtorch finds none, though the driver does; see nvidia-smi".to_owned())),
        _ => Ok(driver.devices),
    }
}

/// Why libtorch's CUDA half does not load, from what dlopen says.
fn unloadable(error: &str) -> String {
    if error.contains("libtorch_cuda.so") && error.contains("No such file") {
        return "this libtorch is the CPU set (make setup TORCH=cuda gets the CUDA set)".to_owned();
    }
    let cause = match error.contains("undefined symbol") {
        true => "it is incomplete, or of another version than the rest of libtorch",
        false => "a library that it needs is missing, or of another version of CUDA",
    };
    format!("libtorch_cuda.so does not load, {cause}: {error}")
}

/// The CUDA that libtorch was made with, as its library says.
fn runtime_version() -> Option<CudaVersion> {
    let mut version = 0;
    // SAFETY: the function has the signature of CUDA's published header, and only writes a number.
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
    fn the_cpu_is_always_there() {
        assert_eq!(resolve(DeviceChoice::Cpu).unwrap(), Device::Cpu);
        if tch::Cuda::device_count() == 0 {
            let error = resolve(DeviceChoice::Cuda(0)).unwrap_err().to_string();
            assert!(error.starts_with("--device cuda: no CUDA device: "), "{error}");
        }
    }
}
