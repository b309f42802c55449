//! Training by several processes.

use lstmtext::backend::language_model::DropoutRates;
use lstmtext::backend::{Learner, StepStats};
use lstmtext::distributed::{Collective, Group};
use lstmtext::model::NamedTensor;
use lstmtext_torch::learner::TorchLearner;

use crate::case::{Case, objective};
use crate::joint_language_model::{join_language_model, joint_batch};
use crate::thread_group::GroupThread;

/// Trains some steps in several processes. Returns the weights and measurements of each.
fn train_together(
    case: &Case,
    class_weights: &[f64],
    processes: usize,
) -> Vec<(Vec<NamedTensor>, Vec<StepStats>)> {
    let (data, all) = (&case.data(), case.examples());
    GroupThread::run(processes, |process| {
        let objective = objective(class_weights);
        let mut learner = TorchLearner::new(case.model(), &case.config.train, &objective);
        if case.config.train.has_language_model() {
            join_language_model(case, &mut learner, DropoutRates::default());
        }
        let mut prepare = learner.preparer(process.worker());
        let mut prepare_unlabelled = learner.unlabelled_preparer(process.worker());
        for step in 1..=10 {
            // Some batches have fewer examples than there are processes.
            let examples = &all[..all.len() >> (step % 4)];
            let unlabelled = prepare_unlabelled(data, &all[..3], step);
            let batch = prepare(data, examples, step).with_unlabelled(unlabelled);
            let batch = batch.with_language_model(Some(joint_batch(case, step)));
            let stop = step == 2 && process.worker().rank == 1;
            learner.step(&batch, Group { collective: process, stop }, Some(0.1), 0.1).unwrap();
        }
        (learner.weights(), learner.drain_step_stats())
    })
}

#[test]
fn several_processes_train_like_one() {
    for (train, class_weights) in [
        ("optimizer: sgd", &[][..]),
        ("optimizer: sgd, sparse_embedding: true", &[1.0, 3.0, 0.5]),
        ("optimizer: sgd, adversarial: {epsilon: 1, weight: 0.5}", &[]),
        ("optimizer: sgd, entropy_weight: 0.5", &[1.0, 3.0, 0.5]),
        ("optimizer: sgd, sparse_embedding: true, language_model_weight: 0.5", &[]),
    ] {
        for pad in ["front", "back"] {
            let fields = format!(
                "# {pad}\n\
                 model: {{embedding: {{size: 3}}, lstm: {{units: 4}}, head: {{activation: softmax, dropout: 0}}, \
                 ngrams: {{sizes: [1, 2], min_count: 1, l2: 0.1}}}}\n\
                 train: {{{train}}}\n"
            );
            let case = Case::new(&fields, 3);
            let (alone, alone_stats) = &train_together(&case, class_weights, 1)[0];
            for size in [2, 3] {
                let processes = train_together(&case, class_weights, size);
                let again = train_together(&case, class_weights, size);
                assert!(
                    again[0].0 == processes[0].0,
                    "{fields}: another result with the same processes"
                );
                for (weights, stats) in &processes {
                    assert!(*weights == processes[0].0, "{fields}: the processes differ");
                    let flags: Vec<bool> = stats.iter().map(|stats| stats.stop_requested).collect();
                    assert_eq!(flags.iter().position(|flag| *flag), Some(1), "{fields}");
                    for (stats, alone) in stats.iter().zip(alone_stats) {
                        assert_eq!(stats.loss.correct, alone.loss.correct, "{fields}");
                        let losses = (stats.loss.mean, alone.loss.mean);
                        assert!((losses.0 - losses.1).abs() < 1e-5, "{fields}: {losses:?}");
                        let added = stats.added.terms().zip(alone.added.terms());
                        for ((name, together), (_, alone)) in added {
                            assert!((together - alone).abs() < 1e-5, "{fields}: {name}");
                        }
                        let norms = (stats.gradient_norm.unwrap(), alone.gradient_norm.unwrap());
                        assert!((norms.0 / norms.1 - 1.0).abs() < 1e-4, "{fields}: {norms:?}");
                    }
                    for (together, alone) in weights.iter().zip(alone) {
                        let pairs = together.values.iter().zip(&alone.values);
                        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(difference < 1e-6, "{fields}: {}: {difference}", alone.name);
                    }
                }
            }
        }
    }
}
