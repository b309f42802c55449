//! Tables with quotes and delimiters.

use super::*;

#[test]
fn csv_follows_rfc_4180() {
    let content =
        b"\xEF\xBB\xBFlabel,text\r\npos,\"good, \"\"very\"\"\r\ntwo lines\"\r\nneg,bad\r\n";
    let read = read_file("a.csv", content, "").unwrap();
    assert_eq!(pairs(&read), [("pos", "good, \"very\"\r\ntwo lines"), ("neg", "bad")]);
    assert_eq!(read.lines, [2, 4]);
}

#[test]
fn tsv_treats_quotes_as_text_and_ignores_empty_lines() {
    let content = b"text\tlabel\n\"open\tpos\n\nit's \"x\"\tneg\r\n\r\n";
    let read = read_file("a.tsv", content, "").unwrap();
    assert_eq!(pairs(&read), [("pos", "\"open"), ("neg", "it's \"x\"")]);
}

#[test]
fn columns_are_found_by_name_or_number() {
    let content = b"1,x,good\n0,y,bad\n";
    let fields = "  header: false\n  text_column: 3\n  label_column: 1\n";
    assert_eq!(pairs(&read_file("a.csv", content, fields).unwrap()), [("1", "good"), ("0", "bad")]);
    let named = "  header: false\n  text_column: 3\n  label_column: 1\n  filter: {source: imdb}\n";
    assert!(fault("a.csv", content, named).contains("without a header"));
    assert_eq!(
        fault("a.csv", b"review,label\n", ""),
        "1: data.text_column: expected a column \"text\", found review, label"
    );
}

#[test]
fn unclosed_quotes_are_detected() {
    let open = b"text,label\na,x\n\"b,y\nc,x\nd,y\n";
    let message = |place: &str, rest: &str| {
        format!(
            "{place}, nothing closes it{rest}; close it, or double each quote inside a quoted field"
        )
    };
    let two = ", and the 2 lines after it would belong to this field";
    let expected = message("3: unclosed quote: it opens here in column 1", two);
    assert_eq!(fault("a.csv", open, ""), expected);
    // Skipping the row would silently drop the rest of the file.
    assert_eq!(fault("a.csv", open, "  broken_lines: skip\n"), expected);
    let last = message("3: unclosed quote: it opens here in column 2", "");
    assert_eq!(fault("a.csv", b"text,label\na,x\nb,\"y", ""), last);
    // The row has a quoted field of several lines before.
    let later = b"text,label\n\"a\nb\",\"x\nc,x\nd,y\n";
    let place = "3: unclosed quote: it opens here in column 2 of the row that begins in line 2";
    assert_eq!(fault("a.csv", later, ""), message(place, two));
    assert_eq!(pairs(&read_file("a.csv", b"text,label\na,x\n\"b\",\"y\"", "").unwrap()).len(), 2);
    assert_eq!(pairs(&read_file("a.csv", b"text,label\na,x\n\"b\n\",y\n\n", "").unwrap()).len(), 2);
    assert!(read_file("a.csv", b"", "").unwrap().is_empty());
}

#[test]
fn rows_that_span_many_lines_are_reported() {
    let content = format!("text,label\nb,y\n\"a\n{}\",y\n", "more\n".repeat(150));
    let read = read_file("a.csv", content.as_bytes(), "").unwrap();
    let (path, line, lines) = read.long_row.clone().unwrap();
    assert_eq!((path.file_name().unwrap().to_str().unwrap(), line, lines), ("a.csv", 3, 152));
    let read = read_file("a.csv", b"text,label\n\"a\n\nb\",x\n", "").unwrap();
    assert_eq!(read.long_row, None);
}

