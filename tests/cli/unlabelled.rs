//! Training on texts without labels: virtual adversarial training and entropy minimization.

use predicates::str::contains;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use lstmtext::events;

use crate::common::{Example, TestDir, assert_fails, csv, examples, lines, stderr, stdout_json};
use crate::train::train_with;

/// Options of a run with both terms. Its 17 steps per epoch and the 4 batches of 101 unlabelled texts end in
/// different steps.
const TERMS: [&str; 5] = [
    "data.unlabelled=texts.txt",
    "train.virtual_adversarial.epsilon=1",
    "train.entropy_weight=0.1",
    "train.schedule.name=constant",
    "model.embedding.word_dropout=0.1",
];

/// Creates a directory with data and `texts.txt`.
fn with_texts() -> TestDir {
    TestDir::with_data().file("texts.txt", lines(&unlabelled()))
}

fn unlabelled() -> Vec<Example> {
    examples(&["neg", "pos"], 101, 7)
}

fn sets(fields: &[&str]) -> String {
    fields.iter().map(|field| format!(" --set {field}")).collect()
}

/// Returns texts of three words of their class.
fn words_of_classes(count: usize, seed: u64) -> Vec<Example> {
    let mut random = Pcg64::seed_from_u64(seed);
    let example = |index: usize| {
        let label = ["neg", "pos"][index % 2];
        let words = [(); 3].map(|()| format!("{label}{}", random.random_range(0..20)));
        Example { label: label.to_owned(), text: words.join(" ") }
    };
    (0..count).map(example).collect()
}

/// With 6 labelled texts, most words occur in unlabelled texts only, beside others of their class.
#[test]
fn unlabelled_texts_help_if_labels_are_few() {
    let config = "\
data: {train: train.csv, validation: test.csv, test: test.csv}
text: {vocabulary: words.txt}
model: {embedding: {size: 8}, lstm: {units: 8}, pooling: mean, head: {dropout: 0}}
train:
  {learning_rate: 0.02, epochs: 100, validate_every: 100, checkpoint_every: 100}
";
    let texts = words_of_classes(200, 7);
    let dir = TestDir::new()
        .file("few.yaml", config)
        .file("train.csv", csv(&words_of_classes(6, 1)))
        .file("test.csv", csv(&words_of_classes(200, 2)))
        .file("texts.txt", lines(&texts));
    let line = format!("data vocab few.yaml --unlabelled --to words.txt{}", sets(&TERMS[..3]));
    dir.lstmtext(&line).assert().success();
    let command = dir.lstmtext("data vocab few.yaml --unlabelled --to other.txt");
    assert_fails(command, 2, &["--unlabelled: data.unlabelled is null"]);
    let accuracy = |run: &str, fields: &[&str]| {
        dir.train(&format!("few.yaml --out {run}{}", sets(fields)));
        dir.test_accuracy(run)
    };
    let (with_texts, without) = (accuracy("both", &TERMS[..3]), accuracy("plain", &[]));
    assert!(with_texts > without + 0.02, "{with_texts}, without them {without}");
}

