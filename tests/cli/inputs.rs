//! Models with several named inputs.

use serde_json::{Value, json};

use crate::common::{
    BINARY, DEADLINE, ENVIRONMENT, Example, TestDir, assert_fails, checkout, examples, stderr,
    stdout, stdout_json,
};
use crate::serve::Server;

const CONFIG: &str = "\
data: {train: train.jsonl, test: test.jsonl}
inputs:
  story: {column: body, embedding: {size: 8}, lstm: {units: 8}}
  question: {embedding: {size: 4}, lstm: {units: 3}, text: {max_length: 4}}
train: {learning_rate: 0.05, epochs: 5}
";

/// Creates lines in which the label follows from the story in one half and from the question in the
/// other.
fn lines(count: usize, seed: u64) -> String {
    let texts = examples(&["neg", "pos"], count, seed);
    let neutral = "n1 n2 n3";
    let line = |(index, example): (usize, &Example)| {
        let (story, question) = match index / 2 % 2 {
            0 => (example.text.as_str(), neutral),
            _ => (neutral, &*example.label),
        };
        json!({"body": story, "question": question, "label": example.label}).to_string() + "\n"
    };
    texts.iter().enumerate().map(line).collect()
}

pub fn with_two_inputs() -> TestDir {
    TestDir::new()
        .file("two.yaml", CONFIG)
        .file("train.jsonl", lines(600, 1))
        .file("test.jsonl", lines(200, 2))
}

#[test]
fn a_model_uses_both_inputs() {
    let dir = with_two_inputs();
    dir.train("two.yaml --out run");
    assert!(dir.test_accuracy("run") > 0.95, "each input determines half of the labels");
    let names = dir.names("run/best");
    assert!(names.contains(&"story.vocabulary.json".to_owned()), "{names:?}");
    let score = stdout_json(&dir.lstmtext("evaluate run --json").assert().success());
    assert_eq!(score["accuracy"], dir.summary("run")["test"]["accuracy"]);
    let resumed =
        dir.train("--resume run --set train.epochs=6 --set train.early_stopping.patience=null");
    assert!(stdout(&resumed).contains("accuracy"));
}

#[test]
fn texts_are_passed_by_column_name() {
    let dir = with_two_inputs();
    dir.train("two.yaml --out run --set train.epochs=1");
    let mut command = dir.lstmtext("predict run --format jsonl");
    command.args(["--input", "question=pos", "--input", "body=n1 n2"]);
    let by_name = stdout(&command.assert().success());
    let line = "{\"body\": \"n1 n2\", \"question\": \"pos\", \"more\": 1}\n\n";
    let mut command = dir.lstmtext("predict run --format jsonl");
    let by_line = stdout(&command.write_stdin(line).assert().success());
    assert_eq!(by_name, by_line);
    let answer: Value = serde_json::from_str(&by_name).unwrap();
    assert_eq!(answer["text"], json!({"body": "n1 n2", "question": "pos"}));
    let mut command = dir.lstmtext("predict run --format tsv");
    let tsv = stdout(&command.write_stdin(line).assert().success());
    assert!(tsv.ends_with("\tn1 n2\tpos\n"), "{tsv}");
}

