//! Around libtorch: CUDA, threads, devices, errors, and the kernels that tch lacks.

mod device;
mod failure;
pub mod fused;
mod numerics;
mod process;
mod trace;

pub use device::{cuda_devices, load_cuda, memory, resolve};
pub use failure::{
    BatchContext, LibtorchError, catch_libtorch_panics, unless_out_of_memory, with_batch_context,
};
pub use numerics::Numerics;
pub use process::{multiplication_rate, set_threads, threads, version};
pub use trace::traced;
