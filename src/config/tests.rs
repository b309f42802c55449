use std::path::Path;

use super::fields::set_value;
use super::suggestions::SYNONYMS;
use super::*;

fn parse_ok(yaml: &str) -> Resolved {
    parse(yaml, "test.yaml", &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(yaml: &str, sets: &[&str]) -> Vec<String> {
    let overrides: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    parse(yaml, "test.yaml", &overrides).unwrap_err().lines
}

#[test]
fn only_the_training_data_is_required() {
    let config = parse_ok("data: {train: /reviews.csv}\n").config;
    assert_eq!(config.data.train, Path::new("/reviews.csv"));
    assert_eq!(config.train.seed, 1);
    assert_eq!(config.train.optimizer, OptimizerKind::Adam);
    assert_eq!(
        faults("", &[]),
        ["test.yaml: data.train: missing; set it to the file or directory with the training data"]
    );
}

#[test]
fn every_fault_is_reported_with_its_line() {
    let yaml = "data:\n  train: x.csv\n  text_colum: review\nmodel:\n  pooling: sum\n  lstm:\n    units: 0\ntrain:\n  epochs: many\n  learning_rate: 0\n";
    assert_eq!(
        faults(yaml, &["train.seed=-1"]),
        [
            "test.yaml:3:3: data.text_colum: unknown field; did you mean data.text_column?",
            "test.yaml:5:3: model.pooling: found \"sum\", expected last, mean, max, attention or a list of these, each at most once",
            "test.yaml:7:5: model.lstm.units: found 0, expected an integer from 1 to 65536",
            "test.yaml:9:3: train.epochs: found \"many\", expected an integer from 1 to 1000000",
            "test.yaml:10:3: train.learning_rate: found 0, expected a number > 0 or null",
            "--set train.seed: found -1, expected an integer ≥ 0",
        ]
    );
}

#[test]
fn faults_of_a_line_are_sorted_by_column() {
    let faults = faults("data: {train: x}\nmodel: {pooling: 1, head: {dropout: 2}}\n", &[]);
    assert!(faults[0].starts_with("test.yaml:2:9: model.pooling"), "{faults:?}");
    assert!(faults[1].starts_with("test.yaml:2:28: model.head.dropout"), "{faults:?}");
}

#[test]
fn unknown_fields_get_a_suggestion() {
    assert_eq!(
        faults("data: {train: x.csv}\n", &["units=64"]),
        ["--set units: unknown field; did you mean model.lstm.units?"]
    );
    assert_eq!(
        faults("data: {train: x.csv, label: y}\n", &[]),
        ["test.yaml:1:22: data.label: unknown field; did you mean data.label_column?"]
    );
    assert_eq!(
        faults("data: {train: x.csv}\n", &["train.lr=1"]),
        ["--set train.lr: unknown field; did you mean train.learning_rate?"]
    );
    assert_eq!(
        faults("data: {train: x.csv}\n", &["model.zzz=1"]),
        [
            "--set model.zzz: unknown field; this section has embedding, lstm, pooling, ngrams, head, initialization"
        ]
    );
    assert_eq!(
        faults("data: {train: x.csv}\ntrain: 5\n", &[]),
        ["test.yaml:2:1: train: found 5, expected a mapping of fields"]
    );
    parse_ok("data: {train: x.csv}\ntrain:\n  # epochs: 3\n  early_stopping:\n");
    assert_eq!(
        faults("data: {train: x.csv}\nmodel: ~\n", &["train.early_stopping=null"]),
        [
            "test.yaml:2:1: model: found null, expected a mapping of fields",
            "--set train.early_stopping: found null, expected a mapping of fields; \
             train.early_stopping.patience: null turns it off",
        ]
    );
}

#[test]
fn invalid_yaml_is_reported_with_its_line() {
    for yaml in ["a: [1,\nb: 2\n", "data: {train: a, train: b}\n", "data:\n\ttrain: x\n"] {
        let lines = faults(yaml, &[]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("test.yaml:") && lines[0].contains("invalid YAML"),
            "{lines:?}"
        );
    }
    let message =
        "mapping values are not allowed in this context; check the indentation and quotes";
    assert_eq!(
        faults("data:\n  train: x\n   format: csv\n", &[]),
        [format!("test.yaml:3:10: invalid YAML: {message}")]
    );
}

#[test]
fn overrides_are_typed_and_take_precedence() {
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
fn contradictions_are_reported() {
    let lines = faults(
        "data: {train: x.csv}\nmodel:\n  lstm: {dropout: 0.5}\ntrain: {sgd: {nesterov: true}}\n",
        &[],
    );
    assert_eq!(
        lines,
        [
            "test.yaml:3:10: model.lstm.dropout: applies between layers, but model.lstm.layers is 1",
            "test.yaml:4:15: train.sgd.nesterov: needs train.sgd.momentum > 0",
        ]
    );
}

#[test]
fn dropout_between_layers_of_a_language_model_needs_layers() {
    for (lstm, reason) in [
        ("bidirectional: false", Some("model.lstm.layers is 1")),
        ("bidirectional: true, layers: 2", Some("model.lstm.bidirectional: true leaves")),
        ("bidirectional: false, layers: 2", None),
    ] {
        let yaml = format!(
            "data: {{train: x.csv}}\nmodel: {{lstm: {{{lstm}}}}}\n\
             pretrain: {{language_model: {{hidden_dropout: 0.2}}}}\n"
        );
        let expected = reason.map(|reason| {
            let field = "pretrain.language_model.hidden_dropout";
            format!("test.yaml:3:29: {field}: applies between layers, but {reason}")
        });
        let Some(expected) = expected else {
            parse_ok(&yaml);
            continue;
        };
        let lines = faults(&yaml, &[]);
        assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{lines:?}");
    }
}

#[test]
fn an_automatic_token_budget_is_replaced_by_a_number() {
    let mut resolved = parse_ok("data: {train: x.csv}\ntrain: {token_budget: auto}\n");
    assert_eq!(resolved.config.train.token_budget, Some(AutoNumber::Auto));
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
fn the_printed_configuration_parses_to_the_same_configuration() {
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
fn the_optimizer_sets_the_default_learning_rate_and_weight_decay() {
    let rates = |optimizer: &str| {
        let train = parse_ok(&format!("data: {{train: x}}\ntrain: {{optimizer: {optimizer}}}\n"));
        let config = train.config.train.clone();
        let printed = train.to_yaml();
        let default = format!("learning_rate: null  # {:?}", config.learning_rate());
        assert!(printed.contains(&default), "{printed}");
        // A change of the optimizer changes the defaults, too.
        let changed = parse(&printed, "", &["train.optimizer=sgd".parse().unwrap()]).unwrap();
        assert_eq!(
            (changed.config.train.learning_rate(), changed.config.train.weight_decay()),
            (0.1, 0.0)
        );
        assert_eq!(parse_ok(&printed).config.train, config);
        (config.learning_rate(), config.weight_decay())
    };
    assert_eq!(rates("adamw"), (0.002, 0.01));
    assert_eq!(rates("adadelta"), (1.0, 0.0));
    let given = parse_ok("data: {train: x}\ntrain: {optimizer: sgd, learning_rate: 3}\n");
    assert_eq!(given.config.train.learning_rate, Some(3.0));
}

#[test]
fn contradictions_are_reported_along_with_other_faults() {
    let yaml = "data: {header: false, split: {validation: 0}}\ntrain: {epochs: 0}\n";
    let lines = faults(yaml, &[]);
    let expected = [
        "data.label_column: expected a column number",
        "data.text_column: expected a column number",
        "data.train: missing",
        "data.split.validation: expected a value > 0",
        "train.epochs: found 0",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for part in expected {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:?}");
    }
}

/// A configuration with `section` under `sweep:` in line 2.
fn sweep_yaml(section: &str) -> String {
    format!("data: {{train: /x.csv}}\nsweep:\n{section}")
}

#[test]
fn faults_of_a_sweep_are_reported_with_their_lines() {
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
            "test.yaml:4:3: sweep.model.lstm.units: found \"many\", expected an integer from 1 to 65536",
            "test.yaml:4:3: sweep.model.lstm.units: found 0, expected an integer from 1 to 65536",
            "test.yaml:5:3: sweep.model.pooling: found \"mean\", expected a list of values",
            "test.yaml:6:3: sweep.text: is a section; name one of its fields",
            "test.yaml:7:3: sweep.train.learning_rate: log_uniform needs low > 0, found 0.0",
            "test.yaml:8:3: sweep.trials: found 0, expected an integer ≥ 1 or null",
            "test.yaml:9:3: sweep.seed: found -1, expected an integer ≥ 0",
            "--set sweep.train.epochs: found 0, expected an integer from 1 to 1000000",
        ]
    );
}

#[test]
fn invalid_sweeps_are_rejected() {
    for (section, message) in [
        ("  train.epochs: []", "found an empty list"),
        ("  train.epochs: [2, 3, 2]", "lists 2 twice"),
        ("  train.learning_rate: {uniform: [0.1, 0.2]}", "need trials: N"),
        ("  train: {epochs: [1, 2]}", "are named with dots"),
        ("  trials: 2\n  model.head.dropout: {uniform: [0.5, 0.1]}", "needs low < high"),
        ("  trials: 2\n  model.head.dropout: {uniform: 0.5}", "needs two numbers, [low, high]"),
        ("  trials: 2\n  model.lstm.units: {integers: [1.5, 9]}", "needs two integers"),
        ("  trials: 2\n  model.lstm.units: {uniform: [16, 128]}", "expected an integer"),
        ("  trials: 2\n  model.head.dropout: {uniform: [0.5, 1]}", "found 1.0, expected a number"),
        ("  seed: [1]\n  train.seed: [2]", "sweep.seed already varies train.seed"),
        (
            "  cases: [{train.epochs: 1}]\n  train.epochs: [2]",
            "sweep.cases already varies train.epochs",
        ),
        ("  cases: [{train.seed: 1}]", "a case cannot set train.seed"),
        ("  cases: [{train.epoch: 1}]", "train.epoch: unknown field; did you mean train.epochs?"),
        ("  cases: {train.epochs: 1}", "a list of mappings"),
        ("  cases: [1]", "found 1 in the list"),
        ("  sweep.seed: [1]", "cannot vary the section sweep"),
    ] {
        let lines = faults(&sweep_yaml(&format!("{section}\n")), &[]);
        assert!(lines.len() == 1 && lines[0].contains(message), "{section}: {lines:?}");
    }
    let lines = faults(&sweep_yaml("  train.epochs: [1, 2]\n"), &["train.epochs=3"]);
    let expected = "--set train.epochs: the section sweep varies this field; change its values \
                    with --set 'sweep.train.epochs=[…]'";
    assert_eq!(lines, [expected]);
}

#[test]
fn a_sweep_is_printed_as_written() {
    let yaml = sweep_yaml("  model.lstm.units: [32, 64]\n  seed: [1, 2]\n");
    let resolved = parse_ok(&yaml);
    let printed = resolved.to_yaml();
    assert!(printed.contains("\nsweep: {model.lstm.units: [32, 64], seed: [1, 2]}\n"), "{printed}");
    assert_eq!(parse_ok(&printed).config, resolved.config);
}

/// Loads a sweep, or returns the lines of its error.
fn load_sweep(section: &str, sets: &[&str]) -> Result<Sweep, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("many.yaml");
    std::fs::write(&file, sweep_yaml(section)).unwrap();
    let overrides: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let prefix = format!("{}/", directory.path().display());
    let relative = |line: &String| line.replace(&prefix, "");
    Sweep::load(&file, &overrides).map_err(|error| error.lines.iter().map(relative).collect())
}

#[test]
fn points_set_their_fields_only() {
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
fn fields_vary_in_the_order_of_the_section() {
    let section = "  search_seed: 5
  train.epochs: [1, 2]
  seed: [1, 2]
  text.min_count: [3, 4]
  model.lstm.units: [5, 6]
";
    let sweep = load_sweep(section, &[]).unwrap();
    let values = |point: &Point| -> Vec<u64> {
        point.overrides().map(|set| set.value().as_u64().unwrap()).collect()
    };
    let points: Vec<Vec<u64>> = sweep.points.iter().map(values).collect();
    assert_eq!(points[..3], [[1, 3, 5, 1], [1, 3, 5, 2], [1, 3, 6, 1]]);
    let drawn = load_sweep(&format!("  trials: 1\n{section}"), &[]).unwrap();
    let fields: Vec<String> = drawn.points[0].overrides().map(Override::field).collect();
    assert_eq!(fields, ["train.epochs", "text.min_count", "model.lstm.units", "train.seed"]);
}

#[test]
fn contradictory_points_are_rejected() {
    let section = "  model.lstm.layers: [1, 2]\n  model.lstm.dropout: [0, 0.3]\n  seed: [1, 2]\n";
    assert_eq!(
        load_sweep(section, &[]).unwrap_err(),
        [
            "many.yaml:2:1: sweep: at model.lstm.layers=1 model.lstm.dropout=0.3: model.lstm.dropout: \
             applies between layers, but model.lstm.layers is 1; list compatible combinations in \
             sweep.cases"
        ]
    );
    assert!(
        load_sweep("  trials: 3\n", &[]).unwrap_err()[0].contains(":2:1: sweep: nothing varies")
    );
    assert!(load_sweep("", &[]).unwrap_err()[0].contains(":2:1: sweep: nothing varies"));
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
    // A section that is a value is reported as such.
    let lines = faults("data: {train: /x.csv}\ntrain: 3\n", &["train.epochs=2"]);
    assert!(lines.len() == 1 && !lines[0].contains("unknown"), "{lines:?}");
}

#[test]
fn two_points_with_the_same_configuration_are_rejected() {
    let lines = load_sweep("  seed: [1, 1.0]\n", &[]).unwrap_err();
    assert!(lines[0].contains("the same configuration: train.seed=1 and"), "{lines:?}");
    let lines = load_sweep("  model.lstm.units: [64, 64.0]\n", &[]).unwrap_err();
    assert!(lines[0].contains("model.lstm.units=64 and model.lstm.units=64.0"), "{lines:?}");
}

#[test]
fn the_base_of_a_sweep_can_contradict_itself() {
    let sets = ["model.lstm.dropout=0.3"];
    assert_eq!(load_sweep("  model.lstm.layers: [2, 3]\n", &sets).unwrap().points.len(), 2);
    assert!(load_sweep("  model.lstm.layers: [1, 2]\n", &sets).is_err());
}

#[test]
fn the_label_column_cannot_be_a_text_column() {
    for yaml in [
        "data: {train: x, text_column: [title, label]}\n",
        "data: {train: x, header: false, text_column: 2, label_column: 2}\n",
        "data: {train: x}\ninputs: {a: {}, b: {column: [c, label]}}\n",
        "data: {train: x}\ninputs: {label: {}}\n",
    ] {
        let faults = faults(yaml, &[]);
        assert!(faults[0].contains("is also data.label_column"), "{faults:?}");
        assert!(parse(yaml, "", &["data.version=1".parse().unwrap()]).is_ok());
    }
}

#[test]
fn labels_are_spelled_as_in_the_data() {
    let yaml = "data: {train: x, labels: [' a', \"cafe\u{301}\"], label_names: {'0 ': ' a '}}\n\
                train: {class_weights: {'a ': 2}}\n";
    let resolved = parse_ok(yaml);
    let data = &resolved.config.data;
    assert_eq!(data.labels, ["a", "caf\u{e9}"]);
    assert_eq!(data.class_name(" 0"), "a");
    assert_eq!(parse_ok(&resolved.to_yaml()).config, resolved.config);
    let same = faults("data: {train: x, label_names: {a: x, 'a ': y}, labels: [a, 'a ']}\n", &[]);
    assert!(same[0].ends_with("data.label_names: two entries name the same label"), "{same:?}");
    assert!(same[1].contains("data.labels: expected at least 2 labels, all different"), "{same:?}");
}

/// Runs of lstmtext 0.1 have no `data.version`.
#[test]
fn recorded_configurations_keep_the_behavior_of_their_version() {
    let version = |yaml: &str| parse_recorded(yaml, "", &[]).unwrap().config.data.version;
    assert_eq!(version("data: {train: x, label_column: text}\n"), 1);
    assert_eq!(version("data: {train: x, version: 2}\n"), 2);
    assert_eq!(parse_ok("data: {train: x}\n").config.data.version, 3);
    let first = parse_recorded("data: {train: x}\n", "", &[]).unwrap();
    assert_eq!(version(&first.to_yaml()), 1);
    assert!(parse_recorded("data: 5\n", "", &[]).is_err());
    let set = "data.version=2".parse().unwrap();
    assert_eq!(parse_recorded("data: {train: x}\n", "", &[set]).unwrap().config.data.version, 2);
}

#[test]
fn texts_keep_their_spelling() {
    let yaml = "
name: 1.10
data:
  train: 007.10
  test: 2e5
  text_column: [1.10, True, 2020-01-01, ~, 2.5, 3]
  label_column: 0x10
  filter: {version: 1.10, 1.0: yes, ~: null, spam: True, id: 12345678901234567890123}
  label_names: {True: spam, False: 0.10, 1: +1, 1.0: 1e3}
  labels: [True, False, ~, null, 1.10, -0, '1.1']
  split: {seed: 0x10}
text: {vocabulary: 1.50}
model: {embedding: {vectors: ~}}
train: {class_weights: {True: 0x2, 1.10: 1e0}, epochs: 1e3}
";
    let yaml = yaml.replace("1.10: 1e0", "1.10: 1e0, False: 1");
    let resolved = parse_ok(&yaml);
    let config = &resolved.config;
    let map = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(config.name.as_deref(), Some("1.10"));
    assert!(config.data.train.ends_with("007.10"));
    assert!(config.data.test.as_ref().unwrap().ends_with("2e5"));
    let columns: Vec<String> = config.data.text_column.0.iter().map(Column::to_string).collect();
    assert_eq!(columns.join(" "), "\"1.10\" \"True\" \"2020-01-01\" \"~\" \"2.5\" number 3");
    assert_eq!(config.data.label_column, Column::Name("0x10".into()));
    let filter = "1.0=yes id=12345678901234567890123 spam=True version=1.10 ~=null";
    assert_eq!(map(&config.data.filter), filter);
    assert_eq!(map(&config.data.label_names), "1=+1 1.0=1e3 False=0.10 True=spam");
    assert_eq!(config.data.labels, ["True", "False", "~", "null", "1.10", "-0", "1.1"]);
    assert!(
        matches!(&config.text.vocabulary, VocabularySource::File(path) if path.ends_with("1.50"))
    );
    assert_eq!(config.model.embedding.vectors, None);
    let weights = [("1.10", 1.0), ("False", 1.0), ("True", 2.0)];
    let weights = weights.map(|(label, weight)| (label.to_owned(), weight));
    assert_eq!(config.train.class_weights, ClassWeights::Given(weights.into()));
    assert_eq!((config.data.split.seed, config.train.epochs), (16, 1000));
    assert_eq!(parse_ok(&resolved.to_yaml()).config, *config, "{}", resolved.to_yaml());
}

#[test]
fn texts_of_overrides_inputs_and_sweeps_keep_their_spelling() {
    let sets = ["data.filter.version=1.10", "data.labels=[True, False]", "name=1e3", "data.test=~"];
    let sets: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let yaml = "data: {train: x}\ninputs: {a: {column: 1.10}, b: {column: [True, 2], text: {vocabulary: 0x1}}}\n";
    let config = parse(yaml, "test", &sets).unwrap().config;
    assert_eq!(config.data.filter["version"], "1.10");
    assert_eq!(config.data.labels, ["True", "False"]);
    assert_eq!((config.name.as_deref(), config.data.test), (Some("1e3"), None));
    let columns: Vec<String> = config.inputs.columns().into_iter().map(Column::key).collect();
    assert_eq!(columns, ["1.10", "True", "2"]);
    let vocabulary = &config.inputs[1].text.vocabulary;
    assert!(matches!(vocabulary, VocabularySource::File(path) if path.ends_with("0x1")));

    let section = "  data.filter: [{version: 1.10}, {version: 1.1}]
  data.label_names: [{True: a}]
  model.embedding.vectors: [1.50, null]
  cases: [{data.label_column: 1.0, train.epochs: 1e1}]
";
    let sweep = load_sweep(section, &["sweep.name=[~, 1.10]"]).unwrap();
    let configs: Vec<Config> =
        sweep.points.iter().map(|point| sweep.resolve(point).unwrap().config).collect();
    let versions: Vec<&String> =
        configs.iter().map(|config| &config.data.filter["version"]).collect();
    assert_eq!((versions[0].as_str(), versions[7].as_str()), ("1.10", "1.1"));
    assert_eq!(configs[0].data.label_names["True"], "a");
    assert!(configs[0].model.embedding.vectors.as_ref().unwrap().ends_with("1.50"));
    assert_eq!(configs[2].model.embedding.vectors, None);
    assert_eq!(configs[0].data.label_column, Column::Name("1.0".into()));
    assert_eq!((configs[0].train.epochs, configs[1].name.as_deref()), (10, Some("1.10")));
}

#[test]
fn characters_that_yaml_changes_are_escaped() {
    let text = "\u{7f} \u{85} \u{9b} \u{2028} \u{2029} \u{feff} \u{1} é \u{1f600} \" \\ \n";
    let mut resolved = parse_ok("data: {train: x}\n");
    set_value(&mut resolved.fields, &["name"], serde_yaml::Value::from(text));
    assert_eq!(parse_ok(&resolved.to_yaml()).config.name.as_deref(), Some(text));
}

#[test]
fn many_faults_take_linear_time_and_are_listed_up_to_a_limit() {
    let start = std::time::Instant::now();
    let unknown = |count: usize| (0..count).map(|i| format!("k{i}: 1\n")).collect::<String>();
    let yaml = format!("{}data: {{train: x}}\ntrain: {{epochs: many}}\n", unknown(5_000));
    let error = parse(&yaml, "test.yaml", &[]).unwrap_err().to_string();
    assert!(error.starts_with("5001 errors in the configuration\ntest.yaml:1:1: k0: "), "{error}");
    assert!(error.ends_with("\n… and 4901 more"), "{error}");
    assert_eq!(error.lines().count(), 102);
    let many: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let (list, pairs) = (many.join(", "), many.join(": 1, "));
    for (yaml, message) in [
        (
            format!(
                "train: {{class_weights: {{{pairs}: 1}}}}\ndata: {{train: x, labels: [{list}]}}\n"
            ),
            "",
        ),
        (format!("data: {{train: x}}\nsweep: {{train.seed: [{list}]}}\n"), "lists 20000 values"),
        (format!("data: {{train: x}}\nsweep: {{{pairs}: 1}}\n"), "expected a list of values"),
        (format!("data: {{train: x}}\ninputs: {{{pairs}: {{}}}}\n"), "has 20000 inputs"),
        (format!("data: {{train: x, text_column: [{list}]}}\n"), "found a list"),
        (format!("data: {{train: x}}\n{}: 1\n", "x".repeat(1_000)), "unknown field"),
    ] {
        let result = parse(&yaml, "test.yaml", &[]).map_err(|error| error.to_string());
        match message {
            "" => assert!(result.is_ok(), "{result:?}"),
            message => assert!(result.unwrap_err().contains(message), "{message}"),
        }
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn numbers_that_single_precision_flushes_to_zero_are_not_above_zero() {
    let yaml = |field: &str| format!("data: {{train: x}}\ntrain: {{{field}}}\n");
    for field in ["learning_rate: 1e-310", "gradient_clip: 1e-39", "adam: {epsilon: 1e-50}"] {
        let lines = faults(&yaml(field), &[]);
        let advice = "; numbers below 1.2e-38 count as 0";
        assert!(lines.len() == 1 && lines[0].ends_with(advice), "{lines:?}");
    }
    assert!(faults(&yaml("learning_rate: 0"), &[])[0].ends_with("a number > 0 or null"));
    assert_eq!(faults(&yaml("class_weights: {a: 1e-310}"), &[]).len(), 1);
    parse_ok(&yaml("learning_rate: 1e-37, early_stopping: {min_delta: 1e-310}"));
    let section = "  trials: 1\n  train.learning_rate: {log_uniform: [1e-310, 1]}\n";
    assert!(faults(&sweep_yaml(section), &[])[0].ends_with("needs low > 0, found 1e-310"));
}

#[test]
fn defaults_can_be_changed_without_a_file() {
    let set = |set: &str| defaults_with(&[set.parse().unwrap()]);
    let yaml = set("train.epochs=7").unwrap().to_yaml();
    assert!(yaml.contains("\n  epochs: 7\n") && yaml.contains("\n  train: \"\"\n"), "{yaml}");
    assert!(defaults_with(&[]).is_ok() && set("data.train=x").is_ok());
    for (wrong, message) in [
        ("train.epochs=-3", "--set train.epochs: found -3"),
        ("train.epoch=3", "unknown field"),
        ("data.train=[]", "--set data.train: found a list"),
        ("model.lstm.dropout=0.5", "applies between layers"),
    ] {
        let error = set(wrong).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn words_that_other_readers_of_yaml_take_for_booleans_are_quoted() {
    let words = ["y", "No", "yes", "on", "OFF", "null", "true"];
    let printed = words.map(|word| print::inline_yaml(&serde_yaml::Value::from(word)));
    assert_eq!(printed, words.map(|word| format!("\"{word}\"")));
    for word in ["yesterday", "auto", "nope"] {
        assert_eq!(print::inline_yaml(&serde_yaml::Value::from(word)), word);
    }
}
