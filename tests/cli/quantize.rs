//! Compact checkpoints: `export --quantize`, `--vocabulary-size` and `--ngrams`.

use std::fs;

use lstmtext::Classifier;
use lstmtext::model::StoredTensor;
use lstmtext::model::quantization;
use lstmtext::run::checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::checkpoints::seal;
use crate::common::{
    TestDir, assert_fails, probability_of, stderr, stdout, stdout_json, stdout_json_lines,
};
use crate::inputs::with_two_inputs;
use crate::serve::Server;

/// Large enough for weights to take most of the space.
const LARGE: &str =
    "--set model.embedding.size=512 --set model.lstm.units=128 --set train.epochs=2";
const TEXTS: &str =
    "n1 pos1 n2\nneg3 n4 n99 n5 n6 n7 n7 n7 n8\npos2\n\nn9 n10 neg1 neg2 pos3 n11\n";

/// Creates a directory with the run `run` of a model with these fields.
fn trained(labels: &[&str], fields: &str) -> TestDir {
    let dir = TestDir::with_data().data(labels).file("texts.txt", TEXTS);
    dir.train(&format!("small.yaml --out run --set text.tokenizer=whitespace {fields}"));
    dir
}

fn export(dir: &TestDir, line: &str) -> String {
    let done = dir.lstmtext(&format!("export {line}")).assert().success();
    assert!(stderr(&done).contains("times smaller"), "{}", stderr(&done));
    stdout(&done)
}

/// Returns the probabilities of all classes for the texts of `texts.txt`.
fn probabilities(dir: &TestDir, model: &str) -> Vec<f64> {
    let line = format!("predict {model} --file texts.txt --format jsonl --top 99");
    let predictions = stdout_json_lines(&dir.lstmtext(&line).assert().success());
    let of = |prediction: &Value| -> Vec<f64> {
        let classes = prediction["classes"].as_array().unwrap().iter();
        let mut labels: Vec<&str> = classes.map(|class| class["label"].as_str().unwrap()).collect();
        labels.sort_unstable();
        labels.into_iter().map(|label| probability_of(prediction, label)).collect()
    };
    predictions.iter().flat_map(of).collect()
}

fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < tolerance, "{a} {b}");
    }
}

fn bytes(dir: &TestDir, checkpoint: &str) -> u64 {
    let names = dir.names(checkpoint).into_iter();
    let used =
        names.filter(|name| !["optimizer.safetensors", "raw.safetensors"].contains(&&**name));
    used.map(|name| dir.bytes(&format!("{checkpoint}/{name}")).len() as u64).sum()
}

#[test]
fn a_quantized_checkpoint_is_small_and_predicts_the_same() {
    let dir = trained(&["neg", "pos"], LARGE);
    assert_eq!(export(&dir, "run --quantize int8 --to small"), "small\n");
    let (before, after) = (bytes(&dir, "run/best"), bytes(&dir, "small"));
    assert!(before as f64 / after as f64 > 3.5, "{before} {after}");
    let names = ["checkpoint.json", "config.yaml", "model.safetensors", "progress.json"];
    assert_eq!(dir.names("small"), [&names[..], &["vocabulary.json.zst"]].concat());
    assert_close(&probabilities(&dir, "run"), &probabilities(&dir, "small"), 0.02);

    let score = |line: &str| stdout_json(&dir.lstmtext(line).assert().success());
    let (full, small) = (score("evaluate run --json"), score("evaluate small --json"));
    let difference = full["accuracy"].as_f64().unwrap() - small["accuracy"].as_f64().unwrap();
    assert!(difference.abs() < 0.02, "{full} {small}");
    for line in
        ["states small pos1", "explain small pos1", "embed small pos1 --to v.npy", "runs small"]
    {
        dir.lstmtext(line).assert().success();
    }
    let classifier = Classifier::load(dir.path("small")).unwrap();
    assert_eq!(classifier.predict(&["pos1 pos2 pos3"]).unwrap()[0].label, "pos");
    let server = Server::start(&dir, "small");
    let (status, answer) = server.post("/predict", &json!({"texts": ["pos1 n1"]}));
    assert_eq!(status, 200, "{answer}");
}

/// A text alone has the same probabilities as in a batch, and padding is invisible.
#[test]
fn predictions_do_not_depend_on_the_batch() {
    for fields in [LARGE, "", "--set text.pad=front --set text.max_length=12"] {
        let dir = trained(&["neg", "pos"], fields);
        export(&dir, "run --quantize int8 --to small");
        let together = probabilities(&dir, "small");
        let alone = TEXTS.lines().map(|text| {
            let mut command = dir.lstmtext("predict small --format jsonl --top 2");
            let done = command.arg(text).assert().success();
            let prediction = stdout_json(&done);
            [probability_of(&prediction, "neg"), probability_of(&prediction, "pos")]
        });
        assert_eq!(together, alone.flatten().collect::<Vec<_>>(), "{fields}");
    }
}

