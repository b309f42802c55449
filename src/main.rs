//! The `lstmtext` program, with the native backend. It launches `lstmtext-torch` when it needs libtorch.

use std::process::ExitCode;

use lstmtext::backend::WithoutLibtorch;
use lstmtext::cli::{self, Cli, exit_code};
use lstmtext::system::allocator::Allocator;
use lstmtext::system::process;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    process::prepare();
    let cli = match Cli::of_arguments() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    exit_code(cli::run(cli, &WithoutLibtorch))
}
