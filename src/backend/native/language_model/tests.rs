use super::*;
use crate::config::{self, Config};
use crate::random::{absorb, mix};

mod naive;

use naive::Naive;

const VOCABULARY: usize = 50;

/// A model and its settings.
struct Case {
    config: Config,
    settings: LanguageModelSettings,
}

impl Case {
    /// Creates a small model with odd sizes and these fields of the LSTM.
    fn new(lstm: &str) -> Self {
        Self::with_sizes(lstm, 5, 7)
    }

    fn with_sizes(lstm: &str, size: usize, units: usize) -> Self {
        let yaml = format!(
            "data: {{train: x}}\nmodel: {{embedding: {{size: {size}}}, lstm: {{units: {units}, {lstm}}}}}\n"
        );
        let settings = LanguageModelSettings {
            rows: 3,
            negatives: 13,
            // Some ids have no count, as the special ones.
            counts: (0..VOCABULARY as u64).map(|id| if id < 4 { 0 } else { 200 / id }).collect(),
            dropout: 0.0,
            gradient_clip: None,
            shards: 2,
            seed: 5,
        };
        Self { config: config::parse_plain(&yaml).config, settings }
    }

    fn spec(&self) -> LanguageModelSpec<'_> {
        LanguageModelSpec { input: &self.config.inputs[0], vocabulary_size: VOCABULARY }
    }

    /// Returns initial weights with nonzero biases.
    fn weights(&self) -> Vec<NamedTensor> {
        let mut weights = self.spec().initial_weights(1);
        for tensor in weights.iter_mut().filter(|tensor| tensor.name.contains("bias")) {
            if tensor.name.contains("bias_hh") {
                continue;
            }
            for (index, value) in tensor.values.iter_mut().enumerate() {
                *value += 0.3 * (index as f32 * 1.7).sin();
            }
        }
        weights
    }

    fn learner(&self, instructions: Instructions) -> NativeLanguageModel {
        let settings = self.settings.clone();
        let spec = self.spec();
        NativeLanguageModel::with_instructions(&spec, settings, self.weights(), instructions)
            .unwrap()
    }

    /// Returns random batches of consecutive tokens.
    fn batches<const N: usize>(&self, steps: usize) -> [LanguageModelBatch; N] {
        let (rows, directions) = (self.settings.rows, self.config.inputs[0].lstm.directions());
        let id = |direction: usize, row: usize, token: usize| {
            let random = absorb(7, [direction as u64, row as u64, token as u64]);
            // Few ids, so that words repeat and negatives are targets; id 1 has no count.
            1 + (random % 11) as u32
        };
        std::array::from_fn(|batch| {
            let ids = |direction| {
                let rows = (0..rows)
                    .flat_map(|row| (0..=steps).map(move |step| (row, batch * steps + step)));
                rows.map(|(row, token)| id(direction, row, token)).collect()
            };
            LanguageModelBatch { ids: (0..directions).map(ids).collect(), rows }
        })
    }
}

const KINDS: [&str; 3] = ["layers: 1", "layers: 2", "bidirectional: true"];

/// Returns the gradient of each weight with all rows.
fn gradients(learner: &NativeLanguageModel) -> Vec<Vec<f32>> {
    let gradient = |(index, weight): (usize, &crate::backend::native::Weight)| match learner
        .gradients
        .rows_of(index)
    {
        None => learner.gradients.dense[index].clone(),
        Some(rows) => {
            let row_size = weight.tensor.shape.get(1).copied().unwrap_or(1);
            let mut values = vec![0.0; weight.tensor.values.len()];
            assert!(rows.words.is_sorted_by(|a, b| a < b));
            for (word, row) in rows.words.iter().zip(rows.values.chunks(row_size)) {
                values[*word as usize * row_size..][..row_size].copy_from_slice(row);
            }
            values
        }
    };
    learner.model.weights.iter().enumerate().map(gradient).collect()
}

fn assert_near(actual: f64, expected: f64, tolerance: f64, name: &str) {
    let error = (actual - expected).abs();
    assert!(error <= tolerance * (1.0 + expected.abs()), "{name}: {actual} instead of {expected}");
}