#[test]
fn every_kind_of_model_is_quantized() {
    let two = &["neg", "pos"][..];
    let three = &["a", "b", "c"][..];
    let large = "--set model.lstm.units=64 --set train.epochs=1";
    for (labels, fields) in [
        (two, format!("{large} --set model.lstm.layers=2 --set model.lstm.bidirectional=true")),
        (three, format!("{large} --set model.pooling=[attention,max]")),
        (three, "--set model.lstm=null --set model.ngrams.sizes=[1,2]".to_owned()),
        (two, "--set model.ngrams.sizes=[1,2] --set model.lstm.bidirectional=true".to_owned()),
        (two, "--set model.ngrams.sizes=[1,2] --set model.ngrams.weighting=none".to_owned()),
        (three, "--set model.ngrams.sizes=[1] --set model.ngrams.buckets=500".to_owned()),
        (two, "--set text.tokenizer=bpe --set text.bpe_size=300".to_owned()),
        (two, format!("{large} --set text.pad=front --set text.max_length=30")),
    ] {
        let dir = TestDir::with_data().data(labels).file("texts.txt", TEXTS);
        dir.train(&format!("small.yaml --out run {fields}"));
        export(&dir, "run/best --quantize int8 --to small");
        assert_close(&probabilities(&dir, "run"), &probabilities(&dir, "small"), 0.03);
        dir.lstmtext("explain small").arg("pos1 n1 a2").assert().success();
    }
}

#[test]
fn several_inputs_and_several_labels_are_quantized() {
    let dir = with_two_inputs();
    dir.train("two.yaml --out run --set train.epochs=1 --set inputs.story.lstm.units=70");
    export(&dir, "run --quantize int8 --to small");
    let predict = |model: &str| {
        let mut command = dir.lstmtext(&format!("predict {model} --format jsonl --top 2"));
        let done = command.args(["--input", "question=pos", "--input", "body=n1 n2"]).assert();
        probability_of(&stdout_json(&done.success()), "pos")
    };
    assert_close(&[predict("run")], &[predict("small")], 0.02);

    let dir = TestDir::with_label_sets().file("texts.txt", "n1 happy1 tired2\nn2\n");
    export(&dir, "run --quantize int8 --to small");
    assert_close(&probabilities(&dir, "run"), &probabilities(&dir, "small"), 0.02);
}

#[test]
fn pruning_keeps_the_words_with_the_largest_vectors() {
    let dir = trained(&["neg", "pos"], "--set train.epochs=6");
    let words = |path: &str| -> Vec<String> {
        let checkpoint = Checkpoint::open(&dir.path(path)).unwrap();
        checkpoint.encoders[0].vocabulary().words().iter().map(|word| word.to_string()).collect()
    };
    for (line, exact) in [
        ("--vocabulary-size 30 --to full", true),
        ("--vocabulary-size 30 --quantize int8 --to small", false),
    ] {
        export(&dir, &format!("run {line}"));
        let path = line.rsplit(' ').next().unwrap();
        let kept = words(path);
        assert_eq!(kept.len(), 30, "{path}");
        assert_eq!(kept[..4], words("run")[..4]);
        let informative =
            kept.iter().filter(|word| word.starts_with("pos") || word.starts_with("neg"));
        assert!(informative.count() >= 15, "{kept:?}");
        let score = |model: &str| {
            let line = format!("evaluate {model} --split test --json");
            stdout_json(&dir.lstmtext(&line).assert().success())["accuracy"].as_f64().unwrap()
        };
        assert!(score(path) > score("run") - 0.05);
        if exact {
            // A text with known words only has the same probability.
            let text = format!("{} {}", kept[5], kept[6]);
            let of = |model: &str| {
                let mut command = dir.lstmtext(&format!("predict {model} --format jsonl --top 2"));
                probability_of(&stdout_json(&command.arg(&text).assert().success()), "pos")
            };
            assert_eq!(of("run"), of("full"));
        }
    }
    // In single precision, the words can be trained on.
    dir.train(
        "small.yaml --from full --out tuned --set train.epochs=1 --set text.tokenizer=whitespace",
    );
    assert_fails(dir.lstmtext("train --resume full"), 1, &["\"full\" is a checkpoint"]);
}

#[test]
fn pruning_keeps_the_ngrams_that_contribute_most() {
    let linear = "--set model.lstm=null --set model.ngrams.sizes=[1,2]";
    let dir = trained(&["neg", "pos"], linear);
    let count = |path: &str| Checkpoint::open(&dir.path(path)).unwrap().encoders.ngram_counts()[0];
    export(&dir, "run --ngrams 40 --quantize int8 --to small");
    export(&dir, "run --ngrams 40 --to full");
    assert_eq!((count("small"), count("full")), (40, 40));
    assert!(count("run") > 100);
    assert_close(&probabilities(&dir, "full"), &probabilities(&dir, "small"), 0.02);
    let accuracy =
        stdout_json(&dir.lstmtext("evaluate small --split test --json").assert().success());
    assert!(accuracy["accuracy"].as_f64().unwrap() > 0.9, "{accuracy}");

    let words = dir.lstmtext("export run --vocabulary-size 20 --to x");
    assert_fails(words, 2, &["--vocabulary-size", "model.lstm: null", "--ngrams"]);
    let dir =
        trained(&["neg", "pos"], "--set model.ngrams.sizes=[1] --set model.ngrams.buckets=90");
    assert_fails(dir.lstmtext("export run --ngrams 9 --to x"), 2, &["--ngrams", "buckets"]);
    let dir = TestDir::with_run();
    assert_fails(dir.lstmtext("export run --ngrams 9 --to x"), 2, &["the model has no n-grams"]);
    assert!(!dir.path("x").exists());
}

