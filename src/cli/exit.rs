//! Exit codes. Errors of commands are printed here.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::output::{error, is_broken_pipe};

/// Success.
pub const SUCCESS: u8 = 0;
/// The command failed.
pub const FAILURE: u8 = 1;
/// The command line or the configuration is wrong; clap uses the same code.
const USAGE: u8 = 2;

/// Prints the error of a command, if it returned one, and returns the exit code of the process.
pub fn exit_code(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(fault) if is_broken_pipe(&fault) => ExitCode::from(SUCCESS),
        Err(fault) => {
            error(format!("{fault:#}"));
            ExitCode::from(if fault.is::<ConfigError>() { USAGE } else { FAILURE })
        }
    }
}
