//! `lstmtext devices`.

use clap::Args;
use serde::Serialize;

use super::exit::SUCCESS;
use crate::backend::Backends;
use crate::backend::kernel::Instructions;
use crate::output::format::pluralize;
use crate::output::{print_json, print_wrapped};
use crate::system::device::driver;
use crate::system::{threads, torch_program};

/// Show CPU threads, CUDA devices and the version of libtorch
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// Version; null if libtorch is not installed.
    libtorch: Option<String>,
    cpu_threads: usize,
    /// Vector instructions of the native backend.
    cpu_instructions: String,
    cuda_devices: Vec<String>,
    /// Reason why there is no CUDA device, if there is none.
    no_cuda_because: Option<String>,
}

/// Runs the command.
pub fn run(args: DevicesArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let (libtorch, cuda) = match backends.libtorch_devices()? {
        Some(devices) => (Some(devices.version), devices.cuda),
        None => (None, Err(no_libtorch())),
    };
    threads::set_count(None)?;
    let (cuda_devices, no_cuda_because) = match cuda {
        Ok(devices) => (devices.iter().map(ToString::to_string).collect(), None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let (cpu_threads, cpu_instructions) = (threads::count(), Instructions::best().to_string());
    let report = Report { libtorch, cpu_threads, cpu_instructions, cuda_devices, no_cuda_because };
    match args.json {
        true => print_json(&report)?,
        false => print_wrapped(&lines(&report))?,
    }
    Ok(SUCCESS)
}

/// Explains why `lstmtext` without libtorch cannot use a CUDA device.
fn no_libtorch() -> String {
    match driver() {
        Ok(driver) => {
            let devices = pluralize(driver.devices.len(), "device");
            format!("no CUDA device: the driver has {devices}, but lstmtext-torch is not installed")
        }
        Err(reason) => format!("no CUDA device: {reason}"),
    }
}

fn lines(report: &Report) -> String {
    let missing = || format!("not installed; to use it, {}", torch_program::installation());
    let libtorch = report.libtorch.clone().unwrap_or_else(missing);
    let mut lines = vec![
        format!("libtorch {libtorch}"),
        format!("cpu: {}, {}", pluralize(report.cpu_threads, "thread"), report.cpu_instructions),
    ];
    lines.extend(report.cuda_devices.iter().cloned());
    lines.extend(report.no_cuda_because.iter().map(|reason| format!("cuda: {reason}")));
    lines.join("\n")
}
