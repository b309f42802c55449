use serde::Deserialize;

use super::interval::wilson_interval;
use super::report::length_buckets;
use super::*;
use crate::backend::Inference;
use crate::config::Labelling;
use crate::data::batch_plan::BatchLimit;
use crate::data::{Dataset, Targets};
use crate::distributed::SingleProcess;
use crate::model::branch_scales::BranchScales;
use crate::objective::metrics::Score;
use crate::objective::{Decision, Objective};
use crate::text::Corpus;

/// Values computed by scikit-learn and SciPy in make_expected.py.
#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
    /// Examples that only the first or only the other classifies correctly, and the p-value.
    comparisons: Vec<(usize, usize, f64)>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    labels: Vec<u32>,
    probabilities: Vec<Vec<f64>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    accuracy: f64,
    accuracy_interval: [f64; 2],
    loss: f64,
    roc_auc: f64,
    average_precision: f64,
    expected_calibration_error: f64,
    /// Precision, recall and F1.
    macro_average: [f64; 3],
    micro_f1: f64,
    weighted_f1: f64,
    /// Ranking metrics of the first class against the rest.
    first_roc_auc: f64,
    first_average_precision: f64,
    /// Precision, recall, F1 and number of examples of each class.
    classes: Vec<[f64; 4]>,
    confusion: Vec<Vec<usize>>,
}

fn expected() -> File {
    serde_json::from_str(include_str!("expected.json")).unwrap()
}

/// Creates predictions with these probabilities.
pub fn predictions(labels: &[u32], probabilities: &[Vec<f64>]) -> Predictions {
    Predictions {
        classes: probabilities[0].len(),
        log_probabilities: probabilities.concat().iter().map(|share| share.ln()).collect(),
        objective: Objective::plain(Labelling::One),
        targets: labels.to_vec().into(),
        decision: Decision::Default,
        tokens: (0..labels.len()).collect(),
    }
}

/// Creates predictions with these probabilities for texts with these sets of labels.
pub fn label_set_predictions(labels: &[Vec<u32>], probabilities: &[Vec<f64>]) -> Predictions {
    Predictions {
        objective: Objective::plain(Labelling::Several),
        targets: Targets::LabelSets(labels.iter().map(Vec::as_slice).collect()),
        ..predictions(&vec![0; labels.len()], probabilities)
    }
}

#[test]
fn scores_match_scikit_learn() {
    for Case { name, labels, probabilities, expected } in expected().cases {
        let names: Vec<String> = (0..probabilities[0].len()).map(|n| n.to_string()).collect();
        let evaluation = Evaluation::of(&predictions(&labels, &probabilities), &names);
        assert_eq!(evaluation.confusion.as_ref(), Some(&expected.confusion), "{name}");
        let score = |score: ClassScore| [score.precision, score.recall, score.f1];
        let mut pairs = vec![
            (evaluation.accuracy, expected.accuracy),
            (evaluation.accuracy_interval[0], expected.accuracy_interval[0]),
            (evaluation.accuracy_interval[1], expected.accuracy_interval[1]),
            (evaluation.loss, expected.loss),
            (evaluation.roc_auc.unwrap(), expected.roc_auc),
            (evaluation.average_precision.unwrap(), expected.average_precision),
            (evaluation.expected_calibration_error, expected.expected_calibration_error),
        ];
        pairs.extend(score(evaluation.macro_average).into_iter().zip(expected.macro_average));
        for (class, expected) in evaluation.classes.iter().zip(&expected.classes) {
            pairs.extend(score(class.score).into_iter().zip(expected.iter().copied()));
            assert_eq!(class.examples as f64, expected[3], "{name}");
        }
        for (number, (actual, expected)) in pairs.into_iter().enumerate() {
            assert!(
                (actual - expected).abs() < 1e-12,
                "{name}, {number}: {actual}, not {expected}"
            );
        }
    }
}

#[test]
fn metrics_of_runs_match_scikit_learn() {
    for Case { name, labels, probabilities, expected } in expected().cases {
        let names: Vec<String> = (0..probabilities[0].len()).map(|n| n.to_string()).collect();
        let predictions = predictions(&labels, &probabilities);
        let last = names.len() - 1;
        let [precision, recall, f1, _] = expected.classes[last];
        for (metric, value) in [
            ("loss".to_owned(), expected.loss),
            ("accuracy".to_owned(), expected.accuracy),
            ("macro_f1".to_owned(), expected.macro_average[2]),
            ("micro_f1".to_owned(), expected.micro_f1),
            ("weighted_f1".to_owned(), expected.weighted_f1),
            ("roc_auc".to_owned(), expected.roc_auc),
            ("average_precision".to_owned(), expected.average_precision),
            (format!("precision:{last}"), precision),
            (format!("recall:{last}"), recall),
            (format!("f1:{last}"), f1),
            ("roc_auc:0".to_owned(), expected.first_roc_auc),
            ("average_precision:0".to_owned(), expected.first_average_precision),
        ] {
            let actual = predictions.value(&metric.parse().unwrap(), &names).unwrap();
            assert!((actual - value).abs() < 1e-12, "{name}, {metric}: {actual}, not {value}");
        }
    }
}

