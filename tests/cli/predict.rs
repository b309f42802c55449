//! `lstmtext predict`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc::channel;
use std::thread;

use predicates::str::is_match;
use serde_json::Value;

use crate::common::{
    BINARY, DEADLINE, ENVIRONMENT, TestDir, assert_fails, examples, lines, stderr, stdout,
    stdout_json, stdout_json_lines,
};

const CLASSES: [&str; 4] = ["sport", "money", "art", "law"];

/// Creates a directory with a run for four classes.
fn with_four_classes() -> TestDir {
    let dir = TestDir::with_data().data(&CLASSES);
    dir.train("small.yaml --out run --set train.epochs=12");
    dir
}

/// Returns the predictions of `predict --format jsonl` for texts on stdin.
fn predictions(dir: &TestDir, line: &str, texts: &str) -> Vec<Value> {
    let mut command = dir.lstmtext(&format!("predict --format jsonl {line}"));
    let done = command.write_stdin(texts).assert().success();
    stdout_json_lines(&done)
}

#[test]
fn texts_are_read_from_arguments_a_file_or_stdin() {
    let dir = with_four_classes();
    let texts = examples(&CLASSES, 8, 5);
    let all = lines(&texts);
    let dir = dir.file("texts.txt", &all);
    let arguments: Vec<&str> = all.lines().collect();
    let from_arguments = dir.lstmtext("predict run").args(&arguments).assert().success();
    let from_file = dir.lstmtext("predict run --file texts.txt").assert().success();
    let from_stdin = dir.lstmtext("predict run").write_stdin(all.clone()).assert().success();
    assert_eq!(stdout(&from_arguments), stdout(&from_file));
    assert_eq!(stdout(&from_arguments), stdout(&from_stdin));
    for (line, example) in stdout(&from_stdin).lines().zip(&texts) {
        assert!(line.starts_with(&example.label) && line.ends_with(&example.text), "{line}");
    }
}

#[test]
fn compressed_files_are_decompressed() {
    let dir = TestDir::with_run();
    let texts = lines(&examples(&["neg", "pos"], 5, 5));
    let compressed = zstd::encode_all(texts.as_bytes(), 0).unwrap();
    let dir = dir.file("texts.txt", &texts).file("texts.zst", compressed);
    let plain = dir.lstmtext("predict run --file texts.txt").assert().success();
    let done = dir.lstmtext("predict run --file texts.zst").assert().success();
    done.stdout(stdout(&plain));
    assert_fails(dir.lstmtext("predict run --file none.txt"), 1, &["none.txt"]);
    assert_fails(dir.lstmtext("predict run --file texts.txt text"), 2, &["--file"]);
}

#[test]
fn all_formats_have_the_same_content() {
    let dir = TestDir::with_run();
    let predict = |format: &str| {
        let mut command = dir.lstmtext(&format!("predict run --format {format}"));
        command.args(["pos1 \"and\"\ttab", "neg1"]).assert().success()
    };
    let objects = stdout_json_lines(&predict("jsonl"));
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
    // A tab in a text would break the columns of its line.
    assert_eq!(stdout(&predict("text")), expected(4, "  ", "pos1 \"and\" tab"));
    assert_eq!(stdout(&predict("tsv")), expected(6, "\t", "pos1 \"and\" tab"));
}

#[test]
fn top_prints_the_most_probable_classes_in_order() {
    let dir = with_four_classes();
    let [prediction] = &predictions(&dir, "run --top 9", "art1 art2 n5\n")[..] else { panic!() };
    let classes = prediction["classes"].as_array().unwrap();
    let probabilities: Vec<f64> =
        classes.iter().map(|class| class["probability"].as_f64().unwrap()).collect();
    assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    assert_eq!(
        (classes.len(), &classes[0]["label"], &prediction["label"]),
        (4, &"art".into(), &"art".into())
    );
    assert_eq!(prediction["probability"], classes[0]["probability"]);
    assert_fails(dir.lstmtext("predict run --top 0 text"), 2, &["--top"]);
}

