//! `text.tokenizer: bpe`, and files of Hugging Face's library.

use std::fs;

use predicates::str::contains;
use serde_json::{Value, json};

use crate::common::{TestDir, assert_fails, stdout, stdout_json};

const TEXT: &str = "n1 pos3 <b>n2</b> neg4 unhéard";

/// Returns a `tokenizer.json` with this model and pre-tokenizer.
fn file(model: &Value, normalizer: &Value, pre_tokenizer: &Value) -> String {
    let file = json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
        "stride": 0}, "padding": null, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "added_tokens": [{"id": 0, "content": "[CLS]", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}],
        "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]}}},
        "decoder": null, "model": model,
    });
    file.to_string()
}

fn vocabulary(tokens: &[&str]) -> Value {
    tokens.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), Value::from(id))).collect()
}

/// A tokenizer of each type, and the tokens of [`TEXT`] as the program shows them.
fn files() -> [(&'static str, String, &'static str); 4] {
    let digits: Vec<String> = (0..10).map(|digit| format!("##{digit}")).collect();
    let mut pieces = vec!["[CLS]", "[UNK]", "n", "pos", "neg"];
    pieces.extend(digits.iter().map(String::as_str));
    let bert = file(
        &json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": vocabulary(&pieces)}),
        &json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true}),
        &json!({"type": "BertPreTokenizer"}),
    );
    let mut symbols =
        vec!["[CLS]", "Ġ", "n", "e", "g", "p", "o", "s", "Ã", "©", "u", "h", "a", "r", "d"];
    symbols
        .extend(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "ne", "neg", "po", "pos", "Ġn"]);
    let gpt2 = file(
        &json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
        "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary(&symbols),
        "merges": ["n e", "ne g", "p o", "po s", "Ġ n"]}),
        &Value::Null,
        &json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
    );
    let scores: Vec<Value> =
        ["<unk>", "▁", "n", "▁pos", "▁neg", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
            .iter()
            .zip(0..)
            .map(|(token, rank)| json!([token, -f64::from(rank)]))
            .collect();
    let xlm = file(
        &json!({"type": "Unigram", "unk_id": 0, "vocab": scores, "byte_fallback": false}),
        &json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}]}),
        &json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
    );
    let words: Vec<String> =
        (0..10).flat_map(|n| ["n", "pos", "neg"].map(|s| format!("{s}{n}"))).collect();
    let mut known = vec!["[UNK]"];
    known.extend(words.iter().map(String::as_str));
    let word_level = file(
        &json!({"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary(&known)}),
        &Value::Null,
        &json!({"type": "Whitespace"}),
    );
    [
        ("bert", bert, "n|1|pos|3|n|2|neg|4|unhéard"),
        ("gpt2", gpt2, ""),
        ("xlm", xlm, ""),
        ("words", word_level, "n1|pos3|n2|neg4|unhéard"),
    ]
}

fn tokens(dir: &TestDir, run: &str) -> String {
    let mut command = dir.lstmtext(&format!("explain {run} --json"));
    let explanation = stdout_json(&command.arg(TEXT).assert().success());
    let words = explanation[0]["inputs"][0]["words"].as_array().unwrap();
    let words: Vec<&str> = words.iter().map(|word| word["word"].as_str().unwrap()).collect();
    words.join("|")
}

#[test]
#[cfg(feature = "tokenizers")]
fn models_keep_the_tokenizer_file_that_they_were_trained_with() {
    for (name, content, expected) in files() {
        let dir = TestDir::with_data().file("t/tokenizer.json", &content);
        dir.train("small.yaml --out run --set text.tokenizer=t/tokenizer.json --set train.epochs=2 --set train.schedule.name=constant --set train.early_stopping.patience=null");
        assert_eq!(dir.read("run/best/tokenizer.json"), content, "{name}");
        assert!(dir.test_accuracy("run") > 0.9, "{name}");
        let predict = |dir: &TestDir| {
            stdout(&dir.lstmtext("predict run --format jsonl").arg(TEXT).assert().success())
        };
        let before = predict(&dir);
        dir.train("small.yaml --out four --set text.tokenizer=t/tokenizer.json --set train.schedule.name=constant --set train.early_stopping.patience=null");
        // Nothing reads the original file again.
        fs::remove_dir_all(dir.path("t")).unwrap();
        dir.train("--resume run --set train.epochs=4");
        dir.assert_same_state("run", "four");
        let dir = dir.file("elsewhere/x", "");
        fs::rename(dir.path("run"), dir.path("elsewhere/run")).unwrap();
        dir.lstmtext("evaluate elsewhere/run").assert().success();
        let after =
            stdout(&dir.lstmtext("predict four --format jsonl").arg(TEXT).assert().success());
        assert_eq!(after.lines().count(), before.lines().count());
        if !expected.is_empty() {
            assert_eq!(tokens(&dir, "four"), expected, "{name}");
        }
        dir.lstmtext("export four --to exported").assert().success();
        assert_eq!(dir.read("exported/tokenizer.json"), content, "{name}");
        dir.lstmtext("export four --to model.onnx").assert().success();
        let onnx = dir.bytes("model.onnx");
        let holds = |text: &str| onnx.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(holds("tokenizer.json") && holds(&content), "{name}");
        let exported = &dir.json("exported/model.json")["inputs"][0]["tokenizer"];
        assert_eq!(
            (&exported["kind"], &exported["file"]),
            (&json!("file"), &json!("tokenizer.json"))
        );
    }
}

#[test]
#[cfg(feature = "tokenizers")]
fn unusable_tokenizer_files_are_rejected() {
    let [(_, bert, _), ..] = files();
    let dir = TestDir::with_data()
        .file("empty.json", "")
        .file("other.json", "{\"a\": 1}")
        .file("model.json", bert.replace("WordPiece", "WordPieces"))
        .file("unknown.json", bert.replace("\"unk_token\":\"[UNK]\"", "\"unk_token\":\"[NONE]\""));
    for (file, problem) in [
        ("empty", "it is not JSON"),
        ("other", "it is not a tokenizer.json"),
        ("model", "it is not a tokenizer.json"),
        ("unknown", "it fails on some texts"),
        ("missing", "cannot read the tokenizer"),
    ] {
        let line = format!("train small.yaml --out run --set text.tokenizer={file}.json");
        let name = format!("{file}.json");
        assert_fails(dir.lstmtext(&line), 1, &["text.tokenizer", &name, problem]);
        assert!(!dir.path("run").exists());
    }
    let kind = "train small.yaml --set text.tokenizer=tokenizer.txt";
    assert_fails(dir.lstmtext(kind), 2, &["characters, bpe or the path of a .json file"]);
}

#[test]
fn byte_pair_encoding_is_trained_and_kept() {
    let dir = TestDir::with_data();
    let bpe = "--set text.tokenizer=bpe --set text.bpe_size=40 --set train.schedule.name=constant --set train.early_stopping.patience=null";
    dir.train(&format!("small.yaml --out two {bpe} --set train.epochs=2"));
    dir.train(&format!("small.yaml --out four {bpe} --threads 3"));
    assert_eq!(dir.bytes("two/last/tokenizer.json"), dir.bytes("four/last/tokenizer.json"));
    assert!(dir.test_accuracy("four") > 0.9);
    dir.train("--resume two --set train.epochs=4");
    dir.assert_same_state("two", "four");
    // The marker of a word is a token before an unknown letter, and located at it.
    assert!(tokens(&dir, "two").ends_with("|u|u|n|h|é|a|r|d"), "{}", tokens(&dir, "two"));
    assert_eq!(tokens(&dir, "two").replace('|', ""), "n1pos3n2neg4uunhéard");
    dir.lstmtext("evaluate two").assert().success().stdout(contains("accuracy"));
    // The tokens come from the cache, as pieces.
    let cached = |line: &str| {
        let mut command = dir.lstmtext(&format!("{line} --set data.cache=always"));
        command.env("LSTMTEXT_CACHE", dir.path("cache")).assert().success()
    };
    cached(&format!("train small.yaml --out cached {bpe}")).stderr(contains("cached the tokens"));
    dir.assert_same_state("cached", "four");
    cached("evaluate cached");
    // A model that starts from another one has its subwords, and so has one with its file.
    dir.train(&format!("small.yaml --out tuned {bpe} --from two --set data.split.seed=3"));
    dir.train("small.yaml --out file --set text.tokenizer=two/last/tokenizer.json --set train.schedule.name=constant --set train.early_stopping.patience=null");
    for run in ["tuned", "file"] {
        let copy = dir.bytes(&format!("{run}/best/tokenizer.json"));
        assert_eq!(copy, dir.bytes("two/last/tokenizer.json"), "{run}");
    }
    dir.assert_same_state("file", "four");
    // A damaged or missing file is named.
    let path = dir.path("file/best/tokenizer.json");
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[1..]).unwrap();
    assert_fails(dir.lstmtext("predict file x"), 1, &["file/best", "tokenizer.json"]);
    fs::remove_file(&path).unwrap();
    assert_fails(dir.lstmtext("predict file x"), 1, &["file/best", "tokenizer.json"]);
}

