//! `lstmtext train --resume`: what can be resumed.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use predicates::str::contains;

use crate::common::{TestDir, assert_fails, fails_with_limit};
use crate::training::{COSINE, ENDLESS, PLATEAU, Training, assert_same_run, with_noise};

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
