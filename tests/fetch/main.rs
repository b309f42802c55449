//! Downloads from a server in this process, and archives built by hand.

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