#[test]
fn every_input_has_its_own_subwords() {
    let row = |n: usize| {
        format!("a{n} b{n},{},{}\n", ["bad one", "good two"][n % 2], ["neg", "pos"][n % 2])
    };
    let rows: String = (0..80).map(row).collect();
    let config = "\
data: {train: two.csv, split: {test: 0.2}}
text: {tokenizer: bpe, bpe_size: 30, min_count: 1}
inputs: {first: {}, second: {text: {tokenizer: words}}, third: {column: second}}
model: {embedding: {size: 4}, lstm: {units: 4}, ngrams: null}
train: {epochs: 2, learning_rate: 0.05}
";
    let dir = TestDir::new()
        .file("two.csv", format!("first,second,label\n{rows}"))
        .file("c.yaml", config);
    dir.train("c.yaml --out run");
    let names = dir.names("run/best");
    let files: Vec<&String> = names.iter().filter(|name| name.contains("tokenizer")).collect();
    assert_eq!(files, ["first.tokenizer.json", "third.tokenizer.json"]);
    dir.lstmtext("evaluate run").assert().success();
    dir.lstmtext("data stats c.yaml").assert().success();
    dir.lstmtext("data vocab c.yaml --input first --to words.json").assert().success();
    assert!(dir.json("words.json")["tokenizer_sha256"].is_string());
    let other = "data vocab c.yaml --input third --to third.json";
    dir.lstmtext(other).assert().success();
    let line = "train c.yaml --out other --set inputs.first.text.vocabulary=third.json";
    assert_fails(dir.lstmtext(line), 1, &["third.json", "was created with another tokenizer"]);
    let line = "train c.yaml --out shared --set inputs.first.text.vocabulary=words.json";
    dir.lstmtext(line).assert().success();
}

#[test]
fn every_fold_is_scored_with_its_own_subwords() {
    let dir = TestDir::with_data();
    let line = "folds small.yaml --k 2 --out f --set text.tokenizer=bpe --set text.bpe_size=40 \
                --set train.epochs=2";
    dir.lstmtext(line).assert().success();
    let scores = dir.bytes("f/scores.json");
    for fold in [1, 2] {
        let evaluation = format!("evaluate f/fold={fold} --split test --json");
        let done = stdout_json(&dir.lstmtext(&evaluation).assert().success());
        let score = dir.json("f/scores.json")["folds"][fold - 1]["loss"].as_f64().unwrap();
        assert!((score - done["loss"].as_f64().unwrap()).abs() < 1e-6, "{score} {done}");
    }
    dir.lstmtext(line).assert().success();
    assert_eq!(dir.bytes("f/scores.json"), scores);
}
