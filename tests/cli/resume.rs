//! `lstmtext train --resume`: an interrupted run ends like one that was never interrupted.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::thread;
use std::time::Duration;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::checkpoints::seal;
use crate::common::{
    DEADLINE, ENVIRONMENT, TestDir, assert_fails, csv, examples, fails_with_limit,
};
use crate::tensorboard::assert_same_curves;
use crate::training::{COSINE, ENDLESS, PLATEAU, Training, with_noise};

/// Expects that two runs have the same weights, optimizer state, vocabulary, metrics and scores.
pub fn assert_same_run(dir: &TestDir, a: &str, b: &str) {
    let metrics = |run: &str| dir.read(&format!("{run}/metrics.jsonl"));
    assert_eq!(metrics(a), metrics(b));
    assert_eq!(dir.timeless_summary(a), dir.timeless_summary(b));
    for part in ["best", "last"] {
        for name in ["model.safetensors", "optimizer.safetensors", "vocabulary.json"] {
            let bytes = |run: &str| dir.bytes(&format!("{run}/{part}/{name}"));
            assert!(bytes(a) == bytes(b), "{part}/{name} differs");
        }
    }
    assert_eq!(dir.read(&format!("{a}/config.yaml")), dir.read(&format!("{b}/config.yaml")));
}

#[test]
fn a_run_interrupted_by_ctrl_c_and_resumed_is_bit_identical() {
    let dir = with_noise(COSINE);
    dir.train("long.yaml --out whole").stderr(contains("stopped: no improvement in 9"));

    let mut training = Training::start(&dir, "long.yaml --out stopped");
    training.wait_for_validations(&dir, "stopped", 3);
    let (code, stderr) = training.stop(libc::SIGINT);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(dir.path("stopped/last/checkpoint.json").exists());
    assert!(!dir.path("stopped/summary.json").exists());
    assert!(dir.metrics("stopped").len() < dir.metrics("whole").len(), "it must have been stopped");

    let done = dir.train("--resume stopped");
    let step = dir.json("stopped/last/progress.json")["step"].as_u64().unwrap();
    assert_eq!(step, dir.json("whole/last/progress.json")["step"]);
    done.stderr(contains("resuming after step "));
    assert_same_run(&dir, "whole", "stopped");
}

#[test]
fn a_run_interrupted_several_times_is_bit_identical() {
    let dir = with_noise(PLATEAU);
    dir.train("long.yaml --out whole").stderr(contains("stopped: no improvement in 16"));
    let mut training = Training::start(&dir, "long.yaml --out stopped");
    // Before the first validation, when there is no best checkpoint yet.
    training.wait_for_curves(&dir, "stopped");
    assert_eq!(training.stop(libc::SIGTERM).0, Some(143));
    for validations in [1, 4, 7] {
        let mut training = Training::start(&dir, "--resume stopped");
        training.wait_for_validations(&dir, "stopped", validations);
        assert_eq!(training.stop(libc::SIGTERM).0, Some(143));
    }
    dir.train("--resume stopped");
    assert_same_run(&dir, "whole", "stopped");
}

/// For example by a power failure. Checkpoints are written every 23 steps. Steps after the last one
/// are lost and repeated.
#[test]
fn a_killed_run_resumes_from_its_last_checkpoint() {
    let dir = with_noise(PLATEAU);
    dir.train("long.yaml --out whole");
    let mut training = Training::start(&dir, "long.yaml --out killed");
    training.wait_for_validations(&dir, "killed", 4);
    assert_eq!(training.stop(libc::SIGKILL).0, None);
    dir.train("--resume killed");
    assert_same_run(&dir, "whole", "killed");
}

