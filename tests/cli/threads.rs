//! Threads that cannot be started, and too many of them.

use crate::common::{TestDir, assert_fails};

/// Makes every thread need a stack larger than the address space.
const NO_THREADS: (&str, &str) = ("RUST_MIN_STACK", "70368744177664");

#[test]
fn a_thread_that_cannot_be_started_is_an_error() {
    let dir = TestDir::with_run();
    // With one compute thread, which needs no start, another thread fails.
    for compute_threads in ["1", "2"] {
        for line in [
            "train small.yaml --out new",
            "evaluate run --split test",
            "predict run --file test.csv --file-format text",
            "serve run --port 0",
            "bench small.yaml",
            "data stats small.yaml",
            "data vocab small.yaml --to words.txt",
            "data split small.yaml --to parts",
        ] {
            let mut command = dir.lstmtext(line);
            command.env("OMP_NUM_THREADS", compute_threads).env(NO_THREADS.0, NO_THREADS.1);
            assert_fails(command, 1, &["cannot start a thread", "ulimit"]);
        }
    }
    for line in ["plot run", "states run a", "explain run a", "predict run --file test.csv"] {
        let mut command = dir.lstmtext(line);
        command.env("OMP_NUM_THREADS", "2").env(NO_THREADS.0, NO_THREADS.1);
        assert_fails(command, 1, &["cannot start a thread", "ulimit"]);
    }
    assert!(!dir.path("new").exists(), "no run directory is left behind");
}

#[test]
fn a_run_whose_threads_cannot_be_started_can_be_resumed() {
    let dir = TestDir::with_data();
    let lstmtext = |line: &str| {
        let mut command = dir.lstmtext(line);
        command.env("LSTMTEXT_CACHE", dir.path("cache"));
        command
    };
    // Cached data are read without another thread.
    let line = "train small.yaml --set data.cache=always --out";
    lstmtext(&format!("{line} first")).assert().success();
    let mut command = lstmtext(&format!("{line} run"));
    command.env(NO_THREADS.0, NO_THREADS.1);
    assert_fails(command, 1, &["cannot start a thread"]);
    assert!(dir.read("run/error.txt").contains("cannot start a thread"));
    lstmtext("train --resume run").assert().success();
    assert_eq!(dir.best_weights("run"), dir.best_weights("first"));
}

#[test]
fn the_number_of_threads_is_bounded() {
    let dir = TestDir::with_run();
    for line in ["train small.yaml", "evaluate run", "predict run a", "explain run a", "serve run"]
    {
        let command = dir.lstmtext(&format!("{line} --threads 100000"));
        assert_fails(command, 2, &["at most 1024 threads"]);
    }
}
