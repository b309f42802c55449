//! The program with libtorch as a user has it, on made-up data.

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