/// Kills a run at 24 random moments and lets it end. On a busy machine it may end after fewer kills.
/// Returns how many kills happened while a checkpoint was being written.
fn kill_repeatedly(dir: &TestDir, config: &str, seed: u64) -> usize {
    let set = "--set train.checkpoint_every=2 --set train.early_stopping.patience=null";
    dir.train(&format!("{config} --out whole {set}"));
    let mut random = Pcg64::seed_from_u64(seed);
    let (mut kills, mut while_writing) = (0, 0);
    let mut line = format!("{config} --out killed {set}");
    while kills < 24 {
        let mut training = Training::start(dir, &line);
        // The first of four kills comes before the directory exists, or while the run is being prepared.
        let maximum = if kills % 4 == 0 { 100_000 } else { 20_000 };
        if kills % 4 != 0 && !training.reaches_checkpoint(dir, "killed") {
            assert_eq!(training.end().0, Some(0));
            break;
        }
        thread::sleep(Duration::from_micros(random.random_range(0..maximum)));
        if !training.kill() {
            break;
        }
        kills += 1;
        let run = dir.path("killed");
        let files = std::fs::read_dir(&run).into_iter().flatten();
        let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        while_writing += usize::from(names.any(|name| name.ends_with(".tmp")));
        if run.join("config.yaml").exists() {
            line = "--resume killed".to_owned();
        }
    }
    assert!(kills > 2, "the run ended after {kills} kills");
    dir.train(&line);
    assert_same_run(dir, "whole", "killed");
    assert_same_curves(dir, "whole", "killed");
    while_writing
}

#[test]
fn a_run_killed_at_any_moment_is_bit_identical() {
    let dir = with_noise(PLATEAU);
    let while_writing = kill_repeatedly(&dir, "long.yaml", 1);
    assert!(while_writing > 0, "no kill happened while a checkpoint was being written");
}

#[test]
fn a_killed_run_is_bit_identical_with_every_optimizer() {
    let dir = with_noise(COSINE);
    for (seed, optimizer) in [(2, "adamw"), (3, "adadelta"), (4, "sgd")] {
        let settings = format!(
            "long.yaml --set train.optimizer={optimizer} --set train.sparse_embedding=false \
             --set train.sgd.momentum=0.9 --set train.label_smoothing=0.1 --set train.epochs=16 \
             --set train.class_weights=balanced --set train.validate_every=29"
        );
        kill_repeatedly(&dir, &settings, seed);
        for run in ["whole", "killed"] {
            std::fs::remove_dir_all(dir.path(run)).unwrap();
        }
    }
}

/// The directory has a configuration but no checkpoint.
#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out whole");
    dir.train("small.yaml --out started");
    for name in ["best", "last"] {
        std::fs::remove_dir_all(dir.path("started").join(name)).unwrap();
    }
    std::fs::remove_file(dir.path("started/summary.json")).unwrap();
    dir.train("--resume started").stderr(contains("it starts from the beginning"));
    assert_same_run(&dir, "whole", "started");
    assert_same_curves(&dir, "whole", "started");
}

/// On a file system that cannot exchange directories, both are renamed for a moment.
#[test]
fn a_checkpoint_renamed_for_replacement_is_restored() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out whole --set train.epochs=3");
    dir.train("small.yaml --out run --set train.epochs=2 --set train.schedule.name=constant");
    dir.train("small.yaml --out whole2 --set train.epochs=3 --set train.schedule.name=constant");
    for name in ["best", "last"] {
        let run = dir.path("run");
        std::fs::rename(run.join(name), run.join(format!(".{name}.old"))).unwrap();
    }
    dir.train("--resume run --set train.epochs=3").stderr(contains("resuming after step "));
    assert_same_run(&dir, "whole2", "run");
}

#[test]
fn a_run_directory_is_locked_by_the_training_process() {
    let dir = with_noise(PLATEAU);
    let mut training = Training::start(&dir, &format!("long.yaml --out run {ENDLESS}"));
    training.wait_for_validations(&dir, "run", 1);
    let process = format!("process {}", training.id());
    assert_fails(dir.lstmtext("train --resume run"), 1, &[&process, "is training in", "run"]);
    assert_eq!(training.stop(libc::SIGINT).0, Some(130));
    assert!(!dir.path("run/.lock").exists());
    dir.train("--resume run --set train.epochs=1");
}

