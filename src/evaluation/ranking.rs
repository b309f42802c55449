//! Ranking metrics: the degree to which scores put the examples of a class before all others.

use crate::config::Labelling;

/// Area under the ROC curve: the probability that a positive example has a higher score than a
/// negative one; equal scores count half (Hanley and McNeil 1982). `None` if all examples are
/// positive or all are negative.
pub(super) fn roc_auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let (mut above, mut pairs_won) = (0_usize, 0.0);
    let mut total = Counts::default();
    for tied in by_score(scores, positive) {
        // Each negative loses to the positives above it, and half to those of equal score.
        pairs_won += tied.negative as f64 * (above as f64 + tied.positive as f64 / 2.0);
        above += tied.positive;
        total.positive += tied.positive;
        total.negative += tied.negative;
    }
    let pairs = total.positive as f64 * total.negative as f64;
    (pairs > 0.0).then(|| pairs_won / pairs)
}

/// Average precision: the mean of the precision at each threshold, weighted by the increase in
/// recall, without interpolation, like scikit-learn's `average_precision_score`. `None` if all
/// examples are positive or all are negative.
pub(super) fn average_precision(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let (mut true_positives, mut predicted_positives, mut sum) = (0, 0, 0.0);
    for tied in by_score(scores, positive) {
        true_positives += tied.positive;
        predicted_positives += tied.positive + tied.negative;
        sum += tied.positive as f64 * true_positives as f64 / predicted_positives as f64;
    }
    (true_positives > 0 && true_positives < predicted_positives)
        .then(|| sum / true_positives as f64)
}

/// Returns a metric of the second of two classes that exclude each other, or its mean over the classes for
/// which it is defined. `metric` returns that of a class.
pub(super) fn over_classes(
    labelling: Labelling,
    classes: usize,
    metric: impl Fn(usize) -> Option<f64>,
) -> Option<f64> {
    if classes == 2 && labelling == Labelling::One {
        return metric(1);
    }
    let defined: Vec<f64> = (0..classes).filter_map(metric).collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

/// Numbers of examples of equal score.
#[derive(Default)]
struct Counts {
    positive: usize,
    negative: usize,
}

/// Groups examples of equal score, from the highest score to the lowest.
fn by_score(scores: &[f64], positive: &[bool]) -> Vec<Counts> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let equal = |a: &usize, b: &usize| scores[*a] == scores[*b];
    let count = |tied: &[usize]| {
        let positive = tied.iter().filter(|example| positive[**example]).count();
        Counts { positive, negative: tied.len() - positive }
    };
    order.chunk_by(equal).map(count).collect()
}
