//! `lstmtext data check`, and the same findings in training.

use serde_json::Value;

use crate::common::{TestDir, assert_fails, csv, examples, stderr, stdout, stdout_json};

/// Returns the findings of a check, as `level message`.
fn findings(dir: &TestDir, line: &str, code: i32) -> Vec<(String, String)> {
    let done = dir.lstmtext(&format!("data check --json {line}")).assert().code(code);
    let report = stdout_json(&done);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let findings: Vec<(String, String)> = findings
        .map(|it| (text(it, "check"), format!("{} {}", text(it, "level"), text(it, "message"))))
        .collect();
    let printed = stdout(&dir.lstmtext(&format!("data check {line}")).assert().code(code));
    for (_, message) in &findings {
        let (level, message) = message.split_once(' ').unwrap();
        assert!(
            printed.replace("\n       ", " ").contains(&format!("{level:<5}  {message}\n")),
            "{printed}"
        );
    }
    findings
}

fn of<'f>(findings: &'f [(String, String)], check: &str) -> Vec<&'f str> {
    findings.iter().filter(|(name, _)| name == check).map(|(_, message)| message.as_str()).collect()
}

#[test]
fn every_check_has_a_line_even_if_nothing_is_wrong() {
    let dir = TestDir::with_data();
    let found = findings(&dir, "small.yaml", 0);
    let checks = [
        "broken_rows",
        "empty_texts",
        "unknown_tokens",
        "script",
        "repeated_texts",
        "shared_texts",
        "label_in_text",
        "similar_labels",
        "placeholder_labels",
        "rare_labels",
        "numeric_labels",
        "missing_labels",
    ];
    for check in checks {
        let lines = of(&found, check);
        assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("ok ")), "{lines:?}");
    }
    assert_eq!(of(&found, "unknown_tokens").len(), 3);
    let printed = stdout(&dir.lstmtext("data check train.csv").assert().success());
    assert!(
        printed.starts_with("540 training, 60 validation, 0 test examples; 2 labels: neg, pos\n")
    );
    assert!(!stderr(&dir.train("small.yaml --out run")).contains("note: "));
}

#[test]
fn faults_of_texts_are_found_by_the_check_and_before_training() {
    let mut data = examples(&["neg", "pos"], 200, 1);
    for index in 0..20 {
        data[index].text = " ".to_owned();
        // The tokenizer does not see the difference.
        data[20 + index].text = data[60 + index].text.to_uppercase() + " ";
    }
    data[20].label = "neg".to_owned();
    data[60].label = "pos".to_owned();
    let mut test = examples(&["neg", "pos"], 50, 2);
    test[0].text = format!("<p>{}</p>", data[100].text);
    for example in &mut test[10..] {
        example.text = "all these words are new".to_owned();
    }
    let dir = TestDir::new().file("train.csv", csv(&data)).file("test.csv", csv(&test));
    let dir = dir.file(
        "c.yaml",
        "data: {train: train.csv, test: test.csv, split: {validation: 20, method: position}}\n\
         model: {embedding: {size: 8}, lstm: {units: 8}}\ntrain: {epochs: 1}\n",
    );
    let found = findings(&dir, "c.yaml", 0);
    let empty = "note 20 of 180 training texts are empty; remove them, or check data.text_column";
    assert_eq!(of(&found, "empty_texts"), [empty]);
    let repeated = of(&found, "repeated_texts");
    let train = "note 20 of 180 training texts repeat the tokens of another one; 2 texts with the same tokens \
                 have different labels: correct them";
    assert_eq!(repeated[0], train);
    assert!(repeated[1].starts_with("note 39 of 50 test texts repeat"), "{repeated:?}");
    let shared =
        "note 1 of 50 test texts is also a training text, up to case, spaces, punctuation and tags";
    assert_eq!(of(&found, "shared_texts"), [shared]);
    let unknown = of(&found, "unknown_tokens");
    assert!(unknown.iter().any(|line| line.starts_with("ok 0.")), "{unknown:?}");
    let told = stderr(&dir.train("c.yaml --out run"));
    for (check, message) in &found {
        let (level, message) = message.split_once(' ').unwrap();
        assert_eq!(
            told.contains(&format!("note: {message}\n")),
            level == "note",
            "{check}: {told}"
        );
    }
    // Reading the same data with other settings changes what is the same.
    let cut = "c.yaml --set model.ngrams=null --set text.max_length=1 --set text.truncate=back";
    let cut = findings(&dir, cut, 0);
    let shared = of(&cut, "shared_texts");
    assert!(shared.iter().any(|line| !line.starts_with("note 1 of 50")), "{shared:?}");
}

