//! The `lstmtext-torch` program: `lstmtext` with libtorch. `lstmtext` launches it when it is needed.

use std::process::ExitCode;

use clap::Parser;
use lstmtext::cli::{self, Cli, exit_code};
use lstmtext::system::process;
use lstmtext_torch::backend::WithLibtorch;
use lstmtext_torch::libtorch;

fn main() -> ExitCode {
    let cli = Cli::parse();
    process::prepare();
    libtorch::load_cuda();
    exit_code(libtorch::catch_libtorch_panics(|| cli::run(cli, &WithLibtorch)))
}
