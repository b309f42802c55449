//! Choice of a compute device, and the devices of the NVIDIA driver.

use std::env;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt;
use std::str::FromStr;

use libloading::os::unix::{Library, Symbol};

/// Value of `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// First CUDA device, or the CPU if there is none.
    Auto,
    /// CUDA device of a process with this rank on its machine, or the CPU if there is none. The process may
    /// see only its own device.
    AutoLocal(usize),
    /// CPU.
    Cpu,
    /// CUDA device with this index.
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
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("found \"{text}\", expected auto, cpu, cuda or cuda:N")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto | Self::AutoLocal(_) => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// CUDA device of the NVIDIA driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverDevice {
    /// Index, from 0.
    pub index: usize,
    /// Name of the model.
    pub name: String,
    /// Memory in bytes.
    pub memory: u64,
}

impl fmt::Display for DriverDevice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { index, name, memory } = self;
        write!(f, "cuda:{index} {name}, {:.1} GiB", *memory as f64 / (1_u64 << 30) as f64)
    }
}

/// NVIDIA driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Newest CUDA version that it supports.
    pub cuda: CudaVersion,
    /// Devices, at least one.
    pub devices: Vec<DriverDevice>,
}

/// CUDA version in the encoding of CUDA: 13020 for 13.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaVersion(pub c_int);

impl CudaVersion {
    /// Major version. Programs run with drivers of the same or a later major version.
    pub fn major(self) -> c_int {
        self.0 / 1_000
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 1_000 / 10)
    }
}

/// Queries the NVIDIA driver for its devices, without libtorch.
///
/// # Errors
/// Returns the reason if there is no CUDA device.
pub fn driver() -> Result<Driver, String> {
    // SAFETY: libcuda is the library of the NVIDIA driver. The functions have the signatures of its
    // published header.
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
        let get_version: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            symbol(&driver, b"cuDriverGetVersion\0")?;
        let check = |status: c_int| match status {
            0 => Ok(()),
            NO_DEVICE => Err(no_device(env::var("CUDA_VISIBLE_DEVICES").ok())),
            code => Err(match EXPLANATIONS.iter().find(|(error, _)| *error == code) {
                Some((_, meaning)) => {
                    format!("the NVIDIA driver reports error {code}: {meaning}")
                }
                None => {
                    format!("the NVIDIA driver reports error {code}; run nvidia-smi for details")
                }
            }),
        };
        check(init(0))?;
        let mut count = 0;
        check(get_count(&mut count))?;
        check(if count == 0 { NO_DEVICE } else { 0 })?;
        let mut cuda = 0;
        check(get_version(&mut cuda))?;
        let mut devices = Vec::new();
        // The documentation of the driver allows indices as device handles.
        for device in 0..count {
            let mut name = [0; 256];
            let mut memory = 0;
            check(get_name(name.as_mut_ptr(), name.len() as c_int, device))?;
            check(get_memory(&mut memory, device))?;
            let name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
            devices.push(DriverDevice { index: device as usize, name, memory: memory as u64 });
        }
        Ok(Driver { cuda: CudaVersion(cuda), devices })
    }
}

/// CUDA_ERROR_NO_DEVICE
const NO_DEVICE: c_int = 100;

/// Explanations of other errors of the driver.
const EXPLANATIONS: [(c_int, &str); 4] = [
    (3, "it is not initialized; is its kernel module loaded?"),
    (802, "the system is not ready yet; is the fabric manager running?"),
    (999, "often the nvidia-uvm module is not loaded, or the machine was suspended; restart it"),
    (803, "the versions of its components differ; restart the machine after a driver update"),
];

fn no_device(visible: Option<String>) -> String {
    match visible {
        Some(visible) => {
            format!("CUDA_VISIBLE_DEVICES is \"{visible}\", which hides all devices")
        }
        None => "the NVIDIA driver finds no device".to_owned(),
    }
}

/// # Safety
/// `T` must be the type of the symbol.
unsafe fn symbol<T>(library: &Library, name: &[u8]) -> Result<Symbol<T>, String> {
    // SAFETY: the caller guarantees the type.
    unsafe { library.get(name) }.map_err(|error| format!("the NVIDIA driver is too old: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_match_pytorch() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let device = DriverDevice { index: 1, name: "NVIDIA H200".into(), memory: 150 << 30 };
        assert_eq!(device.to_string(), "cuda:1 NVIDIA H200, 150.0 GiB");
        assert_eq!(CudaVersion(12_020).to_string(), "12.2");
        for wrong in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(
                wrong.parse::<DeviceChoice>().unwrap_err().contains("expected auto"),
                "{wrong}"
            );
        }
    }
}
