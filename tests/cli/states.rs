//! `lstmtext states`.

use lstmtext::interchange::numpy::read_npz;
use serde_json::Value;

use crate::common::{TestDir, assert_fails, floats, probability_of, stderr, stdout, stdout_json};

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(floats).collect()
}

/// Returns the predicted probabilities of a text, in the order of the labels.
fn predicted(dir: &TestDir, line: &str, text: &str, labels: &Value) -> Vec<f64> {
    let mut command = dir.lstmtext(&format!("{line} --format jsonl --top 9"));
    let answer = stdout_json(&command.arg(text).assert().success());
    let labels = labels.as_array().unwrap().iter();
    labels.map(|label| probability_of(&answer, label.as_str().unwrap())).collect()
}

/// Covers both directions, and padding in front, which the LSTM processes.
#[test]
fn the_probability_at_each_word_is_that_of_the_text_so_far() {
    let dir = TestDir::with_data();
    for setting in ["model.lstm.bidirectional=true", "text.pad=front"] {
        dir.train(&format!("small.yaml --out {setting} --set {setting} --set text.max_length=9"));
        let words = ["n1", "pos3", "n2", "neg4", "neg5"];
        let mut command = dir.lstmtext(&format!("states {setting} --json"));
        let states = &stdout_json(&command.arg(words.join(" ")).assert().success())[0];
        let probabilities = rows(&states["probabilities"]);
        assert_eq!(probabilities.len(), words.len());
        for (count, actual) in (1..).zip(&probabilities) {
            let text = words[..count].join(" ");
            let expected =
                predicted(&dir, &format!("predict {setting}"), &text, &states["classes"]);
            for (actual, expected) in actual.iter().zip(&expected) {
                assert!((actual - expected).abs() < 1e-6, "{text}: {actual}, not {expected}");
            }
        }
        let steps = states["tokens"].as_array().unwrap().len();
        assert_eq!(steps as u64 - states["padding"].as_u64().unwrap(), 5);
        for direction in states["directions"].as_array().unwrap() {
            let gates = rows(&direction["gates"]);
            assert_eq!(gates.len(), steps);
            for row in gates {
                assert!([0, 1, 3].iter().all(|gate| (0.0..=1.0).contains(&row[*gate])), "{row:?}");
                assert!((-1.0..=1.0).contains(&row[2]), "{row:?}");
            }
        }
    }
}

/// While one text grows, the other stays complete.
#[test]
fn texts_of_several_inputs_grow_one_at_a_time() {
    let dir = crate::inputs::with_two_inputs();
    dir.train("two.yaml --out run --set train.epochs=1");
    let (body, question) = (["n1", "pos3"], ["neg2", "pos"]);
    let given = |body: &str, question: &str| {
        [
            "--input".to_owned(),
            format!("body={body}"),
            "--input".into(),
            format!("question={question}"),
        ]
    };
    let mut command = dir.lstmtext("states run --json");
    let states =
        stdout_json(&command.args(given(&body.join(" "), &question.join(" "))).assert().success());
    for (states, given) in
        states.as_array().unwrap().iter().zip([given("n1", "neg2 pos"), given("n1 pos3", "neg2")])
    {
        let mut command = dir.lstmtext("predict run --format jsonl");
        let answer = stdout_json(&command.args(given).assert().success());
        let labels = states["classes"].as_array().unwrap();
        let class = labels.iter().position(|label| *label == answer["label"]).unwrap();
        let probability = rows(&states["probabilities"])[0][class];
        assert!((probability - answer["probability"].as_f64().unwrap()).abs() < 1e-6, "{states}");
    }
}

#[test]
fn several_files_are_written_in_one_run() {
    let dir = TestDir::with_run();
    let line = "states run --to s.npz --to s.npy --to s.svg --to s.png";
    let done = dir.lstmtext(line).arg("n1 pos3 <n2> & \u{202e}pos4").assert().success();
    assert_eq!(stdout(&done), "s.npz\ns.npy\ns.svg\ns.png\n");
    let arrays = read_npz(&dir.path("s.npz")).unwrap();
    let shape = |name: &str| arrays.iter().find(|array| array.name == name).unwrap().shape.clone();
    // The mark of the writing direction is not read.
    assert_eq!((shape("states"), shape("gates")), (vec![4, 8], vec![4, 4]));
    assert_eq!((shape("probabilities"), shape("h"), shape("c")), (vec![4, 2], vec![8], vec![8]));
    let svg = dir.read("s.svg");
    for part in ["probability of “pos” after each word", "forget gate", "pos3", "prefers-color"]
    {
        assert!(svg.contains(part), "{part}");
    }
    assert!(!svg.contains('\u{202e}'));
    assert!(dir.bytes("s.png").starts_with(b"\x89PNG"));
    let dark = ["states", "run", "n1", "--to", "dark.svg", "--theme", "dark"];
    dir.lstmtext(&dark.join(" ")).assert().success();
    assert!(!dir.read("dark.svg").contains("prefers-color"));
}

#[test]
fn a_picture_has_at_most_twelve_texts() {
    let dir = TestDir::with_run();
    let texts = ["n1 pos3", "neg4"];
    dir.lstmtext("states run --to s.svg").args(texts).assert().success();
    let svg = dir.read("s.svg");
    assert!(svg.contains("1: probability of “pos”") && svg.contains("2: probability of “pos”"));
    let mut command = dir.lstmtext("states run --to many.png");
    command.args(vec!["n1"; 13]);
    assert_fails(command, 2, &["\"many.png\"", "13 texts, but such a file holds at most 12"]);
    assert!(!dir.path("many.png").exists());
}

#[test]
fn unknown_file_extensions_are_rejected_before_any_file_is_written() {
    let dir = TestDir::with_run();
    let command = dir.lstmtext("states run n1 --to s.svg --to s.jpg");
    assert_fails(command, 2, &["s.jpg", ".npz, .npy, .svg or .png"]);
    assert!(!dir.path("s.svg").exists());
}

/// Words outside the vocabulary are shown as they are in the text, and truncation is reported.
#[test]
fn unknown_and_truncated_words_are_reported() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set text.max_length=4");
    let mut command = dir.lstmtext("states run --json");
    let done = command.arg("n1 Größe n2 pos3 pos4 neg5").assert().success();
    let states = &stdout_json(&done)[0];
    assert_eq!(states["tokens"], serde_json::json!(["n1", "Größe", "pos4", "neg5"]));
    assert_eq!(states["known"], serde_json::json!([true, false, true, true]));
    assert_eq!(states["tokens_unread"], 2);
    let stderr = stderr(&done);
    assert!(stderr.contains("the text has 6 tokens; the model reads 4 of them"), "{stderr}");
    assert!(stderr.contains("the text has 1 token outside the vocabulary"), "{stderr}");
    dir.lstmtext("states run --to s.svg").arg("n1 n2 n3 n4 n5 n6").assert().success();
    assert!(dir.read("s.svg").contains("after each word (4 of 6 tokens)"));
}
