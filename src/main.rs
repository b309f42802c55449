//! The `lstmtext` binary: does what can be done without libtorch, and goes on as
//! `lstmtext-torch` where that is not enough.

use std::process::ExitCode;

use clap::Parser;
use lstmtext::cli::{Cli, Light, exit_code};
use lstmtext::system::{process, torch_program};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let long_work = cli.computes_for_long();
    process::prepare();
    exit_code(match cli.run() {
        Ok(Light::Done(code)) => Ok(code),
        Ok(Light::NeedsLibtorch) => Err(torch_program::launch(long_work)),
        Err(error) => Err(error),
    })
}
