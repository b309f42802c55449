//! Commands that work without libtorch, with `lstmtext` alone in a directory.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::json;

use crate::common::{BINARY, ENVIRONMENT, TestDir, assert_fails};
use crate::serve::Server;

/// Copies the program to a directory that contains nothing else.
fn install_alone(dir: &TestDir) -> PathBuf {
    std::fs::create_dir(dir.path("bin")).unwrap();
    let program = dir.path("bin/lstmtext");
    // `cp` makes the copy because a file cannot be executed while it is open for writing, and a child
    // process of another test may inherit this process's open file.
    assert!(Command::new("cp").arg(BINARY).arg(&program).status().unwrap().success());
    program
}

#[test]
fn commands_work_without_libtorch() {
    let dir = TestDir::with_data().file("sweep.yaml", {
        format!("{}sweep: {{model.lstm.units: [4, 8]}}\n", crate::common::SMALL)
    });
    let program = install_alone(&dir);
    let command = |line: &str| {
        let mut command = assert_cmd::Command::new(&program);
        command.current_dir(dir.path("")).env_clear().envs(ENVIRONMENT);
        command.args(line.split_whitespace());
        command
    };
    let run = |line: &str| command(line).assert().success();
    run("train small.yaml --out runs/a --set train.epochs=1").stderr(contains("on:   CPU, "));
    run("train --resume runs/a --set train.epochs=3").stderr(contains("resuming after step"));
    run("evaluate runs/a --split test").stdout(contains("accuracy"));
    run("predict runs/a pos1").stdout(contains("pos"));
    run("explain runs/a pos1").stdout(contains("pos1"));
    run("states runs/a pos1 --to s.npz --to s.npy --to s.svg --to s.png");
    run("states runs/a pos1").stdout(contains("final h"));
    run("export runs/a --to exported").stdout("exported\n");
    run("export runs/a --to model.onnx").stdout("model.onnx\n");
    run("export runs/a --to weights.npz").stdout("weights.npz\n");
    run("import runs/a weights.npz --to imported");
    run("evaluate imported --split validation").stdout(contains("accuracy"));
    run("plot runs/a --to curves.svg");
    run("bench small.yaml --steps 2 --rounds 1")
        .stdout(contains("native").and(contains("libtorch").not()).and(contains("matrix product")));
    run("sweep sweep.yaml --out sweeps/s");
    run("runs runs").stdout(contains("finished"));
    run("summary small.yaml");
    run("devices").stdout(contains("libtorch not installed").and(contains("cpu: 1 thread")));
    assert_fails(
        command("train small.yaml --out runs/b --set backend=libtorch"),
        1,
        &["lstmtext-torch\", which cannot be started", "`make build`", "backend=native"],
    );
    assert!(!dir.path("runs/b").exists(), "a run that cannot start must leave nothing behind");

    let mut serve = Command::new(&program);
    serve.current_dir(dir.path("")).args(["serve", "runs/a", "--port", "0"]).stderr(Stdio::piped());
    let (status, prediction) = Server::spawn(&mut serve).post("/predict", &json!({"text": "pos1"}));
    assert_eq!((status, &prediction["label"]), (200, &json!("pos")));
}
