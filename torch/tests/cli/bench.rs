//! `lstmtext bench`.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{TestDir, assert_fails, stdout_json};

#[test]
fn both_backends_are_measured() {
    let dir = TestDir::with_data();
    let done = dir.lstmtext("bench small.yaml --steps 3 --rounds 2 --json").assert().success();
    let bench = stdout_json(&done);
    let names: Vec<&str> = bench["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| backend["backend"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["native", "libtorch"]);
    for backend in bench["backends"].as_array().unwrap() {
        assert!(backend["step"].as_f64().unwrap() > 0.0);
        assert!(backend["parts"].as_array().unwrap().len() >= 4);
    }
    let text = dir.lstmtext("bench small.yaml --steps 3 --rounds 1").assert().success();
    text.stdout(contains("forward").and(contains("times as fast as libtorch")));
}

#[test]
fn a_trace_has_the_operations_of_every_step() {
    let dir = TestDir::with_data();
    let line = "bench small.yaml --steps 4 --rounds 1 --trace trace.json --set backend=libtorch";
    let done = dir.lstmtext(line).assert().success();
    done.stderr(contains("the trace is in \"trace.json\"").and(contains("ERROR").not()));
    let trace = dir.json("trace.json");
    let events = trace["traceEvents"].as_array().unwrap();
    let count = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!(count("aten::lstm"), 4);
    assert!(count("aten::_fused_adam_") >= 4, "{}", count("aten::_fused_adam_"));

    let native = "bench small.yaml --trace trace.json --set backend=native";
    assert_fails(dir.lstmtext(native), 2, &["--trace records libtorch"]);
    assert_fails(dir.lstmtext(line), 1, &["\"trace.json\"", "File exists"]);
    let nowhere = "bench small.yaml --steps 1 --rounds 1 --trace nowhere/trace.json";
    assert_fails(dir.lstmtext(nowhere), 1, &["cannot create the file \"nowhere/trace.json\""]);
}

#[test]
fn steps_of_language_models_are_measured() {
    let dir = TestDir::with_data();
    let line = "bench small.yaml --language-model --steps 3 --rounds 2 --json";
    let bench = stdout_json(&dir.lstmtext(line).assert().success());
    let backends = bench["backends"].as_array().unwrap();
    assert_eq!(backends.len(), 2, "{bench}");
    for backend in backends {
        for number in ["step", "prepare", "tokens_per_second", "gflops"] {
            assert!(backend[number].as_f64().unwrap() > 0.0, "{bench}");
        }
    }
    let parts = backends[0]["parts"].as_array().unwrap();
    let seconds: f64 = parts.iter().map(|part| part[1].as_f64().unwrap()).sum();
    let step = backends[0]["step"].as_f64().unwrap();
    assert!(seconds < 1.5 * step && seconds > 0.5 * step, "{bench}");
    let text = dir.lstmtext("bench small.yaml --language-model --steps 3 --rounds 1").assert();
    text.success().stdout(contains("softmax").and(contains("including preparation on the host")));
}