/// Losses, all gradients and carried states are those of a naive implementation, for two batches in a row.
#[test]
fn losses_and_gradients_agree_with_finite_differences() {
    for (kind, dropout) in KINDS.into_iter().zip([0.0, 0.3, 0.3]) {
        let mut case = Case::new(kind);
        case.settings.dropout = dropout;
        let batches: [_; 2] = case.batches(4);
        let mut naive = Naive::new(&case.spec(), &case.settings, &case.weights());
        let available = Instructions::available();
        let mut learners: Vec<_> = available.iter().map(|set| case.learner(*set)).collect();
        for (step, batch) in (3..).zip(&batches) {
            let expected = naive.losses(batch, step);
            let differences = naive.gradients(batch, step);
            for (instructions, learner) in available.iter().zip(&mut learners) {
                let losses = learner.compute_gradients(batch, step).unwrap();
                for (loss, expected) in losses.iter().zip(&expected) {
                    assert_near(*loss, *expected, 1e-5, &format!("{kind}, {instructions}"));
                }
                for (index, actual) in gradients(learner).iter().enumerate() {
                    let name = &learner.model.weights[index].tensor.name;
                    if name.contains("bias_hh") {
                        assert!(actual.is_empty());
                        continue;
                    }
                    let name = format!("{kind}, {instructions}, {name}");
                    let pairs = actual.iter().zip(&differences[index]);
                    let pairs = pairs.filter_map(|(actual, expected)| Some((actual, (*expected)?)));
                    for (actual, expected) in pairs {
                        assert_near(f64::from(*actual), expected, 1e-6, &name);
                    }
                }
            }
            naive.carry(batch);
        }
    }
}

/// A word that is drawn as a negative for itself as a target must not count twice.
#[test]
fn negatives_that_are_the_target_are_left_out() {
    let mut case = Case::new("layers: 1");
    // All negatives are the word 9, which is also every target.
    case.settings.counts = vec![0; VOCABULARY];
    case.settings.counts[9] = 3;
    let batch = LanguageModelBatch { ids: vec![vec![9; 15]], rows: 3 };
    let mut learner = case.learner(Instructions::best());
    let losses = learner.compute_gradients(&batch, 0).unwrap();
    assert_eq!(losses, [0.0], "only the target is left");
    assert_eq!(learner.gradients.norm(), 0.0);
}

/// Without updates, two batches of T tokens lead to the states of one batch of 2 T.
#[test]
fn states_continue_from_batch_to_batch() {
    for kind in KINDS {
        let case = Case::new(kind);
        let [first, second]: [_; 2] = case.batches(4);
        let [both]: [_; 1] = case.batches(8);
        let states = |batches: &[&LanguageModelBatch]| {
            let mut learner = case.learner(Instructions::best());
            for batch in batches {
                learner.compute_gradients(batch, 0).unwrap();
            }
            let state = learner.optimizer_state();
            let states = state.into_iter().filter(|tensor| tensor.name.starts_with("state."));
            states.collect::<Vec<_>>()
        };
        let twice = states(&[&first, &second]);
        assert_eq!(twice, states(&[&both]));
        let names: Vec<&str> = twice.iter().map(|tensor| tensor.name.as_str()).collect();
        let expected = match kind {
            "layers: 2" => {
                vec!["state.hidden_l0", "state.cell_l0", "state.hidden_l1", "state.cell_l1"]
            }
            "layers: 1" => vec!["state.hidden_l0", "state.cell_l0"],
            _ => vec![
                "state.hidden_l0",
                "state.cell_l0",
                "state.hidden_l0_reverse",
                "state.cell_l0_reverse",
            ],
        };
        assert_eq!(names, expected);
        assert!(twice.iter().all(|tensor| tensor.shape == [3, 7]));
        assert!(twice[0].values.iter().all(|value| *value != 0.0));
        let mut learner = case.learner(Instructions::best());
        learner.compute_gradients(&first, 0).unwrap();
        learner.reset_states();
        let state = learner.optimizer_state();
        let mut states = state.iter().filter(|tensor| tensor.name.starts_with("state."));
        assert!(states.all(|tensor| tensor.values.iter().all(|value| *value == 0.0)));
    }
}

/// Trains some steps, and returns the weights and the optimizer state.
fn train(
    learner: &mut NativeLanguageModel,
    batches: &[LanguageModelBatch],
    steps: std::ops::Range<u64>,
) -> (Vec<LanguageModelStats>, Vec<NamedTensor>, Vec<NamedTensor>) {
    let stats = steps
        .map(|step| learner.step(&batches[step as usize % batches.len()], step, 0.01).unwrap())
        .collect();
    (stats, learner.weights(), learner.optimizer_state())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for kind in KINDS {
        let mut case = Case::new(kind);
        case.settings = LanguageModelSettings { shards: 3, dropout: 0.2, ..case.settings };
        let batches: [_; 3] = case.batches(6);
        let on_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(&mut case.learner(Instructions::best()), &batches, 0..3))
        };
        let one = on_threads(1);
        assert!(one.0.iter().all(LanguageModelStats::is_finite));
        for threads in [2, 5] {
            assert!(one == on_threads(threads), "{kind}: {threads} threads");
        }
        // Other shards differ in rounding only.
        case.settings.shards = 1;
        let whole = train(&mut case.learner(Instructions::best()), &batches, 0..1);
        for (losses, expected) in one.0[0].losses.iter().zip(&whole.0[0].losses) {
            assert_near(*losses, *expected, 1e-5, kind);
        }
        assert_near(one.0[0].gradient_norm, whole.0[0].gradient_norm, 1e-5, kind);
    }
}

