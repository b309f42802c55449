//! `lstmtext devices`.

use serde::Serialize;

use crate::torch::{CudaReport, cuda_report, threads, version};
use lstmtext_core::commands::output::{print, print_json};
use lstmtext_core::commands::{DevicesArgs, FINE};

#[derive(Serialize)]
struct Report {
    libtorch: &'static str,
    cpu_threads: usize,
    cuda_devices: Vec<String>,
    /// Why there is no CUDA device, where there is none.
    no_cuda_because: Option<String>,
}

/// Runs the command.
pub fn run(args: DevicesArgs) -> anyhow::Result<u8> {
    let (cuda_devices, no_cuda_because) = match cuda_report() {
        CudaReport::Devices(devices) => (devices, None),
        CudaReport::None(reason) => (Vec::new(), Some(reason)),
    };
    let (libtorch, cpu_threads) = (version(), threads());
    let report = Report { libtorch, cpu_threads, cuda_devices, no_cuda_because };
    match args.json {
        true => print_json(&report)?,
        false => print(&lines(&report))?,
    }
    Ok(FINE)
}

fn lines(report: &Report) -> String {
    let mut lines = vec![
        format!("libtorch {}", report.libtorch),
        format!("cpu: {} threads", report.cpu_threads),
    ];
    lines.extend(report.cuda_devices.iter().cloned());
    lines.extend(report.no_cuda_because.iter().map(|reason| format!("cuda: {reason}")));
    lines.join("\n")
}
