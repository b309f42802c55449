//! Encodings of files, and bytes that do not fit them.

use super::*;

/// A power failure during a write can leave such files.
#[test]
fn nul_bytes_are_ordinary_characters() {
    let read = read_file("a.csv", b"text,label\na\0b,x\nc,y\n", "").unwrap();
    assert_eq!(pairs(&read), [("x", "a\0b"), ("y", "c")]);
    let zeros = [&b"text,label\na,x\nc,y\n"[..], &[0; 4096]].concat();
    assert!(fault("a.csv", &zeros, "").starts_with("4: expected 2 columns"));
    assert_eq!(read_file("a.csv", &zeros, "  broken_lines: skip\n").unwrap().skipped, 1);
    assert!(fault("a.jsonl", &[0; 64], "").starts_with("1: "));
}

const FRENCH: &str = "text,label\ntrès bon,pos\ndéçu,neg\n";

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn files_are_read_in_their_encoding() {
    let little = utf16(FRENCH, u16::to_le_bytes);
    let big = utf16(FRENCH, u16::to_be_bytes);
    let latin: Vec<u8> = FRENCH.chars().map(|c| c as u8).collect();
    let encoding = |name: &str| format!("  encoding: {name}\n");
    for (content, fields) in [
        ([&b"\xFF\xFE"[..], &little].concat(), String::new()),
        ([&b"\xFE\xFF"[..], &big].concat(), String::new()),
        // A byte order mark takes precedence.
        ([&b"\xFE\xFF"[..], &big].concat(), encoding("latin-1")),
        (format!("\u{FEFF}{FRENCH}").into(), encoding("latin-1")),
        (little.clone(), encoding("utf-16")),
        (big, encoding("utf-16be")),
        (latin.clone(), encoding("latin-1")),
        (latin.clone(), encoding("cp1252")),
        (gzip(&latin), encoding("iso-8859-1")),
        (FRENCH.into(), encoding("utf-8")),
    ] {
        let read = read_file("a.csv", &content, &fields).unwrap();
        assert_eq!(pairs(&read), [("pos", "très bon"), ("neg", "déçu")], "{fields}");
    }
    let fault = |content: &[u8], fields: &str| {
        format!("{:#}", read_file("a.csv", content, fields).unwrap_err())
    };
    let error = fault(&little, "");
    assert!(error.ends_with("expected UTF-8; set data.encoding: utf-16le"), "{error}");
    let error = fault(b"\xFF\xFE\0\0t\0\0\0", "");
    assert!(error.contains("is UTF-32, which is not supported; convert it with iconv"), "{error}");
    let jsonl = read_file("a.jsonl", b"{\"text\": \"\x82\xC2\", \"label\": 1}", &encoding("sjis"));
    assert_eq!(pairs(&jsonl.unwrap()), [("1", "つ")]);
}

#[test]
fn bytes_that_are_not_in_the_configured_encoding_are_located() {
    let content = b"text,label\n\x82\xC2,pos\n\x82,neg\nfine,neg\n";
    let fields = "  encoding: shift_jis\n";
    let error = fault("a.csv", content, fields);
    let expected = "3: column 1 is not valid shift_jis; check the encoding that was given";
    assert!(error.starts_with(expected), "{error}");
    let skipped = read_file("a.csv", content, &format!("{fields}  broken_lines: skip\n")).unwrap();
    assert_eq!((skipped.len(), skipped.skipped, skipped.not_utf8), (2, 1, 1));
}

#[test]
fn a_bad_byte_in_a_file_that_is_otherwise_utf_8_is_located() {
    for (name, content) in [
        ("a.csv", "text,label\nдобро,pos\nзло X,neg\n"),
        ("a.tsv", "text\tlabel\nдобро\tpos\nзло X\tneg\n"),
        ("a.jsonl", "\n{\"text\": \"добро\", \"label\": 1}\n{\"text\": \"зло X\", \"label\": 2}\n"),
        ("a.txt", "\n__label__pos добро\n__label__neg зло X\n"),
    ] {
        let mut bytes = content.as_bytes().to_vec();
        let bad = bytes.iter().rposition(|byte| *byte == b'X').unwrap();
        bytes[bad] = 0xE9;
        let error = format!("{:#}", read_file(name, &bytes, "").unwrap_err());
        let line_start = bytes[..bad].iter().rposition(|byte| *byte == b'\n').unwrap();
        let place =
            format!("byte {} of line 3 is 0xE9, but the text is otherwise UTF-8", bad - line_start);
        assert!(error.contains(&place) && error.contains("iconv -c"), "{name}: {error}");
    }
}

/// Spreadsheets save CSV files in Windows-1252, where skipping lines would lose those with accents.
#[test]
fn lines_that_are_not_utf_8_can_be_converted() {
    for (name, content) in [
        ("a.csv", &b"text,label\ntr\xE8s bon,pos\n"[..]),
        ("a.tsv", b"text\tlabel\ntr\xE8s bon\tpos\n"),
        ("a.txt", b"__label__pos tr\xE8s bon\n"),
        ("a.jsonl", b"{\"text\": \"tr\xE8s bon\", \"label\": \"pos\"}\n"),
    ] {
        let error = format!("{:#}", read_file(name, content, "").unwrap_err());
        let advice =
            "not valid UTF-8; it is most likely WINDOWS-1252: set data.encoding: windows-1252";
        assert!(error.contains(advice), "{name}: {error}");
    }
    let header = b"text,cat\xE9gorie,label\na,b,x\n";
    assert!(
        fault("a.csv", header, "  label_column: cat\u{E9}gorie\n")
            .starts_with("1: the header is not valid UTF-8; it is most likely")
    );
    assert!(read_file("a.csv", header, "").is_ok());
}
