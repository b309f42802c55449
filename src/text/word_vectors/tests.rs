use std::fs;
use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::text::OOV;

/// Creates a vocabulary with "the" 4, "film" 5, ". . ." 6, "é" 7 and "rare" 8.
fn vocabulary() -> Vocabulary {
    let words = "<pad> <start> <oov> <unused> the film ._._. é rare";
    let words = words.split(' ').map(|word| word.replace('_', " "));
    Vocabulary::from_words(words.collect()).unwrap()
}

/// A temporary directory.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

fn read(name: &str, content: &[u8], size: usize) -> anyhow::Result<WordVectors> {
    read_vectors(&Directory::new().file(name, content), &vocabulary(), size, 1)
}

/// Returns the error message after the file name.
fn fault(name: &str, content: &[u8], size: usize) -> String {
    let message = format!("{:#}", read(name, content, size).unwrap_err());
    message.split_once(name).expect("the message names the file").1.to_owned()
}

fn row(vectors: &WordVectors, id: usize) -> &[f32] {
    assert!(vectors.found[id], "{id} is not found");
    &vectors.values[id * vectors.size..][..vectors.size]
}

fn found(vectors: &WordVectors) -> Vec<usize> {
    (0..vectors.found.len()).filter(|id| vectors.found[*id]).collect()
}

#[test]
fn glove_and_fasttext_files_are_read() {
    let glove = b"the 0.5 -1e-2 3\nunknown 1 x 1\nfilm .25 +2 -0\n";
    let vectors = read("glove.txt", glove, 3).unwrap();
    assert_eq!((found(&vectors), vectors.values.len()), (vec![4, 5], 27));
    assert_eq!((row(&vectors, 4), row(&vectors, 5)), (&[0.5, -0.01, 3.][..], &[0.25, 2., 0.][..]));
    assert_eq!(vectors.values[..3], [0., 0., 0.]);
    let fasttext =
        b"\xEF\xBB\xBF3 3 \r\nthe 0.5 -1e-2 3 \r\nunknown 1 x 1 \r\nfilm .25 +2 -0 \r\n\r\n";
    assert_eq!(read("wiki.vec", fasttext, 3).unwrap(), vectors);
}

#[test]
fn compressed_files_are_read() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(b"the 1 2\n").unwrap();
    let gz = gz.finish().unwrap();
    assert_eq!(row(&read("a.vec.gz", &gz, 2).unwrap(), 4), [1., 2.]);
    let cut = fault("a.vec.gz", &gz[..gz.len() - 1], 2);
    assert_eq!(cut, "\" after line 1: unexpected end of file");
    let zst = zstd::stream::encode_all(&b"the 1 2"[..], 1).unwrap();
    assert_eq!(row(&read("a.txt.zst", &zst, 2).unwrap(), 4), [1., 2.]);
}

#[test]
fn words_may_contain_spaces_and_digits() {
    let content = b"1 1 1\n. . . 3 4\n\xE9 5 6\n\xC3\xA9 7 8\n 9 9\n<pad> 5 5\n. . . 9 9\n";
    let vectors = read("a.txt", content, 2).unwrap();
    assert_eq!(found(&vectors), [6, 7]);
    assert_eq!((row(&vectors, 6), row(&vectors, 7)), (&[3., 4.][..], &[7., 8.][..]));
    assert_eq!(vectors.skipped, 1);
    let first = read("a.txt", b". . . 3 4\nthe 1 2\n", 2).unwrap();
    assert_eq!(found(&first), [4, 6]);
}

#[test]
fn headers_and_vectors_are_distinguished() {
    assert_eq!(found(&read("a.txt", b"2 1\n7 1\nthe 3\n", 1).unwrap()), [4]);
    assert_eq!(found(&read("a.txt", b"2 3\n7 1\nthe 3\n", 1).unwrap()), [4]);
    assert_eq!(found(&read("a.txt", b"1 2\nthe 3 4\n", 2).unwrap()), [4]);
    assert_eq!(found(&read("a.txt", b"1 2 3\nthe 3 4\n", 2).unwrap()), [4]);
}

