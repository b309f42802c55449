//! Which device computes, and why there may be no CUDA device.

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use tch::Device;

/// What `--device` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("found \"{text}\", allowed is auto | cpu | cuda | cuda:N")),
        }
    }
}

impl DeviceChoice {
    /// The device to compute on.
    ///
    /// # Errors
    /// Where a CUDA device is asked for that is not there; says why.
    pub fn resolve(self) -> anyhow::Result<Device> {
        let count = tch::Cuda::device_count().max(0) as usize;
        match self {
            Self::Auto if count > 0 => Ok(Device::Cuda(0)),
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) if number < count => Ok(Device::Cuda(number)),
            Self::Cuda(number) if count > 0 => {
                bail!("--device cuda:{number}: there are {count} CUDA devices, counted from 0")
            }
            Self::Cuda(_) => bail!("--device cuda: {}", cuda_report()),
        }
    }
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
        return CudaReport::Devices(devices);
    }
    let reason = match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => format!("CUDA_VISIBLE_DEVICES is \"{value}\", which shows none"),
        Err(_) => "libtorch finds none, though the driver does; is the driver too old?".to_owned(),
    };
    CudaReport::None(format!("no CUDA device: {reason}"))
}

/// Asks the NVIDIA driver for its devices: name and memory of each.
fn driver_devices() -> Result<Vec<String>, String> {
    // SAFETY: libcuda is the NVIDIA driver's own library; the functions are called with the
    // signatures of its published header.
    unsafe {
        let driver = Library::new("libcuda.so.1")
            .map_err(|_| "no NVIDIA driver is installed (libcuda.so.1 is missing)".to_owned())?;
        let init: Symbol<unsafe extern "C" fn(c_uint) -> c_int> = symbol(&driver, b"cuInit\0")?;
        let get_count: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            symbol(&driver, b"cuDeviceGetCount\0")?;
        let get_name: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
            symbol(&driver, b"cuDeviceGetName\0")?;
        let get_memory: Symbol<unsafe extern "C" fn(*mut usize, c_int) -> c_int> =
            symbol(&driver, b"cuDeviceTotalMem_v2\0")?;
        let check = |status: c_int| match status {
            0 => Ok(()),
            100 => Err("the driver finds no device (CUDA_VISIBLE_DEVICES may hide it)".to_owned()),
            code => Err(format!("the driver answers with error {code}")),
        };
        check(init(0))?;
        let mut count = 0;
        check(get_count(&mut count))?;
        let mut devices = Vec::new();
        // Device handles are the numbers from 0, by the driver's documentation.
        for device in 0..count {
            let mut name = [0; 256];
            let mut memory = 0;
            check(get_name(name.as_mut_ptr(), name.len() as c_int, device))?;
            check(get_memory(&mut memory, device))?;
            let name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
            devices.push(format!(
                "cuda:{device} {name}, {:.1} GiB",
                memory as f64 / (1_u64 << 30) as f64
            ));
        }
        Ok(devices)
    }
}

/// # Safety
/// `T` must be the symbol's true type.
unsafe fn symbol<T>(library: &Library, name: &[u8]) -> Result<Symbol<T>, String> {
    // SAFETY: the caller vouches for the type.
    unsafe { library.get(name) }.map_err(|error| format!("the NVIDIA driver is too old: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_in_pytorch() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(wrong.parse::<DeviceChoice>().unwrap_err().contains("allowed is"), "{wrong}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(DeviceChoice::Cpu.resolve().unwrap(), Device::Cpu);
        if tch::Cuda::device_count() == 0 {
            let error = DeviceChoice::Cuda(0).resolve().unwrap_err().to_string();
            assert!(error.starts_with("--device cuda: no CUDA device: "), "{error}");
        }
    }
}