/// Simulates a full disk: the limit on file sizes is between event files and weights.
#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_previous_one() {
    let dir = TestDir::with_data();
    dir.train(
        "small.yaml --out run --set model.lstm.units=64 --set train.tensorboard.pr_curves=false \
         --set train.tensorboard.confusion_matrix=false",
    );
    let files = ["model.safetensors", "optimizer.safetensors", "checkpoint.json"];
    let last = |dir: &TestDir| files.map(|name| dir.bytes(&format!("run/last/{name}")));
    let before = last(&dir);
    let command = dir.process("train --resume run --set train.epochs=6");
    let message = fails_with_limit(command, libc::RLIMIT_FSIZE, 64 << 10);
    assert!(message.contains("cannot save the checkpoint"), "{message}");
    assert!(message.contains("File too large"), "{message}");
    assert!(last(&dir) == before);
    dir.train("--resume run --set train.epochs=6");
    assert_eq!(dir.metrics("run").len(), 6);
}

/// For example on a volume that is now mounted read-only.
#[test]
fn a_read_only_run_directory_is_an_error() {
    let dir = TestDir::with_run();
    let last = |dir: &TestDir| dir.bytes("run/last/checkpoint.json");
    let before = (last(&dir), dir.read("run/metrics.jsonl"));
    let mode = |bits| {
        let permissions = std::fs::Permissions::from_mode(bits);
        std::fs::set_permissions(dir.path("run"), permissions).unwrap();
    };
    mode(0o555);
    for line in ["train --resume run --set train.epochs=6", "train small.yaml --out run/more"] {
        let mut command = dir.process(line);
        // SAFETY: prctl takes plain integers and is safe to call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Without this capability, permissions apply to root, too. Other users do not have it.
                const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0);
                Ok(())
            });
        }
        let done = command.output().unwrap();
        let message = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{message}");
        assert!(message.contains("Permission denied"), "{message}");
        assert!(message.contains("/run/") && !message.contains("panicked"), "{message}");
    }
    mode(0o755);
    assert!((last(&dir), dir.read("run/metrics.jsonl")) == before);
    dir.train("--resume run --set train.epochs=6");
    assert_eq!(dir.metrics("run").len(), 6);
}

#[test]
fn a_deleted_run_directory_is_an_error() {
    // The next write is a checkpoint, or a line of metrics.jsonl.
    for every in ["train.checkpoint_every=1", "train.checkpoint_every=1000000"] {
        let dir = with_noise(PLATEAU);
        let line = format!("long.yaml --out run {ENDLESS} --set {every}");
        let mut training = Training::start(&dir, &line);
        training.wait_for_validations(&dir, "run", 1);
        std::fs::rename(dir.path("run"), dir.path("gone")).unwrap();
        let (code, stderr) = training.end();
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("cannot ") && stderr.contains("/run"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(!dir.path("run").exists(), "the directory must not be created again");
        dir.train("--resume gone --set train.epochs=1");
    }
}

#[test]
fn closing_the_terminal_interrupts_a_run_like_ctrl_c() {
    let dir = with_noise(PLATEAU);
    let mut training = Training::start(&dir, &format!("long.yaml --out run {ENDLESS}"));
    training.wait_for_validations(&dir, "run", 1);
    let (code, stderr) = training.stop(libc::SIGHUP);
    assert_eq!(code, Some(129), "{stderr}");
    assert!(dir.path("run/last/checkpoint.json").exists());
}

#[test]
fn the_printed_command_resumes_the_run() {
    let dir = with_noise(COSINE).file("it's here/readme", "");
    let mut command = dir.process("train long.yaml --out");
    let mut training = Training::spawn(command.arg("it's here/my run"));
    training.wait_for_validations(&dir, "it's here/my run", 1);
    let (_, stderr) = training.stop(libc::SIGINT);
    let command = stderr.lines().last().unwrap().trim();
    assert!(command.contains("train --resume "), "{stderr}");
    assert_cmd::Command::new("sh")
        .args(["-c", &format!("{command} --set train.epochs=3")])
        .current_dir(dir.path(""))
        .envs(ENVIRONMENT)
        .timeout(DEADLINE)
        .assert()
        .success();
    assert!(dir.path("it's here/my run/summary.json").exists());
}

#[test]
fn a_finished_run_continues_with_more_epochs() {
    let dir = TestDir::with_data();
    let constant = "--set train.schedule.name=constant";
    dir.train(&format!("small.yaml --out whole {constant} --set train.epochs=3"));
    dir.train(&format!("small.yaml --out longer {constant} --set train.epochs=2"));
    dir.train("--resume longer --set train.epochs=3");
    assert_same_run(&dir, "whole", "longer");
    assert_eq!(dir.metrics("longer").len(), 3);
}

#[test]
fn resuming_a_finished_run_without_changes_leaves_it_as_it_is() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out whole");
    dir.train("small.yaml --out again");
    let done = dir.train("--resume again");
    assert_same_run(&dir, "whole", "again");
    done.stderr(contains("increase train.epochs")).stdout(contains("test  "));
}