#[test]
fn a_resumed_run_computes_the_same_bits() {
    for kind in KINDS {
        let mut case = Case::new(kind);
        case.settings.dropout = 0.2;
        case.settings.gradient_clip = Some(0.1);
        let batches: [_; 4] = case.batches(5);
        let mut learner = case.learner(Instructions::best());
        let (_, weights, state) = train(&mut learner, &batches, 0..3);
        let expected = train(&mut learner, &batches, 3..6);
        let mut resumed = NativeLanguageModel::with_instructions(
            &case.spec(),
            case.settings.clone(),
            weights,
            Instructions::best(),
        )
        .unwrap();
        resumed.load_optimizer_state(state.clone()).unwrap();
        assert_eq!(resumed.optimizer_state(), state);
        assert!(train(&mut resumed, &batches, 3..6) == expected, "{kind}");
        let incomplete = state.into_iter().filter(|tensor| tensor.name != "state.cell_l0");
        let error = resumed.load_optimizer_state(incomplete.collect()).unwrap_err().to_string();
        assert!(error.contains("state.cell_l0"), "{error}");
    }
}

#[test]
fn scores_are_those_of_a_full_softmax() {
    for kind in KINDS {
        let case = Case::new(kind);
        let batches: [_; 2] = case.batches(9);
        for instructions in Instructions::available() {
            let mut naive = Naive::new(&case.spec(), &case.settings, &case.weights());
            let mut learner = case.learner(instructions);
            let states_before = learner.optimizer_state();
            for (index, batch) in batches.iter().enumerate() {
                let expected = naive.scores(batch);
                let actual = learner.score(batch, index == 0).unwrap();
                assert_eq!(actual.len(), expected.len());
                for (actual, expected) in actual.concat().iter().zip(expected.concat()) {
                    assert_near(*actual, expected, 1e-5, kind);
                }
                naive.carry(batch);
            }
            assert_eq!(learner.optimizer_state(), states_before, "training keeps its states");
            let again = learner.score(&batches[0], true).unwrap();
            let first = case.learner(instructions).score(&batches[0], true).unwrap();
            assert_eq!(again, first);
            // Any number of rows.
            let ids = batches[0].ids.iter().map(|ids| ids[..10].to_vec()).collect();
            let row = LanguageModelBatch { ids, rows: 1 };
            assert!(learner.score(&row, false).is_err(), "it cannot continue three rows");
            for (alone, all) in learner.score(&row, true).unwrap().iter().zip(&first) {
                assert_near(alone[0], all[0], 1e-6, kind);
            }
        }
    }
}

/// The vocabulary and the tokens are larger than a tile.
#[test]
fn scores_of_large_batches_are_complete() {
    let mut case = Case::with_sizes("layers: 1", 3, 4);
    case.settings.counts = vec![1; 2500];
    let spec = LanguageModelSpec { vocabulary_size: 2500, ..case.spec() };
    let mut weights = spec.initial_weights(1);
    // All probabilities are equal.
    weights[EMBEDDING_INDEX].values.fill(0.0);
    let settings = case.settings.clone();
    let mut learner = NativeLanguageModel::new(&spec, settings, weights).unwrap();
    let ids = (0..5 * 41).map(|index| (mix(index) % 2500) as u32).collect();
    let batch = LanguageModelBatch { ids: vec![ids], rows: 5 };
    for score in &learner.score(&batch, true).unwrap()[0] {
        assert_near(*score, 40.0 * 2500_f64.ln(), 1e-6, "score");
    }
}

const EMBEDDING_INDEX: usize = model::EMBEDDING;

