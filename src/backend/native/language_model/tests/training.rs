//! Tests of whole training steps.

use super::*;
use crate::distributed::Collective;
use crate::distributed::thread_group::GroupThread;

/// Trains some steps, and returns the weights and the optimizer state.
fn train(
    learner: &mut NativeLanguageModel,
    batches: &[LanguageModelBatch],
    steps: std::ops::Range<u64>,
) -> (Vec<LanguageModelStats>, Vec<NamedTensor>, Vec<NamedTensor>) {
    let stats = steps
        .map(|step| {
            learner.step(&batches[step as usize % batches.len()], step, 0.01, Group::ALONE).unwrap()
        })
        .collect();
    (stats, learner.weights(), learner.optimizer_state())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for kind in KINDS {
        let mut case = Case::new(kind);
        case.settings = LanguageModelSettings { shards: 3, dropout: ALL, ..case.settings };
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
        case.settings.dropout = ALL;
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
fn a_cycle_of_words_is_learned() {
    for (kind, dropout) in [("bidirectional: true", 0.1), ("layers: 2", 0.0)] {
        let mut case = Case::with_sizes(kind, 12, 16);
        case.settings = LanguageModelSettings {
            counts: (0..VOCABULARY).map(|id| u64::from((4..14).contains(&id))).collect(),
            gradient_clip: Some(1.0),
            dropout: DropoutRates { output: dropout, ..NONE },
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
            last = Some(learner.step(&batch, step as u64, rate, Group::ALONE).unwrap());
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
        weights[EMBEDDING].values[5 * 5] = fault;
        let settings = case.settings.clone();
        let mut learner = NativeLanguageModel::new(&case.spec(), settings, weights).unwrap();
        let bits = |learner: &mut NativeLanguageModel| -> Vec<u32> {
            let all = learner.weights().into_iter().chain(learner.optimizer_state());
            all.flat_map(|tensor| tensor.values).map(f32::to_bits).collect()
        };
        let before = bits(&mut learner);
        let stats = learner.step(&batch, 0, 0.1, Group::ALONE).unwrap();
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

/// Scores have no dropout, also after a step that changes nothing.
#[test]
fn scores_after_a_step_have_all_weights() {
    for fault in [0.0, f32::NAN] {
        let mut case = Case::new("layers: 2");
        case.settings.dropout = ALL;
        let [batch]: [_; 1] = case.batches(4);
        let mut learner = case.learner(Instructions::best());
        // The bias of a target.
        let bias = learner.model.directions[0].output_bias_index();
        let target = batch.ids[0][1] as usize;
        learner.model.weights[bias].tensor.values[target] += fault;
        let stats = learner.step(&batch, 0, 0.01, Group::ALONE).unwrap();
        assert_eq!(stats.is_finite(), fault == 0.0);
        let mut weights = learner.weights();
        weights[bias].values[target] = 0.0;
        learner.model.weights[bias].tensor.values[target] = 0.0;
        let mut fresh =
            NativeLanguageModel::new(&case.spec(), case.settings.clone(), weights).unwrap();
        assert_eq!(learner.score(&batch, true).unwrap(), fresh.score(&batch, true).unwrap());
    }
}

#[test]
fn only_rows_with_a_gradient_are_updated() {
    let case = Case::new("bidirectional: true");
    let mut learner = case.learner(Instructions::best());
    let before = learner.weights();
    let batch = LanguageModelBatch { ids: vec![vec![1, 2, 3, 4, 5, 6]; 2], rows: 3 };
    learner.step(&batch, 0, 0.1, Group::ALONE).unwrap();
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
        let error = learner.step(&batch, 0, 0.1, Group::ALONE).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
    }
    let settings = |change: fn(&mut LanguageModelSettings)| {
        let mut settings = case.settings.clone();
        change(&mut settings);
        NativeLanguageModel::new(&case.spec(), settings, case.weights()).is_err()
    };
    assert!(settings(|settings| settings.rows = 0));
    assert!(settings(|settings| settings.negatives = 0));
    assert!(settings(|settings| settings.dropout.weight = 1.0));
    assert!(settings(|settings| settings.counts.truncate(9)));
    assert!(!settings(|_| ()));
}

#[test]
fn the_number_of_processes_changes_no_bit() {
    for kind in KINDS {
        for shards in [1, 2, 3] {
            let mut case = Case::new(kind);
            case.settings = LanguageModelSettings { shards, dropout: ALL, ..case.settings };
            let batches: [_; 3] = case.batches(6);
            let mut learner = case.learner(Instructions::best());
            let alone = train(&mut learner, &batches, 0..3);
            let scores = [true, false].map(|starts| learner.score(&batches[0], starts).unwrap());
            for processes in [2, 3, 5] {
                let together = GroupThread::run(processes, |process| {
                    let mut learner = case.learner(Instructions::best());
                    let stats: Vec<LanguageModelStats> = (0..3)
                        .map(|step| {
                            let stop = step == 2 && process.worker().rank == 1;
                            let group = Group { collective: process, stop };
                            learner.step(&batches[step as usize], step, 0.01, group).unwrap()
                        })
                        .collect();
                    let trained = (learner.weights(), learner.optimizer_state());
                    let scores = [true, false].map(|starts| learner.score(&batches[0], starts));
                    (stats, trained, scores.map(Result::unwrap))
                });
                for (mut stats, (weights, state), together) in together {
                    assert_eq!(together, scores, "{kind}: {shards} {processes}");
                    assert!(stats[2].stop_requested && !stats[1].stop_requested);
                    stats[2].stop_requested = false;
                    assert!((stats, weights, state) == alone, "{kind}: {shards} {processes}");
                }
            }
        }
    }
}
