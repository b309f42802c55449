use super::*;

fn parse_ok(yaml: &str) -> Resolved {
    parse(yaml, "test.yaml", &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(yaml: &str, sets: &[&str]) -> Vec<String> {
    let overrides: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    parse(yaml, "test.yaml", &overrides).unwrap_err().lines
}

#[test]
fn a_training_file_is_all_that_must_be_said() {
    let config = parse_ok("data: {train: /reviews.csv}\n").config;
    assert_eq!(config.data.train, Path::new("/reviews.csv"));
    assert_eq!(config.train.seed, 1);
    assert_eq!(config.train.optimizer, OptimizerKind::Adam);
    assert_eq!(
        faults("", &[]),
        ["test.yaml: data.train: missing: name the file or folder with the training examples"]
    );
}

#[test]
fn every_fault_is_reported_with_its_line() {
    let yaml = "data:\n  train: x.csv\n  text_colum: review\nmodel:\n  pooling: sum\n  lstm:\n    units: 0\ntrain:\n  epochs: many\n  learning_rate: 0\n";
    assert_eq!(
        faults(yaml, &["train.seed=-1"]),
        [
            "test.yaml:3:3: data.text_colum: unknown field; did you mean data.text_column?",
            "test.yaml:5:3: model.pooling: found \"sum\", allowed is last | mean | max",
            "test.yaml:7:5: model.lstm.units: found 0, allowed is a whole number, from 1 to 65536",
            "test.yaml:9:3: train.epochs: found \"many\", allowed is a whole number, from 1 to 1000000",
            "test.yaml:10:3: train.learning_rate: found 0, allowed is a number | null, above 0",
            "--set train.seed: found -1, allowed is a whole number",
        ]
    );
}

#[test]
fn a_field_in_the_wrong_section_is_suggested_in_the_right_one() {
    assert_eq!(
        faults("data: {train: x.csv}\n", &["units=64"]),
        ["--set units: unknown field; did you mean model.lstm.units?"]
    );
    assert_eq!(
        faults("data: {train: x.csv}\n", &["train.lr=1"]),
        ["--set train.lr: unknown field; did you mean train.learning_rate?"]
    );
    assert_eq!(
        faults("data: {train: x.csv}\n", &["model.zzz=1"]),
        [
            "--set model.zzz: unknown field; allowed here are embedding, lstm, pooling, head, initialization"
        ]
    );
    assert_eq!(
        faults("data: {train: x.csv}\ntrain: 5\n", &[]),
        ["test.yaml:2:1: train: found 5, allowed is a section of fields"]
    );
}

#[test]
fn broken_yaml_names_its_line() {
    for yaml in ["a: [1,\nb: 2\n", "data: {train: a, train: b}\n", "data:\n\ttrain: x\n"] {
        let lines = faults(yaml, &[]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("test.yaml:") && lines[0].contains("not valid YAML"),
            "{lines:?}"
        );
    }
}

#[test]
fn overrides_are_typed_and_win() {
    let yaml = "data: {train: x.csv}\ntrain: {epochs: 2}\n";
    let sets = [
        "train.epochs=7",
        "train.learning_rate=1e-2",
        "train.gradient_clip=null",
        "model.lstm.bidirectional=true",
    ];
    let overrides: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let config = parse(yaml, "test.yaml", &overrides).unwrap().config;
    assert_eq!(config.train.epochs, 7);
    assert_eq!(config.train.learning_rate, Some(0.01));
    assert_eq!(config.train.gradient_clip, None);
    assert!(config.model.lstm.bidirectional);
    assert!("train.epochs".parse::<Override>().is_err());
    assert!("train..epochs=1".parse::<Override>().is_err());
}

#[test]
fn contradictions_are_faults_too() {
    let lines = faults(
        "data: {train: x.csv}\nmodel:\n  lstm: {dropout: 0.5}\ntrain: {sgd: {nesterov: true}}\n",
        &[],
    );
    assert_eq!(
        lines,
        [
            "test.yaml:3:10: model.lstm.dropout: acts between layers, but model.lstm.layers is 1",
            "test.yaml:4:15: train.sgd.nesterov: needs train.sgd.momentum above 0",
        ]
    );
}

#[test]
fn the_printed_configuration_reads_back_as_itself() {
    let yaml = "name: 'a: b'\ndata:\n  train: /x y.csv\n  text_column: 2\n  labels: [neg, '1', 'true']\n  filter: {source: imdb}\n  split: {validation: 2500, test: 0.25}\ntrain:\n  class_weights: {neg: 2.5}\n  validate_every: 10\n  adam: {epsilon: 1e-8}\n";
    let resolved = parse_ok(yaml);
    let printed = resolved.to_yaml();
    assert_eq!(parse_ok(&printed).config, resolved.config, "{printed}");
    assert_eq!(parse_ok(&printed).to_yaml(), printed);
}

#[test]
fn every_synonym_names_a_field() {
    let fields = defaults();
    for (foreign, ours) in SYNONYMS {
        assert!(fields.iter().any(|field| field.path.join(".") == ours), "{foreign}: {ours}");
    }
}

#[test]
fn the_optimizer_decides_what_is_left_open() {
    let rates = |optimizer: &str| {
        let train = parse_ok(&format!("data: {{train: x}}\ntrain: {{optimizer: {optimizer}}}\n"));
        let config = train.config.train.clone();
        assert!(
            train
                .to_yaml()
                .contains(&format!("learning_rate: {:?}", config.learning_rate.unwrap()))
        );
        (config.learning_rate.unwrap(), config.weight_decay.unwrap())
    };
    assert_eq!(rates("adamw"), (0.002, 0.01));
    assert_eq!(rates("adadelta"), (1.0, 0.0));
    let given = parse_ok("data: {train: x}\ntrain: {optimizer: sgd, learning_rate: 3}\n");
    assert_eq!(given.config.train.learning_rate, Some(3.0));
}

#[test]
fn contradictions_stand_beside_other_faults() {
    let yaml = "data: {header: false, split: {validation: 0}}\ntrain: {epochs: 0}\n";
    let lines = faults(yaml, &[]);
    let expected = [
        "data.label_column: without a header",
        "data.text_column: without a header",
        "data.train: missing",
        "data.split.validation: must be above 0",
        "train.epochs: found 0",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for part in expected {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:?}");
    }
}
