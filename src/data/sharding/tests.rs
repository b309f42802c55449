use std::fs;
use std::path::Path;

use super::*;
use crate::config;
use crate::data::Dataset;
use crate::data::prepared::PreparedData;
use crate::distributed::thread_group::GroupThread;
use crate::text::KnownEncoders;

#[test]
fn files_are_divided_if_their_sizes_permit() {
    assert_eq!(divide(&[5, 5, 5, 5], 2), Some(vec![2, 4]));
    assert_eq!(divide(&[5, 6, 4], 3), Some(vec![1, 2, 3]));
    assert_eq!(divide(&[1, 1, 1, 9, 9, 9], 3), Some(vec![4, 5, 6]));
    let other: [(&[u64], usize); 5] =
        [(&[], 2), (&[5], 2), (&[1, 9], 2), (&[0, 0], 2), (&[9, 1, 1, 1], 3)];
    for (sizes, parts) in other {
        assert_eq!(divide(sizes, parts), None, "{sizes:?}");
    }
}

/// Words of the text with this number. One in nine texts is empty.
fn words(text: usize) -> String {
    let word = |position: usize| match position {
        0 => format!("t{text}"),
        _ => format!("w{}", (text * 7 + position * position * 3) % 23),
    };
    (0..text % 9).map(word).collect::<Vec<_>>().join(" ")
}

/// Writes a file of several rows, of which `row` returns one.
fn write(path: &Path, head: &str, rows: std::ops::Range<usize>, row: impl Fn(usize) -> String) {
    let rows: String = rows.map(|number| row(number) + "\n").collect();
    fs::write(path, format!("{head}{rows}")).unwrap();
}

fn prepare(yaml: &str, sharing: Sharing) -> anyhow::Result<PreparedData> {
    let resolved = config::parse(yaml, "test", &[]).unwrap();
    PreparedData::prepare_with(resolved, &KnownEncoders::default(), sharing)
}

/// Checks that processes that divide the data know what one process knows that reads all of it, and that they
/// have a part of the texts. Returns the data of one process.
fn check(yaml: &str) -> PreparedData {
    let whole = prepare(yaml, None).unwrap();
    for size in [2, 3] {
        let here = GroupThread::run(size, |process| {
            let collective: Arc<dyn Collective> = Arc::new(process.clone());
            let shard = prepare(yaml, Some(&collective)).unwrap();
            assert_eq!(shard.labels, whole.labels, "{yaml}");
            assert_eq!(shard.fingerprints, whole.fingerprints, "{yaml}");
            assert_eq!(shard.tokens(), whole.tokens(), "{yaml}");
            let notes = |data: &PreparedData| -> Vec<String> {
                data.findings.iter().map(|finding| finding.message.clone()).collect()
            };
            assert_eq!(notes(&shard), notes(&whole), "{yaml}");
            for (own, all) in shard.encoders.iter().zip(whole.encoders.iter()) {
                assert_eq!(own.vocabulary(), all.vocabulary(), "{yaml}");
                assert_eq!(own.ngrams(), all.ngrams(), "{yaml}");
            }
            let sizes = whole.encoders.vocabulary_sizes();
            let mut here = 0;
            for (own, all) in sets(&shard).into_iter().zip(sets(&whole)) {
                same_texts(own, all, &sizes, &*collective);
                here += own.inputs.iter().map(|corpus| corpus.ids().len()).sum::<usize>();
            }
            here
        });
        assert_eq!(here.iter().sum::<usize>(), whole.tokens(), "each text is in one process");
        let most = here.iter().max().unwrap();
        assert!(2 * most * size < 3 * whole.tokens(), "{here:?}");
    }
    whole
}

fn sets(data: &PreparedData) -> Vec<&Dataset> {
    [&data.train, &data.validation, &data.test].into_iter().chain(&data.unlabelled).collect()
}

fn same_texts(own: &Dataset, all: &Dataset, sizes: &[usize], collective: &dyn Collective) {
    assert_eq!(own.targets, all.targets);
    assert_eq!(own.lengths(), all.lengths());
    let backwards: Vec<u32> = (0..all.len() as u32).rev().collect();
    let collected = own.collect(&backwards, collective).unwrap();
    assert!(collected.is_collected() || all.is_empty());
    for (position, example) in backwards.iter().enumerate() {
        for (texts, expected) in collected.inputs.iter().zip(&all.inputs) {
            assert_eq!(texts.text(position), expected.text(*example as usize));
            assert_eq!(texts.ngrams(position), expected.ngrams(*example as usize));
        }
        if !all.targets.is_empty() {
            assert_eq!(collected.targets.get(position), all.targets.get(*example as usize));
        }
    }
    let counts = |data: &Dataset| -> Vec<Vec<u64>> {
        let inputs = data.inputs.iter().zip(sizes);
        inputs.map(|(corpus, size)| corpus.id_counts(*size)).collect()
    };
    assert_eq!(counts(own), counts(all));
}

