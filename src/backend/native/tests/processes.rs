//! Training in several processes.

use super::*;
use crate::backend::language_model::DropoutRates;
use crate::backend::{JointBatch, LanguageModelBatch, LanguageModelSettings, StepStats};
use crate::distributed::Collective;
use crate::distributed::thread_group::GroupThread;
use crate::model::LanguageModelSpec;

/// Trains some steps in several processes. Returns the weights, the optimizer state and the measurements of
/// each process.
fn train_together(
    config: &Config,
    processes: usize,
) -> Vec<(Vec<NamedTensor>, Vec<NamedTensor>, Vec<StepStats>)> {
    let (batches, unlabelled) = ([&[0, 1, 2, 3][..], &[2], &[3, 1, 0], &[1, 2]], data());
    GroupThread::run(processes, |process| {
        let mut learner = learner(config);
        join_language_model(&mut learner, config);
        let mut prepare = learner.preparer(process.worker());
        let mut prepare_unlabelled = learner.unlabelled_preparer(process.worker());
        for (step, examples) in (1..).zip(batches) {
            let batch = prepare(&data(), examples, step);
            let others = prepare_unlabelled(&unlabelled, &examples[..1], step);
            let batch =
                batch.with_unlabelled(others).with_language_model(Some(joint_batch(config, step)));
            learner
                .step(&batch, Group { collective: process, stop: false }, Some(0.1), 0.1)
                .unwrap();
        }
        (learner.weights(), learner.optimizer_state(), learner.drain_step_stats())
    })
}

/// Gives a learner a language model with 5 rows, if the configuration has one.
fn join_language_model(learner: &mut NativeLearner, config: &Config) {
    if !config.train.has_language_model() {
        return;
    }
    let vocabulary_size = spec(config).vocabulary_sizes[0];
    let spec = LanguageModelSpec { input: &config.inputs[0], vocabulary_size };
    let mut weights = spec.initial_weights(3);
    weights.retain(|tensor| !tensor.name.contains("lstm") && !tensor.name.contains("embedding"));
    let settings = LanguageModelSettings {
        rows: 5,
        negatives: 4,
        counts: vec![1; vocabulary_size],
        dropout: DropoutRates { output: 0.2, ..DropoutRates::default() },
        gradient_clip: None,
        shards: config.train.shard_count(),
        seed: 1,
        precision: config.precision,
    };
    learner.join_language_model(&spec, settings, weights).unwrap();
}

/// Returns the batch of such a language model in a step.
fn joint_batch(config: &Config, step: u64) -> JointBatch {
    let ids = |direction| (0..15).map(|i| 4 + (i * i + direction + step as u32) % 3).collect();
    let directions = config.inputs[0].lstm.directions() as u32;
    let batch = LanguageModelBatch { ids: (0..directions).map(ids).collect(), rows: 5 };
    JointBatch { batch, step, starts: step == 3 }
}

/// Some batches have fewer examples than there are processes.
#[test]
fn the_number_of_processes_changes_no_bit() {
    for (model, train) in [
        ("", "optimizer: sgd"),
        ("", "optimizer: sgd, class_weights: {a: 1, b: 3}"),
        ("", "optimizer: adam, sparse_embedding: true"),
        ("", "optimizer: rmsprop, class_weights: balanced, average: {method: ema}"),
        (", word_dropout: 0.2", "optimizer: adam, adversarial: {epsilon: 1, weight: 0.5}"),
        ("", "optimizer: adam, entropy_weight: 0.5, virtual_adversarial: {epsilon: 1}"),
        (", trainable: false", "optimizer: adam"),
        ("", "optimizer: adam, language_model_weight: 0.5"),
        ("", "optimizer: adam, adversarial: {epsilon: 1} # bf16"),
        ("", "optimizer: adam, language_model_weight: 0.5 # bf16"),
    ] {
        for (pad, bidirectional) in [("back", true), ("back", false), ("front", false)] {
            for shards in [1, 3, 4] {
                let yaml = format!(
                    "model: {{embedding: {{size: 3{model}}}, lstm: {{units: 4, layers: 2, bidirectional: \
                     {bidirectional}}}, head: {{dropout: 0.2}}, ngrams: {{sizes: [1], l2: 0.01}}}}\n\
                     text: {{pad: {pad}}}\n\
                     train: {{shards: {shards}, {}}}\nprecision: {}\n",
                    train.trim_end_matches(" # bf16"),
                    if train.ends_with("bf16") { "bf16" } else { "fp32" }
                );
                assert_same_in_all_groups(&yaml);
            }
        }
    }
}