/// Reads CSV rows with the columns text and label, and skips broken ones. Returns the line on which each
/// row begins with its text and label, and the error without `broken_lines: skip`.
fn csv_rows(rows: &str) -> (Vec<(u64, String, String)>, String) {
    let content = format!("text,label\n{rows}");
    let read = read_file("a.csv", content.as_bytes(), "  broken_lines: skip\n").unwrap();
    let pairs = pairs(&read).into_iter().zip(&read.lines);
    let rows = pairs.map(|((label, text), line)| (*line, text.to_owned(), label.to_owned()));
    (rows.collect(), fault("a.csv", content.as_bytes(), ""))
}

#[test]
fn text_after_a_closing_quote_is_a_broken_row() {
    for row in ["\"great\" film,x", "\"great\"film,x", "\"great\" ,\"x\"y", "good,\"x\"y"] {
        let (rows, fault) = csv_rows(&format!("a,x\n{row}\nb,y\n"));
        assert_eq!(rows.len(), 2, "{row}");
        assert!(fault.starts_with("3: "), "{fault}");
    }
    let (_, fault) = csv_rows("\"great\"film,x\n");
    let expected =
        "2: found \"film,x\" after a closing quote; double each quote inside a quoted field";
    assert!(fault.starts_with(expected), "{fault}");
    // A broken text of several lines is one broken row.
    let (rows, fault) = csv_rows("a,x\n\"one\ntwo, x\nthree\" four,x\nb,y\n");
    assert_eq!(rows, [(2, "a".into(), "x".into()), (6, "b".into(), "y".into())]);
    assert!(fault.starts_with("3: found \"four,x\" after a closing quote in line 5; "), "{fault}");
    // Space after the quote is harmless.
    let read = read_file("a.csv", b"text,label\n\"a\" ,\"x\" \r\n", "").unwrap();
    assert_eq!(pairs(&read), [("x", "a")]);
}

#[test]
fn stray_quotes_do_not_swallow_the_rows_between_them() {
    let lines = |rows: &str| {
        let (rows, fault) = csv_rows(rows);
        let lines: Vec<u64> = rows.iter().map(|(line, _, _)| *line).collect();
        (lines, fault.split_once(": ").unwrap().0.to_owned(), rows)
    };
    // Both quotes open a field.
    let (read, first, _) = lines("a,x\n\"b,y\nc,x\nd,y\n\"e,x\nf,y\n");
    assert_eq!((&read[..], &*first), (&[2, 4, 5, 7][..], "3"));
    // The second quote closes a field, and the number of columns fits.
    let (read, first, rows) = lines("a,x\n\"b,y\nc,x\nd,y\n5\",x\nf,y\n");
    assert_eq!((&read[..], &*first), (&[2, 4, 5, 6, 7][..], "3"));
    assert_eq!(rows[3].1, "5\"");
    // In the first rows, before any label is known.
    let (read, first, _) = lines("\"b,y\nc,x\nd 5\",y\na,x\nf,y\n");
    assert_eq!((&read[..], &*first), (&[3, 4, 5, 6][..], "2"));
    // Up to the end of the file.
    let (read, first, _) = lines("a,x\n\"b,x\nc,x\n");
    assert_eq!((&read[..], &*first), (&[2, 4][..], "3"));
    // In the second of three columns, and without a header.
    let content = b"1,a,x\n2,\"b,y\n3,c,x\n4,d\",y\n5,e,y\n";
    let fields = "  header: false\n  text_column: 2\n  label_column: 3\n";
    assert!(
        fault("a.csv", content, fields)
            .starts_with("2: a quote opens in this row and closes in line 4")
    );
    let skip = read_file("a.csv", content, &format!("{fields}  broken_lines: skip\n")).unwrap();
    assert_eq!((&skip.lines[..], skip.skipped), (&[1, 3, 4, 5][..], 1));
}

