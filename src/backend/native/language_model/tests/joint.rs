//! A language model that shares its embedding and LSTMs with a network.

use super::*;
use crate::backend::native::{RowGradient, Weight};

/// The layers above the LSTMs, which a network does not have.
fn is_own(tensor: &NamedTensor) -> bool {
    ["projection", "output"].iter().any(|part| tensor.name.contains(part))
}

/// A network with the shared weights of a case, after another one, and gradients of it: 1 for each value of a dense
/// weight and of the vector of word 3.
fn network(case: &Case) -> (Vec<Weight>, Gradients) {
    let other = NamedTensor { name: "other".into(), shape: vec![2], values: vec![0.5; 2] };
    let shared = case.weights().into_iter().filter(|tensor| !is_own(tensor));
    let weight = |tensor: NamedTensor| Weight {
        trainable: !tensor.name.contains("bias_hh"),
        tensor,
        quantized: None,
        ngram_l2: None,
        rate_factor: 1.0,
    };
    let weights: Vec<Weight> = std::iter::once(other).chain(shared).map(weight).collect();
    let dense = |weight: &Weight| match &*weight.tensor.name {
        "embedding.weight" => Vec::new(),
        _ if !weight.trainable => Vec::new(),
        _ => vec![1.0; weight.tensor.values.len()],
    };
    let size = case.spec().input.embedding.size;
    let rows = RowGradient { parameter: 1, words: vec![3], values: vec![1.0; size] };
    let dense = weights.iter().map(dense).collect();
    (weights, Gradients { dense, rows: vec![rows], ngrams: Vec::new() })
}

fn joint(case: &Case, network: &[Weight], weight: f64) -> JointLanguageModel {
    let own = case.weights().into_iter().filter(is_own).collect();
    JointLanguageModel::new(&case.spec(), case.settings.clone(), own, network, weight).unwrap()
}

/// The gradient of the sum is the sum of the gradients, and the layers above the LSTMs learn as in a language model of
/// its own.
#[test]
fn gradients_are_added_to_those_of_the_network() {
    const WEIGHT: f32 = 0.6;
    for (kind, dropout) in [("layers: 2", NONE), ("bidirectional: true", ALL)] {
        let mut case = Case::new(kind);
        case.settings.dropout = dropout;
        let factor = WEIGHT / case.spec().input.lstm.directions() as f32;
        let (mut weights, mut added) = network(&case);
        let mut joint = joint(&case, &weights, f64::from(WEIGHT));
        let mut alone = case.learner(Instructions::best());
        let batches: [_; 2] = case.batches(4);
        for (step, batch) in (5..).zip(batches) {
            let (losses, _) = alone.compute_gradients(&batch, step, Group::ALONE).unwrap();
            let expected = gradients(&alone);
            let batch = JointBatch { batch, step, starts: step == 5 };
            let loss = joint.add_gradients(&mut weights, &batch, Group::ALONE, &mut added).unwrap();
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            assert!((loss - mean).abs() < 1e-9, "{kind}: {loss} {mean}");
            let own = alone.model.weights.iter().zip(&expected).filter(|(w, _)| is_own(&w.tensor));
            let squares = own.flat_map(|(_, gradient)| gradient).map(|g| f64::from(*g).powi(2));
            let norm = f64::from(factor) * squares.sum::<f64>().sqrt();
            assert!((joint.norm() / norm - 1.0).abs() < 1e-5, "{kind}");
            for (weight, expected) in alone.model.weights.iter().zip(&expected) {
                let name = &weight.tensor.name;
                let Some(index) = weights.iter().position(|w| w.tensor.name == *name) else {
                    continue;
                };
                assert_eq!(weights[index].tensor.values, weight.tensor.values, "{kind}: {name}");
                let mut former = vec![1.0; expected.len()];
                let actual = match added.rows_of(index) {
                    None => added.dense[index].clone(),
                    Some(rows) => {
                        let size = weight.tensor.shape[1];
                        former.fill(0.0);
                        former[3 * size..4 * size].fill(1.0);
                        let mut all = vec![0.0; expected.len()];
                        for (word, row) in rows.words.iter().zip(rows.values.chunks(size)) {
                            all[*word as usize * size..][..size].copy_from_slice(row);
                        }
                        all
                    }
                };
                for ((actual, expected), former) in actual.iter().zip(expected).zip(&former) {
                    let expected = former + factor * expected;
                    assert!((actual - expected).abs() < 1e-6, "{kind}: {name}");
                }
            }
            assert_eq!(added.dense[0], [1.0; 2], "the other weight has its own gradient");
            (_, added) = network(&case);
        }
        assert!(joint.norm() > 0.0);
        joint.update(0.1, 0.5);
        assert_eq!(joint.norm(), 0.0, "nothing is left to apply");
        let state = joint.state();
        for former in case.weights().iter().filter(|tensor| is_own(tensor)) {
            let name = format!("language_model.{}", former.name);
            let updated = state.iter().find(|tensor| tensor.name == name).unwrap();
            assert_ne!(updated.values, former.values, "{name}");
        }
        assert!(state.iter().all(|tensor| !tensor.name.contains("exp_avg.embedding")));
    }
}

/// The state has everything that the following steps depend on.
#[test]
fn a_loaded_state_continues_bit_by_bit() {
    let case = Case::new("bidirectional: true");
    let (mut weights, _) = network(&case);
    let mut joint_model = joint(&case, &weights, 1.0);
    let batches: [_; 3] = case.batches(4);
    let mut run = |model: &mut JointLanguageModel, steps: std::ops::Range<u64>| {
        let mut results = Vec::new();
        for step in steps {
            let (_, mut added) = network(&case);
            let batch = batches[step as usize].clone();
            let batch = JointBatch { batch, step, starts: step == 0 };
            let loss = model.add_gradients(&mut weights, &batch, Group::ALONE, &mut added).unwrap();
            model.update(0.1, 1.0);
            let rows = added.rows.into_iter().map(|rows| (rows.words, rows.values));
            results.push((loss.to_bits(), added.dense, rows.collect::<Vec<_>>()));
        }
        (results, model.state())
    };
    run(&mut joint_model, 0..2);
    let mut state = joint_model.state();
    let expected = run(&mut joint_model, 2..3);
    let mut resumed = joint(&case, &network(&case).0, 1.0);
    let other = NamedTensor { name: "exp_avg.other".into(), shape: vec![1], values: vec![0.0] };
    state.push(other);
    let of_joint = crate::backend::language_model::take_joint_state(&mut state);
    assert_eq!(state.len(), 1);
    resumed.load(Vec::new()).unwrap();
    resumed.load(of_joint).unwrap();
    assert_eq!(run(&mut resumed, 2..3), expected);
}
