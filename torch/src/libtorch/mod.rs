//! Parts of libtorch that tch does not cover: CUDA devices, threads, errors, the profiler,
//! fused optimizers, and communication between processes. Networks, batches and training don't belong here.

mod bindings;
pub mod c10d;
mod device;
mod error;
pub mod fused;
mod numerics;
mod runtime;
mod trace;

pub use device::{cuda_devices, device_memory, load_cuda, resolve_device};
pub use error::{
    BatchContext, BatchKind, LibtorchError, catch_libtorch_panics, unless_out_of_memory,
    with_batch_context,
};
pub use numerics::Numerics;
pub use runtime::{multiplication_rate, set_threads, thread_count, version};
pub use trace::record_trace;
