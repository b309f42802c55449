//! Training by several processes.

use lstmtext::backend::{Learner, StepStats};
use lstmtext::model::NamedTensor;
use lstmtext_torch::learner::TorchLearner;

use crate::case::{Case, objective};
use crate::thread_group::GroupThread;

/// Trains one step on shares of the examples. Returns the weights and measurements of each process.
fn train_on_shares(
    case: &Case,
    class_weights: &[f64],
    shares: &[&[u32]],
) -> Vec<(Vec<NamedTensor>, StepStats)> {
    let data = &case.data();
    GroupThread::train(shares, |process, share| {
        let objective = objective(class_weights);
        let mut learner = TorchLearner::new(case.model(), &case.config.train, &objective);
        let batch = (learner.preparer())(data, share, 1);
        learner.step(&batch, process, Some(0.1), 0.1).unwrap();
        (learner.weights(), learner.drain_step_stats()[0])
    })
}

#[test]
fn processes_with_shares_of_a_batch_train_like_one_with_the_batch() {
    for (optimizer, class_weights) in
        [("optimizer: sgd", &[][..]), ("optimizer: adam, sparse_embedding: true", &[1.0, 3.0, 0.5])]
    {
        let fields = format!(
            "model: {{embedding: {{size: 3}}, lstm: {{units: 4}}, head: {{activation: softmax, dropout: 0}}, \
             ngrams: {{sizes: [1, 2], min_count: 1, l2: 0.1}}}}\n\
             train: {{{optimizer}}}\n"
        );
        let case = Case::new(&fields, 3);
        let examples = case.examples();
        let (alone, alone_stats) = &train_on_shares(&case, class_weights, &[&examples])[0];
        for cut in [1, 8] {
            let (first, second) = examples.split_at(cut);
            let processes = train_on_shares(&case, class_weights, &[first, second]);
            for (weights, stats) in &processes {
                assert_eq!(weights, &processes[0].0, "{optimizer}: the processes differ");
                assert_eq!(stats.loss.correct, alone_stats.loss.correct, "{optimizer}");
                let losses = (stats.loss.mean, alone_stats.loss.mean);
                assert!((losses.0 - losses.1).abs() < 1e-5, "{optimizer}: {losses:?}");
                let norms = (stats.gradient_norm.unwrap(), alone_stats.gradient_norm.unwrap());
                assert!((norms.0 / norms.1 - 1.0).abs() < 1e-4, "{optimizer}: {norms:?}");
                for (together, alone) in weights.iter().zip(alone) {
                    let pairs = together.values.iter().zip(&alone.values);
                    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(difference < 1e-4, "{optimizer}: {}: {difference}", alone.name);
                }
            }
        }
    }
}
