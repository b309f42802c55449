use std::fs;

use super::*;
use crate::config;

/// Guesses the configuration of files in a new directory, whose name is removed from the result.
fn guess(files: &[(&str, &str)], path: &str, known: &Known) -> Result<Guess, String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let data = config::defaults_with(&[]).unwrap().config.data;
    match Guess::of(&directory.path().join(path), &data, known) {
        Ok(Some(mut guess)) => {
            let prefix = format!("{}/", directory.path().display());
            for (_, value) in &mut guess.fields {
                let shown = value.as_str().map(|text| text.replace(&prefix, ""));
                shown.into_iter().for_each(|text| *value = text.into());
            }
            Ok(guess)
        }
        Ok(None) => Err("no data".to_owned()),
        Err(error) => {
            Err(format!("{error:#}").replace(&directory.path().display().to_string(), ""))
        }
    }
}

/// Returns the guessed fields of a file, apart from the path and the batch size.
fn fields(name: &str, content: &str) -> Result<String, String> {
    let guess = guess(&[(name, content)], name, &Known::default())?;
    let others = guess
        .fields
        .iter()
        .filter(|(field, _)| !["data.train", "train.batch_size"].contains(&field.as_str()));
    let shown = others.map(|(field, value)| {
        format!("{}: {}", field.trim_start_matches("data."), inline_yaml(value))
    });
    Ok(shown.collect::<Vec<_>>().join(", "))
}

#[test]
fn columns_and_dialects_are_guessed() {
    let rows = "1,a good film to see,pos\n2,a very bad film to see,neg\n3,and another one,pos\n";
    let plain = rows.replace("1,", "").replace("2,", "").replace("3,", "");
    for (name, content, expected) in [
        ("a.csv", format!("id,review,stars\n{rows}"), "text_column: review, label_column: stars"),
        ("a.csv", format!("n,x,z\n{rows}"), "text_column: x, label_column: z"),
        ("a.csv", rows.to_owned(), "header: false, text_column: 2, label_column: 3"),
        // Columns of the same name have numbers, and the header is no example.
        ("a.csv", format!("text,text,stars\n{rows}"), "text_column: 2, label_column: stars"),
        ("a.csv", plain.clone(), "header: false, text_column: 1, label_column: 2"),
        (
            "a.csv",
            format!("text,label\n{plain}").replace(',', ";"),
            "delimiter: semicolon, text_column: text, label_column: label",
        ),
        (
            "a.tsv",
            format!("text,label\n{plain}").replace(',', "\t"),
            "text_column: text, label_column: label",
        ),
        (
            "data",
            format!("text,label\n{plain}").replace(',', "\t"),
            "format: tsv, text_column: text, label_column: label",
        ),
        (
            "a.jsonl",
            (1..4)
                .map(|n| {
                    format!("{{\"n\": {n}, \"said\": \"a long text\", \"true\": {}}}\n", n % 2)
                })
                .collect(),
            "text_column: said, label_column: \"true\"",
        ),
        (
            "a.json",
            "[{\"y\": 1, \"said\": \"a long text\"},\n {\"y\": 0, \"said\": \"no\"}, {\"y\": 1, \"said\": \"\"}]"
                .to_owned(),
            "text_column: said, label_column: \"y\"",
        ),
        ("a.txt", "__label__pos good\n__label__neg bad\n".to_owned(), ""),
        // The label is named, although other columns have few values.
        (
            "a.csv",
            "text,country,label\na film,DE,pos\na film too,FR,neg\nno,DE,neg\n".to_owned(),
            "text_column: text, label_column: label",
        ),
    ] {
        assert_eq!(fields(name, &content).as_deref(), Ok(expected), "{content}");
    }
    let yaml = "data:\n  train: x.csv\n";
    assert_eq!(fields("a.yaml", yaml).unwrap_err(), "no data");
    assert_eq!(fields("a.csv", "").unwrap_err(), "no data");
}