#[test]
fn faults_of_labels_are_found() {
    let dir = TestDir::new();
    let table = |label: fn(usize) -> String| -> String {
        let row = |n: usize| format!("some words and w{} too,{}\n", n % 50 + n / 50, label(n));
        "text,label\n".to_owned() + &(0..400).map(row).collect::<String>()
    };
    let check = |content: String| {
        let dir = &TestDir::new().file("a.csv", content);
        findings(dir, "a.csv", 0)
    };
    let numbers = check(table(|n| format!("{}", n % 150)));
    let message = of(&numbers, "numeric_labels")[0];
    let expected =
        "note the 150 labels are numbers (0, 1, 2, …), of which a classifier does not know";
    assert!(message.starts_with(expected) && message.contains("data.label_names"), "{message}");
    assert!(
        of(&numbers, "rare_labels")[0].starts_with("note 150 labels have fewer than 10 examples")
    );
    let fractions = check(table(|n| format!("{}", n as f64 % 20.0 / 2.0)));
    assert!(of(&fractions, "numeric_labels")[0].starts_with("note the 20 labels are numbers"));
    let stars = check(table(|n| format!("{}", n % 5 + 1)));
    assert!(of(&stars, "numeric_labels")[0].starts_with("ok "));
    let alike = check(table(|n| ["neg", "pos", "pos", "Pos "][n % 4].to_owned()));
    let message = of(&alike, "similar_labels")[0];
    assert!(
        message.starts_with("note the labels \"pos\" (200), \"Pos\" (100) look alike"),
        "{message}"
    );
    // The label is a column of the text.
    let rows: String = (0..60)
        .map(|n| format!("w{} v{},topic {},topic {}\n", n % 20, n % 7, n % 3, n % 3))
        .collect();
    let dir = dir.file("leak.csv", format!("title,tags,label\n{rows}"));
    let leak = findings(&dir, "leak.csv --text title --text tags", 0);
    let expected = "note 54 of 54 training texts contain their label as a word, so that a model need not \
                    learn anything else; check data.text_column";
    assert_eq!(of(&leak, "label_in_text"), [expected]);
    let none = findings(&dir, "leak.csv --text title", 0);
    assert!(of(&none, "label_in_text")[0].starts_with("ok "));
}

#[test]
fn labels_that_stand_for_a_missing_value_are_noted_and_can_be_left_out() {
    let rows = |labels: &[&str]| -> String {
        let row =
            |n: usize| format!("{} words w{n} z{},{}\n", n % 7, n % 9, labels[n % labels.len()]);
        "text,label\n".to_owned() + &(0..120).map(row).collect::<String>()
    };
    let dir = TestDir::new()
        .file("one.csv", rows(&["neg", "pos", "neg", "N/A"]))
        .file("two.csv", rows(&["neg", "pos", "NaN", "-", "none"]));
    let expected = "note the label \"N/A\" (30) looks like a missing value, but is a class; to leave such rows out, \
                    set data.label_names: {\"N/A\": \"\"}, data.broken_lines: skip and data.max_skipped to at least \
                    0.25";
    let one = findings(&dir, "one.csv", 0);
    assert_eq!(of(&one, "placeholder_labels"), [expected]);
    let train = "train one.csv --set train.epochs=1";
    let told = stderr(&dir.lstmtext(&format!("{train} --out a")).assert().success());
    assert!(told.contains(&expected.replace("note ", "note: ")), "{told}");
    let two = findings(&dir, "two.csv", 0);
    let message = of(&two, "placeholder_labels")[0];
    assert!(message.starts_with("note the labels \"-\" (24), \"NaN\" (24) look like"), "{message}");
    // What the note advises.
    let mut command = dir.lstmtext(&format!("{train} --out b"));
    for set in
        ["data.label_names={\"N/A\": \"\"}", "data.broken_lines=skip", "data.max_skipped=0.25"]
    {
        command.args(["--set", set]);
    }
    let told = stderr(&command.assert().success());
    assert!(told.contains("skipped 30 broken rows of 120"), "{told}");
    assert!(!told.contains("note: data.label_names"), "{told}");
}

