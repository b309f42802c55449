//! Data files of all formats, and word vectors.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use lstmtext::data::{self, Labels, Recognizer};
use lstmtext::text::{Vocabulary, read_vectors};

use crate::configurations::resolved;
use crate::fuzzer::fuzz;

/// Reads mutated files of a format.
fn fuzz_data(extension: &str, fields: &str, corpus: &[&[u8]]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("file.{extension}"));
    let inputs = if fields.contains("babi") { "inputs: {story: {}, question: {}}\n" } else { "" };
    let yaml = |broken: &str| {
        format!("data: {{train: x, broken_lines: {broken}, max_unpacked_mb: 1{fields}}}\n{inputs}")
    };
    let configs = ["error", "skip"].map(|broken| resolved(&yaml(broken)).config);
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|file| file.to_vec()).collect();
    fuzz(extension, &corpus, |bytes| {
        fs::write(&path, bytes).unwrap();
        let labels = Labels::Required { known: &[] };
        let [strict, lenient] =
            [0, 1].map(|number| data::read_texts(&path, &configs[number], labels));
        let _ = data::read_texts(&path, &configs[0], Labels::Ignored);
        // A file that is accepted without skipping broken rows has none.
        if let (Ok((strict, _)), Ok((lenient, _))) = (&strict, &lenient) {
            assert_eq!(strict.targets, lenient.targets);
        }
        strict.is_ok_and(|(rows, _)| !rows.is_empty())
    });
}

const CSV: &[u8] = b"text,label\na b,x\n\"c, \"\"d\"\"\ne\",y\n,x\n";

#[test]
fn csv() {
    let quotes: &[u8] = b"text,label\n\"a\nb,x\nc\",x\n\"d\" ,x\ne 5\",x\n";
    fuzz_data("csv", "", &[CSV, quotes, b"\xEF\xBB\xBFlabel,text\r\nx,a\r\ny,\"b\r\nc\"\r\n"]);
}

#[test]
fn tsv() {
    fuzz_data("tsv", "", &[b"text\tlabel\na \"b\tx\nc\ty\n"]);
}

#[test]
fn json_lines() {
    fuzz_data(
        "jsonl",
        "",
        &[b"{\"text\": \"a\\u00e9\", \"label\": 1}\n\n{\"label\": true, \"text\": 2}\n"],
    );
}

#[test]
fn json_arrays() {
    let array = b"[{\"text\": \"a\\u00e9 ]\", \"label\": 1},\n {\"label\": \"x\", \"text\": 2}]\n";
    fuzz_data("json", "", &[array, b" [{\"text\": \"a\", \"label\": 1, \"b\": [{}]}]"]);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet() {
    let fixture = |name: &str| {
        let name = format!("tests/parquet/{name}.parquet");
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
    };
    let [none, zstd, snappy] = ["none", "zstd", "snappy"].map(fixture);
    fuzz_data("parquet", "", &[&none, &zstd, &snappy]);
    let columns = ", text_column: view, label_column: dictionary";
    fuzz_data("parquet", columns, &[&fixture("types")]);
}

#[test]
fn fasttext() {
    fuzz_data("txt", "", &[b"__label__a some text\n__label__b\n  __label__a , x label\n"]);
}

#[test]
fn several_labels() {
    let lists = b"{\"text\": \"a\", \"label\": [\"x\", 1]}\n{\"label\": null, \"text\": 2}\n";
    fuzz_data("jsonl", ", label_separator: ','", &[lists]);
    fuzz_data("csv", ", label_separator: ','", &[b"text,label\na b,\"x, y\"\n\"c\nd\",x\n,\n"]);
    fuzz_data("txt", ", multi_label: true", &[b"__label__a __label__b some text\n\ntext\n"]);
    let columns = b"text,x,y\na b,1,0\n\"c, d\",0.25,true\n";
    fuzz_data("csv", ", label_columns: [x, y]", &[columns]);
    let shares = b"{\"text\": \"a\", \"x\": 0.25, \"y\": 0.75}\n";
    fuzz_data("jsonl", ", label_columns: [x, y], multi_label: false", &[shares]);
    #[cfg(feature = "parquet")]
    {
        let name = "tests/parquet/types.parquet";
        let types = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let fields = ", text_column: view, label_column: lists, multi_label: true";
        fuzz_data("parquet", fields, &[&types]);
    }
}

#[test]
fn babi() {
    fuzz_data(
        "babi",
        ", format: babi",
        &[b"1 A b.\n2 Who?\tA\t1\n3 C d.\n4 Who?\tC\t3\n1 E.\n2 F?\tE\n"],
    );
}

/// Files of texts, which must not look like data files.
#[test]
fn texts() {
    let config = resolved("data: {train: x}\n").config;
    let labels = ["x", "y"].map(str::to_owned);
    let corpus: [&[u8]; 2] = [
        b"a good text\n\nx;y\na \"quoted\" word, 1,000|2\n",
        b"a text\n{\"text\": \"a\", \"label\": \"x\"}\n[1, \"x\"]\nand __label__z\tx\n",
    ];
    fuzz("texts", &corpus.map(<[u8]>::to_vec), |bytes| {
        let lines: Vec<String> =
            String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        let mut recognizer = Recognizer::new(&config, &labels);
        let found = lines.chunks(2).any(|lines| recognizer.read(lines).is_some());
        recognizer.resemblance().is_none() && !found
    });
}

#[test]
fn compressed() {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(CSV).unwrap();
    fuzz_data("csv.gz", "", &[&gz.finish().unwrap()]);
    fuzz_data("csv.zst", "", &[&zstd::stream::encode_all(CSV, 1).unwrap()]);
}

#[test]
fn word_vectors() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["<pad>", "<start>", "<oov>", "<unused>", "the", "a"].map(str::to_owned);
    let words = Vocabulary::from_words(words.to_vec()).unwrap();
    let read = |path: &Path| read_vectors(path, &words, 2, 1).is_ok();
    let text = directory.path().join("vectors.txt");
    let corpus =
        [&b"the 1 2\na -0.5 1e3\nof 0 0\n"[..], b"2 2\nthe 1 2 \na 3 4\n"].map(<[u8]>::to_vec);
    fuzz("word vectors, text", &corpus, |bytes| {
        fs::write(&text, bytes).unwrap();
        read(&text)
    });
    let npy = directory.path().join("matrix.npy");
    fs::write(directory.path().join("matrix.txt"), "the\na\n").unwrap();
    let mut header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }".to_vec();
    header.resize(117, b' ');
    header.push(b'\n');
    let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let matrix = [&b"\x93NUMPY\x01\x00"[..], &118_u16.to_le_bytes(), &header, &numbers].concat();
    fuzz("word vectors, matrix", &[matrix], |bytes| {
        fs::write(&npy, bytes).unwrap();
        read(&npy)
    });
}
