//! Language models.

use tch::Device;

use lstmtext::backend::native::NativeLanguageModel;
use lstmtext::backend::{LanguageModelBatch, LanguageModelLearner, LanguageModelStats};
use lstmtext::config::Precision;
use lstmtext::distributed::Group;
use lstmtext::model::NamedTensor;
use lstmtext_torch::language_model::TorchLanguageModel;

use crate::assert_close;
use crate::language_model_case::{ALL, KINDS, LanguageModelCase, train};

impl LanguageModelCase {
    fn native(&self, weights: Vec<NamedTensor>) -> NativeLanguageModel {
        NativeLanguageModel::new(&self.spec(), self.settings.clone(), weights).unwrap()
    }

    fn torch(&self, weights: Vec<NamedTensor>) -> TorchLanguageModel {
        let settings = self.settings.clone();
        TorchLanguageModel::new(&self.spec(), settings, weights, Device::Cpu).unwrap()
    }
}

fn assert_near(actual: f64, expected: f64, tolerance: f64, context: &str) {
    let error = (actual - expected).abs();
    assert!(
        error <= tolerance * (1.0 + expected.abs()),
        "{context}: {actual} instead of {expected}"
    );
}

/// Expects two backends to have the same measurements of some steps, weights and optimizer state.
fn assert_agree(
    stats: [&[LanguageModelStats]; 2],
    native: &mut dyn LanguageModelLearner,
    torch: &mut dyn LanguageModelLearner,
    context: &str,
) {
    let [of_native, of_torch] = stats;
    assert_eq!(of_native.len(), of_torch.len());
    for (native, torch) in of_native.iter().zip(of_torch) {
        assert_near(torch.gradient_norm, native.gradient_norm, 1e-4, context);
        assert_eq!(native.losses.len(), torch.losses.len());
        for (native, torch) in native.losses.iter().zip(&torch.losses) {
            assert_near(*torch, *native, 1e-5, context);
        }
    }
    let names = |tensors: &[NamedTensor]| -> Vec<(String, Vec<usize>)> {
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect()
    };
    let (of_native, of_torch) = (native.weights(), torch.weights());
    assert_eq!(names(&of_native), names(&of_torch));
    assert_close(&of_torch, &of_native, context);
    let (of_native, of_torch) = (native.optimizer_state(), torch.optimizer_state());
    assert_eq!(names(&of_native), names(&of_torch));
    assert_close(&of_torch, &of_native, context);
}

/// Each backend then continues from the state of the other.
#[test]
fn training_steps_agree() {
    for kind in KINDS {
        for clip in [None, Some(0.2)] {
            for with_dropout in [false, true] {
                let context = format!("{kind}, clip {clip:?}, dropout {with_dropout}");
                let mut case = LanguageModelCase::new(kind, "");
                case.settings.gradient_clip = clip;
                if with_dropout {
                    case.settings.dropout = ALL;
                }
                let batches = case.batches(8, 4);
                let mut native = case.native(case.weights());
                let mut torch = case.torch(case.weights());
                let stats =
                    (train(&mut native, &batches[..4], 0), train(&mut torch, &batches[..4], 0));
                let clipped = stats.0.iter().any(|stats| stats.gradient_norm > 0.2);
                assert!(clipped, "{context}: {stats:?}");
                assert_agree([&stats.0, &stats.1], &mut native, &mut torch, &context);
                let (mut next_native, mut next_torch) =
                    (case.native(torch.weights()), case.torch(native.weights()));
                next_native.load_optimizer_state(torch.optimizer_state()).unwrap();
                next_torch.load_optimizer_state(native.optimizer_state()).unwrap();
                let stats = (
                    train(&mut next_native, &batches[4..], 4),
                    train(&mut next_torch, &batches[4..], 4),
                );
                assert_agree([&stats.0, &stats.1], &mut next_native, &mut next_torch, &context);
                next_native.reset_states();
                next_torch.reset_states();
                let states = next_native.optimizer_state();
                assert_close(&next_torch.optimizer_state(), &states, &context);
            }
        }
    }
}

#[test]
fn negatives_that_are_the_target_are_left_out() {
    let mut case = LanguageModelCase::new(KINDS[0], "");
    // All negatives are the word 9.
    case.settings.counts.fill(0);
    case.settings.counts[9] = 3;
    let only_targets = LanguageModelBatch { ids: vec![vec![9; 15]], rows: 3 };
    let stats = case.torch(case.weights()).step(&only_targets, 0, 0.01, Group::ALONE).unwrap();
    assert_eq!((stats.losses, stats.gradient_norm), (vec![0.0], 0.0));
    let batches = case.batches(3, 4);
    assert!(batches.iter().any(|batch| batch.ids[0].contains(&9)));
    let (mut native, mut torch) = (case.native(case.weights()), case.torch(case.weights()));
    let stats = (train(&mut native, &batches, 0), train(&mut torch, &batches, 0));
    assert_agree([&stats.0, &stats.1], &mut native, &mut torch, "one negative");
}

