//! Downloads from a server in this process, and extraction of hand-made archives.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

mod archive;
mod download;
mod server;
mod tar_file;
