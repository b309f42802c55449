//! Tables: data in JSON arrays and several files, predictions and vectors in tables.

use assert_cmd::assert::Assert;

use crate::common::{
    TestDir, assert_fails, csv, examples, floats, stderr, stdout, stdout_json, stdout_json_lines,
};

#[test]
fn json_arrays_and_several_files_equal_a_single_file() {
    let all = examples(&["neg", "pos"], 300, 1);
    let object = |example: &crate::common::Example| {
        serde_json::json!({"id": [1], "text": example.text, "label": example.label}).to_string()
    };
    let objects: Vec<String> = all.iter().map(object).collect();
    let dir = TestDir::with_data()
        .file("all.csv", csv(&all))
        .file("one.json", format!("[{}]", objects.join(",")))
        .file("pretty.json", format!("[\n  {}\n]\n", objects.join(",\n  ")))
        .file("part-1.json", format!("[{}]", objects[..100].join(",")))
        .file("part-2.json", objects[100..].join("\n"));
    let stats = |train: &str| {
        let mut command = dir.lstmtext("data stats small.yaml --json --set data.test=null");
        let done = command.args(["--set", &format!("data.train={train}")]).assert().success();
        stdout_json(&done)
    };
    let expected = stats("all.csv");
    for train in ["one.json", "pretty.json", "part-*.json"] {
        assert_eq!(stats(train), expected, "{train}");
    }
    let dir = dir.file("part-3.json", "[{\"text\": \"a\", \"label\": \"neg\"}, {\"text\": \"b\"}]");
    let mut command = dir.lstmtext("train small.yaml --set data.train=part-*.json");
    let message = stderr(&command.assert().code(1));
    assert!(
        message.contains("part-3.json, row 2: expected a key \"label\", found text"),
        "{message}"
    );
}

/// A table whose columns have all types, in each format.
pub fn with_tables() -> TestDir {
    TestDir::with_run()
        .file("t.csv", "id,text,label,note\n1,\"n1 pos2, n3\",pos,\n2,neg1 n4,neg,\"two\nlines\"\n")
        .file("t.tsv", "id\ttext\tlabel\tnote\n1\tn1 pos2, n3\tpos\t\n2\tneg1 n4\tneg\ttwo lines\n")
        .file(
            "t.jsonl",
            "{\"id\": 1, \"text\": \"n1 pos2, n3\", \"more\": [1.50, null]}\n\n\
             {\"note\": null, \"text\": \"neg1 n4\", \"id\": 2.5, \"flag\": true}\n",
        )
        .file(
            "t.json",
            "[{\"id\": 1, \"text\": \"n1 pos2, n3\"}, {\"id\": 2, \"text\": \"neg1 n4\"}]",
        )
}

fn rows(csv: &str) -> Vec<Vec<String>> {
    let reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
    let row =
        |row: ::csv::Result<::csv::StringRecord>| row.unwrap().iter().map(str::to_owned).collect();
    reader.into_records().map(row).collect()
}

#[test]
fn predictions_are_added_to_all_columns_of_a_table() {
    let dir = with_tables();
    let line = "predict run --file t.csv --to out/p.csv --probabilities";
    let done = dir.lstmtext(line).assert().success().stdout("");
    let notes = stderr(&done);
    assert!(notes.contains("which are named predicted_label\n"), "{notes}");
    assert!(notes.contains("out/p.csv: 2 rows"), "{notes}");
    let [header, first, second] = &rows(&dir.read("out/p.csv"))[..] else { panic!("3 rows") };
    let expected = ["id", "text", "label", "note", "predicted_label", "probability", "neg", "pos"];
    assert_eq!(header, &expected);
    assert_eq!(&first[..5], ["1", "n1 pos2, n3", "pos", "", "pos"]);
    assert_eq!(&second[..5], ["2", "neg1 n4", "neg", "two\nlines", "neg"]);
    let number = |row: &[String], index: usize| row[index].parse::<f64>().unwrap();
    assert_eq!((&first[5], &second[5]), (&first[7], &second[6]));
    assert!((number(first, 6) + number(first, 7) - 1.0).abs() < 1e-5);
    // The same predictions in every format, and on stdout. Files have the probability of each class.
    let printed = dir.lstmtext("predict run --file t.csv --format csv --probabilities");
    assert_eq!({ printed }.assert().success().get_output().stdout, dir.bytes("out/p.csv"));
    dir.lstmtext("predict run --file t.tsv --to p.tsv").assert().success();
    let line = format!("1\tn1 pos2, n3\tpos\t\tpos\t{}", first[5..].join("\t"));
    assert_eq!(dir.read("p.tsv").lines().nth(1).unwrap(), line);
    for file in ["t.jsonl", "t.json"] {
        dir.lstmtext(&format!("predict run --file {file} --to p.jsonl")).assert().success();
        let [first_object, second_object] = &dir.json_lines("p.jsonl")[..] else {
            panic!("2 rows")
        };
        assert_eq!(
            (&first_object["label"], &second_object["label"]),
            (&"pos".into(), &"neg".into())
        );
        let probability = first_object["probability"].as_f64().unwrap();
        assert_eq!(format!("{probability:.6}"), first[5]);
    }
}