#[test]
fn stray_quotes_around_labels_do_not_swallow_rows() {
    let lines = |rows: &str| {
        let (rows, fault) = csv_rows(rows);
        let lines: Vec<u64> = rows.iter().map(|(line, _, _)| *line).collect();
        let names: HashSet<String> = rows.into_iter().map(|(_, _, label)| label).collect();
        assert!(names.iter().all(|name| name == "x" || name == "y"), "{names:?}");
        (lines, fault.split_once(": ").unwrap().0.to_owned())
    };
    // The row with the other quote is broken too.
    assert_eq!(lines("a,x\nb,\"y\nc,x\nd,y\"\ne,x\n"), (vec![2, 4, 6], "3".into()));
    assert_eq!(lines("b,\"y\nc,x\nd,y\" \r\ne,x\n"), (vec![3, 5], "2".into()));
    // No label has line breaks, known or not.
    assert_eq!(lines("b,\"y\nc,x\"\n"), (vec![], "2".into()));
    // From the text of a row to the label of another one.
    assert_eq!(lines("a,x\n\"b,y\nc,x\nd,y\"\ne,y\n"), (vec![2, 4, 6], "3".into()));
    // Blank lines, commas in a text, and labels in another case.
    assert_eq!(lines("a,x\nb,y\n\"b,y\n\nc,x\nd 5\",y\n"), (vec![2, 3, 6, 7], "4".into()));
    assert_eq!(lines("a,x\nb,y\n\"b,y\nc,x\nd, 5,y\ne 5\",y\n").1, "4");
    let (rows, _) = csv_rows("a,x\nb,y\n\"b,Y\nc,X\nd 5\",y\n");
    assert_eq!(rows.len(), 4);
    // One of many rows may have a label of its own.
    let (rows, fault) = csv_rows("a,x\nb,y\n\"b,y\nc,x\nd,oops\ne,x\nf,y\ng 5\",x\n");
    assert!(rows.len() == 7 && fault.starts_with("4: "), "{fault}");
    // In the first row of a file without a header.
    let read = |fields: &str| {
        let fields = format!("  header: false\n  text_column: 1\n  label_column: 2\n{fields}");
        read_file("a.csv", b"\"a,x\nb,y\nc 5\",x\nd,y\ne,x\n", &fields)
    };
    assert!(read("").unwrap_err().to_string().contains("a.csv:1: a quote opens in this row"));
    assert_eq!(read("  broken_lines: skip\n").unwrap().lines, [2, 3, 4, 5]);
    // In the middle column.
    let content = b"1,x,a\n2,\"y,b\n3,x,c\n4,y\",d\n5,x,e\n";
    let fields = "  header: false\n  text_column: 3\n  label_column: 2\n  broken_lines: skip\n";
    let read = read_file("a.csv", content, fields).unwrap();
    assert_eq!((&read.lines[..], read.skipped), (&[1, 3, 5][..], 2));
}

/// The last quote that can close a field is in an earlier, longer line.
#[test]
fn an_unclosed_field_with_doubled_quotes_is_an_error() {
    let file = b"text,label\na,x\n\"a long text\"\",x\nb\n";
    assert!(read_file("a.csv", file, "").is_err());
}

#[test]
fn labels_of_other_files_show_where_rows_are_swallowed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.csv");
    std::fs::write(&path, "text,label\n\"b,x\nc,y\nd 5\",z\n").unwrap();
    let config = data_config("");
    assert_eq!(read_texts(&path, &config, NONE_KNOWN).unwrap().0.len(), 1);
    let known = ["x", "y", "z"].map(str::to_owned);
    let labels = Labels::Required { known: &known };
    let error = read_texts(&path, &config, labels).unwrap_err();
    assert!(error.to_string().contains("test.csv:2: a quote opens"), "{error}");
}

#[test]
fn quoted_fields_may_contain_line_breaks() {
    let content = "text,label\na,x\n\"Dear all, hello\nfrom here, x\n\",y\n\"yes, no\n\n\"\"no\"\", yes\",x\n\"\n\",y\n";
    let read = read_file("a.csv", content.as_bytes(), "").unwrap();
    let expected = [
        ("x", "a"),
        ("y", "Dear all, hello\nfrom here, x\n"),
        ("x", "yes, no\n\n\"no\", yes"),
        ("y", "\n"),
    ];
    assert_eq!((pairs(&read), read.skipped), (expected.to_vec(), 0));
    // A table in a text.
    let table = b"text,label\na,x\n\"This table:\nb,x\nc,x\n\",x\n";
    assert_eq!(read_file("a.csv", table, "").unwrap().len(), 2);
}

