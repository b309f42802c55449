//! `data.shard`: processes that divide the data among them.

use crate::common::TestDir;
use crate::launcher::Launch;
use crate::training::{assert_same_run, directory, launch_together, run_alone, run_together};

/// A model of two texts, with terms of unlabelled texts and frequencies of words.
const TWO_TEXTS: &str = "\
data: {train: 'part*.csv', unlabelled: unlabelled.csv}
inputs: {question: {column: text}, answer: {column: other, ngrams: {sizes: [1]}}}
model: {embedding: {size: 8}, lstm: {units: 8}}
train:
  {epochs: 2, batch_size: 20, shards: 4, adversarial: {epsilon: 1.0, weight: 1.0}, entropy_weight: 0.5}
";

fn two_texts() -> TestDir {
    let row = |row: usize| {
        let word = |times: usize| format!("w{}", row * times % 17);
        let label = ["no", "yes"][row % 2];
        format!("{} {} t{row},{} {label}ish,{label}\n", word(3), word(5), word(7))
    };
    let rows = |start: usize| (start..start + 60).map(row).collect::<String>();
    let file = |start: usize| format!("text,other,label\n{}", rows(start));
    TestDir::new()
        .file("part1.csv", file(0))
        .file("part2.csv", file(60))
        .file("unlabelled.csv", file(120))
        .file("two.yaml", TWO_TEXTS)
}

#[test]
fn dividing_the_data_changes_no_bit_of_a_native_run() {
    let shard = "--set data.shard=true";
    let dir = directory();
    run_alone(&dir, 1, "train model.yaml --out whole");
    for size in [2, 3] {
        run_together(&dir, size, &format!("train model.yaml --out shards-{size} {shard}"));
        assert_same_run(&dir, "whole", &format!("shards-{size}"));
    }
    let dir = two_texts();
    run_alone(&dir, 1, "train two.yaml --out whole");
    run_together(&dir, 2, &format!("train two.yaml --out shards {shard}"));
    assert_same_run(&dir, "whole", "shards");
}

#[test]
fn dividing_the_data_changes_no_bit_of_a_run_of_libtorch() {
    let dir = directory();
    let line = "train model.yaml --set backend=libtorch --set train.epochs=1";
    run_together(&dir, 2, &format!("{line} --out whole"));
    run_together(&dir, 2, &format!("{line} --out shards --set data.shard=true"));
    assert_same_run(&dir, "whole", "shards");
}

#[test]
fn a_run_resumes_with_the_data_divided_among_other_processes() {
    let dir = directory();
    let fields = "--set train.schedule.name=constant --set data.shard=true";
    run_alone(&dir, 1, &format!("train model.yaml --out whole {fields}"));
    run_together(&dir, 3, &format!("train model.yaml --out run {fields} --set train.epochs=1"));
    run_alone(&dir, 1, "train --resume run --set train.epochs=2");
    run_together(&dir, 2, "train --resume run --set train.epochs=3");
    assert!(dir.best_weights("whole") == dir.best_weights("run"));
    dir.assert_same_state("whole", "run");
}

#[test]
fn tokens_of_a_part_are_cached_for_the_same_part() {
    let dir = directory();
    let line = "train model.yaml --set data.shard=true --set data.cache=always";
    run_alone(&dir, 1, "train model.yaml --out whole");
    let launch = || Launch::of(2).with("LSTMTEXT_CACHE", dir.path("cache").display());
    for (out, is_new) in [("first", true), ("second", false)] {
        let printed = launch_together(&launch(), &dir, &format!("{line} --out {out}")).stderr;
        assert_eq!(printed.contains("cached the tokens"), is_new, "{printed}");
        assert_same_run(&dir, "whole", out);
    }
}

#[test]
fn a_fault_in_the_part_of_one_process_ends_all() {
    let broken = "text,label\nfine,neg\nbroken\n";
    let fine = "text,label\nfine,neg\nbad,pos\n";
    let dir = directory().file("part1.csv", fine).file("part2.csv", broken);
    let line = "train model.yaml --out run --set data.train=part*.csv --set data.shard=true";
    let ended = Launch::of(2).start_in(&dir, |_| line.to_owned()).end();
    for process in &ended {
        assert_eq!(process.code, Some(1), "{ended:#?}");
        assert!(process.stderr.contains("part2.csv:3"), "{ended:#?}");
    }
    assert!(!dir.path("run").exists());
}

#[test]
fn all_processes_must_divide_the_data() {
    let dir = directory();
    let line = |rank: usize| format!("train model.yaml --out run --set data.shard={}", rank == 1);
    let ended = Launch::of(2).start_in(&dir, line).end();
    assert!(ended.iter().all(|process| process.code == Some(1)), "{ended:#?}");
    assert!(ended[0].stderr.contains("it has \"data.shard: true\""), "{ended:#?}");
    assert!(!dir.path("run").exists());
}