/// The position inside an epoch is valid only for the same batches.
#[test]
fn a_run_interrupted_inside_an_epoch_continues_only_with_the_same_batches() {
    let dir = with_noise(PLATEAU);
    let mut training = Training::start(&dir, "long.yaml --out run");
    training.wait_for_validations(&dir, "run", 1);
    assert_eq!(training.stop(libc::SIGINT).0, Some(130));
    if dir.json("run/last/progress.json")["batch"] != 0 {
        for (set, advice) in [
            ("train.token_budget=100000", "resume with the former train.token_budget"),
            ("train.seed=2", "resume with the former train.seed"),
            ("data.train=test.csv", "restore the data"),
        ] {
            let command = dir.lstmtext(&format!("train --resume run --set {set}"));
            assert_fails(command, 1, &["interrupted inside epoch", advice]);
        }
    }
    dir.train("--resume run --set train.learning_rate=0.001 --set train.epochs=2");
}

#[test]
fn a_run_without_last_resumes_from_best() {
    let dir = TestDir::with_run();
    std::fs::remove_dir_all(dir.path("run/last")).unwrap();
    dir.train("--resume run --set train.epochs=6").stderr(contains("resuming after step "));
    assert_eq!(dir.metrics("run").len(), 6);
}

#[test]
fn a_resumed_run_has_no_summary_until_it_ends() {
    let dir = with_noise(COSINE);
    dir.train("long.yaml --out run --set train.epochs=1");
    assert!(dir.path("run/summary.json").exists());
    let mut training = Training::start(&dir, "--resume run --set train.epochs=60");
    training.wait_for_validations(&dir, "run", 2);
    assert_eq!(training.stop(libc::SIGINT).0, Some(130));
    assert!(!dir.path("run/summary.json").exists());
}

#[test]
fn model_and_text_of_a_resumed_run_cannot_change() {
    let dir = TestDir::with_run();
    for set in ["model.lstm.units=16", "model.pooling=max", "text.max_length=10", "model={}"] {
        let command = dir.lstmtext(&format!("train --resume run --set {set}"));
        assert_fails(command, 2, &[&format!("--set {}", set.split('=').next().unwrap())]);
    }
}

#[test]
fn a_rejected_resume_changes_nothing() {
    let mut dir = TestDir::with_run();
    let files = |dir: &TestDir| {
        let text = |name: &str| dir.read(&format!("run/{name}"));
        (text("config.yaml"), text("metrics.jsonl"), dir.names("run"))
    };
    let before = files(&dir);
    for (set, labels, parts) in [
        // The state of one optimizer does not fit another.
        ("train.epochs=9 --set train.optimizer=sgd", ["neg", "pos"], ["optimizer state", "sgd"]),
        // The run has trained 4 epochs.
        ("train.epochs=3", ["neg", "pos"], ["the run is finished", "increase train.epochs"]),
        ("train.learning_rate=3", ["neg", "pos"], ["the run is finished", "increase train.epochs"]),
        ("train.epochs=9", ["bad", "good"], ["found bad, good", "neg, pos"]),
        (
            "train.epochs=9 --set data.train=none.csv",
            ["neg", "pos"],
            ["none.csv", "--set data.train=PATH"],
        ),
    ] {
        dir = dir.data(&labels);
        assert_fails(dir.lstmtext(&format!("train --resume run --set {set}")), 1, &parts);
        assert!(files(&dir) == before, "{set} changed the run");
    }
}