/// Whatever the most probable class of a row.
#[test]
fn each_class_has_its_own_column() {
    let dir = with_four_classes();
    let labels = dir.json("run/best/checkpoint.json")["labels"].clone();
    let labels: Vec<&str> =
        labels.as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    for (format, separator) in [("tsv", "\t"), ("csv", ",")] {
        let line = format!("predict run --top 2 --format {format}");
        let texts = labels.iter().map(|label| format!("{label}1 {label}2"));
        let done = dir.lstmtext(&line).args(texts).assert().success();
        let printed = stdout(&done);
        let mut rows = printed.lines().map(|row| row.split(separator).collect::<Vec<_>>());
        let header = [&["label", "probability"][..], &labels, &["text"]].concat();
        assert_eq!(rows.next().unwrap(), header);
        for row in rows {
            let column = header.iter().position(|name| *name == row[0]).unwrap();
            assert_eq!((row.len(), row[column]), (7, row[1]), "{row:?}");
            assert_eq!(row[2..6].iter().filter(|field| !field.is_empty()).count(), 2, "{row:?}");
        }
    }
    let done = dir.lstmtext("predict run --format csv").arg("a, \"b\"").assert().success();
    let row = r#"^label,probability,text\n[a-z]+,0\.\d{6},"a, ""b"""\n$"#;
    done.stdout(is_match(row).unwrap());
}

#[test]
fn predictions_keep_the_order_of_the_texts() {
    let dir = with_four_classes();
    let texts = examples(&CLASSES, 1_000, 6);
    let batched = predictions(&dir, "run --batch-size 64", &lines(&texts));
    assert_eq!(batched.len(), 1_000);
    let mut hits = 0;
    for (prediction, example) in batched.iter().zip(&texts) {
        assert_eq!(prediction["text"], example.text);
        hits += usize::from(prediction["label"] == example.label);
    }
    // The labels are in order too, not only the texts.
    assert!(hits > 900, "{hits}");
}

#[test]
fn probabilities_do_not_depend_on_the_batch_size() {
    let dir = with_four_classes();
    let texts = lines(&examples(&CLASSES, 300, 7));
    let [one, seven, many] =
        [1, 7, 256].map(|size| predictions(&dir, &format!("run --batch-size {size}"), &texts));
    assert_eq!((one.len(), seven.len(), many.len()), (300, 300, 300));
    for other in [&seven, &many] {
        for (a, b) in one.iter().zip(other) {
            let probability = |prediction: &Value| prediction["probability"].as_f64().unwrap();
            assert!((probability(a) - probability(b)).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn predictions_are_printed_line_by_line() {
    let dir = TestDir::with_run();
    let mut process = dir.process("predict run --format tsv").spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    let (sender, predictions) = channel();
    thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line.unwrap())));
    for text in ["pos1 pos2", "neg3", "", "pos4"] {
        writeln!(stdin, "{text}").unwrap();
        let line = predictions.recv_timeout(DEADLINE).expect("a prediction while stdin is open");
        assert!(line.ends_with(&format!("\t{text}")), "{line}");
    }
    drop(stdin);
    assert!(process.wait().unwrap().success());
    assert!(predictions.recv_timeout(DEADLINE).is_err(), "no more output");
}

#[test]
fn every_line_gets_a_prediction() {
    let dir = TestDir::with_run();
    let texts = b"\n   \npos1\r\n\xFF\xFE\n<br />\nno newline at the end pos1";
    let mut command = dir.lstmtext("predict run --format jsonl");
    let done = command.write_stdin(&texts[..]).assert().success();
    let predictions = stdout_json_lines(&done);
    let texts: Vec<&str> = predictions.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        ["", "   ", "pos1", "\u{FFFD}\u{FFFD}", "<br />", "no newline at the end pos1"]
    );
    // All texts without words get the same prediction.
    assert_eq!(predictions[0]["probability"], predictions[1]["probability"]);
    let done = dir.lstmtext("predict run").arg("").assert().success();
    done.stdout(is_match(r"^(neg|pos)  0\.\d{4}  \n$").unwrap());
}

