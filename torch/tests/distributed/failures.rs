//! Processes that do not come, or that end or stop while the others work.

use std::time::{Duration, Instant};

use crate::common::DEADLINE;
use crate::launcher::{Launch, Processes};

/// Timeout of groups in which no process may run into it, far above that of the tests.
const NEVER: u64 = 600;

/// Expects that the other processes end with an error. Returns the errors.
fn errors_of_the_others(processes: &mut Processes, ranks: &[usize]) -> Vec<String> {
    let error = |rank: &usize| {
        let ended = processes.wait(*rank);
        assert_eq!(ended.code, Some(0), "process {rank}: {ended:#?}");
        let error = processes.output(*rank);
        assert!(error.starts_with("lost contact with another process"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        error
    };
    ranks.iter().map(error).collect()
}

#[test]
fn a_missing_process_is_named_after_the_timeout() {
    let started = Instant::now();
    let errors = Launch::of(3).start("join", 2, &[0, 1]).succeed();
    assert!(started.elapsed() >= Duration::from_secs(2));
    for (rank, error) in errors.iter().enumerate() {
        let begin = format!("process {rank} of 3 cannot join the others at 127.0.0.1:");
        assert!(error.starts_with(&begin), "{error}");
        // The store ends with process 0.
        let is_named = error.contains(" within 2 s: process 2 has not joined");
        assert!(is_named || rank > 0 && error.contains(" is gone ("), "{error}");
    }
}

#[test]
fn processes_without_rank_0_find_no_store() {
    for error in Launch::of(2).start("join", 1, &[1]).succeed() {
        assert!(error.starts_with("process 1 of 2 cannot join"), "{error}");
        assert!(
            error.contains("nothing answers there; check that process 0 is running"),
            "{error}"
        );
    }
    let unknown = Launch::of(2).with("MASTER_ADDR", "no-such-host.invalid");
    for error in unknown.start("join", 1, &[1]).succeed() {
        assert!(error.contains("there is no host with this name; set MASTER_ADDR"), "{error}");
    }
}

/// It accepts connections, but does not speak the protocol of the store.
#[test]
fn another_server_at_the_port_is_no_reason_to_wait_forever() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for error in Launch::of(2).at(port).start("join", 1, &[1]).succeed() {
        assert!(error.contains("not process 0 of a group") || error.contains("answers"), "{error}");
    }
}

#[test]
fn different_numbers_of_processes_are_named() {
    let launch = Launch::of(2);
    let mut first = launch.start("join", 10, &[0]);
    let mut second = launch.with("WORLD_SIZE", 3).start("join", 10, &[1]);
    for (processes, rank, part) in [
        (&mut first, 0, "process 1 was started as one of 3 processes"),
        (&mut second, 1, "process 0 was started as one of 2 processes"),
    ] {
        let ended = processes.wait(rank);
        let error = processes.output(rank);
        assert!(error.contains(part) || error.contains("the store"), "{error} {ended:#?}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for error in Launch::of(2).at(port).start("join", 10, &[0]).succeed() {
        assert!(error.contains(&format!("port {port} is in use on this machine")), "{error}");
    }
}

#[test]
fn the_others_notice_a_killed_process_long_before_the_timeout() {
    for (role, victim) in [("sum", 1), ("large sum", 0)] {
        let mut processes = Launch::of(3).start(role, NEVER, &[0, 1, 2]);
        processes.wait_for_output();
        processes.signal(victim, libc::SIGKILL);
        let others: Vec<usize> = (0..3).filter(|rank| *rank != victim).collect();
        errors_of_the_others(&mut processes, &others);
        assert_eq!(processes.wait(victim).signal, Some(libc::SIGKILL));
    }
}

#[test]
fn the_others_notice_a_stopped_process_after_the_timeout() {
    let mut processes = Launch::of(2).start("sum", 2, &[0, 1]);
    processes.wait_for_output();
    processes.signal(1, libc::SIGSTOP);
    let stopped = Instant::now();
    for error in errors_of_the_others(&mut processes, &[0]) {
        assert!(error.contains("for 2 s"), "{error}");
    }
    assert!(stopped.elapsed() < DEADLINE);
}
