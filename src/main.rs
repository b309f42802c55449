//! The `lstmtext` program, with the native backend. It launches `lstmtext-torch` when it needs libtorch.

use std::process::ExitCode;

use clap::Parser;
use lstmtext::backend::WithoutLibtorch;
use lstmtext::cli::{self, Cli, exit_code};
use lstmtext::system::process;

fn main() -> ExitCode {
    let cli = Cli::parse();
    process::prepare();
    exit_code(cli::run(cli, &WithoutLibtorch))
}