/// Runs `predict` on the same bytes as a file, on stdin, and on a pipe. Returns stdout and stderr of each.
fn read_in_three_ways(dir: &TestDir, bytes: &[u8]) -> [(Option<i32>, String, String); 3] {
    fs::write(dir.path("texts"), bytes).unwrap();
    [
        "'$0' predict run --file texts",
        "'$0' predict run < texts",
        "'$0' predict run --file <(cat texts)",
    ]
    .map(|line| {
        let line = line.replace("$0", BINARY);
        let mut command = assert_cmd::Command::new("bash");
        command.args(["-c", &line]).current_dir(dir.path("")).envs(ENVIRONMENT).timeout(DEADLINE);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    })
}

#[test]
fn the_same_bytes_are_the_same_texts_from_a_file_stdin_or_a_pipe() {
    let dir = TestDir::with_run();
    let plain = "pos1\nneg1\n";
    let expected = stdout(&dir.lstmtext("predict run pos1 neg1").assert().success());
    let marked = format!("\u{FEFF}{plain}").into_bytes();
    for bytes in [plain.into(), marked, zstd::encode_all(plain.as_bytes(), 0).unwrap()] {
        for (code, stdout, stderr) in read_in_three_ways(&dir, &bytes) {
            assert_eq!((code, stdout, stderr), (Some(0), expected.clone(), String::new()));
        }
    }
    let utf16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (code, stdout, stderr) in read_in_three_ways(&dir, &[&b"\xFF\xFE"[..], &utf16].concat()) {
        assert_eq!((code, stdout, stderr), (Some(0), expected.clone(), String::new()));
    }
    for (code, stdout, stderr) in read_in_three_ways(&dir, &utf16) {
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.contains("is UTF-16LE without a byte order mark"), "{stderr}");
        assert!(stderr.contains("pass --encoding utf-16le"), "{stderr}");
    }
    let mut command = dir.lstmtext("predict run --encoding utf-16le --format tsv");
    let read = command.write_stdin(utf16).assert().success();
    assert_eq!(stdout(&read).lines().count(), 2);
    let mut command = dir.lstmtext("predict run --encoding latin-1 --format tsv");
    let read = command.write_stdin(&b"caf\xE9 pos1\n"[..]).assert().success();
    assert!(stdout(&read).ends_with("\tcafé pos1\n") && stderr(&read).is_empty());
    let unknown = dir.lstmtext("predict run --encoding klingon x");
    assert_fails(unknown, 2, &["'klingon' for '--encoding <NAME>': unknown encoding; use a name"]);
    for (code, stdout, stderr) in read_in_three_ways(&dir, b"pos1\ncaf\xE9 pos1\ncaf\xE9\n") {
        assert_eq!((code, stdout.lines().count()), (Some(0), 3));
        // The encoding of a file is detected, because it can be read twice.
        if stderr.contains("texts is read as windows-1252") {
            continue;
        }
        assert!(stderr.contains(":2: the line is not valid UTF-8"), "{stderr}");
        assert!(stderr.contains("pass --encoding windows-1252"), "{stderr}");
        assert!(stderr.contains("note: 2 lines are not valid UTF-8"), "{stderr}");
    }
}

#[test]
fn texts_without_a_known_word_are_counted() {
    let dir = TestDir::with_run();
    for texts in ["pos1 new\nnew\n\n?\n", "pos1\nnew\n\nnew1\n"] {
        let done = dir.lstmtext("predict run").write_stdin(texts).assert().success();
        let notes = "note: 1 of 4 texts is empty\nnote: 2 of 4 texts have no known word\n";
        assert_eq!(stderr(&done), notes);
    }
    let done = dir.lstmtext("predict run new").assert().success();
    assert_eq!(stderr(&done), "note: 1 of 1 texts has no known word\n");
}

