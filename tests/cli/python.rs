//! A checkpoint is open to other programs: NumPy computes from its files what lstmtext answers.

use serde_json::Value;

use crate::common::{Place, python, stdout};

#[test]
fn numpy_computes_the_same_probabilities_from_a_checkpoint() {
    let place = Place::with_data();
    place.train("small.yaml --out run --set model.pooling=mean --set text.tokenizer=whitespace");
    let checkpoint = place.path("run/best");
    for text in
        ["pos1", "n3 neg2 n9 n9 n41 neg7", "n1 neverseen pos4 n2 neg5 n0 n0 n0", "neverseen"]
    {
        let done =
            place.lstmtext("predict run --format jsonl --top 2").arg(text).assert().success();
        let answer: Value = serde_json::from_str(&stdout(&done)).unwrap();
        let classes = answer["classes"].as_array().unwrap();
        let pos = classes.iter().find(|class| class["label"] == "pos").unwrap();
        let ours = pos["probability"].as_f64().unwrap();
        let numpy = python("numpy_forward.py", &[checkpoint.to_str().unwrap(), text]);
        let theirs = numpy["pos"].as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-5, "{text}: {ours} here, {theirs} in NumPy");
    }
}
