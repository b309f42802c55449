//! `lstmtext doctor`.

use predicates::str::contains;
use serde_json::Value;

use crate::common::{BINARY, ENVIRONMENT, TestDir, assert_fails};
use crate::launcher::{Ended, Launch};

/// Expects success and silence of all processes but rank 0. Returns what rank 0 has printed.
fn report(ended: &[Ended]) -> &str {
    for (rank, process) in ended.iter().enumerate() {
        assert_eq!(process.code, Some(0), "process {rank}: {process:#?}");
        assert_eq!(process.stderr, "", "process {rank}");
        assert!(rank == 0 || process.stdout.is_empty(), "process {rank}: {process:#?}");
    }
    &ended[0].stdout
}

#[test]
fn rank_0_prints_the_connections_and_their_speed() {
    let ended = Launch::of(2).start_program("doctor").end();
    let report = report(&ended);
    for part in [
        "2 processes on 1 host, connected by Gloo\n",
        "127.0.0.1\n",
        "all operations returned the right values in all processes\n",
        "latency: ",
        "in a sum of 100 MB",
    ] {
        assert!(report.contains(part), "{part:?} is not in: {report}");
    }
}

#[test]
fn the_report_is_available_as_json() {
    let ended = Launch::of(4).start_program("doctor --json").end();
    let report: Value = serde_json::from_str(report(&ended)).unwrap();
    assert_eq!((&report["size"], &report["library"]), (&4.into(), &"Gloo".into()));
    let processes = report["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 4);
    for (rank, process) in processes.iter().enumerate() {
        assert_eq!(process["rank"], rank);
        assert_eq!(process["address"], "127.0.0.1");
        assert!(!process["host"].as_str().unwrap().is_empty());
    }
    assert_eq!(report["failures"], Value::Array(Vec::new()));
    let network = &report["network"];
    for field in ["sum_microseconds", "barrier_microseconds"] {
        assert!(network[field].as_f64().unwrap() > 0.0, "{network}");
    }
    let sizes = network["bandwidths"].as_array().unwrap().iter();
    let sizes: Vec<u64> = sizes.map(|one| one["megabytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1, 10, 100]);
}

#[test]
fn a_process_that_finds_no_others_fails() {
    let launch = Launch::of(2);
    let mut command = std::process::Command::new(BINARY);
    command.args(["doctor", "--timeout", "1"]);
    launch.prepare(&mut command, 0);
    let parts = ["error: process 0 of 2 cannot join the others at ", "process 1 has not joined"];
    assert_fails(assert_cmd::Command::from_std(command), 1, &parts);
}

#[test]
fn a_process_without_a_launcher_is_told_how_to_start_several() {
    let dir = TestDir::new();
    let command = |variables: &[(&str, &str)]| {
        let mut command = dir.lstmtext("doctor");
        command.env_clear().envs(ENVIRONMENT).envs(variables.iter().copied());
        command
    };
    let advice = "torchrun --no-python --nproc-per-node 2 lstmtext doctor";
    assert_fails(command(&[]), 2, &["this process is alone", advice]);
    let incomplete = command(&[("RANK", "0"), ("WORLD_SIZE", "2")]);
    assert_fails(incomplete, 2, &["WORLD_SIZE is 2, but MASTER_ADDR is not set"]);
    dir.lstmtext("doctor --help").assert().success().stdout(contains("srun"));
}