#[test]
fn groups_in_several_files_are_noted_with_their_numbers() {
    let rows = |users: [usize; 3], seed| {
        let data = examples(&["neg", "pos"], 60, seed).into_iter().enumerate();
        let row = |(n, example): (usize, crate::common::Example)| {
            format!("{},{},u{}\n", example.text, example.label, users[n % 3])
        };
        "text,label,user\n".to_owned() + &data.map(row).collect::<String>()
    };
    let config = "data: {train: train.csv, validation: valid.csv, test: test.csv, split: {group: user}}\n\
                  model: {embedding: {size: 8}, lstm: {units: 8}}\ntrain: {epochs: 1}\n";
    let dir = TestDir::new()
        .file("train.csv", rows([1, 2, 3], 1))
        .file("valid.csv", rows([4, 5, 2], 2))
        .file("test.csv", rows([6, 5, 3], 3))
        .file("c.yaml", config);
    let found = findings(&dir, "c.yaml", 0);
    let note = |part: &str, other: &str, user: &str| {
        format!(
            "note 20 of 60 {part} examples are of a group (data.split.group: user) that {other} examples have \
             too, \"{user}\": their scores may not hold for new groups; move each group to one file"
        )
    };
    let expected = [
        note("validation", "training", "u2"),
        note("test", "training", "u3"),
        note("test", "validation", "u5"),
    ];
    assert_eq!(of(&found, "shared_groups"), expected);
    let told = stderr(&dir.train("c.yaml --out run"));
    for note in &expected {
        assert!(told.contains(&note.replacen("note ", "note: ", 1)), "{told}");
    }
    let all = "c.yaml --set data.validation=train.csv --set data.test=null";
    let found = findings(&dir, all, 0);
    let message = of(&found, "shared_groups")[0];
    assert!(message.starts_with("note 60 of 60 validation examples are of 3 groups"), "{message}");
    let split =
        "c.yaml --set data.validation=null --set data.test=null --set data.split.validation=20";
    assert_eq!(of(&findings(&dir, split, 0), "shared_groups"), ["ok no group is in two parts"]);
    let dir = dir.file("other.csv", "text,label\nx,neg\ny,pos\n");
    let found = findings(&dir, "c.yaml --set data.validation=other.csv --set data.test=null", 0);
    let message = of(&found, "shared_groups")[0];
    assert!(message.starts_with("note 0 of 2 validation examples have a group"), "{message}");
}

#[test]
fn too_many_broken_rows_are_an_error() {
    let rows = |broken: usize| {
        let good = csv(&examples(&["neg", "pos"], 100 - broken, 1));
        String::from_utf8(good).unwrap() + &"no label\n".repeat(broken)
    };
    let dir = TestDir::with_data().file("few.csv", rows(5)).file("many.csv", rows(6));
    let data = |name: &str| format!("small.yaml --set data.train={name} --set data.test=null");
    let skip = "--set data.broken_lines=skip";
    let few = findings(&dir, &data("few.csv"), 1);
    let message = of(&few, "broken_rows")[0];
    let expected = "skipped 5 broken rows of 100; the first is ";
    assert!(message.starts_with("error ") && message.contains(expected), "{message}");
    assert!(
        message.contains("few.csv:97: expected 2 columns as in the header, found 1; "),
        "{message}"
    );
    assert!(
        message.ends_with("correct them, or skip them with data.broken_lines: skip"),
        "{message}"
    );
    let skipped = findings(&dir, &format!("{} {skip}", data("few.csv")), 0);
    assert!(of(&skipped, "broken_rows")[0].starts_with("note "));
    let many = findings(&dir, &format!("{} {skip}", data("many.csv")), 1);
    let message = of(&many, "broken_rows")[0];
    assert!(message.ends_with("(6.0 %; the limit, data.max_skipped, is 5.0 %)"), "{message}");
    let train = |name: &str, more: &str| {
        dir.lstmtext(&format!("train {} {skip} --set train.epochs=1 {more}", data(name)))
    };
    let limit = [
        "skipped 6 broken rows of 100; the first is",
        "many.csv:96: ",
        "(6.0 %), and the limit is 5.0 %",
    ];
    assert_fails(train("many.csv", ""), 1, &limit);
    train("many.csv", "--set data.max_skipped=0.1 --out many").assert().success();
    let told = stderr(&train("few.csv", "--out few").assert().success());
    assert!(told.contains("note: skipped 5 broken rows of 100; the first is"), "{told}");
    // Runs of earlier versions have no limit.
    let config = dir.read("many/config.yaml");
    let old: String = config
        .lines()
        .filter(|line| !line.contains("max_skipped"))
        .map(|line| format!("{line}\n"))
        .collect();
    let dir = dir.file("old/config.yaml", old);
    dir.train("--resume old");
    assert_fails(dir.lstmtext("data check nothere.csv"), 2, &["No such file"]);
}
