//! What `lstmtext devices` is told; it runs with libtorch.

use clap::Args;

/// Show libtorch's version, CPU threads and CUDA devices
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
