mod encodings;
mod json;
mod labels;
#[cfg(feature = "parquet")]
mod parquet;
mod tables;

use std::collections::HashSet;
use std::io::Write;

use super::*;
use crate::config;

/// Labels are needed, and no other file has any.
const NONE_KNOWN: Labels = Labels::Required { known: &[] };

fn data_config(fields: &str) -> Config {
    let yaml = format!("data:\n  train: x\n{fields}");
    config::parse(&yaml, "test", &[]).unwrap_or_else(|e| panic!("{e}")).config
}

/// Content of a data file.
#[derive(Debug)]
pub(super) struct Read {
    rows: Rows,
    pub(super) texts: Vec<Vec<String>>,
}

impl std::ops::Deref for Read {
    type Target = Rows;
    fn deref(&self) -> &Rows {
        &self.rows
    }
}

pub(super) fn read(path: &Path, config: &Config) -> anyhow::Result<Read> {
    let (rows, texts) = read_texts(path, config, NONE_KNOWN)?;
    Ok(Read { rows, texts })
}

/// Writes `content` to a file called `name` and reads it as data.
fn read_file(name: &str, content: &[u8], fields: &str) -> anyhow::Result<Read> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join(name);
    std::fs::write(&path, content)?;
    read(&path, &data_config(fields))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn pairs(read: &Read) -> Vec<(&str, &str)> {
    let label = |i: &u32| read.label_names[*i as usize].as_str();
    read.texts[0]
        .iter()
        .zip(read.targets.labels().unwrap())
        .map(|(text, i)| (label(i), text.as_str()))
        .collect()
}

/// Returns the group of each row.
fn groups(read: &Read) -> Vec<Option<&str>> {
    let name = |group: &u32| read.group_names.get_index(*group as usize).map(String::as_str);
    read.groups.iter().map(name).collect()
}

#[test]
fn groups_are_compared_alike_in_all_formats() {
    let expected = [Some("a"), None, Some("a"), None, Some("\u{e9}"), Some("\u{e9}")];
    let values = ["a", "", " a ", "  ", "\u{e9}", "e\u{301}"];
    let fields = "  split: {group: user}\n";
    for (name, header, separator) in
        [("a.csv", "text,label,user\n", ','), ("a.tsv", "text\tlabel\tuser\n", '\t')]
    {
        let row = |value: &str| format!("x{separator}y{separator}{value}\n");
        let content = header.to_owned() + &values.map(row).concat();
        let read = read_file(name, content.as_bytes(), fields).unwrap();
        assert_eq!(groups(&read), expected, "{name}");
    }
    let row = |user: String| format!("{{\"text\": \"x\", \"label\": \"y\"{user}}}\n");
    let strings = values.map(|value| row(format!(", \"user\": \"{value}\""))).concat();
    let others = [", \"user\": null", "", ", \"user\": 7", ", \"user\": \"7\""];
    let others = others.map(|user| row(user.to_owned())).concat();
    let read = read_file("a.jsonl", (strings + &others).as_bytes(), fields).unwrap();
    assert_eq!(groups(&read)[..6], expected);
    assert_eq!(groups(&read)[6..], [None, None, Some("7"), Some("7")]);
}

#[test]
fn a_filter_reads_null_as_an_empty_value() {
    let content = b"{\"text\": \"a\", \"label\": 1, \"kind\": null}\n\
                    {\"text\": \"b\", \"label\": 2, \"kind\": \"\"}\n\
                    {\"text\": \"c\", \"label\": 2, \"kind\": \"x\"}\n";
    let read = read_file("a.jsonl", content, "  filter: {kind: ''}\n").unwrap();
    assert_eq!(pairs(&read), [("1", "a"), ("2", "b")]);
    let read = read_file("a.jsonl", content, "  filter: {kind: x}\n").unwrap();
    assert_eq!(pairs(&read), [("2", "c")]);
    let null = fault("a.jsonl", content, "  text_column: kind\n");
    assert!(null.starts_with("1: \"kind\" must be a string"), "{null}");
}

/// Returns the error message after the file name, which begins with the line number.
fn fault(name: &str, content: &[u8], fields: &str) -> String {
    let error = read_file(name, content, fields).unwrap_err();
    let message = format!("{error:#}");
    message.split_once(&format!("{name}:")).map(|(_, rest)| rest.to_owned()).unwrap_or(message)
}