/// Runs of lstmtext 0.1 keep their texts.
#[test]
fn quotes_are_read_leniently_by_the_first_rules() {
    let content = b"text,label\n\"b\"c d\" ,y\n\"b,y\nc,x\nd\",y\n\"e\"\"\"\r\nf,y\n";
    let read = read_file("a.csv", content, "  version: 1\n  broken_lines: skip\n").unwrap();
    assert_eq!(pairs(&read), [("y", "bc d\" "), ("y", "b,y\nc,x\nd"), ("y", "f")]);
}

#[test]
fn rows_without_an_end_are_limited() {
    let rows = [&b"text,label\n\"a\n"[..], &b"more text in this line\n".repeat(90_000)].concat();
    let error = read_file("a.csv", &rows, "  max_line_mb: 1\n").unwrap_err().to_string();
    assert!(
        error.contains("a.csv:2: the row exceeds 1 MB, the limit set by data.max_line_mb"),
        "{error}"
    );
    // The cost is linear in the number of stray quotes.
    let rows = [&b"text,label\n"[..], &b"a,\"x\n".repeat(20_000)].concat();
    let read = read_file("a.csv", &rows, "  broken_lines: skip\n").unwrap();
    assert_eq!((read.len(), read.skipped), (0, 10_000));
}

#[test]
fn tables_have_any_delimiter_and_quoting() {
    let none = "  quoting: none\n";
    for (name, content, fields, expected) in [
        ("a.csv", "label;text\npos;\"good; very\"\n", "", "good; very"),
        ("a.csv", "label\ttext\npos\tgood, very\n", "", "good, very"),
        ("a.csv", "label|text\npos|good\n", "", "good"),
        ("a.csv", "label^text\npos^good\n", "  delimiter: '^'\n", "good"),
        ("a.csv", "label,text\npos,\"good\" film\n", none, "\"good\" film"),
        ("a.tsv", "label\ttext\npos\t\"good\nfilm\"\n", "  quoting: standard\n", "good\nfilm"),
        ("a.tsv", "label\ttext\npos\t\"good\n", "", "\"good"),
        ("a.tsv", "label;text\npos;good\n", "  delimiter: semicolon\n", "good"),
    ] {
        let read = read_file(name, content.as_bytes(), fields).unwrap();
        assert_eq!(pairs(&read), [("pos", expected)], "{content}");
    }
    let error = fault("a.csv", b"text;label\na;b\n", "  delimiter: comma\n");
    assert!(error.contains("separated by \";\": set data.delimiter: semicolon"), "{error}");
    let error = fault("a.csv", b"id;review;stars\n1;a;b\n", "");
    assert!(error.contains("expected a column \"text\", found id, review, stars"), "{error}");
    for value in ["'\"'", "a", "ab", "''", "é", "1"] {
        let yaml = format!("data: {{train: x, delimiter: {value}}}\n");
        let error = config::parse(&yaml, "test", &[]).unwrap_err().to_string();
        assert!(error.contains("expected auto, comma, semicolon"), "{value}: {error}");
    }
    let error = config::parse("data: {train: x, encoding: klingon}\n", "test", &[]).unwrap_err();
    assert!(error.to_string().contains("expected auto, utf-8, utf-16, latin-1"), "{error}");
}

#[test]
fn duplicate_columns_are_rejected() {
    let content = b"text,text,label\na,b,x\n";
    assert_eq!(
        fault("a.csv", content, ""),
        "1: data.text_column: the header has more than one column \"text\"; use its number, counting \
         from 1"
    );
    let read = read_file("a.csv", content, "  text_column: 2\n").unwrap();
    assert_eq!(pairs(&read), [("x", "b")]);
}