/// Python: sklearn.metrics.f1_score([[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]],
/// [[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], average=…), and roc_auc_score of the probabilities.
#[test]
fn metrics_of_several_labels_match_scikit_learn() {
    let sets = [&[0, 2][..], &[0], &[1], &[]];
    let rows = [[0.9, 0.6, 0.3], [0.7, 0.2, 0.1], [0.1, 0.8, 0.6], [0.2, 0.3, 0.4]];
    let predictions = Predictions {
        objective: Objective::plain(Labelling::Several),
        targets: crate::data::Targets::LabelSets(sets.into_iter().collect()),
        ..predictions(&[0; 4], &rows.map(Vec::from))
    };
    let labels = ["a", "b", "c"].map(str::to_owned);
    for (metric, value) in [
        ("macro_f1", 0.5555555555555555),
        ("micro_f1", 0.6666666666666666),
        ("weighted_f1", 0.6666666666666666),
        ("f1:b", 0.6666666666666666),
        ("recall:c", 0.0),
        ("roc_auc", 0.7777777777777777),
        ("roc_auc:c", 0.3333333333333333),
        ("average_precision", 0.7777777777777777),
    ] {
        let actual = predictions.value(&metric.parse().unwrap(), &labels).unwrap();
        assert!((actual - value).abs() < 1e-12, "{metric}: {actual}, not {value}");
    }
}

#[test]
fn scores_have_the_metric_of_the_run_only_if_it_is_neither_loss_nor_accuracy() {
    let labels = ["a", "b"].map(str::to_owned);
    let predictions = predictions(&[0, 0, 1], &vec![vec![0.75, 0.25]; 3]);
    let score = |metric: &str| predictions.score_with(&metric.parse().unwrap(), &labels);
    assert_eq!(score("accuracy"), predictions.score());
    assert_eq!(score("recall:b").metric, Some(0.0));
    assert_eq!(score("recall:c").metric, None);
    assert_eq!(Score { metric: None, ..score("recall:b") }, predictions.score());
}