/// `best/` and `last/` contain a config.yaml, like a run.
#[test]
fn a_checkpoint_cannot_be_resumed() {
    let dir = TestDir::with_run();
    let before = dir.names("run/last");
    let command = dir.lstmtext("train --resume run/last");
    assert_fails(command, 1, &["\"run/last\" is a checkpoint", "its run is \"run\""]);
    assert_eq!(dir.names("run/last"), before);
}

#[test]
fn changed_training_examples_are_noted() {
    let dir = TestDir::with_data().file("validation.csv", csv(&examples(&["neg", "pos"], 60, 5)));
    dir.train("small.yaml --out run --set data.validation=validation.csv");
    let dir = dir.file("train.csv", csv(&examples(&["neg", "pos"], 500, 7)));
    dir.train("--resume run --set train.epochs=5")
        .stderr(contains("note: the training examples have changed since"));
    dir.train("--resume run --set train.epochs=6").stderr(contains("have changed").not());
    dir.train("--resume run --set train.epochs=8 --set train.batch_size=8").stderr(contains(
        "note: the order of the training examples (train.batch_size) has changed",
    ));
    let dir = dir.file("test.csv", csv(&examples(&["neg", "pos"], 50, 8)));
    dir.train("--resume run --set train.epochs=9")
        .stderr(contains("note: the test examples have changed"));
}

/// In another order of the rows, the split is another one.
#[test]
fn a_run_does_not_validate_on_examples_that_it_was_trained_on() {
    let dir = TestDir::with_run();
    let mut reversed = examples(&["neg", "pos"], 600, 1);
    reversed.reverse();
    let dir = dir.file("train.csv", csv(&reversed));
    let before = dir.read("run/metrics.jsonl");
    let expected = ["the training and the validation examples have changed", "restore the data"];
    assert_fails(dir.lstmtext("train --resume run --set train.epochs=6"), 1, &expected);
    assert_eq!(dir.read("run/metrics.jsonl"), before);
}

#[test]
fn scores_on_other_validation_examples_are_not_compared_with_former_ones() {
    let mut validation = examples(&["neg", "pos"], 50, 9);
    let dir = TestDir::with_data().file("val.csv", csv(&validation));
    dir.train("small.yaml --out run --set data.validation=val.csv --set train.epochs=2");
    let best = |dir: &TestDir| dir.json("run/summary.json")["validation"]["accuracy"].as_f64();
    assert!(best(&dir).unwrap() > 0.9);
    // The opposite labels: every score is worse.
    for example in &mut validation {
        example.label = if example.label == "neg" { "pos" } else { "neg" }.to_owned();
    }
    let dir = dir.file("val.csv", csv(&validation));
    dir.train("--resume run --set train.epochs=3")
        .stderr(contains("note: the validation examples have changed since the run started"));
    assert!(best(&dir).unwrap() < 0.5);
    assert_eq!(dir.json("run/summary.json")["best_epoch"], 3);
    dir.train("--resume run --set train.epochs=4").stderr(contains("have changed").not());
}

#[test]
fn a_second_ctrl_c_quits_immediately() {
    let dir = with_noise(PLATEAU);
    // Makes each step slow.
    let long =
        "--set model.lstm.units=1400 --set train.token_budget=null --set train.batch_size=600";
    let mut training = Training::start(&dir, &format!("long.yaml --out run {long}"));
    training.wait_for_curves(&dir, "run");
    training.signal(libc::SIGINT);
    thread::sleep(Duration::from_millis(600));
    let (code, stderr) = training.stop(libc::SIGINT);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("saving after this step"), "{stderr}");
    assert!(stderr.contains("quit without saving"), "{stderr}");
    assert!(!dir.path("run/last").exists());
}

