//! `lstmtext train`, `evaluate` and `predict` in several processes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use lstmtext::model::named_tensors;

use crate::common::{BINARY, DEADLINE, ENVIRONMENT, TestDir, checkout};
use crate::launcher::{Ended, Launch, Processes, VARIABLES};

/// A model with everything whose gradients are summed, and batches of which the last one is small.
const MODEL: &str = "\
data: {train: train.csv, test: test.csv}
model:
  embedding: {size: 8, word_dropout: 0.1, dropout: 0.1}
  lstm: {units: 8, layers: 2, dropout: 0.1, bidirectional: true}
  head: {dropout: 0.2}
  ngrams: {sizes: [1, 2], min_count: 1}
train: {learning_rate: 0.02, epochs: 3, batch_size: 25, shards: 4, class_weights: balanced, checkpoint_every: 5}
";

pub fn directory() -> TestDir {
    TestDir::new().data(&["neg", "pos", "mid"]).file("model.yaml", MODEL)
}

/// Runs a command in one process with this number of threads.
pub fn run_alone(dir: &TestDir, threads: usize, line: &str) -> String {
    let mut command = dir.lstmtext(line);
    command.env("OMP_NUM_THREADS", threads.to_string());
    let done = command.assert().success();
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

/// Runs a command in several processes and expects success and that only rank 0 prints. Returns its output.
pub fn run_together(dir: &TestDir, size: usize, line: &str) -> Ended {
    launch_together(&Launch::of(size), dir, line)
}

/// Runs a command in the processes of a launch, like [`run_together`].
pub fn launch_together(launch: &Launch, dir: &TestDir, line: &str) -> Ended {
    let mut ended = launch.start_in(dir, |_| line.to_owned()).end();
    for (rank, process) in ended.iter().enumerate() {
        assert_eq!(process.code, Some(0), "process {rank}: {process:#?}");
        let is_silent = process.stdout.is_empty() && process.stderr.is_empty();
        assert!(rank == 0 || is_silent, "process {rank}: {process:#?}");
    }
    ended.swap_remove(0)
}

/// Waits until a file exists.
pub fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < DEADLINE, "{} does not appear", path.display());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Asserts that two runs have the same weights, scores and records.
pub fn assert_same_run(dir: &TestDir, a: &str, b: &str) {
    dir.assert_same_state(a, b);
    assert!(dir.best_weights(a) == dir.best_weights(b));
    assert_eq!(dir.timeless_summary(a), dir.timeless_summary(b));
    assert_eq!(dir.read(&format!("{a}/metrics.jsonl")), dir.read(&format!("{b}/metrics.jsonl")));
}

#[test]
fn the_number_of_processes_changes_no_bit_of_a_native_run() {
    let dir = directory();
    run_alone(&dir, 1, "train model.yaml --out alone");
    run_alone(&dir, 4, "train model.yaml --out threads");
    assert_same_run(&dir, "alone", "threads");
    for size in [2, 4] {
        let out = format!("processes-{size}");
        let printed = run_together(&dir, size, &format!("train model.yaml --out {out}")).stderr;
        let group = format!("{size} processes on 1 host, Gloo");
        assert!(printed.contains(&group), "{printed}");
        assert_same_run(&dir, "alone", &out);
        let names = |run: &str| -> Vec<String> {
            let names = dir.names(run).into_iter();
            names.filter(|name| !name.starts_with("events.")).collect()
        };
        assert_eq!(names(&out), names("alone"));
    }
}

#[test]
fn a_fast_sum_gives_the_same_run_twice() {
    let dir = directory();
    for out in ["first", "second"] {
        run_together(&dir, 3, &format!("train model.yaml --out {out} --set train.collective=fast"));
    }
    assert_same_run(&dir, "first", "second");
}

