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
fn what_a_token_budget_comes_to_is_kept() {
    let mut resolved = parse_ok("data: {train: x.csv}\ntrain: {token_budget: auto}\n");
    assert_eq!(resolved.config.train.token_budget, Some(TokenBudget::Auto));
    assert_eq!(resolved.config.train.tokens(), None);
    assert_eq!(parse_ok(&resolved.to_yaml()).config, resolved.config);
    resolved.set_token_budget(4_321);
    assert_eq!(resolved.config.train.tokens(), Some(4_321));
    assert_eq!(parse_ok(&resolved.to_yaml()).config, resolved.config);
    assert_eq!(
        faults("data: {train: x.csv}\ntrain: {token_budget: 0}\n", &[]).len()
            + faults("data: {train: x.csv}\ntrain: {token_budget: automatic}\n", &[]).len(),
        2
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

/// Under `sweep:` in line 2, with a training file.
fn sweep_yaml(section: &str) -> String {
    format!("data: {{train: /x.csv}}\nsweep:\n{section}")
}

#[test]
fn faults_of_a_sweep_have_their_lines() {
    let section = "  model.lstm.unit: [32]
  model.lstm.units: [32, 0, many]
  model.pooling: mean
  text: [{max_length: 5}]
  train.learning_rate: {log_uniform: [0, 1]}
  trials: 0
  seed: [1, -1]
";
    assert_eq!(
        faults(&sweep_yaml(section), &["sweep.train.epochs=[0]"]),
        [
            "test.yaml:3:3: sweep.model.lstm.unit: unknown field; did you mean model.lstm.units?",
            "test.yaml:4:3: sweep.model.lstm.units: found \"many\", allowed is a whole number, from 1 to 65536",
            "test.yaml:4:3: sweep.model.lstm.units: found 0, allowed is a whole number, from 1 to 65536",
            "test.yaml:5:3: sweep.model.pooling: found \"mean\", allowed is a list of values",
            "test.yaml:6:3: sweep.text: is a section of fields, and one of these must be named",
            "test.yaml:7:3: sweep.train.learning_rate: log_uniform needs a low above 0, found 0",
            "test.yaml:8:3: sweep.trials: found 0, allowed is a whole number | null, at least 1",
            "test.yaml:9:3: sweep.seed: found -1, allowed is a whole number",
            "--set sweep.train.epochs: found 0, allowed is a whole number, from 1 to 1000000",
        ]
    );
}

#[test]
fn what_a_sweep_cannot_vary_is_said() {
    for (section, message) in [
        ("  train.epochs: []", "found an empty list"),
        ("  train.epochs: [2, 3, 2]", "has 2 twice"),
        ("  train.learning_rate: {uniform: [0.1, 0.2]}", "needs trials: N"),
        ("  train: {epochs: [1, 2]}", "named with dots"),
        ("  trials: 2\n  model.head.dropout: {uniform: [0.5, 0.1]}", "a low below the high"),
        ("  trials: 2\n  model.head.dropout: {uniform: 0.5}", "two numbers, [low, high]"),
        ("  trials: 2\n  model.lstm.units: {integers: [1.5, 9]}", "two whole numbers"),
        ("  trials: 2\n  model.lstm.units: {uniform: [16, 128]}", "allowed is a whole number"),
        (
            "  trials: 2\n  model.head.dropout: {uniform: [0.5, 1]}",
            "found 1.0, allowed is a number",
        ),
        ("  seed: [1]\n  train.seed: [2]", "sweep.seed varies train.seed already"),
        ("  cases: [{train.epochs: 1}]\n  train.epochs: [2]", "sweep.cases varies train.epochs"),
        ("  cases: [{train.seed: 1}]", "a list of their own"),
        ("  cases: [{train.epoch: 1}]", "train.epoch: unknown field; did you mean train.epochs?"),
        ("  cases: {train.epochs: 1}", "a list of mappings"),
        ("  cases: [1]", "found 1 in the list"),
        ("  sweep.seed: [1]", "cannot vary itself"),
    ] {
        let lines = faults(&sweep_yaml(&format!("{section}\n")), &[]);
        assert!(lines.len() == 1 && lines[0].contains(message), "{section}: {lines:?}");
    }
    let lines = faults(&sweep_yaml("  train.epochs: [1, 2]\n"), &["train.epochs=3"]);
    let expected = "--set train.epochs: the section sweep varies this field; \
                    --set 'sweep.train.epochs=[…]' gives it other values";
    assert_eq!(lines, [expected]);
}

#[test]
fn a_sweep_is_printed_as_it_was_written() {
    let yaml = sweep_yaml("  model.lstm.units: [32, 64]\n  seed: [1, 2]\n");
    let resolved = parse_ok(&yaml);
    let printed = resolved.to_yaml();
    assert!(printed.contains("\nsweep: {model.lstm.units: [32, 64], seed: [1, 2]}\n"), "{printed}");
    assert_eq!(parse_ok(&printed).config, resolved.config);
}

/// The sweep of a configuration, or the lines of its error.
fn load_sweep(section: &str, sets: &[&str]) -> Result<Sweep, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.yaml");
    std::fs::write(&file, sweep_yaml(section)).unwrap();
    let overrides: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let prefix = format!("{}/", folder.path().display());
    let without_folder = |line: &String| line.replace(&prefix, "");
    Sweep::load(&file, &overrides).map_err(|error| error.lines.iter().map(without_folder).collect())
}

#[test]
fn points_change_the_configuration_and_nothing_else() {
    let section = "  seed: [1, 2]
  cases: [{}, {model.lstm.layers: 2, model.lstm.dropout: 0.3}]
  model.embedding.vectors: [a.txt, null]
";
    let sweep = load_sweep(section, &["train.epochs=7"]).unwrap();
    assert_eq!(sweep.points.len(), 8);
    let configs: Vec<Config> =
        sweep.points.iter().map(|point| sweep.resolve(point).unwrap().config).collect();
    for config in &configs {
        assert_eq!((config.train.epochs, config.name.as_deref()), (7, Some("many")));
        assert!(config.sweep.is_empty());
    }
    let shown = |config: &Config| {
        let (lstm, vectors) = (&config.model.lstm, &config.model.embedding.vectors);
        (lstm.layers, lstm.dropout, vectors.is_some(), config.train.seed)
    };
    assert_eq!(shown(&configs[0]), (1, 0.0, true, 1));
    assert_eq!(shown(&configs[1]), (1, 0.0, true, 2));
    assert_eq!(shown(&configs[2]), (1, 0.0, false, 1));
    assert_eq!(shown(&configs[7]), (2, 0.3, false, 2));
    assert_eq!(configs[0].inputs[0].embedding.vectors, std::path::absolute("a.txt").ok());
    assert_eq!(sweep.base.config.train.seed, 1);
}

#[test]
fn fields_vary_in_the_order_in_which_they_are_written() {
    let section = "  search_seed: 5
  train.epochs: [1, 2]
  seed: [1, 2]
  text.min_count: [3, 4]
  model.lstm.units: [5, 6]
";
    let sweep = load_sweep(section, &[]).unwrap();
    let values = |point: &Point| -> Vec<u64> {
        point.changes().map(|set| set.value().as_u64().unwrap()).collect()
    };
    let points: Vec<Vec<u64>> = sweep.points.iter().map(values).collect();
    assert_eq!(points[..3], [[1, 3, 5, 1], [1, 3, 5, 2], [1, 3, 6, 1]]);
    let drawn = load_sweep(&format!("  trials: 1\n{section}"), &[]).unwrap();
    let fields: Vec<String> = drawn.points[0].changes().map(Override::field).collect();
    assert_eq!(fields, ["train.epochs", "text.min_count", "model.lstm.units", "train.seed"]);
}

#[test]
fn values_that_contradict_each_other_are_found_before_anything_is_trained() {
    let section = "  model.lstm.layers: [1, 2]\n  model.lstm.dropout: [0, 0.3]\n  seed: [1, 2]\n";
    assert_eq!(
        load_sweep(section, &[]).unwrap_err(),
        [
            "many.yaml:2:1: sweep: at model.lstm.layers=1 model.lstm.dropout=0.3: model.lstm.dropout: \
             acts between layers, but model.lstm.layers is 1; sweep.cases can say which values go \
             together"
        ]
    );
    assert!(
        load_sweep("  trials: 3\n", &[]).unwrap_err()[0].contains(":2:1: sweep: varies nothing")
    );
    assert!(load_sweep("", &[]).unwrap_err()[0].contains(":2:1: sweep: varies nothing"));
}

#[test]
fn a_field_below_a_value_is_unknown() {
    let section = "  train.optimizer.learning_rate: [0.1, 0.01]\n";
    let yaml = format!("{}train: {{optimizer: adam}}\n", sweep_yaml(section));
    let lines = faults(&yaml, &[]);
    assert!(lines[0].contains("sweep.train.optimizer.learning_rate: unknown field"), "{lines:?}");
    let yaml = "data: {train: /x.csv}\nmodel: {pooling: mean}\n";
    let lines = faults(yaml, &["model.pooling.size=3"]);
    assert!(lines[0].contains("--set model.pooling.size: unknown field"), "{lines:?}");
    // A section that is none is the walk's to find.
    let lines = faults("data: {train: /x.csv}\ntrain: 3\n", &["train.epochs=2"]);
    assert!(lines.len() == 1 && !lines[0].contains("unknown"), "{lines:?}");
}

#[test]
fn one_training_is_not_two_points() {
    let lines = load_sweep("  seed: [1, 1.0]\n", &[]).unwrap_err();
    assert!(lines[0].contains("the same training twice: train.seed=1 and"), "{lines:?}");
    let lines = load_sweep("  model.lstm.units: [64, 64.0]\n", &[]).unwrap_err();
    assert!(lines[0].contains("model.lstm.units=64 and model.lstm.units=64.0"), "{lines:?}");
}

#[test]
fn only_points_have_to_make_sense() {
    let sets = ["model.lstm.dropout=0.3"];
    assert_eq!(load_sweep("  model.lstm.layers: [2, 3]\n", &sets).unwrap().points.len(), 2);
    assert!(load_sweep("  model.lstm.layers: [1, 2]\n", &sets).is_err());
}