#[test]
fn the_filter_selects_rows() {
    let content = b"text,label,source\na,0,imdb\nb,1,yelp\nc,1,imdb\n";
    let read = read_file("a.csv", content, "  filter: {source: imdb}\n").unwrap();
    assert_eq!(pairs(&read), [("0", "a"), ("1", "c")]);
    assert!(fault("a.csv", content, "  filter: {origin: imdb}\n").contains("\"origin\""));
}

#[test]
fn labels_can_be_renamed() {
    let read =
        read_file("a.csv", b"text,label\na,0\nb,1\nc,2\n", "  label_names: {0: bad, 1: good}\n");
    assert_eq!(pairs(&read.unwrap()), [("bad", "a"), ("good", "b"), ("2", "c")]);
}

#[test]
fn fasttext_labels_precede_the_text() {
    let read = read_file("a.txt", b"__label__pos very good\n__label__neg bad\n", "").unwrap();
    assert_eq!(pairs(&read), [("pos", "very good"), ("neg", "bad")]);
    assert!(
        fault("a.txt", b"__label__a x\nno label\n", "").starts_with("2: expected __label__NAME")
    );
    assert_eq!(pairs(&read_file("a.txt", b"__label__a , x\n", "").unwrap()), [("a", ", x")]);
}

#[test]
fn a_second_fasttext_label_anywhere_is_rejected_with_its_line() {
    for line in [
        "__label__a __label__b x",
        "__label__a , __label__b , x",
        "__label__a x __label__b",
        "__label__a,__label__b x",
        "__label__a x\u{a0}__label__b y",
    ] {
        let content = format!("__label__a good\n{line}\n__label__b bad\n");
        let message = fault("a.txt", content.as_bytes(), "");
        assert!(message.starts_with("2: found more than one label, the second in "), "{message}");
        let read = read_file("a.txt", content.as_bytes(), "  broken_lines: skip\n").unwrap();
        assert_eq!((pairs(&read).len(), read.skipped), (2, 1), "{line}");
    }
    let first_rules = read_file("a.txt", b"__label__a x __label__b\n", "  version: 1\n").unwrap();
    assert_eq!(pairs(&first_rules), [("a", "x __label__b")]);
}

#[test]
fn the_label_column_cannot_be_a_text_column() {
    let content = b"text,label\na,x\nb,y\n";
    for fields in ["  text_column: 2\n", "  text_column: [text, 2]\n", "  label_column: 1\n"] {
        let message = fault("a.csv", content, fields);
        assert!(message.contains("is also data.label_column"), "{message}");
        assert!(read_file("a.csv", content, &format!("{fields}  version: 1\n")).is_ok());
    }
}

#[test]
fn labels_are_trimmed_and_composed_in_every_format() {
    let expected = ["caf\u{e9}", "neg"];
    let contents: [(&str, &str); 4] = [
        ("a.csv", "text,label\na,caf\u{e9}\nb,\" cafe\u{301} \"\nc,neg\u{a0}\nd,neg\n"),
        ("a.tsv", "text\tlabel\na\tcaf\u{e9}\nb\t cafe\u{301} \nc\tneg\u{a0}\nd\tneg\n"),
        (
            "a.jsonl",
            "{\"text\": 1, \"label\": \"caf\u{e9}\"}\n{\"text\": 1, \"label\": \" cafe\u{301} \"}\n\
             {\"text\": 1, \"label\": \"neg\\t\"}\n{\"text\": 1, \"label\": \"neg\"}\n",
        ),
        (
            "a.txt",
            "__label__caf\u{e9} a\n__label__cafe\u{301} b\n__label__neg\u{a0}c\n__label__neg d\n",
        ),
    ];
    for (name, content) in contents {
        let read = read_file(name, content.as_bytes(), "").unwrap();
        assert_eq!(read.label_names, expected, "{name}");
        assert_eq!(read.targets.labels(), Some(&[0, 0, 1, 1][..]), "{name}");
    }
    let jsonl = contents[2].1.as_bytes();
    assert_eq!(read_file("a.jsonl", jsonl, "  version: 1\n").unwrap().label_names.len(), 4);
    let renamed = read_file("a.jsonl", jsonl, "  label_names: {' neg': ' bad '}\n").unwrap();
    assert_eq!(renamed.label_names, ["caf\u{e9}", "bad"]);
    let empty = b"{\"text\": 1, \"label\": \" \"}\n";
    assert!(fault("a.jsonl", empty, "").starts_with("1: the label is empty"));
}