/// Training reads them as they are spelled.
#[test]
fn numbers_in_json_keep_their_spelling() {
    let dir = with_two_inputs();
    dir.train("two.yaml --out run --set train.epochs=1");
    let line = "{\"body\": 1.10, \"question\": 1e3}";
    let mut command = dir.lstmtext("predict run --format jsonl");
    let answer = stdout_json(&command.write_stdin(format!("{line}\n")).assert().success());
    assert_eq!(answer["text"], json!({"body": "1.10", "question": "1e3"}));
    let server = Server::start(&dir, "run");
    let request = format!("{{\"text\": {line}}}");
    let (status, response) = server.request("POST", "/explain", request.as_bytes());
    assert_eq!(status, 200, "{response}");
    let explanation: Value = serde_json::from_str(&response).unwrap();
    let words = |input: usize| {
        let words = explanation["inputs"][input]["words"].as_array().unwrap();
        words.iter().map(|word| word["word"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (words(0), words(1)),
        (vec![json!("1"), json!("."), json!("10")], vec![json!("1e3")])
    );
}

/// Columns are joined in the same way in training, predict and states, and for files written by
/// `data split`.
#[test]
fn all_commands_join_columns_in_the_same_way() {
    let dir = with_two_inputs();
    dir.train("two.yaml --out run --set inputs.story.column=[question,body,question]");
    let evaluate = |file: &str| {
        let line = format!("evaluate run --json --data {file}");
        stdout_json(&dir.lstmtext(&line).assert().success())["accuracy"].as_f64().unwrap()
    };
    let line = "predict run --format jsonl --file test.jsonl";
    let answers = stdout(&dir.lstmtext(line).assert().success());
    let labels = dir.read("test.jsonl");
    let correct = answers.lines().zip(labels.lines()).filter(|(answer, line)| {
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        parse(answer)["label"] == parse(line)["label"]
    });
    assert_eq!(correct.count() as f64 / 200.0, evaluate("test.jsonl"));
    let line = "data split two.yaml --to splits --set inputs.story.column=[question,body,question]";
    dir.lstmtext(line).assert().success();
    assert_eq!(evaluate("splits/test.jsonl"), evaluate("test.jsonl"));
    let mut command = dir.lstmtext("states run --json");
    command.args(["--input", "question=n1", "--input", "body=n2 n3"]);
    let states = stdout_json(&command.assert().success());
    assert_eq!(states[0]["tokens"], json!(["n1", "n2", "n3", "n1"]));
    assert_eq!((&states[1]["input"], &states[1]["tokens"]), (&json!("question"), &json!(["n1"])));
}

#[test]
fn the_suggested_predict_command_works() {
    let dir = with_two_inputs();
    let done = dir.train("two.yaml --set train.epochs=1");
    let next = stderr(&done);
    let line = next.lines().find(|line| line.contains(" predict ")).expect("a command to predict");
    let mut shell = assert_cmd::Command::new("sh");
    shell.current_dir(dir.path(".")).envs(ENVIRONMENT).args(["-c", line]);
    shell.assert().success();
}

#[test]
fn texts_that_do_not_match_the_columns_are_rejected() {
    let dir = with_two_inputs();
    dir.train("two.yaml --out run --set train.epochs=1");
    let fails = |line: &str, words: &[&str]| {
        assert_fails(dir.lstmtext(&format!("predict run {line}")), 2, words);
    };
    fails("text", &["body, question", "--input NAME=TEXT"]);
    fails("--input body=a", &["--input question=TEXT is missing"]);
    fails("--input body=a --input stories=b", &["--input stories", "body, question"]);
    fails("--input body=a --input body=b --input question=c", &["body is given more than once"]);
    fails("--input body", &["NAME=TEXT"]);
    for (line, word) in [
        ("text", "JSON object"),
        ("{\"body\": []}", "must be a string"),
        ("{}", "\"body\" is missing"),
    ] {
        let good = "{\"body\": \"a\", \"question\": \"b\"}";
        let mut command = dir.lstmtext("predict run --format tsv");
        let done = command.write_stdin(format!("{good}\n\n{line}\n")).assert().code(1);
        let message = stderr(&done);
        assert!(message.contains("line 3 of the texts") && message.contains(word), "{message}");
        assert!(stdout(&done).ends_with("\ta\tb\n"), "earlier lines are answered");
    }
    let one = TestDir::with_run();
    assert_fails(one.lstmtext("predict run --input story=a"), 2, &["a single text column"]);
}

#[test]
fn missing_columns_are_reported_with_their_field() {
    let dir = with_two_inputs();
    let line = "train two.yaml --out run --set inputs.question.column=q";
    assert_fails(
        dir.lstmtext(line),
        1,
        &["train.jsonl:1: ", "expected a key \"q\"", "body, label, question"],
    );
    let dir = dir.file("train.csv", "body,label\na,x\nb,y\n");
    let line = "train two.yaml --out run --set data.train=train.csv";
    assert_fails(
        dir.lstmtext(line),
        1,
        &["train.csv:1: inputs.question.column: expected a column \"question\", found body, label"],
    );
    let dir = dir.file("train.txt", "__label__x a\n__label__y b\n");
    let line = "train two.yaml --out run --set data.train=train.txt";
    assert_fails(dir.lstmtext(line), 1, &["inputs.story.column", "fasttext"]);
}

#[test]
fn several_columns_are_joined_into_one_text() {
    let dir = TestDir::new()
        .file("train.csv", "a,b,label\nneg,x,0\npos,y,1\nx,neg,0\ny,pos,1\nneg neg,z,0\nz,pos,1\n")
        .file(
            "joined.yaml",
            "data: {train: train.csv, text_column: [a, b]}\ntext: {min_count: 1}\n",
        );
    dir.lstmtext("data split joined.yaml --to splits").assert().success();
    let train = dir.read("splits/train.jsonl");
    assert!(train.contains("{\"a\":\""), "columns stay separate: {train}");
    let report = stdout_json(&dir.lstmtext("data stats joined.yaml --json").assert().success());
    assert_eq!(report["parts"][0]["longest"], 3);
}

/// Creates a bAbI task with twelve questions.
fn task(verb: &str) -> String {
    let mut task = String::new();
    for (who, room) in [("Mary", "garden"), ("John", "kitchen"), ("Sandra", "office")] {
        for other in ["hall", "attic", "cellar", "yard"] {
            task += &format!("1 {who} {verb} to the {other}.\n2 {who} {verb} to the {room}.\n");
            task += &format!("3 Where is {who}? \t{room}\t2\n");
        }
    }
    task
}

#[test]
fn all_twenty_tasks_are_compared_with_published_results() {
    let mut dir = TestDir::new();
    for number in 1..=20 {
        dir = dir
            .file(&format!("tasks/qa{number}_a_train.txt"), task("went"))
            .file(&format!("tasks/qa{number}_a_test.txt"), task("ran"));
    }
    let script = checkout().join("scripts/babi.sh");
    let run = || {
        let mut command = assert_cmd::Command::new(&script);
        command.current_dir(dir.path(".")).envs(ENVIRONMENT).env("LSTMTEXT", BINARY);
        command.args(["tasks", "runs", "--set", "train.epochs=1"]).timeout(DEADLINE);
        command.assert().success()
    };
    let table = stdout(&run());
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 27, "{table}");
    assert_eq!((lines[3][0], &lines[3][2..]), ("3", &["20.0", "20.5"][..]));
    let ours = 100.0 * dir.test_accuracy("runs/qa7");
    assert_eq!(lines[7][1], format!("{ours:.1}"));
    assert_eq!((lines[21][0], &lines[21][2..]), ("mean", &["49.2", "57.8"][..]));
    let before = std::fs::metadata(dir.path("runs/qa1/summary.json")).unwrap().modified().unwrap();
    assert_eq!(stdout(&run()), table);
    let after = std::fs::metadata(dir.path("runs/qa1/summary.json")).unwrap().modified().unwrap();
    assert_eq!(before, after, "finished tasks are not trained again");
    let mut command = assert_cmd::Command::new(&script);
    command.args(["none", "runs"]).current_dir(dir.path("."));
    assert_fails(command, 1, &["none", "data fetch babi"]);
}

#[test]
fn babi_files_have_a_story_and_a_question() {
    let dir = TestDir::new()
        .file("tasks/qa1_train.txt", task("went"))
        .file("tasks/qa2_train.txt", task("ran"));
    let dir = dir.file(
        "babi.yaml",
        "data: {train: tasks/qa1_*.txt, format: babi}\ninputs: {story: {}, question: {}}\n\
         text: {min_count: 1}\ntrain: {epochs: 1}\n",
    );
    let done = dir.lstmtext("data stats babi.yaml --json").assert().success();
    let report = stdout_json(&done);
    assert_eq!(report["labels"], json!(["garden", "kitchen", "office"]));
    assert_eq!(report["parts"][1]["input"], "question");
    let both = "data stats babi.yaml --json --set data.train=tasks/*_train.txt";
    let both = stdout_json(&dir.lstmtext(both).assert().success());
    let examples = |report: &Value| report["parts"][0]["examples"].as_u64().unwrap();
    assert!(examples(&both) > examples(&report));
    dir.train("babi.yaml --out run");
    let none = "train babi.yaml --out other --set data.train=tasks/qa3*";
    assert_fails(dir.lstmtext(none), 1, &["no file matches", "qa3*"]);
}

#[test]
fn errors_in_an_input_are_reported_with_their_position() {
    let dir = with_two_inputs().file(
        "bad.yaml",
        "data: {train: train.jsonl}\nmodel: {lstm: {units: none}}\ninputs:\n  story: {lstm: {unit: 5}}\n  \
         question:\n    embedding:\n      size: 0\n",
    );
    let message = assert_fails(dir.lstmtext("train bad.yaml"), 2, &["3 errors"]);
    assert!(message.contains("bad.yaml:2:16: model.lstm.units: found \"none\""), "{message}");
    assert!(
        message.contains(
            "inputs.story.lstm.unit: unknown field; did you mean inputs.story.lstm.units?"
        )
    );
    assert!(message.contains("bad.yaml:7:7: inputs.question.embedding.size: found 0"), "{message}");
    let dir = dir.file("name.yaml", "data: {train: x}\ninputs: {a b: {}}\n");
    assert_fails(dir.lstmtext("train name.yaml"), 2, &["letters, digits and underscores"]);
}