#[test]
fn json_values_keep_their_spelling_and_order() {
    let dir = with_tables();
    dir.lstmtext("predict run --file t.jsonl --to p.jsonl").assert().success();
    let written = dir.read("p.jsonl");
    let lines: Vec<&str> = written.lines().collect();
    let first =
        "{\"id\": 1, \"text\": \"n1 pos2, n3\", \"more\": [1.50, null], \"label\": \"pos\", ";
    assert!(lines[0].starts_with(first), "{written}");
    let second =
        "{\"id\": 2.5, \"text\": \"neg1 n4\", \"note\": null, \"flag\": true, \"label\": \"neg\", ";
    assert!(lines[1].starts_with(second), "{written}");
    dir.lstmtext("predict run --file t.jsonl --to p.csv").assert().success();
    let [header, first, second] = &rows(&dir.read("p.csv"))[..] else { panic!("3 rows") };
    assert_eq!(&header[..5], ["id", "text", "more", "note", "flag"]);
    assert_eq!(&first[..5], ["1", "n1 pos2, n3", "[1.50, null]", "", ""]);
    assert_eq!(&second[..5], ["2.5", "neg1 n4", "", "", "true"]);
}

#[test]
fn the_column_of_the_texts_can_have_another_name() {
    let dir = TestDir::with_run()
        .file("r.csv", "review;stars\nn1 pos2, n3;5\nneg1;1\n")
        .file("r.txt", "review;stars\nn1 pos2, n3;5\nneg1;1\n")
        .file("bare.csv", "pos2 n1,5\nneg1,1\n");
    let message = "r.csv:1: expected a column \"text\", found review, stars";
    let remedy = "pass --text COLUMN to name the column of the text";
    assert_fails(dir.lstmtext("predict run --file r.csv"), 1, &[message, remedy]);
    let expected = dir.lstmtext("predict run --file r.csv --text review").assert().success();
    let expected = stdout(&expected);
    assert_eq!(expected.lines().count(), 2);
    let mut piped = dir.lstmtext("predict run --file - --file-format csv --text review");
    let piped = stdout(&piped.write_stdin(dir.bytes("r.csv")).assert().success());
    let lines = dir.lstmtext("predict run --file r.txt --file-format csv --text review");
    assert_eq!((&piped, &stdout(&{ lines }.assert().success())), (&expected, &expected));
    let line = "predict run --file bare.csv --set data.header=false --set data.text_column=1 \
                --set data.label_column=2 --format csv";
    let done = stdout(&dir.lstmtext(line).assert().success());
    assert!(done.starts_with("column_1,column_2,label,probability\npos2 n1,5,pos,0."), "{done}");
    let two = "predict run --file r.csv --text review --text stars";
    assert_fails(
        dir.lstmtext(two),
        2,
        &["--text: the model has a single text column, text; name one column"],
    );
    let lines = "predict run --file r.txt --text review";
    assert_fails(
        dir.lstmtext(lines),
        2,
        &["\"r.txt\" is read as lines of text", "--file-format csv"],
    );
}

