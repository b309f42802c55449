//! JSON lines and arrays.

use super::*;

#[test]
fn json_lines_are_read_by_key() {
    let content = b"{\"text\": \"a\\nb\", \"label\": 1}\n\n{\"text\": \"c\", \"label\": \"x\"}\n";
    let read = read_file("a.jsonl", content, "").unwrap();
    assert_eq!(pairs(&read), [("1", "a\nb"), ("x", "c")]);
    assert_eq!(read.lines, [1, 3]);
    assert!(
        fault("a.jsonl", b"{\"text\": \"a\"}\n", "")
            .contains("expected a key \"label\", found text")
    );
    assert!(
        fault("a.jsonl", b"{\"text\": [], \"label\": 1}\n", "")
            .contains("\"text\" must be a string, a number or a boolean")
    );
    assert!(fault("a.jsonl", b"{\"text\"\n", "").starts_with("1: expected a JSON object: EOF"));
}

#[test]
fn json_arrays_are_read_element_by_element() {
    let elements = [
        r#"{"text": "a ], \"b\" [{", "label": 1, "more": [1, {"x": "]"}]}"#,
        r#"{"label": true, "text": "c\\"}"#,
        "{\n  \"text\": \"d\",\n  \"label\": \"x\"\n}",
    ];
    let expected = [("1", "a ], \"b\" [{"), ("true", "c\\"), ("x", "d")];
    for (separator, end) in [(",", "]"), ("\n , \n", "\n]\n\n"), (",\r\n", "\r\n]")] {
        let content = format!(" \n[{}{end}", elements.join(separator));
        for name in ["f.json", "f.jsonl"] {
            let read = read_file(name, content.as_bytes(), "").unwrap();
            assert_eq!(pairs(&read), expected, "{content}");
            assert_eq!((&*read.lines, read.files[0].unit), (&[1, 2, 3][..], Unit::Row));
            assert!(read.location(2).ends_with("f.json, row 3") || name != "f.json");
        }
        let read = read_file("f.json.gz", &gzip(content.as_bytes()), "").unwrap();
        assert_eq!(pairs(&read), expected);
    }
    let lines = br#"{"text": "a", "label": 1}"#;
    assert_eq!(
        read_file("f.json", lines, "").unwrap().location(0).rsplit_once(':').unwrap().1,
        "1"
    );
    assert!(read_file("f.json", b"[ ]", "").unwrap().is_empty());
}

#[test]
fn faults_in_json_arrays_are_located_by_row() {
    let first = r#"[{"text": "a", "label": 1},"#;
    for (rest, message) in [
        ("{\"text\": \"b\"}]", "f.json, row 2: expected a key \"label\", found text"),
        ("{\"text\": null, \"label\": 1}]", "f.json, row 2: \"text\" must be a string"),
        (", {\"text\": \"b\", \"label\": 1}]", "f.json, row 2: expected a JSON object: EOF"),
        ("{\"text\": \"b\", \"label\": 1", "f.json: the array does not end after row 1"),
        ("{\"text\": \"b, \"label\": 1}]", "f.json: the array does not end after row 1"),
        ("]", "f.json: expected another object after row 1, found the end of the array"),
        ("{\"text\": \"b\", \"label\": 1}] []", "f.json: found text after the end of the array"),
        ("3]", "f.json, row 2: expected a JSON object"),
    ] {
        let error = read_file("f.json", format!("{first}{rest}").as_bytes(), "").unwrap_err();
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
    let long = format!("{first}{{\"text\": \"{}\"}}]", "a".repeat(1_100_000));
    let error = read_file("f.json", long.as_bytes(), "  max_line_mb: 1\n").unwrap_err();
    assert!(format!("{error:#}").contains("f.json, row 2 exceeds 1 MB"), "{error:#}");
    let many = format!("{first}{}", "{\"text\": \"b\", \"label\": 1},".repeat(50_000));
    let many = many.trim_end_matches(',').to_owned() + "]";
    let read = read_file("f.json", many.as_bytes(), "  max_line_mb: 1\n").unwrap();
    assert_eq!(read.len(), 50_001);
}

#[test]
fn json_values_without_a_text_are_explained() {
    let surrogate = fault("a.jsonl", b"{\"text\": \"a \\ud800\", \"label\": 1}\n", "");
    assert!(surrogate.starts_with("1: \"text\" is invalid: "), "{surrogate}");
    assert!(surrogate.contains("surrogate") || surrogate.contains("hex escape"), "{surrogate}");
    let large = b"{\"text\": 1e400, \"label\": -1e400}\n";
    assert_eq!(pairs(&read_file("a.jsonl", large, "").unwrap()), [("-1e400", "1e400")]);
    let first = fault("a.jsonl", large, "  version: 1\n");
    assert!(first.starts_with("1: \"text\" is invalid: number out of range"), "{first}");
}

#[test]
fn numbers_in_json_lines_keep_their_spelling() {
    let content = b"{\"text\": 1.10, \"label\": true, \"v\": 1.10}\n\
                    {\"text\": 12345678901234567890123, \"label\": 1e3, \"v\": 1.10}\n\
                    {\"text\": \"a \\u00e9\", \"label\": -0.0, \"v\": \"1.10\"}\n\
                    {\"text\": \"x\", \"label\": 0, \"v\": 1.1}\n";
    let read = read_file("a.jsonl", content, "  filter: {v: 1.10}\n").unwrap();
    let expected = [("true", "1.10"), ("1e3", "12345678901234567890123"), ("-0.0", "a \u{e9}")];
    assert_eq!(pairs(&read), expected);
    // Runs of lstmtext 0.1 dropped the spelling.
    let read = read_file("a.jsonl", content, "  filter: {v: 1.1}\n  version: 1\n").unwrap();
    assert_eq!(pairs(&read)[1].0, "1000.0");
    assert_eq!(read.len(), 3);
}

#[test]
fn keys_that_occur_twice_in_an_object_are_errors() {
    let content = b"{\"text\": \"a\", \"label\": \"x\"}\n\
                    {\"text\": \"b\", \"label\": \"x\", \"label\": \"y\"}\n";
    let message = fault("a.jsonl", content, "");
    assert!(message.starts_with("2: "), "{message}");
    assert!(message.contains("found the key \"label\" more than once"), "{message}");
    let read = read_file("a.jsonl", content, "  version: 1\n").unwrap();
    assert_eq!(pairs(&read), [("x", "a"), ("y", "b")]);
}
