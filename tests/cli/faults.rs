//! A training in which a system call fails, or at which the process is killed, can be continued to the
//! same bits, whichever call it is.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use lstmtext::events::{self, ACCURACY, LEARNING_RATE, LOSS, SubRun};

use crate::common::{TestDir, checkout, stderr};
use crate::training::assert_same_run;

/// Number of calls that are tried by default, spread over the whole run. `make fuzz` tries all.
const SAMPLE: usize = 20;
/// Exit code if the system refuses the filter.
const UNSUPPORTED: i32 = 99;

/// A short training that writes every kind of file.
const CONFIG: &str = "\
data: {train: train.csv, test: test.csv}
model: {embedding: {size: 2}, lstm: {units: 2}}
train:
  learning_rate: 0.05
  epochs: 2
  batch_size: 128
  validate_every: 3
  tensorboard: {projector: 5, histograms: 4}
";

/// Compiles the library that injects faults. Returns `None` where that is not possible.
fn injector(dir: &TestDir) -> Option<PathBuf> {
    let library = dir.path("faults.so");
    let compiled = cfg!(target_arch = "x86_64")
        && Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(checkout().join("tests/cli/faults.c"))
            .status()
            .is_ok_and(|status| status.success());
    compiled.then_some(library)
}

fn assert_same_curves(dir: &TestDir, expected: &str, run: &str, context: &str) {
    for sub_run in SubRun::ALL {
        let curves = |run: &str| {
            events::scalars(&dir.path(run), sub_run, [LOSS, ACCURACY, LEARNING_RATE]).unwrap()
        };
        assert_eq!(curves(expected), curves(run), "{context}: {}", sub_run.as_str());
    }
}

#[test]
fn a_run_survives_a_fault_at_any_system_call() {
    let dir = TestDir::with_data().file("faults.yaml", CONFIG);
    let Some(library) = injector(&dir) else {
        eprintln!("skipped: no C compiler for x86-64");
        return;
    };
    let train = |out: &str, at: usize, error: i32| {
        let mut command = dir.lstmtext(&format!("train faults.yaml --out {out}"));
        command.env("LD_PRELOAD", &library).env("FAULT_COUNT", dir.path("count"));
        command.env("FAULT_AT", at.to_string()).env("FAULT_ERROR", error.to_string());
        command.assert()
    };
    let whole = train("whole", 0, libc::ENOSPC);
    if whole.get_output().status.code() == Some(UNSUPPORTED) {
        eprintln!("skipped: the system refuses seccomp filters");
        return;
    }
    whole.success();
    let calls: usize = dir.read("count").trim().parse().unwrap();
    assert!(calls > 100, "{calls} calls");
    let stride = if env::var_os("FUZZ_SECONDS").is_some() { 1 } else { calls / SAMPLE };
    for (sample, at) in (1..=calls).step_by(stride).enumerate() {
        let errors = [libc::ENOSPC, libc::EIO, 0];
        let errors = if stride == 1 { &errors[..] } else { &errors[sample % 3..][..1] };
        for error in errors {
            let context = format!("call {at} of {calls}, error {error}");
            let out = format!("run-{at}-{error}");
            let done = train(&out, at, *error);
            let message = stderr(&done);
            match done.get_output().status.code() {
                Some(0) => {}
                Some(1 | 2) => assert!(message.contains("error: "), "{context}: {message}"),
                None if *error == 0 => {}
                code => panic!("{context}: {code:?} {message}"),
            }
            assert!(!message.contains("panicked"), "{context}: {message}");
            let resumed = dir.lstmtext(&format!("train --resume {out}")).assert();
            if !resumed.get_output().status.success() {
                let restarted = dir.lstmtext(&format!("train faults.yaml --out {out}")).assert();
                let (resumed, restarted) = (stderr(&resumed), restarted);
                assert!(
                    restarted.get_output().status.success(),
                    "{context}: {message}\nresume: {resumed}\nrestart: {}",
                    stderr(&restarted)
                );
            }
            assert_same_run(&dir, "whole", &out);
            assert_same_curves(&dir, "whole", &out, &context);
            let names = dir.names(&out);
            assert!(!names.iter().any(|name| name.starts_with('.')), "{context}: {names:?}");
        }
    }
}