#[test]
fn a_broken_row_is_located_and_nothing_is_written() {
    let dir = TestDir::with_run()
        .file("p.csv", "old")
        .file("wide.csv", "id,text\n1,pos1\n2,neg1,x\n3,pos1\n")
        .file("open.csv", "id,text\n1,pos1\n2,\"neg1\n")
        .file("damaged.csv", b"id,text\n1,caf\xC3\xA9\n2,caf\xE9\n")
        .file("later.csv", "text,id\n\"two\nlines\",\"1\nneg1,2\npos1,3\n")
        .file("none.jsonl", "{\"text\": \"pos1\"}\n{\"body\": \"x\"}\n")
        .file("null.jsonl", "{\"text\": \"pos1\"}\n{\"text\": null}\n")
        .file("cut.json", "[{\"text\": \"pos1\"},\n{\"text\": \"neg1\"")
        .file("twice.csv", "id,id,text\n1,2,pos1\n")
        .file("a-1.csv", "id,text\n1,pos1\n")
        .file("a-2.csv", "text,id\npos1,1\n");
    for (file, message) in [
        ("wide.csv", "wide.csv:3: expected 2 columns as in the header, found 3\n"),
        ("open.csv", "open.csv:3: unclosed quote"),
        (
            "later.csv",
            "later.csv:3: unclosed quote: it opens here in column 2 of the row that begins in line 2, nothing \
             closes it, and the 2 lines after it would belong to this field",
        ),
        ("damaged.csv", "byte 6 of line 3 is 0xE9, but the text is otherwise UTF-8"),
        ("none.jsonl", "none.jsonl:2: expected a key \"text\", found body; pass --text COLUMN"),
        ("null.jsonl", "null.jsonl:2: \"text\" must be a string"),
        ("cut.json", "cut.json: the array does not end after row 1"),
        ("twice.csv", "twice.csv:1: two columns are named \"id\"; rename one of them"),
        ("a-*.csv", "a-2.csv:1: the columns differ from those of the files before"),
        ("b-*.csv", "no file matches \"b-*.csv\""),
    ] {
        let command = dir.lstmtext(&format!("predict run --file {file} --to p.csv"));
        assert_fails(command, 1, &[message]);
        assert_eq!(dir.read("p.csv"), "old");
    }
    let names = dir.names(".");
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    for (line, message) in [
        ("--file wide.csv --to p.xlsx", "must end in .csv, .tsv, .jsonl or .parquet"),
        ("--file wide.csv --to p.csv --format text", "must end in .csv"),
        ("--file wide.csv --format parquet", "name the file with --to"),
        ("--file wide.csv --to wide.csv", "would overwrite the input"),
        ("pos1 --text review", "--text"),
        ("--file wide.csv --top 2 --probabilities", "--top"),
    ] {
        assert_fails(dir.lstmtext(&format!("predict run {line}")), 2, &[message]);
    }
}

#[test]
fn lines_and_arguments_can_be_written_as_a_table() {
    let dir = TestDir::with_run().file("texts.txt", "pos1, n1\n\nneg1\n");
    dir.lstmtext("predict run --file texts.txt --to p.csv").assert().success();
    let read = rows(&dir.read("p.csv"));
    let texts: Vec<&str> = read.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(texts, ["text", "pos1, n1", "", "neg1"]);
    dir.lstmtext("predict run pos1 --to p.jsonl").assert().success();
    assert_eq!(dir.json_lines("p.jsonl")[0]["text"], "pos1");
    let empty = dir.lstmtext("predict run --to p.csv").write_stdin("").assert().success();
    assert!(stderr(&empty).contains("p.csv: 0 rows"), "{}", stderr(&empty));
    assert_eq!(dir.read("p.csv"), "text,label,probability,neg,pos\n");
    let dir = dir.file("empty.csv", "id,text\n");
    dir.lstmtext("predict run --file empty.csv --to p.csv").assert().success();
    assert_eq!(dir.read("p.csv"), "id,text,label,probability,neg,pos\n");
}

#[test]
fn other_commands_read_tables_and_stdin_too() {
    let dir = with_tables();
    for command in ["explain run --json", "states run --json"] {
        let texts = |line: &str, stdin: &[u8]| -> Vec<String> {
            let mut command = dir.lstmtext(&format!("{command} {line}"));
            let done = stdout_json(&command.write_stdin(stdin).assert().success());
            let text = |each: &serde_json::Value| {
                let text = each.get("text").or_else(|| each["inputs"][0].get("text"));
                text.map_or_else(|| each.to_string(), |text| text.as_str().unwrap().to_owned())
            };
            done.as_array().unwrap().iter().map(text).collect()
        };
        let of_lines = texts("", b"n1 pos2, n3\nneg1 n4\n");
        assert_eq!(of_lines.len(), 2, "{command}");
        for file in ["t.csv", "t.tsv", "t.jsonl", "t.json"] {
            assert_eq!(texts(&format!("--file {file}"), b""), of_lines, "{command} {file}");
        }
        let parts: Vec<&str> = command.split(' ').collect();
        let nothing = dir.lstmtext(&format!("{} {}", parts[0], parts[1]));
        assert_fails(nothing, 2, &["no text given"]);
    }
}