/// `timeout`, for example, signals the process and its group.
#[test]
fn a_signal_sent_twice_at_once_counts_once() {
    let dir = with_noise(PLATEAU);
    let long =
        "--set model.lstm.units=256 --set train.token_budget=null --set train.batch_size=600";
    let mut training = Training::start(&dir, &format!("long.yaml --out run {long}"));
    training.wait_for_curves(&dir, "run");
    training.signal(libc::SIGTERM);
    thread::sleep(Duration::from_millis(20));
    let (code, stderr) = training.stop(libc::SIGTERM);
    assert_eq!(code, Some(143), "{stderr}");
    assert!(stderr.contains("progress is saved in"), "{stderr}");
    assert!(dir.path("run/last/checkpoint.json").exists());
}

#[test]
fn a_directory_without_a_run_cannot_be_resumed() {
    let dir = TestDir::new().file("empty/readme", "");
    assert_fails(
        dir.lstmtext("train --resume empty"),
        1,
        &["\"empty\" is not a run", "config.yaml is missing"],
    );
    assert_fails(dir.lstmtext("train --resume nowhere"), 1, &["nowhere"]);
}

#[test]
fn a_moved_run_can_be_resumed() {
    let dir = TestDir::with_run();
    std::fs::create_dir(dir.path("archive")).unwrap();
    std::fs::rename(dir.path("run"), dir.path("archive/moved")).unwrap();
    dir.train("--resume archive/moved --set train.epochs=5");
    assert_eq!(dir.metrics("archive/moved").len(), 5);
}

/// The number of shards is fixed, so the threads only share them out.
#[test]
fn a_run_resumed_with_other_threads_is_bit_identical() {
    let dir = with_noise(COSINE);
    let set = "--set train.epochs=3 --set train.shards=4";
    dir.train(&format!("long.yaml --out whole {set} --threads 1"));
    dir.train(&format!("long.yaml --out three {set} --threads 3"));
    assert_same_run(&dir, "whole", "three");
    let mut training = Training::start(&dir, &format!("long.yaml --out stopped {set} --threads 2"));
    training.wait_for_validations(&dir, "stopped", 1);
    assert_eq!(training.stop(libc::SIGTERM).0, Some(143));
    dir.train("--resume stopped --threads 3").stderr(contains("changed since").not());
    assert_same_run(&dir, "whole", "stopped");
}

#[test]
fn the_number_of_shards_is_chosen_once_and_saved() {
    let dir = TestDir::with_data();
    let choices = ["--threads 1", "--threads 3", "--set train.shards=auto --threads 2"];
    for (index, choice) in choices.into_iter().enumerate() {
        dir.train(&format!("small.yaml --out run{index} --set train.epochs=1 {choice}"));
        assert_same_run(&dir, "run0", &format!("run{index}"));
    }
    let config = dir.read("run0/config.yaml");
    assert!(!config.contains("shards: auto"), "{config}");
    dir.train("small.yaml --out five --set train.epochs=1 --set train.shards=5");
    dir.train("--resume five --set train.epochs=2");
    assert!(dir.read("five/last/config.yaml").contains("shards: 5"));
}

#[test]
fn a_checkpoint_without_the_number_of_shards_continues_with_the_number_of_threads() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.shards=3");
    for name in ["best", "last"] {
        let config = dir.read(&format!("run/{name}/config.yaml"));
        let without = config.replace("  shards: 3", "# shards: 3");
        std::fs::write(dir.path(&format!("run/{name}/config.yaml")), &without).unwrap();
        assert_ne!(config, without);
        seal(&dir, &format!("run/{name}"));
    }
    dir.train("--resume run --set train.epochs=5 --threads 2")
        .stderr(contains("does not say into how many shards").and(contains("continues with 2")));
    assert!(dir.read("run/config.yaml").contains("shards: 2"));
    dir.train("--resume run --set train.epochs=6 --threads 1")
        .stderr(contains("into how many shards").not());
}

