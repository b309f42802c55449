//! `lstmtext devices`.

use serde::Serialize;

use crate::engine::in_words;
use crate::libtorch::{cuda_devices, version};
use lstmtext::backend::kernel::Instructions;
use lstmtext::cli::{DevicesArgs, FINE};
use lstmtext::output::{print, print_json};
use lstmtext::system::threads;

#[derive(Serialize)]
struct Report {
    libtorch: &'static str,
    cpu_threads: usize,
    /// The vector instructions of the native backend.
    cpu_instructions: String,
    cuda_devices: Vec<String>,
    /// Why there is no CUDA device, where there is none.
    no_cuda_because: Option<String>,
}

/// Runs the command.
pub fn run(args: DevicesArgs) -> anyhow::Result<u8> {
    let (cuda_devices, no_cuda_because) = match cuda_devices() {
        Ok(devices) => (devices.iter().map(ToString::to_string).collect(), None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    threads::set_count(None)?;
    let (libtorch, cpu_threads) = (version(), threads::count());
    let cpu_instructions = Instructions::best().to_string();
    let report = Report { libtorch, cpu_threads, cpu_instructions, cuda_devices, no_cuda_because };
    match args.json {
        true => print_json(&report)?,
        false => print(&lines(&report))?,
    }
    Ok(FINE)
}

fn lines(report: &Report) -> String {
    let mut lines = vec![
        format!("libtorch {}", report.libtorch),
        format!("cpu: {}, {}", in_words(report.cpu_threads), report.cpu_instructions),
    ];
    lines.extend(report.cuda_devices.iter().cloned());
    lines.extend(report.no_cuda_because.iter().map(|reason| format!("cuda: {reason}")));
    lines.join("\n")
}