#[test]
fn several_text_columns_are_read_by_name() {
    let dir = TestDir::new();
    let rows: String = (0..60)
        .map(|row| {
            let word = ["neg", "pos"][row % 2];
            format!("{row},{word}1 n{},n{},{word}\n", row % 7, row % 5)
        })
        .collect();
    let dir = dir.file("train.csv", format!("id,a,b,label\n{rows}")).file(
        "two.yaml",
        "data: {train: train.csv}\ninputs: {a: {}, b: {}}\n\
         model: {embedding: {size: 4}, lstm: {units: 4}}\ntrain: {epochs: 2}\n",
    );
    dir.train("two.yaml --out run");
    let dir = dir.file("new.csv", "x,y,id\nn1,pos1,7\n");
    dir.lstmtext("predict run --file train.csv --to p.csv").assert().success();
    let message = "expected a column \"a\", found x, y, id";
    assert_fails(dir.lstmtext("predict run --file new.csv"), 1, &[message]);
    let line = "predict run --file new.csv --text y --text x --format jsonl";
    let swapped = stdout_json(&dir.lstmtext(line).assert().success());
    let direct = dir.lstmtext("predict run --format jsonl --input a=pos1 --input b=n1");
    let direct = stdout_json(&{ direct }.assert().success());
    assert_eq!(swapped["probability"], direct["probability"]);
    assert_eq!(swapped["x"], "n1");
}

/// Returns the values of a little-endian .npy file of 32-bit numbers, and its header.
pub fn npy(bytes: &[u8]) -> (String, Vec<f32>) {
    let (header, values) = bytes.split_at(128);
    let values = values.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    (String::from_utf8_lossy(header).into_owned(), values.collect())
}

#[test]
fn vectors_are_the_pooled_states() {
    let dir = with_tables();
    dir.train("small.yaml --out both --set model.lstm.bidirectional=true --set train.epochs=1");
    for run in ["run", "both"] {
        let line = format!("embed {run} --file t.csv --to v.npy");
        let done = dir.lstmtext(&line).assert().success();
        let size = if run == "both" { 16 } else { 8 };
        assert_eq!(stderr(&done), format!("v.npy: 2 vectors of {size} numbers\n"));
        let (header, vectors) = npy(&dir.bytes("v.npy"));
        assert!(header.contains(&format!("'shape': (2, {size}), ")), "{header}");
        // Maximum over time of the states of each direction.
        let states = dir.lstmtext(&format!("states {run} --file t.csv --json")).assert().success();
        let mut expected = Vec::new();
        for text in stdout_json(&states).as_array().unwrap() {
            for direction in text["directions"].as_array().unwrap() {
                let steps: Vec<Vec<f64>> =
                    direction["states"].as_array().unwrap().iter().map(floats).collect();
                let max = |unit: usize| steps.iter().map(|step| step[unit]).fold(-1.0, f64::max);
                expected.extend((0..8).map(max));
            }
        }
        assert_eq!(vectors.len(), expected.len());
        for (vector, expected) in vectors.iter().zip(&expected) {
            assert!((f64::from(*vector) - expected).abs() < 1e-5, "{vector} {expected}");
        }
        // In batches of one, with other threads, and in the other formats.
        let line = format!("embed {run} --file t.tsv --to one.npy --batch-size 1 --threads 2");
        dir.lstmtext(&line).assert().success();
        assert_eq!(npy(&dir.bytes("one.npy")).1, vectors);
        dir.lstmtext(&format!("embed {run} --file t.jsonl --to v.jsonl")).assert().success();
        let rows = dir.json_lines("v.jsonl");
        assert_eq!(rows[0]["more"].to_string(), "[1.50,null]".replace("1.50", "1.5"));
        let all: Vec<f32> =
            rows.iter().flat_map(|row| floats(&row["embedding"])).map(|v| v as f32).collect();
        assert_eq!(all, vectors);
    }
    let none = dir.lstmtext("embed run --to v.npy").write_stdin("").assert().success();
    assert_eq!(stderr(&none), "v.npy: 0 vectors of 8 numbers\n");
    assert!(npy(&dir.bytes("v.npy")).0.contains("'shape': (0, 8), "));
    let csv = dir.lstmtext("embed run pos1 --to v.csv");
    assert_fails(csv, 2, &["\"v.csv\": the file name must end in .npy, .parquet or .jsonl"]);
    dir.train(
        "small.yaml --out linear --set model.lstm=null --set model.ngrams.sizes=[1] --set train.epochs=1",
    );
    assert_fails(dir.lstmtext("embed linear pos1 --to v.npy"), 1, &["the model has no LSTM"]);
    dir.lstmtext("ensemble run both --to two").assert().success();
    assert_fails(dir.lstmtext("embed two pos1 --to v.npy"), 1, &["\"two\" is an ensemble"]);
}