#[test]
fn the_printed_command_has_the_arguments_that_compute_the_run() {
    let dir = with_noise(COSINE);
    let line = format!("long.yaml --out run --threads 2 --device cpu --no-test --json {ENDLESS}");
    let mut training = Training::start(&dir, &line);
    training.wait_for_validations(&dir, "run", 1);
    let (_, stderr) = training.stop(libc::SIGINT);
    let command = stderr.lines().last().unwrap().trim();
    let expected = "train --no-test --json --device cpu --threads 2 --resume ";
    assert!(command.contains(expected), "{stderr}");
}

#[test]
fn settings_changed_on_resume_are_noted() {
    let dir = TestDir::with_run();
    dir.train("--resume run --set train.epochs=5 --set precision=fp32 --set train.shards=4")
        .stderr(contains("train.epochs is 5 (was 4)"))
        .stderr(contains("precision is fp32 (was tf32)"))
        .stderr(contains("train.shards is 4 (was "));
    dir.train("--resume run --set train.epochs=6 --set train.shards=auto")
        .stderr(contains("train.shards is auto").not());
    let progress = dir.read("run/last/progress.json");
    let version = format!("lstmtext {}", env!("CARGO_PKG_VERSION"));
    assert!(progress.contains(&version), "{progress}");
    let other = progress.replace(&version, "lstmtext 0.0.7");
    assert_eq!(progress.len(), other.len());
    std::fs::write(dir.path("run/last/progress.json"), other).unwrap();
    seal(&dir, "run/last");
    dir.train("--resume run --set train.epochs=7")
        .stderr(contains("was computed with lstmtext 0.0.7, "));
    dir.train("--resume run --set train.epochs=8").stderr(contains("was computed with").not());
}

#[test]
fn the_learning_rate_of_a_longer_run_is_noted() {
    let dir = TestDir::with_run();
    let rate = |record: usize| dir.metrics("run")[record]["learning_rate"].as_f64().unwrap();
    dir.train("--resume run --set train.epochs=8")
        .stderr(contains(
            "the learning rate continues at 0.025; with the former settings it would be 0",
        ))
        .stderr(contains("The linear schedule falls to 0 at the end of epoch 8"));
    assert!(rate(4) > 0.0 && rate(7) < rate(4), "{:?}", dir.metrics("run"));
}

#[test]
fn every_schedule_of_a_longer_run_is_noted() {
    let dir = TestDir::with_run();
    for (epochs, schedule, expected) in [
        (6, "constant", "The constant schedule stays at "),
        (7, "exponential", "The exponential schedule multiplies it by "),
        (8, "plateau", "The plateau schedule multiplies it by "),
        (9, "plateau", "The plateau schedule multiplies it by "),
    ] {
        let set = format!("--set train.epochs={epochs} --set train.schedule.name={schedule}");
        dir.train(&format!("--resume run {set} --set train.early_stopping.patience=null"))
            .stderr(contains("note: the learning rate continues at ").and(contains(expected)));
    }
}

/// The schedule follows the epochs, whatever their number of steps.
#[test]
fn a_schedule_continues_from_its_epoch_if_the_number_of_steps_changes() {
    let dir = TestDir::with_data();
    let set = "--set train.early_stopping.patience=null --set train.epochs";
    dir.train(&format!("small.yaml --out run {set}=2"));
    for (epochs, batch_size) in [(4, 128), (6, 8), (8, 8)] {
        dir.train(&format!(
            "--resume run {set}={epochs} --set train.batch_size={batch_size} \
             --set train.schedule.end_factor=0.5"
        ));
        let records = dir.metrics("run");
        let rates: Vec<f64> =
            records.iter().map(|record| record["learning_rate"].as_f64().unwrap()).collect();
        assert_eq!(rates.len(), epochs);
        // 1 at the start, 0.5 at the end.
        let expected = 0.05 * (1.0 - 0.5 * (epochs - 1) as f64 / epochs as f64);
        assert!((rates[epochs - 2] - expected).abs() < 0.006, "{epochs}: {rates:?}");
        assert!((rates[epochs - 1] - 0.025).abs() < 0.006, "{epochs}: {rates:?}");
    }
}