#[test]
fn libtorch_trains_in_several_processes_like_in_one() {
    let dir = directory();
    let fields = "--set backend=libtorch --set model.embedding.dropout=0 --set model.embedding.word_dropout=0 \
                  --set model.lstm.dropout=0 --set model.head.dropout=0 --set train.optimizer=sgd \
                  --set train.epochs=1 --set train.batch_size=64";
    run_alone(&dir, 1, &format!("train model.yaml --out alone {fields}"));
    for out in ["first", "second"] {
        run_together(&dir, 2, &format!("train model.yaml --out {out} {fields}"));
    }
    assert_same_run(&dir, "first", "second");
    let weights = |run: &str| {
        let path = dir.path(&format!("{run}/last/model.safetensors"));
        let mut tensors = named_tensors::read(&path).unwrap();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    for (a, b) in weights("alone").iter().zip(&weights("first")) {
        let pairs = a.values.iter().zip(&b.values);
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{}: {difference}", a.name);
    }
}

#[test]
fn a_run_resumes_with_another_number_of_processes() {
    let dir = directory();
    let fields = "--set train.schedule.name=constant";
    run_alone(&dir, 1, &format!("train model.yaml --out whole {fields}"));
    run_together(&dir, 2, &format!("train model.yaml --out run {fields} --set train.epochs=1"));
    run_alone(&dir, 1, "train --resume run --set train.epochs=2");
    run_together(&dir, 3, "train --resume run --set train.epochs=3");
    assert!(dir.best_weights("whole") == dir.best_weights("run"));
    dir.assert_same_state("whole", "run");
}

/// Starts a long run and waits for its first checkpoint.
fn start_long_run(dir: &TestDir, size: usize, line: &str) -> Processes {
    let processes = Launch::of(size).start_in(dir, |_| line.to_owned());
    wait_for(&dir.path("run/last/progress.json"));
    processes
}

/// Arguments of a run that takes long enough to be interrupted.
pub const LONG_RUN: &str = "--set train.epochs=60 --set train.early_stopping.patience=null";

#[test]
fn a_signal_to_one_process_stops_all_after_the_same_step() {
    let dir = directory();
    let processes = start_long_run(&dir, 2, &format!("train model.yaml --out run {LONG_RUN}"));
    processes.signal(1, libc::SIGTERM);
    let ended = processes.end();
    for process in &ended {
        assert_eq!(process.code, Some(128 + libc::SIGTERM), "{process:#?}");
    }
    assert!(ended[0].stderr.contains("train --resume"), "{:#?}", ended[0]);
    assert!(ended[1].stderr.is_empty(), "{:#?}", ended[1]);
    run_together(&dir, 2, "train --resume run");
    run_alone(&dir, 1, &format!("train model.yaml --out whole {LONG_RUN}"));
    assert!(dir.best_weights("whole") == dir.best_weights("run"));
    dir.assert_same_state("whole", "run");
}

#[test]
fn the_others_name_the_last_checkpoint_when_a_process_is_killed() {
    for victim in [0, 1] {
        let dir = directory();
        let line = format!("train model.yaml --out run {LONG_RUN}");
        let mut processes = start_long_run(&dir, 2, &line);
        processes.signal(victim, libc::SIGKILL);
        let killed = Instant::now();
        let other = processes.wait(1 - victim);
        assert!(killed.elapsed() < DEADLINE);
        assert_eq!(other.code, Some(1), "{other:#?}");
        for part in ["lost contact with another process", "run/last\", is intact", "--resume"] {
            assert!(other.stderr.contains(part), "{part:?} is not in {other:#?}");
        }
        run_alone(&dir, 1, "evaluate run/last --split validation");
    }
}

#[test]
fn different_configurations_and_data_are_refused_by_name() {
    let dir = directory();
    let other = String::from_utf8(dir.bytes("train.csv")).unwrap().replacen("neg", "pos", 1);
    let test = dir.bytes("test.csv");
    let dir = dir.file("other/train.csv", other).file("other/model.yaml", MODEL);
    let dir = dir.file("other/test.csv", test);
    let fails = |launch: Launch, line: &dyn Fn(usize) -> String, part: &str| {
        let ended = launch.start_in(&dir, line).end();
        assert!(ended.iter().all(|process| process.code == Some(1)), "{ended:#?}");
        assert!(ended[0].stderr.contains(part), "{ended:#?}");
        assert!(ended[1].stderr.is_empty(), "{ended:#?}");
        assert!(!dir.path("run").exists());
    };
    let rate = |rank: usize| {
        format!("train model.yaml --out run --set train.learning_rate=0.{}", rank + 1)
    };
    let rates = "process 1: it has \"train.learning_rate: 0.2\", but process 0 has \"train.learning_rate: 0.1\"";
    fails(Launch::of(2), &rate, rates);
    let data = |_| "train model.yaml --out run".to_owned();
    fails(
        Launch::of(2).in_directories(&["", "other"]),
        &data,
        "but process 0 has \"training examples: ",
    );
}

#[test]
fn different_commands_are_refused() {
    let dir = directory();
    run_alone(&dir, 1, "train model.yaml --out run --set train.epochs=1");
    let lines = ["train model.yaml --out other", "evaluate run"];
    for [first, second] in [[0, 1], [1, 0]] {
        let line = |rank: usize| lines[[first, second][rank]].to_owned();
        let ended = Launch::of(2).start_in(&dir, line).end();
        assert!(ended.iter().all(|process| process.code == Some(1)), "{ended:#?}");
        let command = ["train", "evaluate"][second];
        assert!(ended[0].stderr.contains(&format!(" {command}\"")), "{ended:#?}");
    }
}

#[test]
fn an_error_of_all_processes_is_printed_once() {
    let dir = directory();
    let ended = Launch::of(3).start_in(&dir, |_| "train missing.yaml --out run".to_owned()).end();
    for (rank, process) in ended.iter().enumerate() {
        assert_eq!(process.code, Some(2), "{process:#?}");
        assert_eq!(process.stderr.contains("missing.yaml"), rank == 0, "{process:#?}");
    }
    let ended = Launch::of(2).start_in(&dir, |rank| {
        let broken = ["", " --set train.epochs=0"][rank];
        format!("train model.yaml --out run{broken}")
    });
    for process in ended.end() {
        assert!(process.stderr.contains("process 1"), "{process:#?}");
        assert!(process.stderr.contains("train.epochs"), "{process:#?}");
    }
    assert!(!dir.path("run").exists());
}

#[test]
fn evaluation_and_prediction_are_spread_with_the_same_results() {
    let dir = directory();
    run_alone(
        &dir,
        1,
        "train model.yaml --out run --set train.epochs=1 --set train.validation_batch_size=16",
    );
    for line in [
        "evaluate run --json",
        "evaluate run --split validation --compare run/last --json",
        "predict run --file test.csv --format csv --batch-size 16",
    ] {
        assert_eq!(run_alone(&dir, 1, line), run_together(&dir, 3, line).stdout, "{line}");
    }
    run_alone(&dir, 1, "predict run --file test.csv --to alone.csv");
    run_together(&dir, 2, "predict run --file test.csv --to together.csv");
    assert_eq!(dir.read("alone.csv"), dir.read("together.csv"));
    let stdin = Launch::of(2).start_in(&dir, |_| "predict run".to_owned()).end();
    assert_eq!(stdin[0].code, Some(2));
    assert!(stdin[0].stderr.contains("cannot share stdin"), "{stdin:#?}");
}

#[test]
fn distributed_off_ignores_the_launcher() {
    let dir = directory();
    let line =
        |rank| format!("train model.yaml --distributed off --out run{rank} --set train.epochs=1");
    for process in Launch::of(2).start_in(&dir, line).end() {
        assert_eq!(process.code, Some(0), "{process:#?}");
        assert!(!process.stderr.contains("processes"), "{process:#?}");
    }
    dir.assert_same_state("run0", "run1");
}

/// Each process of the launcher trains some of the runs, each by itself.
#[test]
fn a_sweep_does_not_hand_the_launcher_to_its_runs() {
    let dir = directory();
    let sweep = format!("{MODEL}sweep: {{train.seed: [1, 2]}}\n");
    let dir = dir.file("sweep.yaml", sweep);
    let line = |_| "sweep sweep.yaml --out sweep --set train.epochs=1".to_owned();
    for process in Launch::of(2).start_in(&dir, line).end() {
        assert_eq!(process.code, Some(0), "{process:#?}");
    }
    let listed = run_alone(&dir, 1, "sweep sweep.yaml --out sweep --set train.epochs=1 --list");
    assert_eq!(listed.matches("finished").count(), 2, "{listed}");
}

/// torchrun starts all processes again after one was killed, and the run ends as if nothing had happened.
#[test]
fn torchrun_restarts_a_run_from_its_last_checkpoint() {
    let torchrun = checkout().join("../.venv/bin/torchrun");
    assert!(torchrun.exists(), "torchrun is missing; run `make setup`");
    let dir = directory();
    // Kills the process of rank 1 once, after the first checkpoint.
    let script = format!(
        "#!/bin/sh\n\"{BINARY}\" \"$@\" &\nchild=$!\n\
         if [ \"$RANK$TORCHELASTIC_RESTART_COUNT\" = 10 ]; then\n\
         while [ ! -e run/last/progress.json ]; do sleep 0.01; done; kill -KILL $child\nfi\n\
         wait $child\n"
    );
    let dir = dir.file("program.sh", script);
    let mut command = Command::new(torchrun);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.current_dir(dir.path("")).envs(ENVIRONMENT);
    command.args(["--no-python", "--nproc-per-node", "2", "--max-restarts", "1"]);
    command.args(["--standalone", "sh", "program.sh", "train", "model.yaml", "--out", "run"]);
    command.args(["--resume-if-any", "--set", "train.epochs=12"]);
    let done = command.output().unwrap();
    let messages = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{messages}");
    assert!(messages.contains("resuming after step"), "{messages}");
    run_alone(&dir, 1, "train model.yaml --out whole --set train.epochs=12");
    assert!(dir.best_weights("whole") == dir.best_weights("run"));
    dir.assert_same_state("whole", "run");
    // The command can be repeated.
    run_together(&dir, 2, "train model.yaml --out run --resume-if-any --set train.epochs=12");
    let _ = fs::metadata(dir.path("run/summary.json")).unwrap();
}