#[test]
fn tables_in_another_encoding_need_no_option() {
    let text = "id,text\n1,très pos1\n2,déçu neg1\n";
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let labels = "text,label\ntrès pos1,pos\ndéçu neg1,neg\n";
    let dir = TestDir::with_run()
        .file("utf8.csv", text)
        .file("latin.csv", &latin)
        .file("latin.txt", &latin[8..])
        .file("labels.csv", labels)
        .file("latin_labels.csv", labels.chars().map(|c| c as u8).collect::<Vec<u8>>());
    let note = "latin.csv is read as windows-1252; --encoding NAME chooses another";
    for line in ["predict run --format csv", "explain run --json", "states run --json"] {
        let read = |file: &str| {
            let done = dir.lstmtext(&format!("{line} --file {file}")).assert().success();
            (stdout(&done), stderr(&done))
        };
        let (latin, told) = read("latin.csv");
        assert_eq!(latin, read("utf8.csv").0, "{line}");
        assert!(told.contains(note), "{told}");
        assert!(!read("latin.csv --encoding latin-1").1.contains("is read as"), "{line}");
    }
    let lines = dir.lstmtext("predict run --file latin.txt --format tsv").assert().success();
    assert!(stdout(&lines).contains("très pos1"), "{}", stdout(&lines));
    assert!(stderr(&lines).contains("latin.txt is read as windows-1252"), "{}", stderr(&lines));
    let evaluate = |file: &str| dir.lstmtext(&format!("evaluate run --data {file} --json"));
    let done = evaluate("latin_labels.csv").assert().success();
    assert!(stderr(&done).contains("is read as windows-1252"), "{}", stderr(&done));
    let fingerprint = |done: &Assert| stdout_json(done)["data"].clone();
    assert_eq!(fingerprint(&done), fingerprint(&evaluate("labels.csv").assert().success()));
    // A model whose training data has another encoding reads files in both.
    let mut latin_train: Vec<u8> = b"text,label\n".to_vec();
    for row in 0..40 {
        let (text, label) = [("tr\u{e8}s pos1", "pos"), ("d\u{e9}\u{e7}u neg1", "neg")][row % 2];
        latin_train.extend(format!("{text} {row},{label}\n").chars().map(|c| c as u8));
    }
    let dir = dir.file("train.csv", latin_train);
    dir.train("train.csv --set train.epochs=1 --out latin");
    assert!(dir.read("latin/config.yaml").contains("encoding: windows-1252"));
    let predict = |file: &str| {
        let command = dir.lstmtext(&format!("predict latin --file {file} --format csv"));
        let done = { command }.assert().success();
        (stdout(&done), stderr(&done))
    };
    let (latin, told) = predict("latin.csv");
    assert!(!told.contains("is read as"), "{told}");
    let (utf8, told) = predict("utf8.csv");
    assert!(told.contains("utf8.csv is read as utf-8"), "{told}");
    assert_eq!(latin, utf8);
}

