//! Program `lstmtext-torch`: `lstmtext` with the libtorch backend. `lstmtext` launches it when it
//! needs libtorch.

use std::process::ExitCode;

use lstmtext::cli::{self, Cli, exit_code};
use lstmtext::system::allocator::Allocator;
use lstmtext::system::process;
use lstmtext_torch::backend::WithLibtorch;
use lstmtext_torch::libtorch;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    process::prepare();
    let cli = match Cli::of_arguments() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    libtorch::load_cuda();
    exit_code(libtorch::catch_libtorch_panics(|| cli::run(cli, &WithLibtorch)))
}
