//! The process around libtorch: floating-point mode, allocator, CUDA, threads, devices.

mod device;
mod failure;
pub mod fused;
mod process;

pub use device::{CudaReport, DeviceChoice, cuda_report};
pub use failure::errors_not_panics;
pub use process::{set_threads, start, threads, version, wait_politely};