#[test]
fn a_header_is_neither_classified_nor_missed() {
    let rows: String = (0..40)
        .map(|row| {
            let (text, label) = [("fine pos1", "pos"), ("poor neg1", "neg")][row % 2];
            format!("{text} {row},{label}\n")
        })
        .collect();
    let dir = TestDir::new()
        .file("bare.csv", &rows)
        .file("named.csv", format!("avis,note\n{rows}"))
        .file("texts.csv", "text\nfine pos1\npoor neg1\n")
        .file("bare_texts.csv", "fine pos1\npoor neg1\n");
    dir.train("bare.csv --set train.epochs=1 --out bare");
    dir.train("named.csv --set train.epochs=1 --out named");
    let count = |line: &str| {
        let done = dir.lstmtext(&format!("predict {line} --format jsonl")).assert().success();
        stdout(&done).lines().count()
    };
    let header = "seems to name the columns, but the training data has no header";
    for command in ["predict bare --file", "explain bare --file", "evaluate bare --data"] {
        let line = format!("{command} named.csv");
        assert_fails(dir.lstmtext(&line), 1, &["named.csv:1: the first row", header]);
    }
    assert_fails(dir.lstmtext("predict bare --file texts.csv"), 1, &[header]);
    assert_eq!(count("bare --file named.csv --set data.header=true"), 40);
    assert_eq!(count("bare --file named.csv --set data.header=false"), 41);
    assert_eq!(count("bare --file bare.csv"), 40);
    assert_eq!(count("bare --file bare_texts.csv"), 2);
    dir.lstmtext("evaluate bare --data named.csv --set data.header=true").assert().success();
    let bare = "--set data.header=false --set data.text_column=1 --set data.label_column=2";
    for command in
        ["predict named --file", "predict named --text 1 --file", "evaluate named --data"]
    {
        let line = format!("{command} bare.csv");
        let parts = ["bare.csv:1: the first row, \"fine pos1 0, pos\"", bare];
        assert_fails(dir.lstmtext(&line), 1, &parts);
    }
    assert_eq!(count(&format!("named --file bare.csv {bare}")), 40);
    dir.lstmtext(&format!("evaluate named --data bare.csv {bare}")).assert().success();
}

#[test]
fn misspelt_columns_are_answered_with_the_ones_of_the_file() {
    let rows = "id,review,label\n1,n1 pos1,pos\n2,n2 neg1,neg\n3,n3 neg1,neg\n4,n4 pos1,pos\n";
    let dir = TestDir::with_run()
        .file("r.csv", rows)
        .file("r.jsonl", "{\"id\": 1, \"review\": \"pos1\", \"label\": \"pos\"}\n")
        .file("c.yaml", "data: {train: r.csv, text_column: revew}\n");
    let csv =
        ["r.csv:1: ", "expected a column \"revew\", found id, review, label; did you mean review?"];
    let json =
        ["r.jsonl:1: expected a key \"revew\", found id, review, label; did you mean review?"];
    for command in ["predict run", "explain run", "states run", "embed run --to x.npy"] {
        let line = |file: &str| format!("{command} --text revew --file {file}");
        assert_fails(dir.lstmtext(&line("r.csv")), 1, &csv);
        assert_fails(dir.lstmtext(&line("r.jsonl")), 1, &json);
    }
    for (line, columns) in [
        ("train r.csv --text revew", "id, review, label"),
        ("folds r.jsonl --text revew", "id, label, review"),
    ] {
        let answer = format!("it has no column revew, only {columns}; did you mean review?");
        assert_fails(dir.lstmtext(line), 2, &[&answer]);
    }
    for line in ["train c.yaml", "data check c.yaml"] {
        assert_fails(dir.lstmtext(line), 1, &csv);
    }
    let label =
        "evaluate run --set data.text_column=review --set data.label_column=lable --data r.csv";
    assert_fails(
        dir.lstmtext(label),
        1,
        &["data.label_column: expected a column \"lable\"", "did you mean label?"],
    );
    // A number is a number for every command, and in quotes a name.
    let dir = dir.file("n.csv", "2,text,label\nneg1,pos1,neg\npos1,neg1,pos\n");
    let predict = |column: &str| {
        let mut command = dir.lstmtext("predict run --file n.csv --format jsonl --text");
        command.arg(column);
        command
    };
    let ambiguous =
        "column number 2 has another name, \"text\", and column number 1 is named \"2\"";
    assert_fails(predict("2"), 1, &[ambiguous]);
    assert_fails(dir.lstmtext("train small.yaml --set data.train=n.csv --text 2"), 1, &[ambiguous]);
    let labels = |column: &str| {
        let done = predict(column).assert().success();
        let labels = stdout_json_lines(&done).into_iter().map(|row| row["predicted_label"].clone());
        labels.collect::<Vec<_>>()
    };
    assert_eq!(labels("\"2\""), ["neg", "pos"]);
    assert_eq!(labels("1"), ["neg", "pos"]);
    assert_eq!(labels("text"), ["pos", "neg"]);
}