#[test]
fn files_of_texts_may_be_streams() {
    let dir = TestDir::with_run().file("directory/texts", "");
    let expected = stdout(&dir.lstmtext("predict run pos1").assert().success());
    for file in ["-", "/dev/stdin"] {
        let mut command = dir.lstmtext(&format!("predict run --file {file}"));
        command.write_stdin("pos1\n").assert().success().stdout(expected.clone());
        for explain in ["explain", "states"] {
            let mut command = dir.lstmtext(&format!("{explain} run --json --file {file}"));
            let done = command.write_stdin("pos1\nneg1\n").assert().success();
            assert_eq!(stdout_json(&done).as_array().unwrap().len(), 2);
        }
    }
    assert_fails(dir.lstmtext("predict run --file directory"), 1, &["is a directory"]);
    assert_fails(dir.lstmtext("explain run --file directory/texts"), 1, &["has no texts"]);
}

/// A file of one line, which is compressed to a thousandth of its size.
#[test]
fn a_line_without_an_end_is_an_error_in_bounded_memory() {
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    bomb.write_all(b"pos1\n").unwrap();
    for _ in 0..110 {
        bomb.write_all(&[b'a'; 1_000_000]).unwrap();
    }
    let dir = TestDir::with_run().file("bomb.zst", bomb.finish().unwrap());
    let command = format!("ulimit -v 3000000; '{BINARY}' predict run --file bomb.zst");
    let mut bash = assert_cmd::Command::new("bash");
    bash.args(["-c", &command]).timeout(DEADLINE);
    let done = bash.current_dir(dir.path("")).envs(ENVIRONMENT).assert().code(1);
    assert!(stderr(&done).contains("line 2 exceeds 100 MB"), "{}", stderr(&done));
    assert_eq!(stdout(&done).lines().count(), 1);
}

#[test]
fn an_empty_stdin_prints_nothing() {
    let dir = TestDir::with_run();
    dir.lstmtext("predict run").write_stdin("").assert().success().stdout("");
}

#[test]
fn label_names_replace_labels() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set data.label_names.pos=positive");
    let done = dir.lstmtext("predict run --format tsv pos1 neg1").assert().success();
    done.stdout(is_match("^positive\t.*\nneg\t.*\n$").unwrap());
}

#[test]
fn data_files_with_labels_are_not_read_as_texts() {
    let dir = TestDir::with_run()
        .file("table.txt", "text,label\nn1 pos2,pos\n")
        .file("object.txt", "{\"text\": \"n1 pos2\", \"label\": \"pos\"}\n")
        .file("t.txt", "__label__pos n1 pos2\n")
        .file("tabs.txt", "n1 pos2\tpos\n");
    for (file, found) in [
        ("table.txt", "the header of a table with the column text"),
        ("object.txt", "a JSON object with the key \"text\""),
        ("t.txt", "a fastText line with a label"),
        ("tabs.txt", "a row of a table with the label \"pos\""),
    ] {
        let expected = format!("{file}:1: expected a text on each line, found {found}; ");
        let command = format!("evaluate run/best --data {file}");
        for line in [format!("predict run --file {file}"), format!("explain run --file {file}")] {
            assert_fails(dir.lstmtext(&line), 1, &[&expected, &command]);
        }
        let mut piped = dir.lstmtext("predict run");
        piped.write_stdin(dir.bytes(file));
        assert_fails(piped, 1, &["stdin:1: expected a text on each line", found]);
    }
    dir.lstmtext("evaluate run --data test.csv").assert().success();
    let dir = dir.file("other.csv", "review,sentiment\nn1 pos2,1\n");
    let done = dir.lstmtext("predict run --file other.csv --file-format text").assert().success();
    let note = "note: other.csv: each whole line is read as a text";
    assert_eq!(stderr(&done).matches(note).count(), 1);
    // In arguments, and in a line behind the first, a text can be anything.
    dir.lstmtext("predict run __label__pos text,label").assert().success();
    let mut later = dir.lstmtext("predict run");
    later.write_stdin("a text\ntext,label\n").assert().success();
}

