use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::objective::metrics::Score;
use crate::run::progress::Best;
use crate::text::Vocabulary;

fn tensor(name: String) -> impl Strategy<Value = NamedTensor> {
    vec(0_usize..4, 0..4).prop_flat_map(move |shape| {
        let (name, count) = (name.clone(), shape.iter().product::<usize>());
        // NaN is not equal to itself.
        vec(any::<f32>().prop_filter("NaN", |value| !value.is_nan()), count).prop_map(
            move |values| NamedTensor { name: name.clone(), shape: shape.clone(), values },
        )
    })
}

fn tensors() -> impl Strategy<Value = Vec<NamedTensor>> {
    btree_set("[a-z_.0-9]{1,9}", 0..4)
        .prop_flat_map(|names| names.into_iter().map(tensor).collect::<Vec<_>>())
}

/// Sorts tensors: a file has them in its own order.
fn by_name(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

prop_compose! {
    /// Any progress that a run can have.
    fn progress()(
        (epoch, batch, others) in (0_usize..99, 0_usize..99, 0_u64..1 << 40),
        (order, tokens, seconds) in (any::<u64>(), 0_u64..1 << 53, 0.0..1e9),
        (loss, accuracy, waited) in (0.0..1e300, 0.0..=1.0, 0_usize..2),
    ) -> Progress {
        let mut progress = Progress { epoch, batch, order, tokens, seconds, ..Progress::default() };
        progress.step = (epoch + batch) as u64 + others;
        if progress.epoch_number() > 0 {
            let validation = Score::new(loss, accuracy);
            progress.best = Some(Best { epoch: progress.epoch_number(), validation });
            progress.waited = waited;
        }
        progress
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With any words, labels and values, loading returns what was saved.
    #[test]
    fn a_checkpoint_is_unchanged_by_saving_and_loading(
        texts in vec("\\PC{1,12}", 1..9),
        labels in vec("\\PC{0,8}", 2..4),
        weights in tensors(),
        raw_weights in proptest::option::of(tensors()),
        state in tensors(),
        progress in progress(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("best");
        let yaml = "data: {train: x}\ntext: {min_count: 1}\n";
        let resolved = config::parse_plain(yaml);
        let inputs = &resolved.config.inputs;
        let Ok(encoders) = Encoders::from_texts(inputs, &[texts]) else { return Ok(()) };
        let contents = Contents {
            model: ModelKind::Classifier,
            resolved: &resolved,
            labels: &labels,
            encoders: &encoders,
            weights: weights.clone(),
            raw_weights: raw_weights.clone(),
            optimizer_state: state.clone(),
            progress: &progress,
        };
        save(&path, &contents).unwrap();
        let saved = Checkpoint::open(&path).unwrap();
        prop_assert_eq!(&saved.resolved.config, &resolved.config);
        prop_assert_eq!(&saved.labels, &labels);
        prop_assert_eq!(saved.encoders[0].vocabulary().words(), encoders[0].vocabulary().words());
        prop_assert_eq!(by_name(saved.weights().unwrap()), weights);
        prop_assert_eq!(saved.raw_weights().unwrap().map(by_name), raw_weights);
        prop_assert_eq!(by_name(saved.optimizer_state().unwrap()), state);
        prop_assert_eq!(saved.progress().unwrap(), progress);
    }
}

#[test]
fn a_checkpoint_stays_readable_while_it_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last");
    let resolved = config::parse_plain("data: {train: x}\ntext: {min_count: 1}\n");
    let inputs = &resolved.config.inputs;
    let vocabulary = Vocabulary::build(&["a b".into()], &inputs[0].text).unwrap();
    let encoders = Encoders::new(inputs, vec![(vocabulary, None)]);
    let save = |value: f32| {
        let tensor = NamedTensor { name: "w".into(), shape: vec![9], values: vec![value; 9] };
        let contents = Contents {
            model: ModelKind::Classifier,
            resolved: &resolved,
            labels: &["a".into(), "b".into()],
            encoders: &encoders,
            weights: vec![tensor.clone()],
            raw_weights: None,
            optimizer_state: vec![tensor],
            progress: &Progress::default(),
        };
        super::save(&path, &contents).unwrap();
    };
    save(0.0);
    let first = Checkpoint::open(&path).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            (1..100).for_each(|value| save(value as f32));
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            let opened = Checkpoint::open(&path).unwrap();
            assert_eq!(opened.weights().unwrap(), opened.optimizer_state().unwrap());
            super::progress(&path).unwrap();
            shapes(&path).unwrap();
        }
    });
    assert_eq!(first.weights().unwrap()[0].values, [0.0; 9]);
}
