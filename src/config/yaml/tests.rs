use super::*;

fn problem(yaml: &str) -> String {
    let problems = parse(yaml, &[]).unwrap_err();
    let line = |Problem { position, message }: &Problem| match position {
        Some((line, column)) => format!("{line}:{column}: {message}"),
        None => message.clone(),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn at(yaml: &str, path: &str) -> Option<(usize, usize)> {
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    parse(yaml, &[]).unwrap().positions.get(&path)
}

#[test]
fn keys_have_positions_at_every_depth() {
    let yaml = "# comment\ntrain:\n  seed: 1\n\n  epochs: 3\nmodel: {lstm: {units: 5}}\n";
    assert_eq!(at(yaml, "train"), Some((2, 1)));
    assert_eq!(at(yaml, "train.epochs"), Some((5, 3)));
    assert_eq!(at(yaml, "model.lstm.units"), Some((6, 16)));
    assert_eq!(at("train: {seed: 1}\n", "train.epochs"), None);
    assert_eq!(at("- a\n- b\n", "train"), None);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    for yaml in ["a:\n  b: 1\nc: 2\n", "a:\r\n  b: 1\r\nc: 2\r\n"] {
        let marked = format!("\u{FEFF}{yaml}");
        assert_eq!(parse(&marked, &[]).unwrap().root, parse(yaml, &[]).unwrap().root);
        assert_eq!((at(&marked, "a"), at(&marked, "c")), (Some((1, 1)), Some((3, 1))));
    }
    assert_eq!(parse("\u{FEFF}", &[]).unwrap().root, Value::Null);
}

#[test]
fn values_are_those_of_serde_yaml() {
    for text in [
        "",
        "~",
        "null",
        "Null",
        "NULL",
        "nULL",
        "true",
        "True",
        "TRUE",
        "yes",
        "off",
        "0",
        "-0",
        "1",
        "+1",
        "-17",
        "007",
        "0x1F",
        "0o17",
        "0b11",
        "1_000",
        "1.10",
        "1e3",
        "1E-3",
        "-.5",
        "5.",
        ".inf",
        "-.INF",
        ".nan",
        "inf",
        "nan",
        "2020-01-01",
        "1:30",
        "18446744073709551615",
        "-9223372036854775808",
        "a b",
        "<<",
        "é",
        "0x",
        "+",
        ".",
        "1e",
        "e1",
    ] {
        let expected: Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(plain(text), expected, "{text}");
    }
    assert_eq!(plain("100000000000000000000"), Value::from(1e20));
    for yaml in [
        "a: {b: [1, {c: 'x'}], d: !!str 5}\ne: |\n  two\n  lines\nf: >-\n  one\n  line\n",
        "a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: [*a, *a]\nf: {<<: [*a, {g: 4}]}\n",
        "\"a\": 'it''s'\n? b\n: \"\\u00e9\"\nlist:\n- 1\n-\n  - 2\n",
    ] {
        let mut expected: Value = serde_yaml::from_str(yaml).unwrap();
        expected.apply_merge().unwrap();
        assert_eq!(parse(yaml, &[]).unwrap().root, expected, "{yaml}");
    }
}

#[test]
fn duplicate_keys_are_reported_at_the_second_with_the_line_of_the_first() {
    assert_eq!(
        problem("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n\"a\": 4\na: 5\n"),
        "5:3: b.c: duplicate key; the first is in line 3\n\
         6:1: a: duplicate key; the first is in line 1\n\
         7:1: a: duplicate key; the first is in line 1"
    );
    assert!(parse("- {a: 1}\n- {a: 1}\n", &[]).is_ok());
    // A key takes precedence over the same key of a merge.
    let merged = "b: &b {x: 1}\nc:\n  <<: *b\n  x: 2\nd:\n  <<: *b\n";
    assert_eq!((at(merged, "c.x"), at(merged, "d.x")), (Some((4, 3)), Some((1, 8))));
}

#[test]
fn faults_of_the_grammar_have_positions_and_reasons() {
    for (yaml, expected) in [
        (
            "a: [1,\nb: 2\n",
            "3:1: did not find expected ',' or ']', while parsing a flow sequence from line 1",
        ),
        (
            "a:\n\tb: 1\n",
            "2:1: found character that cannot start any token, while scanning for the next token; \
             indent with spaces instead of tabs",
        ),
        ("a: *b\n", "1:4: unknown anchor"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
        ("a: !foo 1\n", "1:4: the tag !foo has no meaning in a configuration; remove it"),
        ("? [a, b]\n: 1\n", "1:3: a key must be a single value"),
        ("a: \u{1}\n", "control characters are not allowed"),
        ("<<: 1\n", "expected a mapping or list of mappings for merging"),
    ] {
        assert!(problem(yaml).starts_with(expected), "{yaml:?}: {}", problem(yaml));
    }
}

#[test]
fn malformed_tags_are_an_error() {
    for yaml in ["a: 1\nb: [!x,y]\n", "a: 1\nb: !<tag:%ff> x\n", "a: 1\nb: !e%FF x\n"] {
        let problems = parse(yaml, &[]).unwrap_err();
        assert_eq!(problems[0].position.map(|(line, _)| line), Some(2), "{problems:?}");
    }
}

#[test]
fn depth_and_number_of_values_are_limited() {
    let too_deep = "nested more than 128 levels deep";
    for yaml in [
        format!("a: {}", "[".repeat(100_000)),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "a: &a [*a]".to_owned(),
        "a: &a {<<: *a}".to_owned(),
    ] {
        assert!(problem(&yaml).contains(too_deep), "{}", problem(&yaml));
    }
    let nine = |name: char| format!("[{}]", vec![format!("*{name}"); 9].join(", "));
    let mut laughs = "a: &a 1\n".to_owned();
    for (name, next) in ('a'..='y').zip('b'..='z') {
        laughs += &format!("{next}: &{next} {}\n", nine(name));
    }
    assert!(problem(&laughs).contains("more than 500000 values"), "{}", problem(&laughs));
}

/// Pieces of documents without tags and with keys that are strings. None is the name of a section, which
/// is a mapping even if it is empty.
const PIECES: [&str; 44] = [
    "a: ",
    "b:",
    "\"c\": ",
    "<<: ",
    "d : ",
    "- ",
    "-\n",
    "? a\n",
    ": ",
    "\n",
    "\n  ",
    "\n    ",
    "\r\n",
    " ",
    "\t",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&x ",
    "*x",
    "&y ",
    "*y ",
    "1",
    "1.10",
    "~",
    "true",
    "word",
    "'q'",
    "\"\\u00e9\"",
    "|\n  ",
    ">-\n  ",
    "# c\n",
    "---\n",
    "...\n",
    "%",
    "é",
    "a b",
    "\u{feff}",
    "\u{d7a3}\u{1f600}\u{a0}",
    "\u{85}",
    "\u{2028}",
    "\"\\",
];

fn has_text_keys(value: &Value) -> bool {
    match value {
        Value::Mapping(entries) => {
            entries.iter().all(|(key, value)| key.is_string() && has_text_keys(value))
        }
        Value::Sequence(items) => items.iter().all(has_text_keys),
        _ => true,
    }
}

proptest::proptest! {
    #[test]
    fn documents_are_read_as_serde_yaml_reads_them(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24)
    ) {
        let yaml = pieces.concat() + "\n";
        // A byte order mark confuses serde_yaml.
        let yaml = yaml.trim_start_matches('\u{feff}');
        let expected = serde_yaml::from_str::<Value>(yaml).and_then(|mut value| {
            value.apply_merge()?;
            Ok(value)
        });
        let parsed = parse(yaml, &[]);
        proptest::prop_assume!(expected.as_ref().is_ok_and(has_text_keys) || expected.is_err());
        match (&expected, &parsed) {
            (Ok(expected), Ok(parsed)) => proptest::prop_assert_eq!(expected, &parsed.root),
            (Err(_), Err(_)) => {}
            _ => proptest::prop_assert!(false, "{expected:?} {parsed:?}"),
        }
    }
}
