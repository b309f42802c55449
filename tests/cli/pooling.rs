//! Poolings, alone and concatenated, in all commands.

use lstmtext::interchange::numpy::read_npz;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::common::{TestDir, assert_fails, floats, stdout, stdout_json};

const FIELDS: &str = "--set model.pooling=[max,attention] --set model.lstm.bidirectional=true";
const TEXT: &str = "n1 pos3 n2 unheard n7 pos5";

fn with_attention() -> TestDir {
    let dir = TestDir::with_data();
    dir.train(&format!("small.yaml --out run {FIELDS}")).stderr(contains("max + attention"));
    dir
}

fn attention_of(explanation: &Value) -> Vec<f64> {
    let words = explanation["inputs"][0]["words"].as_array().unwrap();
    words.iter().map(|word| word["attention"].as_f64().unwrap()).collect()
}

#[test]
fn poolings_are_printed_as_they_are_written() {
    let dir = TestDir::with_data();
    for (written, printed) in [("mean", "mean"), ("[mean]", "mean"), ("[last,max]", "[last, max]")]
    {
        let command = dir.lstmtext(&format!("config small.yaml --set model.pooling={written}"));
        let shown = stdout(&{ command }.assert().success());
        let line = shown.lines().find(|line| line.trim_start().starts_with("pooling:")).unwrap();
        assert!(line.contains(&format!("pooling: {printed}")), "{line}");
    }
    for invalid in ["[]", "[max,max]", "[max,sum]"] {
        let command = dir.lstmtext(&format!("train small.yaml --set model.pooling={invalid}"));
        let parts = ["--set model.pooling: found a list", "a list of these, each at most once"];
        assert_fails(command, 2, &parts);
    }
}

#[test]
fn a_resumed_run_with_attention_equals_an_uninterrupted_one() {
    let dir = TestDir::with_data();
    let fields = format!("{FIELDS} --set train.schedule.name=constant");
    dir.train(&format!("small.yaml --out run {fields}"));
    dir.train(&format!("small.yaml --out halves {fields} --set train.epochs=2"));
    dir.train("--resume halves --set train.epochs=4");
    dir.assert_same_state("run", "halves");
}

#[test]
fn exported_weights_of_attention_are_imported() {
    let dir = with_attention();
    dir.lstmtext("export run --to weights.npz").assert().success();
    let arrays = read_npz(&dir.path("weights.npz")).unwrap();
    let shape = |name: &str| arrays.iter().find(|array| array.name == name).unwrap().shape.clone();
    assert_eq!(shape("attention/query"), [16]);
    assert_eq!(shape("dense/kernel"), [32, 1]);
    dir.lstmtext("import run weights.npz --to imported").assert().success();
    let predict = |checkpoint: &str| {
        let mut command = dir.lstmtext(&format!("predict {checkpoint} --format jsonl"));
        stdout(&command.arg(TEXT).assert().success())
    };
    assert_eq!(predict("run"), predict("imported"));
    dir.lstmtext("export run --to exported").assert().success();
    let description = dir.json("exported/model.json");
    assert_eq!(description["inputs"][0]["pooling"], json!(["max", "attention"]));
}

#[test]
fn explain_and_states_show_the_attention_weight_of_each_word() {
    let dir = with_attention();
    let mut command = dir.lstmtext("explain run --json");
    let explanation = &stdout_json(&command.arg(TEXT).assert().success())[0];
    let weights = attention_of(explanation);
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{weights:?}");
    assert!(weights.iter().any(|weight| (weight - weights[0]).abs() > 1e-3), "{weights:?}");

    let mut command = dir.lstmtext("states run --json");
    let states = &stdout_json(&command.arg(TEXT).assert().success())[0];
    assert_eq!(floats(&states["attention"]), weights);
    let mut command = dir.lstmtext("states run --to s.npz --to s.svg");
    command.arg(TEXT).assert().success();
    let arrays = read_npz(&dir.path("s.npz")).unwrap();
    let array = arrays.iter().find(|array| array.name == "attention").unwrap();
    assert_eq!(array.values, weights.iter().map(|weight| *weight as f32).collect::<Vec<_>>());
    assert!(dir.read("s.svg").contains("attention weight of each word"));

    let mut command = dir.lstmtext("explain run --html page.html");
    let shown = stdout(&command.arg(TEXT).assert().success());
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let line = shown.lines().find(|line| line.starts_with("attention: ")).unwrap();
    assert!(line.split(", ").next().unwrap().ends_with(&format!(" {largest:.3}")), "{line}");
    let page = dir.read("page.html");
    assert!(page.contains("<h3>attention</h3>"), "{page}");
    assert!(page.contains(&format!(", attention {:.3}", weights[1])), "{page}");
}

/// Padding in front takes steps, but no attention.
#[test]
fn padding_in_front_gets_no_attention() {
    let dir = TestDir::with_data();
    let fields = "--set model.pooling=attention --set text.pad=front --set text.max_length=9";
    dir.train(&format!("small.yaml --out run {fields} --set train.epochs=1"));
    let mut command = dir.lstmtext("states run --json");
    let states = &stdout_json(&command.arg(TEXT).assert().success())[0];
    let weights = floats(&states["attention"]);
    assert_eq!((weights.len(), &states["padding"]), (9, &json!(3)));
    assert_eq!(weights[..3], [0.0; 3]);
    let mut command = dir.lstmtext("explain run --json");
    let explanation = &stdout_json(&command.arg(TEXT).assert().success())[0];
    assert_eq!(attention_of(explanation), weights[3..]);
}

#[test]
fn models_without_attention_show_none() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.epochs=1 --set model.pooling=[last,mean]");
    for line in ["explain run --json", "explain run", "states run --json"] {
        let shown = stdout(&dir.lstmtext(line).arg(TEXT).assert().success());
        assert!(!shown.contains("attention"), "{shown}");
    }
}

#[test]
fn a_sweep_varies_lists_of_poolings() {
    let section = "sweep: {model.pooling: [mean, [mean, attention]]}\n";
    let dir = TestDir::with_data();
    let config = dir.read("small.yaml") + section;
    let dir = dir.file("many.yaml", config);
    dir.lstmtext("sweep many.yaml --set train.epochs=1").assert().success();
    let runs = dir.names("sweeps/many");
    assert!(runs.iter().any(|run| run.starts_with("pooling=mean")), "{runs:?}");
    let both = runs.iter().find(|run| run.contains("attention")).unwrap();
    assert!(dir.read(&format!("sweeps/many/{both}/config.yaml")).contains("[mean, attention]"));
}