#[test]
fn directories_whose_names_differ_in_spaces_are_one_class() {
    let directory = tempfile::tempdir().unwrap();
    for class in ["neg", "pos", "pos "] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), "text").unwrap();
    }
    for fields in ["", "  labels: [' neg', 'pos ']\n"] {
        let read = read(directory.path(), &data_config(fields)).unwrap();
        assert_eq!(
            (&read.label_names[..], read.targets.labels().unwrap()),
            (&["neg", "pos"].map(str::to_owned)[..], &[0, 1, 1][..])
        );
    }
}

#[test]
fn a_directory_has_a_subdirectory_for_each_class() {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in [("neg/0_1.txt", "bad"), ("pos/1_9.txt", "good"), ("unsup/2_0.txt", "?")] {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::write(directory.path().join("urls.txt"), "not a class").unwrap();
    let read_with = |fields: &str| read(directory.path(), &data_config(fields)).unwrap();
    assert_eq!(pairs(&read_with("  labels: [neg, pos]\n")), [("neg", "bad"), ("pos", "good")]);
    assert_eq!(read_with("").label_names, ["neg", "pos", "unsup"]);
    let renamed = "  label_names: {neg: bad, pos: good}\n  labels: [bad, good]\n";
    assert_eq!(pairs(&read_with(renamed)), [("bad", "bad"), ("good", "good")]);
}

#[test]
fn compressed_files_read_like_plain_ones() {
    let plain = b"text,label\ngood,pos\n";
    let gzip = gzip(plain);
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for (name, content) in [("a.csv.gz", &gzip), ("a.csv.zst", &zstd)] {
        assert_eq!(pairs(&read_file(name, content, "").unwrap()), [("pos", "good")]);
    }
    for (name, content) in [("a.csv.gz", &gzip), ("a.csv.zst", &zstd)] {
        for length in 1..content.len() {
            let error = read_file(name, &content[..length], "").unwrap_err();
            assert!(format!("{error:#}").contains(name), "{length} bytes: {error:#}");
        }
    }
}

#[test]
fn broken_rows_are_errors_or_are_skipped() {
    let content = b"text\tlabel\ngood\tpos\nno label\nbad\tneg\n\xFF\xFE\tneg\nx\t \n";
    assert!(
        fault("a.tsv", content, "").starts_with("3: expected 2 columns as in the header, found 1")
    );
    let read = read_file("a.tsv", content, "  broken_lines: skip\n").unwrap();
    assert_eq!(pairs(&read), [("pos", "good"), ("neg", "bad")]);
    assert_eq!(read.skipped, 3);
}

#[test]
fn skipping_is_advised_only_if_few_rows_are_broken() {
    let advice = |good: usize, broken: usize, behind: usize| {
        let rows = |row: &str, count: usize| row.repeat(count);
        let good =
            rows("good,pos\n", good) + &rows("no label\n", broken) + &rows("bad,neg\n", behind);
        let message = fault("a.csv", format!("text,label\n{good}").as_bytes(), "");
        message.rsplit_once(" (").unwrap().1.to_owned()
    };
    let skip = "to skip such rows, set data.broken_lines: skip)";
    let correct =
        |counts: &str| format!("broken rows: {counts}; correct the file, or check data.format)");
    assert_eq!(advice(19, 1, 0), skip);
    assert_eq!(advice(0, 1, 19), skip);
    let many = "to skip such rows, 9.1 % of the file, set data.broken_lines: skip and increase data.max_skipped)";
    assert_eq!(advice(10, 1, 0), many);
    assert_eq!(advice(0, 1, 10), many);
    assert_eq!(advice(9, 1, 0), correct("1 of 10"));
    assert_eq!(advice(1, 3, 1), correct("3 of 5"));
    // Not the whole file is read.
    assert_eq!(advice(0, 5_000, 9_000), correct("1,001 of 1,001"));
    // A row that lacks nothing but its label is read rightly, however many there are.
    let unlabelled = |name: &str, content: &str| {
        let message = fault(name, content.as_bytes(), "");
        let (fault, advice) = message.split_once(" (").unwrap();
        assert!(fault.ends_with("the label is empty"), "{message}");
        advice.to_owned()
    };
    let most = "to skip such rows, 66.7 % of the file, set data.broken_lines: skip and increase data.max_skipped)";
    assert_eq!(unlabelled("a.csv", "text,label\na,x\nb,\nc, \n"), most);
    let json = "{\"text\": \"a\", \"label\": null}\n{\"text\": \"b\", \"label\": \"\"}\n\
                {\"text\": \"c\", \"label\": 1}\n";
    assert_eq!(unlabelled("a.jsonl", json), most);
    let both = unlabelled("a.csv", "text,label\na,x\nb,\nno label\n");
    assert_eq!(both, correct("2 of 3"));
    // An error of the reader behind a broken row does not hide it.
    let quote = fault("a.csv", b"text,label\nno label\n\"open,x\n", "");
    assert!(quote.starts_with("2: expected 2 columns"), "{quote}");
    let latin = fault("a.csv", b"text,label\n\xE8,x\ngood,pos\n", "");
    assert!(latin.ends_with("set data.encoding: windows-1252"), "{latin}");
    let skipped =
        read_file("a.tsv", b"text\tlabel\n\xE8\tx\nx\na\tb\n", "  broken_lines: skip\n").unwrap();
    assert_eq!((skipped.skipped, skipped.not_utf8), (2, 1));
}

#[test]
fn unknown_and_missing_files_are_rejected() {
    assert!(format!("{:#}", read_file("a.bin", b"", "").unwrap_err()).contains("data.format"));
    let missing = read(Path::new("/nowhere/x.csv"), &data_config("")).unwrap_err();
    assert!(format!("{missing:#}").contains("cannot open \"/nowhere/x.csv\""));
}

#[test]
fn names_and_values_are_equal_if_their_composed_characters_are() {
    let (composed, decomposed) = ("Schl\u{fc}ssel", "Schlu\u{308}ssel");
    for (file, yaml) in [(composed, decomposed), (decomposed, composed), (decomposed, decomposed)] {
        let fields = format!("  text_column: {yaml}\n  filter: {{k{yaml}: {yaml}}}\n");
        let csv = format!("{file},label,k{file}\na,x,{file}\nb,y,z\n");
        let tsv = csv.replace(',', "\t");
        let jsonl = format!(
            "{{\"{file}\": \"a\", \"label\": \"x\", \"k{file}\": \"{file}\"}}\n\
             {{\"{file}\": \"b\", \"label\": \"x\", \"k{file}\": \"z\"}}\n"
        );
        for (name, content) in [("a.csv", csv), ("a.tsv", tsv), ("a.jsonl", jsonl)] {
            let read = read_file(name, content.as_bytes(), &fields).unwrap();
            assert_eq!(pairs(&read), [("x", "a")], "{name}");
            let first_rules = format!("{fields}  version: 1\n");
            let read = read_file(name, content.as_bytes(), &first_rules);
            assert_eq!(read.is_ok(), file == yaml, "{name}");
        }
    }
}

#[test]
fn advice_on_a_directory_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    for class in ["neg", "pos"] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), "d\u{e9}\u{e7}u").unwrap();
    }
    let damaged = directory.path().join("pos/1.txt");
    std::fs::write(&damaged, b"d\xC3\xA9\xC3\xA7u\xE9").unwrap();
    let error = format!("{:#}", read(directory.path(), &data_config("")).unwrap_err());
    assert!(error.contains("byte 7 of line 1 is 0xE9"), "{error}");
    assert!(
        error.contains(&format!("iconv -c -f UTF-8 -t UTF-8 {}", damaged.display())),
        "{error}"
    );
}

