//! `lstmtext devices`.

use clap::Args;

use super::FINE;
use super::output::print;
use crate::torch::{CudaReport, cuda_report, threads, version};

/// Show libtorch's version, CPU threads and CUDA devices
#[derive(Debug, Args)]
pub struct DevicesArgs {}

/// Runs the command.
pub fn run(_: DevicesArgs) -> anyhow::Result<u8> {
    let mut lines = vec![format!("libtorch {}", version()), format!("cpu: {} threads", threads())];
    match cuda_report() {
        CudaReport::Devices(devices) => lines.extend(devices),
        none => lines.push(format!("cuda: {none}")),
    }
    print(&lines.join("\n"))?;
    Ok(FINE)
}
