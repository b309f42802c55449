//! Exit codes. Errors of commands are printed here.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

use crate::config::ConfigError;
use crate::distributed::Reported;
use crate::output::sanitize::is_unprintable;
use crate::output::{error, is_broken_pipe, message, print};

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
            if !fault.is::<Reported>() {
                error(format!("{fault:#}"));
            }
            ExitCode::from(if fault.is::<ConfigError>() { USAGE } else { FAILURE })
        }
    }
}

/// Prints an error in the command line, or the help that it asks for, and returns the exit code of the
/// process.
pub fn after_clap(fault: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let is_printable = |argument: &OsString| !argument.to_string_lossy().contains(is_unprintable);
    // clap quotes arguments as they are.
    let printed = match arguments.iter().all(is_printable) {
        true => fault.print().context("cannot write to stdout"),
        false if fault.use_stderr() => {
            message(fault.render().to_string().trim_end());
            Ok(())
        }
        false => print(&fault.render().to_string()),
    };
    match printed {
        Err(cause) if !fault.use_stderr() => exit_code(Err(cause)),
        _ => ExitCode::from(u8::try_from(fault.exit_code()).unwrap_or(USAGE)),
    }
}
