//! Reading a file or a request with arbitrary content returns a result or an error, and never panics.
//!
//! Each target mutates valid files at random for FUZZ_SECONDS (0.3 by default, 600 in `make fuzz`). An
//! input that causes a panic is shrunk and printed.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod checkpoints;
mod configurations;
mod data_files;
mod fuzzer;
mod run_directories;
mod server;