/// Gradients of layers this large are summed while those of words are computed.
#[test]
fn the_number_of_processes_changes_no_bit_of_large_layers() {
    for (pad, bidirectional, embedding, train) in [
        ("back", true, "", ""),
        ("front", false, ", word_dropout: 0.2", ", entropy_weight: 0.5"),
        ("back", false, ", dropout: 0.2", ""),
        ("front", false, ", trainable: false", ""),
        ("back", true, "", ", adversarial: {epsilon: 1}"),
    ] {
        assert_same_in_all_groups(&format!(
            "model: {{embedding: {{size: 20{embedding}}}, lstm: {{units: 180, layers: 2, bidirectional: \
             {bidirectional}}}}}\n\
             text: {{pad: {pad}}}\n\
             train: {{shards: 4{train}}}\n"
        ));
    }
}

/// Trains in groups of several sizes and expects the same bits.
fn assert_same_in_all_groups(yaml: &str) {
    let config = parse(yaml);
    let (weights, state, stats) = &train_together(&config, 1)[0];
    for size in [2, 3, 4] {
        for other in train_together(&config, size) {
            assert!(*weights == other.0, "{yaml}: weights of {size} processes");
            assert!(*state == other.1, "{yaml}: optimizer state of {size} processes");
            for (one, several) in stats.iter().zip(&other.2) {
                let bits = |stats: &StepStats| {
                    let norm = stats.gradient_norm.map(f64::to_bits);
                    let added: Vec<u64> =
                        stats.added.terms().map(|(_, value)| value.to_bits()).collect();
                    (stats.loss.mean.to_bits(), stats.loss.correct, norm, added)
                };
                assert_eq!(bits(one), bits(several), "{yaml}: {size} processes");
            }
        }
    }
}

#[test]
fn the_fast_sum_differs_by_rounding_only() {
    let yaml = |kind| {
        parse(&format!(
            "model: {{embedding: {{size: 3}}, lstm: {{units: 4}}, ngrams: {{sizes: [1]}}}}\n\
             train: {{shards: 4, optimizer: sgd, collective: {kind}}}\n"
        ))
    };
    let (alone, _, alone_stats) = &train_together(&yaml("ordered"), 1)[0];
    for size in [2, 3] {
        let all = train_together(&yaml("fast"), size);
        for (weights, _, stats) in &all {
            assert!(*weights == all[0].0, "all processes have the same bits");
            for (stats, alone) in stats.iter().zip(alone_stats) {
                assert_eq!(stats.loss.correct, alone.loss.correct);
                assert!((stats.loss.mean - alone.loss.mean).abs() < 1e-5);
            }
            for (together, alone) in weights.iter().zip(alone) {
                let pairs = together.values.iter().zip(&alone.values);
                let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(difference < 1e-5, "{}: {difference}", alone.name);
            }
        }
    }
}

/// A signal to one process is enough, and all of them learn of it in the same step.
#[test]
fn all_processes_learn_that_one_is_to_stop() {
    for kind in ["ordered", "fast"] {
        let config = parse(&format!("train: {{shards: 2, collective: {kind}}}\n"));
        for stopped in 0..3 {
            let seen = GroupThread::run(3, |process| {
                let mut learner = learner(&config);
                let batch = (learner.preparer(process.worker()))(&data(), &[0, 1, 2], 1);
                for stop in [false, process.worker().rank == stopped] {
                    learner.step(&batch, Group { collective: process, stop }, None, 0.1).unwrap();
                }
                learner
                    .drain_step_stats()
                    .iter()
                    .map(|stats| stats.stop_requested)
                    .collect::<Vec<_>>()
            });
            assert!(seen.iter().all(|seen| *seen == [false, true]), "{kind}: {seen:?}");
        }
    }
}
