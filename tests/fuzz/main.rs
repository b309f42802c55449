//! Reading a file or a request with arbitrary content returns a result or an error, and never panics or allocates much
//! memory.
//!
//! Each target mutates valid files at random for FUZZ_SECONDS (0.3 by default, 600 in `make fuzz`). An
//! input that causes a panic or a large allocation is shrunk and printed.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod allocations;
mod checkpoints;
mod compact_checkpoints;
mod configurations;
mod data_files;
mod fuzzer;
mod run_directories;
mod server;