/// The vocabulary and the tokens of the last case are larger than a tile.
#[test]
fn scores_agree() {
    for (kind, vocabulary_size, steps) in
        [(KINDS[0], 50, 9), (KINDS[1], 50, 9), (KINDS[2], 50, 9), (KINDS[0], 9_000, 400)]
    {
        let mut case = LanguageModelCase::new(kind, "");
        case.settings.counts.resize(vocabulary_size, 1);
        case.settings.dropout = ALL;
        let batches = case.batches(2, steps);
        let (mut native, mut torch) = (case.native(case.weights()), case.torch(case.weights()));
        let states = torch.optimizer_state();
        let mut compare = |batch: &LanguageModelBatch, starts: bool| {
            let expected = native.score(batch, starts).unwrap();
            let actual = torch.score(batch, starts).unwrap();
            assert_eq!(actual.len(), expected.len());
            assert_eq!(actual[0].len(), batch.rows);
            for (actual, expected) in actual.concat().iter().zip(expected.concat()) {
                assert_near(*actual, expected, 1e-5, kind);
            }
        };
        compare(&batches[0], true);
        compare(&batches[1], false);
        compare(&batches[1], true);
        let ids = batches[0].ids.iter().map(|ids| ids[..steps + 1].to_vec()).collect();
        let row = LanguageModelBatch { ids, rows: 1 };
        compare(&row, true);
        assert_eq!(torch.optimizer_state(), states, "training keeps its states");
        assert!(torch.score(&batches[0], false).is_err(), "it cannot continue another row");
    }
}

fn bits(learner: &mut dyn LanguageModelLearner) -> Vec<u32> {
    let all = learner.weights().into_iter().chain(learner.optimizer_state());
    all.flat_map(|tensor| tensor.values).map(f32::to_bits).collect()
}

#[test]
fn a_resumed_language_model_computes_the_same_bits() {
    for kind in KINDS {
        let mut case = LanguageModelCase::new(kind, "");
        case.settings.gradient_clip = Some(0.2);
        case.settings.dropout = ALL;
        let batches = case.batches(6, 5);
        let mut whole = case.torch(case.weights());
        train(&mut whole, &batches[..3], 0);
        let mut resumed = case.torch(whole.weights());
        let state = whole.optimizer_state();
        resumed.load_optimizer_state(state.clone()).unwrap();
        assert_eq!(resumed.optimizer_state(), state);
        let stats = train(&mut whole, &batches[3..], 3);
        assert_eq!(train(&mut resumed, &batches[3..], 3), stats);
        assert!(bits(&mut resumed) == bits(&mut whole), "{kind}");
        let incomplete = state.into_iter().filter(|tensor| tensor.name != "state.cell_l0");
        let error = resumed.load_optimizer_state(incomplete.collect()).unwrap_err().to_string();
        assert!(error.contains("state.cell_l0"), "{error}");
    }
}

#[test]
fn steps_of_a_language_model_that_are_not_finite_change_nothing() {
    let case = LanguageModelCase::new(KINDS[1], "");
    let batches = case.batches(1, 4);
    for fault in [f32::NAN, f32::INFINITY] {
        let mut weights = case.weights();
        weights[0].values[5 * 5] = fault;
        let mut torch = case.torch(weights);
        let before = bits(&mut torch);
        let stats = train(&mut torch, &batches, 0);
        assert!(!stats[0].is_finite(), "{stats:?}");
        assert!(before == bits(&mut torch), "{fault}");
    }
}

/// bf16 must also differ from fp32, which proves that it is used.
#[test]
fn language_models_are_trained_in_half_precision() {
    for kind in KINDS {
        let case = LanguageModelCase::new(kind, "precision: fp32\n");
        let batches = case.batches(6, 4);
        let exact = train(&mut case.torch(case.weights()), &batches, 0);
        let case = LanguageModelCase::new(kind, "precision: bf16\n");
        let mut rough = case.torch(case.weights());
        let stats = train(&mut rough, &batches, 0);
        assert_ne!(stats, exact);
        for (rough, exact) in stats.iter().zip(&exact) {
            for (rough, exact) in rough.losses.iter().zip(&exact.losses) {
                assert_near(*rough, *exact, 2e-2, kind);
            }
        }
        let mut native = case.native(rough.weights());
        let expected = native.score(&batches[0], true).unwrap();
        for (actual, expected) in
            rough.score(&batches[0], true).unwrap().concat().iter().zip(expected.concat())
        {
            assert_near(*actual, expected, 1e-5, "scores are computed in 32 bits");
        }
    }
    let mut case = LanguageModelCase::new(KINDS[0], "");
    case.settings.precision = Precision::Fp16;
    let weights = case.weights();
    let made = TorchLanguageModel::new(&case.spec(), case.settings.clone(), weights, Device::Cpu);
    assert!(made.err().unwrap().to_string().starts_with("precision: fp16 needs loss scaling"));
}

#[test]
fn wrong_batches_and_settings_of_language_models_are_refused() {
    let case = LanguageModelCase::new(KINDS[0], "");
    let mut torch = case.torch(case.weights());
    for (ids, rows, fault) in [
        (vec![vec![4; 6]; 2], 3, "2 directions"),
        (vec![vec![4; 7]], 3, "7 ids"),
        (vec![vec![50; 6]], 3, "vocabulary size 50"),
        (vec![vec![4; 4]], 2, "2 rows"),
    ] {
        let error = torch
            .step(&LanguageModelBatch { ids, rows }, 0, 0.1, Group::ALONE)
            .unwrap_err()
            .to_string();
        assert!(error.contains(fault), "{error}");
    }
    let mut settings = case.settings.clone();
    settings.counts.truncate(9);
    assert!(TorchLanguageModel::new(&case.spec(), settings, case.weights(), Device::Cpu).is_err());
}
