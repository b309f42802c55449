//! `lstmtext predict`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;

use predicates::str::{contains, is_match};
use serde_json::Value;

use crate::common::{BINARY, DEADLINE, Place, assert_fails, examples, lines, stdout};

const CLASSES: [&str; 4] = ["sport", "money", "art", "law"];

/// A place with a run for four classes.
fn with_four_classes() -> Place {
    let place = Place::with_data().data(&CLASSES);
    place.train("small.yaml --out run --set train.epochs=12");
    place
}

/// What `predict --format jsonl` answers to the texts on stdin.
fn answers(place: &Place, line: &str, texts: &str) -> Vec<Value> {
    let mut command = place.lstmtext(&format!("predict --format jsonl {line}"));
    let done = command.write_stdin(texts).assert().success();
    stdout(&done).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn texts_come_as_arguments_from_a_file_or_from_stdin() {
    let place = with_four_classes();
    let texts = examples(&CLASSES, 8, 5);
    let all = lines(&texts);
    let place = place.file("texts.txt", &all);
    let arguments: Vec<&str> = all.lines().collect();
    let by_arguments = place.lstmtext("predict run").args(&arguments).assert().success();
    let by_file = place.lstmtext("predict run --file texts.txt").assert().success();
    let by_stdin = place.lstmtext("predict run").write_stdin(all.clone()).assert().success();
    assert_eq!(stdout(&by_arguments), stdout(&by_file));
    assert_eq!(stdout(&by_arguments), stdout(&by_stdin));
    for (line, example) in stdout(&by_stdin).lines().zip(&texts) {
        assert!(line.starts_with(&example.label) && line.ends_with(&example.text), "{line}");
    }
}

#[test]
fn a_compressed_file_is_read_as_well() {
    let place = Place::with_run();
    let texts = lines(&examples(&["neg", "pos"], 5, 5));
    let compressed = zstd::encode_all(texts.as_bytes(), 0).unwrap();
    let place = place.file("texts.txt", &texts).file("texts.zst", compressed);
    let plain = place.lstmtext("predict run --file texts.txt").assert().success();
    let done = place.lstmtext("predict run --file texts.zst").assert().success();
    done.stdout(stdout(&plain));
    assert_fails(place.lstmtext("predict run --file none.txt"), 1, &["none.txt"]);
    assert_fails(place.lstmtext("predict run --file texts.txt text"), 2, &["--file"]);
}

#[test]
fn each_format_says_the_same() {
    let place = Place::with_run();
    let predict = |format: &str| {
        let mut command = place.lstmtext(&format!("predict run --format {format}"));
        stdout(&command.args(["pos1 \"and\"\ttab", "neg1"]).assert().success())
    };
    let objects: Vec<Value> =
        predict("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["text"], "pos1 \"and\"\ttab");
    assert_eq!((&objects[0]["label"], &objects[1]["label"]), (&"pos".into(), &"neg".into()));
    let expected = |digits: usize, separator: &str, first: &str| {
        let line = |object: &Value, text: &str| {
            let probability = object["probability"].as_f64().unwrap();
            let label = object["label"].as_str().unwrap();
            format!("{label}{separator}{probability:.digits$}{separator}{text}\n")
        };
        line(&objects[0], first) + &line(&objects[1], "neg1")
    };
    // A tab inside a text would tear its line apart.
    assert_eq!(predict("text"), expected(4, "  ", "pos1 \"and\" tab"));
    assert_eq!(predict("tsv"), expected(6, "\t", "pos1 \"and\" tab"));
}

#[test]
fn top_lists_the_most_probable_classes_in_order() {
    let place = with_four_classes();
    let [answer] = &answers(&place, "run --top 9", "art1 art2 n5\n")[..] else { panic!() };
    let classes = answer["classes"].as_array().unwrap();
    let probabilities: Vec<f64> =
        classes.iter().map(|class| class["probability"].as_f64().unwrap()).collect();
    assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    assert_eq!(
        (classes.len(), &classes[0]["label"], &answer["label"]),
        (4, &"art".into(), &"art".into())
    );
    assert_eq!(answer["probability"], classes[0]["probability"]);
    let done = place.lstmtext("predict run --top 2 --format tsv art1").assert().success();
    done.stdout(is_match(r"^art\t0\.\d{6}\t[a-z]+\t0\.\d{6}\tart1\n$").unwrap());
    assert_fails(place.lstmtext("predict run --top 0 text"), 2, &["--top"]);
}

#[test]
fn a_thousand_answers_keep_the_order_of_their_texts() {
    let place = with_four_classes();
    let texts = examples(&CLASSES, 1_000, 6);
    let answers = answers(&place, "run --batch-size 64", &lines(&texts));
    assert_eq!(answers.len(), 1_000);
    let mut hits = 0;
    for (answer, example) in answers.iter().zip(&texts) {
        assert_eq!(answer["text"], example.text);
        hits += usize::from(answer["label"] == example.label);
    }
    // The answers are in order too, not only the texts that are repeated in them.
    assert!(hits > 900, "{hits}");
}

#[test]
fn the_batch_size_changes_no_probability() {
    let place = with_four_classes();
    let texts = lines(&examples(&CLASSES, 300, 7));
    let [one, seven, many] =
        [1, 7, 256].map(|size| answers(&place, &format!("run --batch-size {size}"), &texts));
    assert_eq!((one.len(), seven.len(), many.len()), (300, 300, 300));
    for other in [&seven, &many] {
        for (a, b) in one.iter().zip(other) {
            let probability = |answer: &Value| answer["probability"].as_f64().unwrap();
            assert!((probability(a) - probability(b)).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn each_line_is_answered_before_the_next_is_written() {
    let place = Place::with_run();
    let mut process = place.process("predict run --format tsv").spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    let (sender, answers) = channel();
    thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line.unwrap())));
    for text in ["pos1 pos2", "neg3", "", "pos4"] {
        writeln!(stdin, "{text}").unwrap();
        let answer = answers.recv_timeout(DEADLINE).expect("an answer while stdin is open");
        assert!(answer.ends_with(&format!("\t{text}")), "{answer}");
    }
    drop(stdin);
    assert!(process.wait().unwrap().success());
    assert!(answers.recv_timeout(DEADLINE).is_err(), "nothing more is said");
}

#[test]
fn every_line_has_its_answer_whatever_is_in_it() {
    let place = Place::with_run();
    let texts = b"\n   \npos1\r\n\xFF\xFE\n<br />\nno line end at the end pos1";
    let mut command = place.lstmtext("predict run --format jsonl");
    let done = command.write_stdin(&texts[..]).assert().success();
    let answers = stdout(&done);
    let read: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = read.iter().map(|answer| answer["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        ["", "   ", "pos1", "\u{FFFD}\u{FFFD}", "<br />", "no line end at the end pos1"]
    );
    // What has no word in it gets the same answer as any other such text.
    assert_eq!(read[0]["probability"], read[1]["probability"]);
    let done = place.lstmtext("predict run").arg("").assert().success();
    done.stdout(is_match(r"^(neg|pos)  0\.\d{4}  \n$").unwrap());
}

#[test]
fn no_texts_have_no_answers() {
    let place = Place::with_run();
    place.lstmtext("predict run").write_stdin("").assert().success().stdout("");
}

#[test]
fn labels_are_answered_by_their_better_names() {
    let place = Place::with_data();
    place.train("small.yaml --out run --set data.label_names.pos=positive");
    let done = place.lstmtext("predict run --format tsv pos1 neg1").assert().success();
    done.stdout(is_match("^positive\t.*\nneg\t.*\n$").unwrap());
}

#[test]
fn the_program_that_is_called_does_without_libtorch() {
    let needs_libtorch = |path: &Path| {
        let program = std::fs::read(path).unwrap();
        // As a library that the system is to load.
        let name = b"\0libtorch_cpu.so\0";
        program.windows(name.len()).any(|bytes| bytes == name)
    };
    let called = Path::new(BINARY);
    assert!(!needs_libtorch(called));
    assert!(needs_libtorch(&called.with_file_name("lstmtext-torch")));

    // Alone in a folder it answers, and says what is missing where it cannot.
    let place = with_four_classes();
    let alone = place.path("lstmtext");
    // Copied by another process: a file that this one writes may be open still in a child that another
    // test starts meanwhile, and cannot be run then.
    let copied = std::process::Command::new("cp").arg(called).arg(&alone).status().unwrap();
    assert!(copied.success());
    let run = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(&alone);
        command.current_dir(place.path("")).args(arguments).assert()
    };
    run(&["predict", "run", "good"]).success().stdout(contains("good"));
    run(&["evaluate", "run"]).success().stdout(contains("accuracy"));
    run(&["export", "run", "--to", "exported"]).success().stdout("exported\n");
    run(&["devices"]).code(1).stderr(contains("lstmtext-torch\", which has to lie beside"));
}