#[test]
fn errors_name_the_line() {
    let fields = "expected a word and 2 numbers separated by single spaces, found";
    for (content, expected) in [
        (&b"the 1 2\nx 1\n"[..], format!("2: {fields} 1 fields after \"x\"")),
        (b"the 1 2\n\nx 1 2 3\n", format!("3: {fields} 3 fields after \"x\"")),
        (b"the 1 2\nx  1 2\n", format!("2: {fields} 3 fields after \"x\"")),
        (b"the\t1\t2\n", format!("1: {fields} 0 fields after \"the\\t1\\t2\"")),
        (b"the x 2\n", "1: value 1 is not a finite number: \"x\"".into()),
        (b"the 1 nan\n", "1: value 2 is not a finite number: NaN".into()),
        (b"2 2\nx 1 2\nthe -inf 1", "3: value 1 is not a finite number: -inf".into()),
        (b"the 1 1e99\n", "1: value 2 is not a finite number: inf".into()),
        (b"the 1 \xFF\n", "1: value 2 is not a finite number: \"\u{FFFD}\"".into()),
        (
            b"3 2\nthe 1 2\n",
            " expected 3 words according to the header, found 1; is the file truncated?".into(),
        ),
        (b"1 2\nthe 1 2\nx 1 2\n", " expected 1 words according to the header, found 2".into()),
        (b"", " the file has no word vectors".into()),
        (b"\n \n", " the file has no word vectors".into()),
    ] {
        let error = fault("a.txt", content, 2);
        assert!(error.starts_with(&format!(":{expected}")), "{error}");
    }
    let binary = fault("a.txt", b"1 2\nthe \0\0\x80\x3F\0\0\0\0\n", 2);
    assert!(
        binary.ends_with("(is this a binary file? use the text format, .vec or .txt)"),
        "{binary}"
    );
    let long = fault("a.txt", &[b'x'; (1 << 22) + 1], 2);
    assert!(long.contains("the line is longer than 4194304 bytes"), "{long}");
}

#[test]
fn other_dimensions_are_rejected() {
    for content in [&b"the 1 2 3\n"[..], b"1 3\nthe 1 2 3\n", b". . . 1 2 3\n", b"the 1 nan 3\n"] {
        for size in [2, 4] {
            let error = fault("a.txt", content, size);
            let expected = format!(
                ":1: the word vectors have dimension 3, but embedding.size is {size}; set \
                 embedding.size to 3 or use another file"
            );
            assert_eq!(error, expected);
        }
    }
    assert!(fault("a.txt", b"the 1\n", 2).contains("have dimension 1"));
    assert!(fault("a.txt", b"the 1 x 3\n", 2).contains("found 3 fields after \"the\""));
    assert!(read("a.txt", b"the 1\n", 0).unwrap_err().to_string().contains("is 0"));
}

#[test]
fn unsupported_formats_are_rejected() {
    assert!(fault("w2v.bin", b"", 2).contains("binary file of word2vec or fastText"));
    assert!(fault("w2v.BIN.gz", b"", 2).contains("(.vec or .txt)"));
    assert!(fault("glove.zip", b"", 2).contains("unpack it first"));
    assert!(fault("a.npy.gz", b"", 2).contains("decompress the matrix first"));
    let missing = read_vectors(Path::new("no/such.vec"), &vocabulary(), 2, 1).unwrap_err();
    assert!(format!("{missing:#}").starts_with("cannot open \"no/such.vec\""));
}

#[test]
fn a_file_without_known_words_is_rejected() {
    let error = fault("a.txt", b"The 1 2\nFilm 1 2\n", 2);
    assert_eq!(error, "\" contains no word of the vocabulary; does it match text.lowercase?");
}

#[test]
fn word_lists_are_not_mistaken_for_vectors() {
    let directory = Directory::new();
    directory.file("a.npy", b"");
    let list = directory.file("a.txt", b"the\nfilm\n");
    let message = read_vectors(&list, &vocabulary(), 2, 1).unwrap_err().to_string();
    assert!(message.contains("is this the word list of") && message.contains("a.npy"));
}

/// Creates a .npy file of version 1 with this header.
fn npy(dictionary: &str, matrix: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dictionary.len() as u16).to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.extend(matrix);
    bytes
}

fn dictionary(descr: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}   \n")
}

