//! Which device is to compute, and what the NVIDIA driver knows of devices.

use std::env;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt;
use std::str::FromStr;

use libloading::os::unix::{Library, Symbol};

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

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// A device, as the NVIDIA driver has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverDevice {
    /// Its number, from 0.
    pub number: usize,
    /// What it is called.
    pub name: String,
    /// Its memory in bytes.
    pub memory: u64,
}

impl fmt::Display for DriverDevice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { number, name, memory } = self;
        write!(f, "cuda:{number} {name}, {:.1} GiB", *memory as f64 / (1_u64 << 30) as f64)
    }
}

/// The NVIDIA driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The newest CUDA that it knows.
    pub cuda: CudaVersion,
    /// At least one.
    pub devices: Vec<DriverDevice>,
}

/// A version of CUDA as CUDA counts them, 13020 for 13.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaVersion(pub c_int);

impl CudaVersion {
    /// The part before the point. Programs for one run with every driver for the same or a later one.
    pub fn major(self) -> c_int {
        self.0 / 1_000
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 1_000 / 10)
    }
}

/// Asks the NVIDIA driver for its devices; libtorch is not needed for it.
///
/// # Errors
/// Why there is none.
pub fn driver() -> Result<Driver, String> {
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
        let get_version: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            symbol(&driver, b"cuDriverGetVersion\0")?;
        let check = |status: c_int| match status {
            0 => Ok(()),
            NO_DEVICE => Err(no_device(env::var("CUDA_VISIBLE_DEVICES").ok())),
            code => Err(match MEANINGS.iter().find(|(known, _)| *known == code) {
                Some((_, meaning)) => {
                    format!("the NVIDIA driver answers with error {code}: {meaning}")
                }
                None => format!("the NVIDIA driver answers with error {code}; see nvidia-smi"),
            }),
        };
        check(init(0))?;
        let mut count = 0;
        check(get_count(&mut count))?;
        check(if count == 0 { NO_DEVICE } else { 0 })?;
        let mut cuda = 0;
        check(get_version(&mut cuda))?;
        let mut devices = Vec::new();
        // Device handles are the numbers from 0, by the driver's documentation.
        for device in 0..count {
            let mut name = [0; 256];
            let mut memory = 0;
            check(get_name(name.as_mut_ptr(), name.len() as c_int, device))?;
            check(get_memory(&mut memory, device))?;
            let name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
            devices.push(DriverDevice { number: device as usize, name, memory: memory as u64 });
        }
        Ok(Driver { cuda: CudaVersion(cuda), devices })
    }
}

/// CUDA_ERROR_NO_DEVICE
const NO_DEVICE: c_int = 100;

/// What can be done about other errors of the driver.
const MEANINGS: [(c_int, &str); 4] = [
    (3, "it is not initialized; is its kernel module loaded?"),
    (802, "the system is not ready yet; is the fabric manager of its GPUs running?"),
    (
        999,
        "often a module that is not loaded (nvidia-uvm), or a machine that has slept; restart it",
    ),
    (803, "its parts are of different versions; restart the machine after an update"),
];

fn no_device(visible: Option<String>) -> String {
    match visible {
        Some(visible) => {
            format!("CUDA_VISIBLE_DEVICES is \"{visible}\", which shows the driver none")
        }
        None => "the NVIDIA driver finds no device".to_owned(),
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
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let device = DriverDevice { number: 1, name: "NVIDIA H200".into(), memory: 150 << 30 };
        assert_eq!(device.to_string(), "cuda:1 NVIDIA H200, 150.0 GiB");
        assert_eq!(CudaVersion(12_020).to_string(), "12.2");
        for wrong in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(wrong.parse::<DeviceChoice>().unwrap_err().contains("allowed is"), "{wrong}");
        }
    }
}