#[test]
fn a_range_test_of_learning_rates_trains_on_the_unlabelled_texts_too() {
    let dir = with_texts();
    let losses = |fields: &[&str]| {
        let line = format!("lr-find small.yaml --json --steps 20{}", sets(fields));
        let report = stdout_json(&dir.lstmtext(&line).assert().success());
        let points = report["points"].as_array().unwrap().clone();
        points.iter().map(|point| point["loss"].as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let (texts, own) = (losses(&TERMS), losses(&TERMS[1..]));
    // The loss of a step is that of its labelled examples, before the update.
    assert_eq!(texts[0], own[0]);
    assert_ne!(texts, own);
}

#[test]
fn each_term_changes_training_and_the_loss_that_is_shown_is_that_of_the_labels() {
    let dir = with_texts();
    train_with(&dir, "plain", &[]);
    for (run, fields) in [("virtual", &TERMS[..2]), ("entropy", &[TERMS[0], TERMS[2]])] {
        train_with(&dir, run, fields);
        assert!(dir.best_weights(run) != dir.best_weights("plain"), "{run}");
        assert!(dir.test_accuracy(run) > 0.9, "{run}: {}", dir.summary(run));
    }
    // Without a file, the texts are those of the training examples.
    train_with(&dir, "own", &TERMS[2..3]);
    assert!(dir.best_weights("own") != dir.best_weights("plain"));
    assert!(dir.best_weights("own") != dir.best_weights("entropy"));
    // Few steps at almost no learning rate: the losses agree, whatever the terms.
    let first_loss = |run: &str, fields: &[&str]| {
        let fixed = ["train.learning_rate=1e-12", "train.epochs=1"];
        train_with(&dir, run, &[fields, &fixed].concat());
        dir.metrics(run)[0]["train"]["loss"].as_f64().unwrap()
    };
    let (plain, both) = (first_loss("fixed", &[]), first_loss("fixed-terms", &TERMS[..3]));
    assert!((plain - both).abs() < 1e-6, "{plain} {both}");
}

#[test]
fn the_losses_of_the_terms_are_logged() {
    let dir = with_texts();
    let fields = [&TERMS[..3], &["train.adversarial.epsilon=1", "train.log_every=1"]].concat();
    let line = format!("train small.yaml --out run{}", sets(&fields));
    let shown = stderr(&dir.lstmtext(&line).assert().success());
    let metrics = dir.metrics("run");
    let names = ["adversarial_loss", "virtual_adversarial_loss", "entropy"];
    let curves = |run: &str| events::scalars(&dir.path(run), events::SubRun::Train, names).unwrap();
    for (name, curve) in names.into_iter().zip(curves("run")) {
        for (epoch, steps) in curve.chunks(17).enumerate() {
            let mean = metrics[epoch]["added"][name].as_f64().unwrap();
            let (least, most) = steps.iter().fold((f64::MAX, 0.0_f64), |(least, most), point| {
                (least.min(point.value), most.max(point.value))
            });
            assert!(0.0 <= least && least < mean && mean < most, "{name}: {mean} {steps:?}");
            let shown_loss = format!(", {} {mean:.4}", name.replace('_', " "));
            assert!(shown.contains(&shown_loss), "{shown_loss} is not in {shown}");
        }
    }
    train_with(&dir, "plain", &[]);
    assert!(dir.metrics("plain")[0].get("added").is_none());
    assert!(curves("plain").iter().all(Vec::is_empty));
}

#[test]
fn a_resumed_run_and_one_with_other_threads_are_bit_identical() {
    let dir = with_texts();
    train_with(&dir, "run", &[&TERMS[..], &["train.epochs=4"]].concat());
    train_with(&dir, "halves", &[&TERMS[..], &["train.epochs=2"]].concat());
    dir.train("--resume halves --set train.epochs=4");
    dir.assert_same_state("run", "halves");
    let line = format!("small.yaml --out threads --threads 3{}", sets(&TERMS));
    dir.train(&(line + " --set train.epochs=4 --set train.shards=2"));
    let line = format!("small.yaml --out thread --threads 1{}", sets(&TERMS));
    dir.train(&(line + " --set train.epochs=4 --set train.shards=2"));
    dir.assert_same_state("threads", "thread");
}

#[test]
fn labels_of_unlabelled_texts_are_ignored() {
    let dir = with_texts();
    train_with(&dir, "lines", &TERMS);
    let mut texts = unlabelled();
    texts.iter_mut().for_each(|example| example.label = format!("unknown {}", example.text.len()));
    let dir = dir.file("texts.csv", csv(&texts)).file("texts.jsonl", {
        let line = |example: &Example| format!("{{\"text\": \"{}\"}}\n", example.text);
        texts.iter().map(line).collect::<String>()
    });
    for format in ["csv", "jsonl"] {
        let file = format!("data.unlabelled=texts.{format}");
        train_with(&dir, format, &[&[&*file], &TERMS[1..]].concat());
        dir.assert_same_state("lines", format);
    }
    // Cached tokens are the same, and not those of a file with labels.
    let cache = |run: &str| {
        let sets = sets(&TERMS) + &sets(&["data.cache=always", "data.unlabelled=train.csv"]);
        let mut command = dir.lstmtext(&format!("train small.yaml --out {run}{sets}"));
        command.env("LSTMTEXT_CACHE", dir.path("cache")).assert().success();
    };
    cache("first");
    cache("second");
    dir.assert_same_state("first", "second");
    assert_eq!(dir.names("cache").len(), 3, "train.csv with and without labels, and test.csv");
}

#[test]
fn faults_of_the_texts_are_counted_and_changes_noted() {
    let dir = with_texts();
    let test_text = examples(&["neg", "pos"], 1, 2).remove(0).text;
    let csv = format!("text\nneg1 n2\n\" \"\nzzz\n{test_text}\n");
    let dir = dir.file("faulty.csv", csv);
    let faulty = [&["data.unlabelled=faulty.csv", "train.epochs=1"], &TERMS[1..]].concat();
    let done = dir.train(&format!("small.yaml --out run{}", sets(&faulty)));
    let message = stderr(&done);
    for part in [
        "unlabelled texts: 4, ",
        "1 of 4 unlabelled texts is empty",
        "1 of 4 unlabelled texts has no known word",
        "1 of 200 test texts is also an unlabelled text",
    ] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    let changed = "the unlabelled texts have changed since the checkpoint was saved";
    dir.train("--resume run --set train.epochs=2 --set data.unlabelled=texts.txt")
        .stderr(contains(changed));
    let done = dir.train("--resume run --set train.epochs=3");
    assert!(!stderr(&done).contains(changed));
    // Another order is a change too: the batches are others.
    let mut texts = unlabelled();
    texts.reverse();
    let dir = dir.file("texts.txt", lines(&texts));
    dir.train("--resume run --set train.epochs=4").stderr(contains(changed));
}

#[test]
fn faults_of_the_configuration_and_of_the_file_name_the_field() {
    let dir = with_texts().file("empty.txt", "").file("blank.csv", "text\n\" \"\n\" \"\n");
    let dir = dir.file("other.csv", "body\nneg1\n").file("texts.doc", "neg1\n");
    let fails = |fields: &[&str], code: i32, parts: &[&str]| {
        let command = dir.lstmtext(&format!("train small.yaml --out run{}", sets(fields)));
        assert_fails(command, code, parts);
        assert!(!dir.path("run").exists(), "{fields:?}");
    };
    for (file, part) in [
        ("missing.txt", "missing.txt"),
        ("empty.txt", "has no examples"),
        ("blank.csv", "all 2 unlabelled texts are empty; check data.text_column"),
        ("other.csv", "data.text_column: expected a column \"text\", found body"),
        ("texts.doc", "cannot determine the format"),
    ] {
        let field = format!("data.unlabelled={file}");
        fails(&[&field, TERMS[1]], 1, &["data.unlabelled", part]);
    }
    let unused = format!("train small.yaml --out unused{}", sets(&[TERMS[0]]));
    let unused = dir.lstmtext(&unused).assert().success();
    assert!(stderr(&unused).contains("note: data.unlabelled has no effect without"));
    for epsilon in ["0", "-1", "much"] {
        let field = format!("train.virtual_adversarial.epsilon={epsilon}");
        fails(&[&field], 2, &["train.virtual_adversarial.epsilon", "> 0"]);
    }
    fails(&["train.virtual_adversarial.xi=0"], 2, &["train.virtual_adversarial.xi", "> 0"]);
    fails(&["train.entropy_weight=-1"], 2, &["train.entropy_weight", "≥ 0"]);
    let linear = ["model.lstm=null", "model.ngrams.sizes=[1]", TERMS[1]];
    fails(&linear, 2, &["train.virtual_adversarial.epsilon", "no LSTM"]);
    fails(&["precision=bf16", TERMS[1]], 2, &["train.virtual_adversarial.epsilon", "tf32"]);
}

/// Entropy needs no word vectors, so that a linear model has it too.
#[test]
fn a_linear_model_minimizes_entropy() {
    let dir = with_texts();
    let fields = ["model.lstm=null", "model.ngrams.sizes=[1]", TERMS[0], TERMS[2]];
    train_with(&dir, "run", &fields);
    assert!(dir.test_accuracy("run") > 0.9, "{}", dir.summary("run"));
}
