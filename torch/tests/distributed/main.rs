//! Tests of several processes that communicate by c10d on the loopback interface.
//!
//! A test starts this program again for each process, with torchrun's variables and the name of a role.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

mod collectives;
#[allow(dead_code, reason = "shared with the tests of the other package")]
#[path = "../../../tests/cli/common.rs"]
mod common;
mod doctor;
mod failures;
mod hosts;
mod launcher;
mod pretraining;
mod roles;
mod sharding;
mod training;