const TEXT: &str = "text: {min_count: 1, vocabulary_size: 30}\n";

#[test]
fn processes_divide_the_rows_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    write(&path, "text,label,group\n", 0..301, |row| {
        format!("{} t{row},{},g{}", words(row), ["x", "y", "z"][row % 3], row % 40)
    });
    let data = format!("data: {{train: {path:?}, split: {{test: 0.2, group: group}}}}\n");
    let whole = check(&format!("{data}{TEXT}model: {{ngrams: {{sizes: [1, 2]}}}}\n"));
    assert!(whole.test.len() > 20);
    check(&format!("{data}text: {{tokenizer: bpe, bpe_size: 30, train_max_length: 12}}\n"));
}

#[test]
fn processes_divide_files() {
    let directory = tempfile::tempdir().unwrap();
    // Each file has labels that the ones before it lack.
    for file in 0..3 {
        let path = directory.path().join(format!("a{file}.csv"));
        write(&path, "text,label\n", file * 100..(file + 1) * 100, |row| {
            format!("{},{}", words(row), ["z", "y", "x"][row % (file + 1)])
        });
    }
    let (pattern, unlabelled) =
        (directory.path().join("a*.csv"), directory.path().join("unlabelled.txt"));
    write(&unlabelled, "", 300..400, words);
    let whole = check(&format!(
        "data: {{train: {pattern:?}, unlabelled: {unlabelled:?}}}\ntrain: {{entropy_weight: 1.0}}\n{TEXT}"
    ));
    assert_eq!(whole.labels, ["x", "y", "z"]);
}

#[test]
fn targets_of_all_kinds_are_known_to_all_processes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let sets = ["", "x", "x;y", "z", "y;z"];
    write(&path, "text,label\n", 0..200, |row| format!("{},{}", words(row), sets[row % 5]));
    check(&format!("data: {{train: {path:?}, label_separator: ';'}}\n{TEXT}"));
    // Only the rows of the last process have probabilities other than 0 and 1.
    write(&path, "text,x,y\n", 0..200, |row| match row % 3 {
        0 => format!("{},0,1", words(row)),
        1 => format!("{},1,0", words(row)),
        _ => format!("{},0.25,0.75", words(row)),
    });
    check(&format!("data: {{train: {path:?}, label_columns: [y, x]}}\n{TEXT}"));
}

#[test]
fn broken_rows_are_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    for (name, files) in [("one", 1), ("two", 2)] {
        for file in 0..files {
            let path = directory.path().join(format!("{name}{file}.csv"));
            write(&path, "text,label\n", 0..120, |row| match row {
                50 | 51 => "broken".to_owned(),
                _ => format!("{},{}", words(row), row % 2),
            });
        }
        let pattern = directory.path().join(format!("{name}*.csv"));
        let whole = check(&format!("data: {{train: {pattern:?}, broken_lines: skip}}\n{TEXT}"));
        let expected = format!("skipped {} broken rows of {}", 2 * files, 120 * files);
        assert!(whole.findings.iter().any(|found| found.message.contains(&expected)));
    }
}

#[test]
fn an_error_of_one_process_ends_all() {
    let directory = tempfile::tempdir().unwrap();
    for (file, broken) in [(0, 200), (1, 7)] {
        let path = directory.path().join(format!("a{file}.csv"));
        write(&path, "text,label\n", 0..100, |row| match row {
            row if row == broken => "broken".to_owned(),
            _ => format!("{},{}", words(row), row % 2),
        });
    }
    let yaml = format!("data: {{train: {:?}}}\n", directory.path().join("a*.csv"));
    let errors = GroupThread::run(2, |process| {
        let collective: Arc<dyn Collective> = Arc::new(process.clone());
        format!("{:#}", prepare(&yaml, Some(&collective)).err().unwrap())
    });
    for error in errors {
        assert!(error.contains("process 1") && error.contains("a1.csv:9"), "{error}");
    }
}
