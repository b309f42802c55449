//! What only a CUDA device shows: `make gpu-check`. With GPU_CHECK_DEVICE=cpu the networks are
//! compared with themselves, which tries out the checks.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../backends/case.rs"]
mod case;
mod networks;
mod program;

use tch::Device;

/// The device that is checked.
fn device() -> Device {
    match std::env::var("GPU_CHECK_DEVICE").as_deref() {
        Ok("cpu") => Device::Cpu,
        _ => {
            lstmtext_torch::libtorch::load_cuda();
            let devices = lstmtext_torch::libtorch::cuda_devices().unwrap();
            println!("on {}", devices[0]);
            Device::Cuda(0)
        }
    }
}