/// As in `sklearn.metrics.precision_recall_fscore_support` with `average="macro"`.
#[test]
fn absent_classes_are_not_in_the_macro_average() {
    let labels = ["a", "b", "c"].map(str::to_owned);
    let certain = |class: usize| (0..3).map(|i| if i == class { 0.8 } else { 0.1 }).collect();
    let f1 = |targets: &[u32], predicted: &[usize]| {
        let probabilities: Vec<Vec<f64>> = predicted.iter().map(|class| certain(*class)).collect();
        Evaluation::of(&predictions(targets, &probabilities), &labels).macro_average.f1
    };
    assert_eq!(f1(&[0, 0], &[0, 0]), 1.0);
    assert_eq!(f1(&[0, 1], &[0, 1]), 1.0);
    // F1 is 2/3 for "a" and 0 for "c", which is predicted but has no examples.
    assert!((f1(&[0, 0], &[0, 2]) - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn p_values_match_scipy() {
    for (only_first, only_other, p_value) in expected().comparisons {
        let count = only_first + only_other + 2;
        let correct_in = |range: std::ops::Range<usize>| {
            let rows = (0..count).map(|i| if range.contains(&i) { [0.9, 0.1] } else { [0.1, 0.9] });
            predictions(&vec![0; count], &rows.map(Vec::from).collect::<Vec<_>>())
        };
        // One example is correct for both, and the last one is wrong for both.
        let first = correct_in(0..only_first + 1);
        let other = correct_in(only_first..count - 1);
        let comparison = compare(&first, &other);
        assert_eq!((comparison.both_right, comparison.both_wrong), (1, 1));
        assert_eq!((comparison.only_first, comparison.only_other), (only_first, only_other));
        let error = (comparison.p_value - p_value).abs();
        assert!(error < 1e-9 * p_value, "{only_first} {only_other}: {}", comparison.p_value);
    }
}

#[test]
fn undefined_metrics_are_none() {
    let one_class = predictions(&[1, 1], &[vec![0.2, 0.8], vec![0.6, 0.4]]);
    let evaluation = Evaluation::of(&one_class, &["a".to_owned(), "b".to_owned()]);
    assert_eq!((evaluation.roc_auc, evaluation.average_precision), (None, None));
    let labels = ["a", "b"].map(str::to_owned);
    for metric in ["roc_auc", "average_precision", "roc_auc:a", "average_precision:b"] {
        assert_eq!(one_class.value(&metric.parse().unwrap(), &labels), None, "{metric}");
    }
    assert_eq!(evaluation.classes[0].score, ClassScore { precision: 0.0, recall: 0.0, f1: 0.0 });
    assert_eq!(wilson_interval(0, 0), [0.0, 1.0]);
}

#[test]
fn texts_of_equal_length_stay_in_one_bucket() {
    let mut predictions = predictions(&[0; 10], &vec![vec![0.9, 0.1]; 10]);
    predictions.tokens = vec![7, 1, 7, 7, 2, 7, 7, 9, 7, 8];
    let buckets = length_buckets(&predictions);
    let ranges: Vec<_> =
        buckets.iter().map(|bucket| (bucket.from, bucket.to, bucket.examples)).collect();
    assert_eq!(ranges, [(1, 2, 2), (7, 7, 6), (8, 8, 1), (9, 9, 1)]);
}

#[test]
fn mistakes_are_sorted_by_confidence() {
    let rows = [vec![0.4, 0.6], vec![0.9, 0.1], vec![0.2, 0.8], vec![0.05, 0.95]];
    let predictions = predictions(&[0, 0, 0, 1], &rows);
    assert_eq!(predictions.mistakes(), [2, 0]);
}

#[test]
fn mistakes_in_label_sets_are_sorted_by_loss() {
    let labels = [vec![0, 1], vec![], vec![0], vec![1]];
    let rows = [vec![0.4, 0.6], vec![0.9, 0.1], vec![0.8, 0.2], vec![0.05, 0.45]];
    let predictions = label_set_predictions(&labels, &rows);
    assert_eq!(predictions.mistakes(), [1, 0, 3]);
    assert_eq!(predictions.predicted_labels(3), [] as [usize; 0]);
    assert_eq!((predictions.labels(0), predictions.predicted_labels(0)), (vec![0, 1], vec![1]));
    // Python: -(log(1 - 0.9) + log(1 - 0.1)) / 2
    assert!((predictions.loss(1) - 1.2039728043259361).abs() < 1e-12);
}

/// Predicts from the first id of a text.
struct FirstIdClassifier;

impl Inference for FirstIdClassifier {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        let share = |example: &u32| f64::from(inputs[0].text(*example as usize)[0]) / 10.0;
        examples
            .iter()
            .flat_map(|example| [(1.0 - share(example)).ln(), share(example).ln()])
            .collect()
    }
}

#[test]
fn predictions_keep_the_order_of_the_examples() {
    let texts: [&[u32]; 4] = [&[9, 1, 1], &[2], &[7, 1], &[1, 1, 1, 1]];
    let corpus = Corpus::from_texts(crate::config::PadSide::Back, 9, texts);
    let data = Dataset { inputs: vec![corpus], targets: vec![1, 1, 0, 0].into() };
    let limit = BatchLimit::Examples(3);
    let predictions =
        Predictions::of(&FirstIdClassifier, Labelling::One, &data, limit, &SingleProcess).unwrap();
    let probabilities: Vec<f64> =
        (0..4).map(|example| predictions.probability(example, 1)).collect();
    let expected = [0.9, 0.2, 0.7, 0.1];
    assert!(probabilities.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
    assert_eq!(predictions.tokens, [3, 1, 2, 4]);
    let loss = -(0.9_f64.ln() + 0.2_f64.ln() + 0.3_f64.ln() + 0.9_f64.ln()) / 4.0;
    assert!((predictions.score().loss - loss).abs() < 1e-12);
    assert_eq!(predictions.score().accuracy, 0.5);
}

#[test]
fn scales_follow_the_better_branch_and_stay_moderate() {
    let labels: Vec<u32> = (0..40).map(|example| example % 2).collect();
    // Probability of the true class in each example.
    let with = |probability: &dyn Fn(usize) -> f64| {
        let row = |(example, label): (usize, &u32)| {
            let right = probability(example);
            if *label == 0 { vec![right, 1.0 - right] } else { vec![1.0 - right, right] }
        };
        predictions(&labels, &labels.iter().enumerate().map(row).collect::<Vec<_>>())
    };
    let choose = |both: &Predictions, ngrams: &Predictions| {
        let scales = both.choose_branch_scales(ngrams);
        let chosen = both.clone().with_branch_scales(ngrams, scales);
        assert!(chosen.score().loss <= both.score().loss + 0.02, "{scales:?}");
        (scales, chosen)
    };
    // The n-grams are right but unsure, and the LSTM, which is sure, is wrong in half of the examples.
    let ngrams = with(&|_| 0.6);
    let both = with(&|example| if example % 4 < 2 { 0.999 } else { 0.01 });
    let (scales, chosen) = choose(&both, &ngrams);
    assert!(scales.lstm < 0.1 && scales.ngrams > 1.0, "{scales:?}");
    assert_eq!(chosen.score().accuracy, 1.0);
    // All are right: probabilities become larger, but not 1.
    let (_, chosen) = choose(&with(&|_| 0.8), &ngrams);
    let probability = chosen.probability(0, 0);
    assert!((0.9..0.999).contains(&probability), "{probability}");
    // Predictions that are as good as they can be stay as they are, to the bit.
    let calibrated = with(&|example| if example % 10 < 7 { 0.7 } else { 0.3 });
    let (scales, chosen) = choose(&calibrated, &with(&|_| 0.5));
    assert_eq!(scales, BranchScales::default());
    assert_eq!(chosen.log_probabilities, calibrated.log_probabilities);
}