#[test]
fn columns_that_are_not_clear_are_asked_for() {
    let content = "title,story,country,weather\na long title,a long story,DE,fine\n\
                   another title,another text,FR,bad\none more here,one more there,DE,bad\n";
    let files = [("a.csv", content)];
    let with = |text: Option<&str>, label: Option<&str>| {
        let known = Known {
            text: text.map(Columns::named),
            label: label.map(|name| Column::Name(name.to_owned())),
            ..Known::default()
        };
        guess(&files, "a.csv", &known)
    };
    let error = with(None, None).unwrap_err();
    let expected = "\"/a.csv\" is a data file, but several columns can be the text: title (a long title, \
                    another title, one more here), story (a long story, another text, one more there); \
                    choose one, e.g. with --text title";
    assert_eq!(error, expected);
    let error = with(Some("story"), None).unwrap_err();
    let expected = "several columns can be the label: country (DE, FR), weather (fine, bad); choose \
                    one, e.g. with --label country";
    assert!(error.ends_with(expected), "{error}");
    let guess = with(Some("story"), Some("weather")).unwrap();
    assert!(guess.describe().ends_with("the text is in story, the label in weather (bad, fine)"));
    for (text, label) in [("story", "wether"), ("wether", "country")] {
        let error = with(Some(text), Some(label)).unwrap_err();
        let expected =
            "it has no column wether, only title, story, country, weather; did you mean weather?";
        assert!(error.ends_with(expected), "{error}");
    }
    let alone = fields("one.csv", "x\n1\n2\n").unwrap_err();
    assert!(
        alone.ends_with("it has a single column, x, and not one for texts and one for labels"),
        "{alone}"
    );
}

#[test]
#[cfg(feature = "parquet")]
fn columns_of_parquet_files_are_guessed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
    let data = config::defaults_with(&[]).unwrap().config.data;
    let guess = Guess::of(&directory, &data, &Known::default()).unwrap().unwrap();
    let description = guess.describe();
    assert!(
        description.ends_with("the text is in text, the label in label (0, 1)"),
        "{description}"
    );
    assert_eq!(guess.examples, Count::About(120));
    let train = guess.fields[0].1.as_str().unwrap();
    assert!(train.ends_with("tests/parquet/train[-_]*.parquet"), "{train}");
}

#[test]
fn directories_have_parts() {
    let csv = "text,label\na film,pos\nno film,neg\n";
    let paths = |files: &[(&str, &str)]| {
        let guess = guess(files, "d", &Known::default())?;
        let paths = guess.fields.iter().filter_map(|(field, value)| {
            let field = field.strip_prefix("data.")?;
            let is_path = ["train", "validation", "test"].contains(&field);
            is_path.then(|| format!("{field} {}", value.as_str().unwrap()))
        });
        Ok::<_, String>(paths.collect::<Vec<_>>().join(", "))
    };
    for (files, expected) in [
        (
            &["d/train.csv", "d/dev.csv", "d/test.csv"][..],
            "train d/train.csv, validation d/dev.csv, test d/test.csv",
        ),
        (&["d/train.csv", "d/notes.md"], "train d/train.csv"),
        (
            &["d/train-0.csv", "d/train-1.csv", "d/test-0.csv"],
            "train d/train[-_]*.csv, test d/test-0.csv",
        ),
        (&["d/pos/1.txt", "d/neg/1.txt"], "train d"),
        (
            &["d/train/pos/1.txt", "d/train/neg/1.txt", "d/test/pos/2.txt", "d/test/neg/1.txt"],
            "train d/train, test d/test",
        ),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|name| (*name, csv)).collect();
        assert_eq!(paths(&files).as_deref(), Ok(expected), "{files:?}");
    }
    assert_eq!(paths(&[("d/other.csv", csv)]).unwrap_err(), "no data");
    let several = guess(&[("d/train-0.csv", csv), ("d/train-1.csv", csv)], "d", &Known::default());
    assert_eq!(several.unwrap().examples, Count::About(4));
}

#[test]
fn small_batches_are_for_few_examples() {
    for (rows, batch, count) in [
        (200, Some(8), Count::Exact(200)),
        (2_000, Some(8), Count::Exact(2_000)),
        (2_001, None, Count::Exact(2_001)),
        (50_000, None, Count::Exact(50_000)),
    ] {
        // The file is sorted by label.
        let row = |n: usize| format!("word{n} and {} more,{}\n", "words ".repeat(10), 2 * n / rows);
        let content = "text,label\n".to_owned() + &(0..rows).map(row).collect::<String>();
        let guess = guess(&[("a.csv", &content)], "a.csv", &Known::default()).unwrap();
        let set = guess.fields.iter().find(|(field, _)| field == "train.batch_size");
        assert_eq!(set.and_then(|(_, value)| value.as_u64()), batch);
        assert_eq!((guess.examples, guess.labels.len()), (count, 2));
    }
    assert_eq!(Count::About(25_432).describe(), "about 26,000 examples");
}