/// A table is recognized by its labels too, and the advised commands read it.
#[test]
fn tables_with_known_labels_are_not_read_as_texts() {
    let dir = TestDir::with_run();
    let columns = "data.text_column=review --set data.label_column='my y'";
    for (name, content, line, found, sets) in [
        (
            "rows.txt",
            "n1 pos2,pos\nn3 neg1,neg\n",
            1,
            "a row of a table with the label \"pos\"",
            " --set data.format=csv --set data.header=false --set data.text_column=1 \
             --set data.label_column=2",
        ),
        (
            "header.txt",
            "review,my y\n\"n1, pos2\",pos\nn3 neg1,neg\n",
            2,
            "a row of a table with the label \"pos\"",
            &format!(" --set data.format=csv --set {columns}"),
        ),
        (
            "keys.txt",
            "{\"review\": \"n1 pos2\", \"my y\": \"pos\"}\n",
            1,
            "a JSON object with the label \"pos\"",
            &format!(" --set data.format=jsonl --set {columns}"),
        ),
        (
            "blank.txt",
            "\ntext,label\nn1 pos2,pos\n",
            2,
            "the header of a table with the column text",
            " --set data.format=csv",
        ),
    ] {
        let sets = sets.replace("data.label_column='my y'", "'data.label_column=my y'");
        let sets = if sets.starts_with(' ') { sets } else { format!(" --set {sets}") };
        let dir = &dir;
        fs::write(dir.path(name), content).unwrap();
        let advice = format!("evaluate run/best --data {name}{sets}\n");
        for command in ["predict", "explain", "states"] {
            let expected = format!("{name}:{line}: expected a text on each line, found {found}; ");
            let mut command = dir.lstmtext(&format!("{command} run --file {name}"));
            command.env("COLUMNS", "1000");
            assert_fails(command, 1, &[&expected, &advice]);
        }
        let mut advised = dir.lstmtext(&format!("predict run --file {name}"));
        let message = stderr(&advised.env("COLUMNS", "1000").assert().code(1));
        let (_, options) = message.split_once("to classify the rows of a table, add").unwrap();
        let (options, _) = options.split_once(';').unwrap();
        let predict = format!("'{BINARY}' predict run --file {name} {options}");
        let mut bash = assert_cmd::Command::new("bash");
        bash.args(["-c", &predict]).current_dir(dir.path("")).envs(ENVIRONMENT).assert().success();
        let mut piped = dir.lstmtext("predict run");
        piped.write_stdin(content);
        // The first line may have been answered before the second one came.
        let message = stderr(&piped.env("COLUMNS", "1000").assert().code(1));
        for part in ["stdin:", found, " --data FILE --set data.format="] {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        let evaluate = format!("'{BINARY}' {advice}");
        let mut bash = assert_cmd::Command::new("bash");
        bash.args(["-c", &evaluate]).current_dir(dir.path("")).envs(ENVIRONMENT).assert().success();
    }
}

#[test]
fn prose_with_commas_is_read_as_texts() {
    let dir = TestDir::with_run();
    let file = "Pos, I liked it\nNeg, I did not\nIt was good, pos\nIt cost 1,000, all told\n";
    let dir = dir.file("texts.txt", file);
    let done = dir.lstmtext("predict run --file texts.txt").assert().success();
    assert_eq!(stdout(&done).lines().count(), 4);
    assert!(!stderr(&done).contains("each whole line"), "{}", stderr(&done));
    let dir = dir.file("stars.txt", "review,stars\ngreat film,5\nbad film,1\n");
    let done = dir.lstmtext("predict run --file stars.txt").assert().success();
    let note = "note: stars.txt: each whole line is read as a text, but the lines look like rows of a table";
    assert!(stderr(&done).contains(note), "{}", stderr(&done));
    // A file of texts with a header has no labels.
    let dir = dir.file("header.txt", "text\nn1 pos2\n");
    let command = dir.lstmtext("predict run --file header.txt");
    let expected = "found the header of a table with the column text; to classify the rows of a table, add --file-format";
    assert_fails(command, 1, &[expected]);
}
