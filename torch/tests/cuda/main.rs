//! Tests that need a CUDA device, run by `make gpu-check`. With GPU_CHECK_DEVICE=cpu they use the
//! CPU as the device, which tests the tests themselves.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../backends/case.rs"]
mod case;
#[path = "../backends/language_model_case.rs"]
mod language_model_case;
mod language_models;
mod networks;
mod processes;
mod program;

use tch::Device;

/// Returns the device under test.
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