#[test]
fn a_cycle_of_words_is_learned() {
    for (kind, dropout) in [("bidirectional: true", 0.1), ("layers: 2", 0.0)] {
        let mut case = Case::with_sizes(kind, 12, 16);
        case.settings = LanguageModelSettings {
            counts: (0..VOCABULARY).map(|id| u64::from((4..14).contains(&id))).collect(),
            gradient_clip: Some(1.0),
            dropout,
            ..case.settings
        };
        let mut learner = case.learner(Instructions::best());
        const STEPS: usize = 8;
        let mut last = None;
        for step in 0..200 {
            let id = |row: usize, token: usize| 4 + ((3 * row + step * STEPS + token) % 10) as u32;
            let ids: Vec<u32> =
                (0..3).flat_map(|row| (0..=STEPS).map(move |token| id(row, token))).collect();
            let backward = ids.iter().map(|id| 17 - id).collect();
            let ids: Vec<_> =
                [ids, backward].into_iter().take(learner.model.directions.len()).collect();
            let batch = LanguageModelBatch { ids, rows: 3 };
            let rate = 0.02 * (1.0 - step as f64 / 200.0);
            last = Some(learner.step(&batch, step as u64, rate).unwrap());
        }
        let last = last.unwrap();
        assert!(last.losses.iter().all(|loss| *loss < 0.05), "{kind}: {last:?}");
    }
}

#[test]
fn steps_that_are_not_finite_change_nothing() {
    let case = Case::new("layers: 1");
    let [batch]: [_; 1] = case.batches(4);
    for fault in [f32::NAN, f32::INFINITY, 1e30] {
        let mut weights = case.weights();
        weights[EMBEDDING_INDEX].values[5 * 5] = fault;
        let settings = case.settings.clone();
        let mut learner = NativeLanguageModel::new(&case.spec(), settings, weights).unwrap();
        let bits = |learner: &mut NativeLanguageModel| -> Vec<u32> {
            let all = learner.weights().into_iter().chain(learner.optimizer_state());
            all.flat_map(|tensor| tensor.values).map(f32::to_bits).collect()
        };
        let before = bits(&mut learner);
        let stats = learner.step(&batch, 0, 0.1).unwrap();
        let after = bits(&mut learner);
        match fault.is_finite() {
            true => assert!(after.iter().zip(&before).any(|(a, b)| a != b)),
            false => {
                assert!(!stats.is_finite(), "{stats:?}");
                assert_eq!(before, after);
            }
        }
    }
}

#[test]
fn only_rows_with_a_gradient_are_updated() {
    let case = Case::new("bidirectional: true");
    let mut learner = case.learner(Instructions::best());
    let before = learner.weights();
    let batch = LanguageModelBatch { ids: vec![vec![1, 2, 3, 4, 5, 6]; 2], rows: 3 };
    learner.step(&batch, 0, 0.1).unwrap();
    let negatives = &learner.negatives.words;
    let changed = |name: &str| -> Vec<u32> {
        let index = before.iter().position(|tensor| tensor.name == name).unwrap();
        let row_size = before[index].values.len() / VOCABULARY;
        let after = learner.weights();
        let rows = before[index].values.chunks(row_size).zip(after[index].values.chunks(row_size));
        (0..).zip(rows).filter(|(_, (before, after))| before != after).map(|(id, _)| id).collect()
    };
    let union = |words: &[u32]| -> Vec<u32> {
        let all: std::collections::BTreeSet<u32> = words.iter().chain(negatives).copied().collect();
        all.into_iter().collect()
    };
    assert_eq!(changed("embedding.weight"), union(&[1, 2, 3, 4, 5, 6]));
    for name in ["output.bias", "output.bias_reverse"] {
        assert_eq!(changed(name), union(&[2, 4, 6]), "words that are only read have no output");
    }
}

#[test]
fn wrong_batches_and_settings_are_refused() {
    let case = Case::new("layers: 1");
    let mut learner = case.learner(Instructions::best());
    for (ids, rows, fault) in [
        (vec![vec![4; 6]; 2], 3, "2 directions"),
        (vec![vec![4; 7]], 3, "7 ids"),
        (vec![vec![4; 3]], 3, "3 ids"),
        (vec![vec![4; 4]], 2, "2 rows"),
        (vec![vec![50; 6]], 3, "vocabulary size 50"),
    ] {
        let batch = LanguageModelBatch { ids, rows };
        let error = learner.step(&batch, 0, 0.1).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
    }
    let settings = |change: fn(&mut LanguageModelSettings)| {
        let mut settings = case.settings.clone();
        change(&mut settings);
        NativeLanguageModel::new(&case.spec(), settings, case.weights()).is_err()
    };
    assert!(settings(|settings| settings.rows = 0));
    assert!(settings(|settings| settings.negatives = 0));
    assert!(settings(|settings| settings.dropout = 1.0));
    assert!(settings(|settings| settings.counts.truncate(9)));
    assert!(!settings(|_| ()));
}
