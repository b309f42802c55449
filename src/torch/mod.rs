//! Around libtorch: CUDA, threads, devices, errors, and the kernels that tch lacks.

mod device;
mod failure;
pub mod fused;
mod process;

pub use device::{CudaReport, cuda_report, load_cuda, memory, resolve};
pub use failure::errors_not_panics;
pub use process::{multiplication_rate, set_threads, threads, version};