#[test]
fn long_lines_are_rejected() {
    let long = [b"text,label\na,x\n", &vec![b'a'; 3_000_000][..], b",y\nb,y\n"].concat();
    assert_eq!(read_file("a.csv", &long, "").unwrap().len(), 3);
    let fields = "  max_line_mb: 2\n";
    for name in ["a.csv", "a.tsv", "a.jsonl", "a.txt"] {
        let error = format!("{:#}", read_file(name, &long, fields).unwrap_err());
        let expected = "line 3 exceeds 2 MB, the limit set by data.max_line_mb";
        // The other formats reject the first line.
        let first = format!("{name}:1: ");
        assert!(error.contains(expected) || error.contains(&first), "{name}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    for (class, text) in [("neg", &b"bad"[..]), ("pos", &vec![b'\n'; 2_000_001][..])] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), text).unwrap();
    }
    let error = read(directory.path(), &data_config(fields)).unwrap_err();
    assert!(error.to_string().contains("1.txt: the file exceeds 2 MB"), "{error:#}");
}

/// The file has 20 MB of rows in 20 kB.
#[test]
fn the_decompressed_size_is_limited() {
    let rows = format!("text,label\n{}", "good,pos\nbad,neg\n".repeat(1_200_000));
    let zst = zstd::stream::encode_all(rows.as_bytes(), 1).unwrap();
    for (name, bytes) in [("a.csv.gz", gzip(rows.as_bytes())), ("a.csv.zst", zst)] {
        let error = read_file(name, &bytes, "  max_unpacked_mb: 4\n").unwrap_err();
        let expected = "the decompressed size exceeds 4 MB, the limit set by data.max_unpacked_mb";
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        let cut = read_file(name, &bytes[..bytes.len() / 2], "").unwrap_err();
        assert!(format!("{cut:#}").contains("cannot read"), "{cut:#}");
    }
    assert!(read_file("a.csv", rows.as_bytes(), "  max_unpacked_mb: 4\n").is_ok());
}

#[cfg(unix)]
#[test]
fn special_files_in_a_directory_are_errors_or_are_skipped() {
    let directory = tempfile::tempdir().unwrap();
    for class in ["neg", "pos"] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), class).unwrap();
    }
    std::os::unix::fs::symlink("loop", directory.path().join("pos/loop")).unwrap();
    std::os::unix::fs::symlink("..", directory.path().join("pos/up")).unwrap();
    std::os::unix::fs::symlink(".", directory.path().join("round")).unwrap();
    let pipe = directory.path().join("neg/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let error = read(directory.path(), &data_config("")).unwrap_err();
    assert!(format!("{error:#}").contains("neg/pipe\" is not a regular file"), "{error:#}");
    let read = read(directory.path(), &data_config("  broken_lines: skip\n")).unwrap();
    assert_eq!((read.len(), read.skipped), (2, 2));
    let error = read_texts(&pipe, &data_config("  format: csv\n"), NONE_KNOWN).unwrap_err();
    assert!(format!("{error:#}").contains("expected a regular file"), "{error:#}");
}