#[test]
fn the_configuration_is_short_and_has_the_guess() {
    let content = "text;\"stars: 1-5\"\na film;5\nno film;1\nthe film;5\n";
    let guess = guess(&[("a.csv", content)], "a.csv", &Known::default());
    let mut guess = guess.unwrap();
    guess.path = "a.csv".into();
    guess.set("model.lstm.units", Value::from(16));
    guess.set("backend", Value::from("native"));
    let expected = "\
# Guessed from a.csv: 3 examples; the text is in text, the label in stars: 1-5 (1, 5)
data:
  train: a.csv
  delimiter: semicolon
  text_column: text
  label_column: \"stars: 1-5\"
  split:
    test: 0               # share of the examples that is scored once, at the end
text:
  max_length: 400         # tokens that the LSTM reads of a text
model:
  lstm:
    units: 16             # size of the LSTM
train:
  batch_size: 8           # examples per step
  epochs: 20              # at most; stops when the validation loss no longer falls
backend: native
";
    assert_eq!(guess.to_yaml(), expected);
    let config = config::parse(&guess.to_yaml(), "test", &[]).unwrap().config;
    assert_eq!((config.train.batch_size, config.inputs[0].lstm.units), (8, 16));
}

#[test]
fn several_labels_are_guessed_from_lists_and_fasttext_lines() {
    let lines = "__label__b __label__a a good film\n__label__a a bad film\nno label\n";
    assert_eq!(fields("a.txt", lines).as_deref(), Ok("multi_label: true"));
    assert_eq!(fields("a.txt", "__label__b good\n__label__a bad\n").as_deref(), Ok(""));
    let guessed = guess(&[("a.txt", lines)], "a.txt", &Known::default()).unwrap();
    assert!(guessed.describe().ends_with("3 examples (a, b)"), "{}", guessed.describe());
    let objects = |labels: [&str; 3]| {
        let tokens = "[\"a\", \"long\", \"list\", \"of\", \"the\", \"words\"]";
        let row = |labels: &str| {
            format!("{{\"said\": \"a good film\", \"labels\": {labels}, \"tokens\": {tokens}}}\n")
        };
        labels.map(row).concat()
    };
    let lists = objects(["[\"b\", \"a\"]", "[]", "[\"c\"]"]);
    let expected = "text_column: said, label_column: labels, multi_label: true";
    assert_eq!(fields("a.jsonl", &lists).as_deref(), Ok(expected));
    let guessed = guess(&[("a.jsonl", &lists)], "a.jsonl", &Known::default()).unwrap();
    let description = guessed.describe();
    assert!(description.ends_with("the label in labels (a, b, c)"), "{description}");
    let scalars = objects(["\"b\"", "\"a\"", "\"b\""]);
    let expected = "text_column: said, label_column: labels";
    assert_eq!(fields("a.jsonl", &scalars).as_deref(), Ok(expected));
    // Lists without a usual name are neither texts nor labels, unless they are named.
    let unnamed = lists.replace("\"labels\"", "\"marks\"");
    let error = fields("a.jsonl", &unnamed).unwrap_err();
    assert!(error.contains("no column is clearly the label"), "{error}");
    let known = Known { label: Some(Column::Name("marks".into())), ..Known::default() };
    let guessed = guess(&[("a.jsonl", &unnamed)], "a.jsonl", &known).unwrap();
    assert!(guessed.fields.contains(&("data.multi_label".to_owned(), true.into())));
}

#[test]
fn columns_of_labels_are_no_texts() {
    let content = "id,a,b,words\n1,1,0,a good film\n2,0,1,a bad film\n3,1,1,a film\n";
    let label_columns = ["a", "b"].map(|name| Column::Name(name.to_owned())).to_vec();
    let known = Known { label_columns, ..Known::default() };
    let guessed = guess(&[("a.csv", content)], "a.csv", &known).unwrap();
    let description = guessed.describe();
    assert!(description.ends_with("the text is in words, the labels in a, b"), "{description}");
    assert!(guessed.fields.iter().all(|(field, _)| field != "data.label_column"));
    let known = Known { label_columns: vec![Column::Name("c".into())], ..Known::default() };
    let error = guess(&[("a.csv", content)], "a.csv", &known).unwrap_err();
    assert!(error.contains("it has no column c, only id, a, b, words"), "{error}");
}
