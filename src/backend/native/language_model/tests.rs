use super::model::EMBEDDING;
use super::*;
use crate::backend::JointBatch;
use crate::backend::language_model::DropoutRates;
use crate::config::{self, Config, Precision};
use crate::random::{absorb, mix};

mod joint;
mod naive;
mod precision;
mod speed;
mod training;

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
            dropout: DropoutRates::default(),
            gradient_clip: None,
            shards: 2,
            seed: 5,
            precision: Precision::Fp32,
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

/// No dropout.
const NONE: DropoutRates =
    DropoutRates { embedding: 0.0, input: 0.0, hidden: 0.0, weight: 0.0, output: 0.0 };
/// Dropout everywhere.
const ALL: DropoutRates =
    DropoutRates { embedding: 0.3, input: 0.2, hidden: 0.4, weight: 0.3, output: 0.3 };

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
    for (kind, dropout) in [
        ("layers: 1", NONE),
        ("layers: 2", DropoutRates { output: 0.3, ..NONE }),
        ("layers: 1", DropoutRates { embedding: 0.3, ..NONE }),
        ("layers: 1", DropoutRates { weight: 0.4, ..NONE }),
        ("layers: 2", DropoutRates { hidden: 0.4, ..NONE }),
        ("layers: 2", ALL),
        ("bidirectional: true", ALL),
    ] {
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
                let (losses, _) = learner.compute_gradients(batch, step, Group::ALONE).unwrap();
                let kind = format!("{kind}, {dropout:?}");
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
            naive.carry(batch, step);
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
    let (losses, _) = learner.compute_gradients(&batch, 0, Group::ALONE).unwrap();
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
                learner.compute_gradients(batch, 0, Group::ALONE).unwrap();
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
        learner.compute_gradients(&first, 0, Group::ALONE).unwrap();
        learner.reset_states();
        let state = learner.optimizer_state();
        let mut states = state.iter().filter(|tensor| tensor.name.starts_with("state."));
        assert!(states.all(|tensor| tensor.values.iter().all(|value| *value == 0.0)));
    }
}

#[test]
fn scores_are_those_of_a_full_softmax() {
    for kind in KINDS {
        let mut case = Case::new(kind);
        case.settings.dropout = ALL;
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
                naive.carry_scored(batch);
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
    weights[EMBEDDING].values.fill(0.0);
    let settings = case.settings.clone();
    let mut learner = NativeLanguageModel::new(&spec, settings, weights).unwrap();
    let ids = (0..5 * 41).map(|index| (mix(index) % 2500) as u32).collect();
    let batch = LanguageModelBatch { ids: vec![ids], rows: 5 };
    for score in &learner.score(&batch, true).unwrap()[0] {
        assert_near(*score, 40.0 * 2500_f64.ln(), 1e-6, "score");
    }
}
