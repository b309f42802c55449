//! Runs that are interrupted or killed: resumed, they end like one that was never interrupted.

use std::os::unix::process::CommandExt;
use std::thread;
use std::time::Duration;

use predicates::str::contains;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::common::{DEADLINE, ENVIRONMENT, TestDir};
use crate::tensorboard::assert_same_curves;
use crate::training::{COSINE, ENDLESS, PLATEAU, Training, assert_same_run, with_noise};

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
fn closing_the_terminal_interrupts_a_run_like_ctrl_c() {
    let dir = with_noise(PLATEAU);
    let mut command = dir.process(&format!("train long.yaml --out run {ENDLESS}"));
    // SAFETY: signal is safe to call between fork and exec, and installs no handler.
    unsafe {
        command.pre_exec(|| {
            // The tests may run under nohup.
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
    let mut training = Training::spawn(&mut command);
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
fn a_second_ctrl_c_quits_immediately() {
    let dir = with_noise(PLATEAU);
    // Makes each step slow. Orthogonal matrices of this size would make the start slow as well.
    let long = "--set model.lstm.units=1400 --set model.initialization=pytorch \
                --set train.token_budget=null --set train.batch_size=600";
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
