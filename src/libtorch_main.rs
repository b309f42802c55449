//! The `lstmtext-libtorch` binary: `lstmtext` with libtorch loaded; nobody calls it but `lstmtext`.

use std::process::ExitCode;

use clap::Parser;
use lstmtext::commands::{self, Cli, exit_code};
use lstmtext::{process, torch};

fn main() -> ExitCode {
    let cli = Cli::parse();
    process::start();
    torch::load_cuda();
    exit_code(torch::errors_not_panics(|| commands::run(cli)))
}