fn singles(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn read_npy(matrix: &[u8], words: &[u8]) -> anyhow::Result<WordVectors> {
    let directory = Directory::new();
    directory.file("m.txt", words);
    read_vectors(&directory.file("m.npy", matrix), &vocabulary(), 2, 1)
}

fn npy_fault(matrix: &[u8], words: &[u8]) -> String {
    format!("{:#}", read_npy(matrix, words).unwrap_err())
}

#[test]
fn matrices_of_single_and_double_precision_are_read() {
    let words = "film\nx\nthe\né\nfilm".as_bytes();
    let numbers = [1., 2., f32::NAN, 4., 5., 6., 7., 8., 9., 9.];
    let f4 = npy(&dictionary("<f4", "False", "(5, 2)"), &singles(&numbers));
    let vectors = read_npy(&f4, words).unwrap();
    assert_eq!(found(&vectors), [4, 5, 7]);
    assert_eq!((row(&vectors, 4), row(&vectors, 5)), (&[5., 6.][..], &[1., 2.][..]));
    let doubles: Vec<u8> = numbers.iter().flat_map(|n| f64::from(*n).to_le_bytes()).collect();
    let f8 = npy("{\"shape\":(5,2),'fortran_order':False,'descr':'<f8'}", &doubles);
    assert_eq!(read_npy(&f8, words).unwrap(), vectors);
    let mut version = f4.clone();
    version[6] = 3;
    version.splice(10..10, [0, 0]);
    assert_eq!(read_npy(&version, words).unwrap(), vectors);
}

#[test]
fn word_lists_may_be_compressed_and_contain_invalid_utf_8() {
    let directory = Directory::new();
    directory.file("m.txt.zst", &zstd::stream::encode_all(&b"\xE9\r\nthe\r\n"[..], 1).unwrap());
    let matrix = npy(&dictionary("<f4", "False", "(2, 2)"), &singles(&[1., 2., 3., 4.]));
    let vectors = read_vectors(&directory.file("m.npy", &matrix), &vocabulary(), 2, 1).unwrap();
    assert_eq!((row(&vectors, 4), vectors.skipped), (&[3., 4.][..], 1));
}

#[test]
fn each_header_error_has_its_own_message() {
    let matrix = singles(&[1., 2.]);
    let with = |dictionary: &str| npy(dictionary, &matrix);
    let good = with(&dictionary("<f4", "False", "(1, 2)"));
    read_npy(&good, b"the").unwrap();
    let changed = |index: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[index] = byte;
        bytes
    };
    for (bytes, expected) in [
        (good[..5].to_vec(), "cannot read the .npy header"),
        (good[..40].to_vec(), "cannot read the .npy header"),
        (changed(1, b'n'), "not a .npy file"),
        (changed(6, 4), "expected .npy version 1, 2 or 3, found 4"),
        (changed(6, 2), "expected a .npy header of at most 65536 bytes, found "),
        (changed(12, 0xFF), "the .npy header is not valid UTF-8"),
        (with(""), "expected '{' in the .npy header, found \"\""),
        (with("{'descr' '<f4'}"), "expected ':' in the .npy header, found \"'<f4'}\""),
        (with("{'descr': [('a', '<f4')]}"), "expected a quoted string in the .npy header, found"),
        (with("{'descr': '<f4"), "expected a quoted string"),
        (with("{'fortran_order': 0}"), "expected True or False in the .npy header, found \"0}\""),
        (with("{'shape': (-1, 2)}"), "expected an integer in the .npy header, found \"-1, 2)}\""),
        (with("{'shape': (99999999999999999999, 2)}"), "expected an integer"),
        (with("{'shape': (1 2)}"), "expected ')' in the .npy header, found \"2)}\""),
        (with("{'shape': 1}"), "expected '(' in the .npy header"),
        (with("{'order': 1}"), "unknown key \"order\" in the .npy header"),
        (with("{} x"), "expected the end of the header in the .npy header, found \"x\""),
        (with("{}"), "the .npy header has no \"descr\""),
        (with("{'descr': '<f4'}"), "the .npy header has no \"fortran_order\""),
        (with("{'descr': '<f4', 'fortran_order': False}"), "the .npy header has no \"shape\""),
        (
            with(&dictionary(">f4", "False", "(1, 2)")),
            "found \">f4\"; convert the matrix with astype",
        ),
        (with(&dictionary("<f4", "True", "(1, 2)")), "numpy.ascontiguousarray"),
        (with(&dictionary("<f4", "False", "(2,)")), "found shape [2]"),
        (with(&dictionary("<f4", "False", "(2, 1)")), "have dimension 1, but embedding.size"),
        (with(&dictionary("<f4", "False", "(2, 2)")), "bytes for 2 rows of 2 values, found "),
        (with(&dictionary("<f4", "False", "(0, 2)")), "is the file truncated?"),
        (with(&dictionary("<f8", "False", "(9000000000000000000, 2)")), "do not fit in a file"),
    ] {
        let error = npy_fault(&bytes, b"the");
        assert!(error.contains("m.npy: ") && error.contains(expected), "{error}: {expected}");
    }
}