/// Reads a file, or a directory of files, without labels. Returns the texts, one list per column, and the
/// rows.
fn unlabelled(files: &[(&str, &str)], name: &str, config: &Config) -> anyhow::Result<Read> {
    let directory = tempfile::tempdir()?;
    for (file, content) in files {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap())?;
        std::fs::write(path, content)?;
    }
    let (rows, texts) = read_texts(&directory.path().join(name), config, Labels::Ignored)?;
    Ok(Read { rows, texts })
}

#[test]
fn labels_can_be_ignored_in_every_format() {
    let config = data_config("");
    for (name, content) in [
        ("x.csv", "id,text\n1,one\n2,\"a,b\"\n"),
        ("x.csv", "text,label\none,x\n\"a,b\",\n"),
        ("x.tsv", "text\none\na,b\n"),
        ("x.jsonl", "{\"text\": \"one\"}\n{\"text\": \"a,b\", \"label\": null}\n"),
        ("x.txt", "one\n\na,b\n"),
        ("x.txt", "__label__x one\n__label__x __label__y a,b\n"),
    ] {
        let read = unlabelled(&[(name, content)], name, &config).unwrap();
        assert_eq!(read.texts, [["one", "a,b"]], "{name}: {content}");
        assert_eq!((read.len(), read.targets.len(), read.label_names.len()), (2, 0, 0), "{name}");
    }
    let stories = "data: {train: x, format: babi}\ninputs: {story: {}, question: {}}\n";
    let stories = config::parse(stories, "test", &[]).unwrap().config;
    let story = "1 Mary left.\n2 Who left?\t\n";
    let read = unlabelled(&[("x.txt", story)], "x.txt", &stories).unwrap();
    assert_eq!(read.texts, [["Mary left."], ["Who left?"]]);
}

#[test]
fn directories_without_labels_have_texts_or_directories_of_texts() {
    let config = data_config("  labels: [a, b]\n");
    let texts = [("all/1.txt", "one"), ("all/2.txt", "two")];
    assert_eq!(unlabelled(&texts, "all", &config).unwrap().texts, [["one", "two"]]);
    let nested = [("all/a/1.txt", "one"), ("all/other/1.txt", "two"), ("all/words.txt", "no text")];
    assert_eq!(unlabelled(&nested, "all", &config).unwrap().texts, [["one", "two"]]);
}

#[test]
fn columns_of_texts_are_needed_without_labels_too() {
    let missing = |name: &str, content: &str| {
        let read = unlabelled(&[(name, content)], name, &data_config(""));
        format!("{:#}", read.unwrap_err())
    };
    assert!(missing("x.csv", "body\na\n").contains("data.text_column: expected a column \"text\""));
    assert!(missing("x.jsonl", "{\"body\": \"a\"}\n").contains("expected a key \"text\""));
}
