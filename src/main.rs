//! The `lstmtext` binary: prepares the process, runs a command, and is the one exit.

use std::process::ExitCode;

use clap::Parser;
use lstmtext::commands::{Cli, is_closed_pipe};
use lstmtext::config::ConfigError;
use lstmtext::console::say;
use lstmtext::torch;

/// The command line or the configuration is wrong, as clap has it too.
const BAD_USAGE: u8 = 2;
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.computes_for_long() {
        torch::wait_politely();
    }
    torch::start();
    match torch::errors_not_panics(|| cli.run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::from(if error.is::<ConfigError>() { BAD_USAGE } else { FAILED })
        }
    }
}