#[test]
fn a_matrix_and_its_words_must_match() {
    let matrix = npy(&dictionary("<f4", "False", "(2, 2)"), &singles(&[1., f32::INFINITY, 3., 4.]));
    assert!(read_npy(&matrix, b"x\nthe\n").is_ok());
    for (words, expected) in [
        (&b"x"[..], "m.txt:1: the list ends here, but"),
        (b"x\nthe\ny", "m.npy\" has only 2 rows"),
        (b"the\nx\n", "m.npy: row 1: value 2 is not a finite number: inf"),
        (b"x\ny\n", "contains no word of the vocabulary"),
    ] {
        let error = npy_fault(&matrix, words);
        assert!(error.contains(expected), "{error}");
    }
    let directory = Directory::new();
    let alone = directory.file("m.npy", &matrix);
    let message = read_vectors(&alone, &vocabulary(), 2, 1).unwrap_err().to_string();
    assert!(message.contains("m.txt\" (or .txt.gz, .txt.zst)"), "{message}");
}

#[test]
fn missing_vectors_have_the_moments_of_those_found() {
    let words = ["<pad>", "<start>", "<oov>", "<unused>"].map(str::to_owned);
    let words: Vec<String> =
        words.into_iter().chain((0..20_000).map(|i| format!("w{i}"))).collect();
    let vocabulary = Vocabulary::from_words(words).unwrap();
    let directory = Directory::new();
    let path = directory.file("a.txt", b"w3 1 10 5\nw1 3 20 5\nw2 2 30 5\n");
    let vectors = read_vectors(&path, &vocabulary, 3, 7).unwrap();
    assert_eq!(vectors.values[..3], [0.; 3]);
    let (means, deviations) = ([2., 20., 5.], [(2_f64 / 3.).sqrt(), (200_f64 / 3.).sqrt(), 0.]);
    for dimension in 0..3 {
        let drawn: Vec<f64> = (1..vectors.found.len())
            .filter(|id| !vectors.found[*id])
            .map(|id| f64::from(vectors.values[id * 3 + dimension]))
            .collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
        let scale = deviations[dimension];
        assert!((mean - means[dimension]).abs() <= 0.03 * scale, "mean {mean}");
        assert!((variance.sqrt() - scale).abs() <= 0.02 * scale, "deviation {}", variance.sqrt());
        let within = drawn.iter().filter(|x| (**x - mean).abs() <= scale).count();
        let share = within as f64 / drawn.len() as f64;
        assert!(scale == 0. || (0.67..0.70).contains(&share), "within one deviation {share}");
    }
    let reordered = directory.file("b.txt", b"w2 2 30 5\nx 0 0 0\nw1 3 20 5\nw3 1 10 5\n");
    let same = read_vectors(&reordered, &vocabulary, 3, 7).unwrap();
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs();
    assert!(vectors.values.iter().zip(&same.values).all(close));
    assert_ne!(read_vectors(&path, &vocabulary, 3, 8).unwrap().values, vectors.values);
}

#[test]
fn drawn_values_are_finite() {
    let vectors = read("a.txt", b"the 3e38\nfilm -3e38\n", 1).unwrap();
    assert!(vectors.values.iter().all(|value| value.is_finite()));
}

#[test]
fn coverage_counts_words_and_running_tokens() {
    let found = [false, false, false, false, true, false, true, false];
    let mut counts = [0; 8];
    for id in [START, 4, 4, 5, OOV, 6, 7, PAD, PAD] {
        counts[id as usize] += 1;
    }
    assert_eq!(coverage(&found, &counts), Coverage { types: 0.5, tokens: 0.5 });
    assert_eq!(coverage(&[], &[]), Coverage { types: 0., tokens: 0. });
}

/// Generates bytes that resemble a file of word vectors.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::sample::select(vec![
            "the ",
            "1 2\n",
            " ",
            "\n",
            "nan",
            "1e40",
            "é 3 4",
            "2 2",
            "{'descr': '<f4', ",
            "'fortran_order': False, ",
            "'shape': (1, 2)}",
            "(",
            "'",
            "\0\0\0\0",
            "9999999999999999999",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_input_causes_a_panic(content in bytes(), words in bytes(), size in 0_usize..4) {
        let directory = Directory::new();
        directory.file("m.txt", &words);
        let header = String::from_utf8_lossy(&content);
        for (name, content) in [
            ("a.txt", content.clone()),
            ("a.vec.gz", content.clone()),
            ("a.vec.zst", content.clone()),
            ("m.npy", npy(&header, &words)),
            ("m.npy", content.clone()),
        ] {
            let path = directory.file(name, &content);
            if let Ok(vectors) = read_vectors(&path, &vocabulary(), size, 1) {
                prop_assert_eq!(vectors.values.len(), size * vectors.found.len());
                prop_assert!(vectors.values.iter().all(|value| value.is_finite()));
            }
        }
    }
}
