//! Tests of the program `lstmtext-torch`, and of `lstmtext` launching it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

mod backends;
mod bench;
#[allow(dead_code, reason = "shared with the tests of the other package")]
#[path = "../../../tests/cli/common.rs"]
mod common;
mod devices;
mod language_models;
#[allow(dead_code, reason = "shared with the tests of the other package")]
#[path = "../../../tests/cli/training.rs"]
mod training;

use std::path::{Path, PathBuf};

use assert_cmd::Command;

use crate::common::{BINARY, DEADLINE, ENVIRONMENT, TestDir};

/// Returns the path of `lstmtext`, which cargo builds into the same directory as `lstmtext-torch`.
fn lstmtext_path() -> PathBuf {
    let program = Path::new(BINARY).with_file_name("lstmtext");
    assert!(program.exists(), "{} is missing; run cargo build", program.display());
    program
}

/// Returns the command `lstmtext` with the words of `line` as arguments.
fn lstmtext(dir: &TestDir, line: &str) -> Command {
    let mut command = Command::new(lstmtext_path());
    command.current_dir(dir.path("")).envs(ENVIRONMENT).timeout(DEADLINE);
    command.args(line.split_whitespace());
    command
}