#[test]
fn a_calibration_is_carried_over_and_can_be_replaced() {
    let dir = trained(&["neg", "pos"], "--set data.split.validation=0.3");
    dir.lstmtext("calibrate run").assert().success();
    export(&dir, "run --quantize int8 --to small");
    let calibration = |path: &str| dir.json(&format!("{path}/calibration.json"));
    assert_eq!(calibration("small"), calibration("run/best"));
    assert_close(&probabilities(&dir, "run"), &probabilities(&dir, "small"), 0.02);
    dir.lstmtext("calibrate small").assert().success();
    dir.lstmtext("evaluate small").assert().success();
    dir.lstmtext("calibrate small --remove").assert().success();
    assert!(!dir.path("small/calibration.json").exists());
    dir.lstmtext("evaluate small").assert().success();
}

#[test]
fn commands_that_need_full_precision_say_so() {
    let dir = trained(&["neg", "pos"], "");
    export(&dir, "run --quantize int8 --to small");
    let needed =
        ["is quantized to 8-bit integers", "pass the checkpoint from which it was exported"];
    for line in [
        "export small --to x",
        "export small --to x.npz",
        "export small --quantize int8 --to x",
        "export small --vocabulary-size 9 --to x",
        "train small.yaml --from small --out x",
        "lr-find small.yaml --set train.from=small",
    ] {
        assert_fails(dir.lstmtext(line), 1, &needed);
        assert!(!dir.path("x").exists() && !dir.path("x.npz").exists(), "{line}");
    }
    dir.lstmtext("export run --to weights.npz").assert().success();
    assert_fails(dir.lstmtext("import small weights.npz --to x"), 1, &needed);
    assert_fails(dir.lstmtext("train --resume small"), 1, &["is a checkpoint"]);
    let npz = dir.lstmtext("export run --quantize int8 --to x.npz");
    assert_fails(npz, 2, &["--to must be a directory"]);
    let onnx = dir.lstmtext("export run --quantize int8 --onnx --to x");
    assert_fails(onnx, 2, &["cannot be used with"]);
    let exists = dir.lstmtext("export run --quantize int8 --to small");
    assert_fails(exists, 1, &["\"small\" already exists"]);
    assert_fails(dir.lstmtext("export run --quantize int4 --to x"), 2, &["int4", "int8"]);
    // An ensemble averages it with others.
    dir.lstmtext("ensemble run small --to both").assert().success();
    dir.lstmtext("predict both pos1").assert().success();
}

#[test]
fn damaged_files_are_rejected() {
    let dir = trained(&["neg", "pos"], "--set model.ngrams.sizes=[1]");
    export(&dir, "run --quantize int8 --to small");
    let rejected = |parts: &[&str]| {
        assert_fails(dir.lstmtext("predict small pos1"), 1, &[&["\"small\""], parts].concat());
    };
    let path = dir.path("small/model.safetensors");
    let intact = fs::read(&path).unwrap();
    let mut bytes = intact.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    rejected(&["model.safetensors is damaged"]);

    fs::write(&path, &intact).unwrap();
    let weights = Checkpoint::open(&dir.path("small")).unwrap().quantized_weights();
    let weights = weights.unwrap().unwrap();
    let change = |change: &dyn Fn(&mut quantization::QuantizedTensor)| {
        let mut tensors = weights.clone();
        for tensor in &mut tensors {
            if let StoredTensor::Quantized(tensor) = tensor
                && tensor.name == "embedding.weight"
            {
                change(tensor);
            }
        }
        quantization::write(&path, &tensors).unwrap();
        seal(&dir, "small");
    };
    for scale in [f32::NAN, f32::INFINITY, -1.0, f32::MAX] {
        change(&|tensor| tensor.scales[3] = scale);
        rejected(&["model.safetensors", "embedding.weight has the scale"]);
    }
    change(&|tensor| tensor.values[7] = -128);
    rejected(&["model.safetensors", "embedding.weight has the value"]);
    fs::write(&path, &intact).unwrap();
    seal(&dir, "small");
    dir.lstmtext("predict small pos1").assert().success();

    for name in ["vocabulary.json.zst", "ngrams.safetensors"] {
        let path = dir.path("small").join(name);
        let intact = fs::read(&path).unwrap();
        fs::write(&path, &intact[..intact.len() - 9]).unwrap();
        rejected(&[name]);
        fs::remove_file(&path).unwrap();
        rejected(&[name]);
        fs::write(&path, intact).unwrap();
    }
}
