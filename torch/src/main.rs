//! The `lstmtext-torch` binary: `lstmtext` with libtorch loaded; nobody calls it but `lstmtext`.

use std::process::ExitCode;

use clap::Parser;
use lstmtext::cli::{Cli, exit_code};
use lstmtext::system::process;
use lstmtext_torch::{commands, libtorch};

fn main() -> ExitCode {
    let cli = Cli::parse();
    process::prepare();
    libtorch::load_cuda();
    exit_code(libtorch::catch_libtorch_panics(|| commands::run(cli)))
}
