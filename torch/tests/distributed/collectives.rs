//! Operations of a group.

use lstmtext_torch::libtorch::c10d::Store;

use crate::common::DEADLINE;
use crate::launcher::{Launch, free_port};

#[test]
fn every_operation_returns_the_right_values() {
    for size in [2, 4] {
        let ranks: Vec<usize> = (0..size).collect();
        Launch::of(size).start("collectives", DEADLINE.as_secs(), &ranks).succeed();
    }
}

#[test]
fn processes_meet_in_the_store_of_a_launcher_again_after_a_restart() {
    let port = free_port();
    let _store = Store::connect("127.0.0.1", port, true, "", DEADLINE).unwrap();
    for attempt in 0..2 {
        let launch = Launch::of(2).at(port).with("TORCHELASTIC_USE_AGENT_STORE", "True");
        let launch = launch.with("TORCHELASTIC_RESTART_COUNT", attempt);
        let output = launch.start("join", DEADLINE.as_secs(), &[0, 1]).succeed();
        assert_eq!(output, ["joined", "joined"]);
    }
}

#[test]
fn the_interface_of_gloo_can_be_chosen() {
    let launch = Launch::of(2).with("GLOO_SOCKET_IFNAME", "lo");
    assert_eq!(launch.start("join", DEADLINE.as_secs(), &[0, 1]).succeed(), ["joined", "joined"]);
    let launch = Launch::of(2).with("GLOO_SOCKET_IFNAME", "no_such_if");
    let errors = launch.start("join", DEADLINE.as_secs(), &[0, 1]).succeed();
    assert!(errors[0].contains("Check that GLOO_SOCKET_IFNAME, if it is set, is"), "{}", errors[0]);
    // The store ends with process 0.
    let is_expected = ["GLOO_SOCKET_IFNAME", "the store in which the processes meet is gone"];
    assert!(is_expected.iter().any(|part| errors[1].contains(part)), "{}", errors[1]);
}

#[test]
fn nccl_without_a_gpu_is_an_error() {
    for error in Launch::of(2).start("nccl", DEADLINE.as_secs(), &[0, 1]).succeed() {
        assert!(
            error.is_empty() || error.starts_with("NCCL cannot connect the CUDA devices"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}
