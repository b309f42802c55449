//! The `lstmtext` program: the native backend, and everything else by `lstmtext-torch`.

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
