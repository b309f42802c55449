//! Training in several processes.

use super::*;
use crate::backend::StepStats;
use crate::distributed::Collective;
use crate::distributed::thread_group::GroupThread;

/// Trains some steps in several processes. Returns the weights, the optimizer state and the measurements of
/// each process.
fn train_together(
    config: &Config,
    processes: usize,
) -> Vec<(Vec<NamedTensor>, Vec<NamedTensor>, Vec<StepStats>)> {
    let (batches, unlabelled) = ([&[0, 1, 2, 3][..], &[2], &[3, 1, 0], &[1, 2]], data());
    GroupThread::run(processes, |process| {
        let mut learner = learner(config);
        let mut prepare = learner.preparer(process.worker());
        let mut prepare_unlabelled = learner.unlabelled_preparer(process.worker());
        for (step, examples) in (1..).zip(batches) {
            let batch = prepare(&data(), examples, step);
            let others = prepare_unlabelled(&unlabelled, &examples[..1], step);
            let batch = batch.with_unlabelled(others);
            learner
                .step(&batch, Group { collective: process, stop: false }, Some(0.1), 0.1)
                .unwrap();
        }
        (learner.weights(), learner.optimizer_state(), learner.drain_step_stats())
    })
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
    ] {
        for (pad, bidirectional) in [("back", true), ("back", false), ("front", false)] {
            for shards in [1, 3, 4] {
                let yaml = format!(
                    "model: {{embedding: {{size: 3{model}}}, lstm: {{units: 4, layers: 2, bidirectional: \
                     {bidirectional}}}, head: {{dropout: 0.2}}, ngrams: {{sizes: [1], l2: 0.01}}}}\n\
                     text: {{pad: {pad}}}\n\
                     train: {{shards: {shards}, {train}}}\n"
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
