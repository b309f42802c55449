//! Choice of the threshold from which a label is predicted.

/// Goal of a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdGoal {
    /// The highest F1.
    F1,
    /// The highest recall with at least this precision.
    Precision(f64),
    /// The highest precision with at least this recall.
    Recall(f64),
}

/// Examples that are predicted to have the label with some threshold, and the thresholds with which these are
/// predicted: above `low`, up to `high`.
#[derive(Clone, Copy)]
struct Cut {
    low: f64,
    high: f64,
    true_positives: usize,
    predicted: usize,
}

impl Cut {
    /// Threshold of the cut: one half if possible, or else the middle, which is robust to small changes of
    /// the probabilities.
    fn threshold(&self) -> f64 {
        if self.low < 0.5 && 0.5 <= self.high {
            return 0.5;
        }
        let middle = self.low + (self.high - self.low) / 2.0;
        // Neighboring numbers have no middle.
        if middle > self.low { middle } else { self.high }
    }
}

/// Returns the threshold that reaches a goal on examples with these probabilities of the label. `has_label` is
/// true for the examples that have it. Of several thresholds with the same F1, the one closest to one half is
/// returned. `None` if no example has the label, or if no threshold has the precision.
pub fn choose_threshold(
    probabilities: &[f64],
    has_label: &[bool],
    goal: ThresholdGoal,
) -> Option<f64> {
    let positive = has_label.iter().filter(|has_label| **has_label).count();
    if positive == 0 {
        return None;
    }
    let cuts = cuts(probabilities, has_label);
    let chosen = match goal {
        ThresholdGoal::F1 => {
            let f1 =
                |cut: &Cut| 2.0 * cut.true_positives as f64 / (cut.predicted + positive) as f64;
            let distance = |cut: &Cut| (cut.threshold() - 0.5).abs();
            cuts.into_iter()
                .max_by(|a, b| f1(a).total_cmp(&f1(b)).then(distance(b).total_cmp(&distance(a))))
        }
        ThresholdGoal::Precision(precision) => {
            let reaches = |cut: &Cut| {
                cut.true_positives > 0 && share(cut.true_positives, cut.predicted) >= precision
            };
            // Of equal recall, the one of fewer predictions.
            cuts.into_iter().filter(reaches).max_by(|a, b| {
                a.true_positives.cmp(&b.true_positives).then(b.predicted.cmp(&a.predicted))
            })
        }
        ThresholdGoal::Recall(recall) => {
            let reaches = |cut: &Cut| share(cut.true_positives, positive) >= recall;
            let precision = |cut: &Cut| share(cut.true_positives, cut.predicted);
            // Of equal precision, the one of fewer predictions.
            cuts.into_iter().filter(reaches).max_by(|a, b| {
                precision(a).total_cmp(&precision(b)).then(b.predicted.cmp(&a.predicted))
            })
        }
    };
    chosen.map(|cut| cut.threshold())
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
}

/// Returns the cuts between examples of different probability, from the highest threshold to the lowest.
fn cuts(probabilities: &[f64], has_label: &[bool]) -> Vec<Cut> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    let (mut true_positives, mut predicted) = (0, 0);
    let mut cuts = Vec::new();
    let tied: Vec<&[usize]> =
        order.chunk_by(|a, b| probabilities[*a] == probabilities[*b]).collect();
    for (index, examples) in tied.iter().enumerate() {
        true_positives += examples.iter().filter(|example| has_label[**example]).count();
        predicted += examples.len();
        let low = tied.get(index + 1).map_or(0.0, |next| probabilities[next[0]]);
        cuts.push(Cut { low, high: probabilities[examples[0]], true_positives, predicted });
    }
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROBABILITIES: [f64; 8] = [0.95, 0.9, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1];
    const HAS_LABEL: [bool; 8] = [true, true, false, true, false, true, false, false];

    fn choose(goal: ThresholdGoal) -> Option<f64> {
        choose_threshold(&PROBABILITIES, &HAS_LABEL, goal)
    }

    #[test]
    fn of_thresholds_with_enough_recall_the_most_precise_one_is_chosen() {
        let (probabilities, has_label) = ([0.9, 0.8, 0.7, 0.1], [false, true, true, false]);
        let threshold = choose_threshold(&probabilities, &has_label, ThresholdGoal::Recall(0.5));
        assert_eq!(threshold, Some(0.5));
        let threshold = choose_threshold(&probabilities, &has_label, ThresholdGoal::Recall(0.0));
        assert_eq!(threshold, Some(0.5));
    }

    #[test]
    fn a_goal_has_a_threshold_between_two_examples() {
        for (goal, threshold) in [
            // F1 of 6, 4 and 2 predictions: 0.8, 0.75 and 0.67.
            (ThresholdGoal::F1, 0.25),
            // Precision of 2, 4 and 6 predictions: 1, 0.75 and 0.67.
            (ThresholdGoal::Precision(1.0), 0.85),
            (ThresholdGoal::Precision(0.75), 0.5),
            (ThresholdGoal::Precision(0.6), 0.25),
            (ThresholdGoal::Recall(0.75), 0.5),
            (ThresholdGoal::Recall(1.0), 0.25),
        ] {
            let chosen = choose(goal).unwrap();
            assert!((chosen - threshold).abs() < 1e-12, "{goal:?}: {chosen}");
        }
    }

    #[test]
    fn impossible_goals_have_no_threshold() {
        let wrong = [true, false];
        let choose = |has_label: &[bool], goal| choose_threshold(&[0.2, 0.8], has_label, goal);
        assert_eq!(choose(&wrong, ThresholdGoal::Precision(0.9)), None);
        assert_eq!(choose(&wrong, ThresholdGoal::Precision(0.5)), Some(0.1));
        assert_eq!(choose(&[false; 2], ThresholdGoal::F1), None);
        assert_eq!(choose(&[false; 2], ThresholdGoal::Recall(0.0)), None);
    }

    #[test]
    fn thresholds_with_the_same_f1_are_close_to_one_half() {
        // F1 is 2/3 with one prediction and with all four.
        let probabilities = [0.9, 0.8, 0.45, 0.4];
        let has_label = [true, false, false, true];
        let choose = |goal| choose_threshold(&probabilities, &has_label, goal);
        assert_eq!(choose(ThresholdGoal::F1), Some(0.2));
        let has_label = [true, true, false, false];
        assert_eq!(choose_threshold(&probabilities, &has_label, ThresholdGoal::F1), Some(0.5));
        assert_eq!(choose_threshold(&[0.5; 3], &[true; 3], ThresholdGoal::F1), Some(0.5));
    }

    fn counts(probabilities: &[f64], has_label: &[bool], threshold: f64) -> (usize, usize) {
        let predicted = probabilities.iter().zip(has_label).filter(|(p, _)| **p >= threshold);
        let (right, wrong): (Vec<_>, Vec<_>) = predicted.partition(|(_, has_label)| **has_label);
        (right.len(), wrong.len())
    }

    proptest! {
        #[test]
        fn no_other_threshold_is_better(
            examples in prop::collection::vec((0_u8..20, any::<bool>()), 1..30),
            bound in 0.0..1.0,
        ) {
            let probabilities: Vec<f64> = examples.iter().map(|e| f64::from(e.0) / 20.0).collect();
            let has_label: Vec<bool> = examples.iter().map(|e| e.1).collect();
            let positive = has_label.iter().filter(|has_label| **has_label).count();
            let all = (1..=40).map(|step| f64::from(step) / 40.0);
            let counts = |threshold| counts(&probabilities, &has_label, threshold);
            let f1 = |(right, wrong): (usize, usize)| {
                2.0 * right as f64 / (right + wrong + positive) as f64
            };
            let chosen = choose_threshold(&probabilities, &has_label, ThresholdGoal::F1);
            prop_assert_eq!(chosen.is_some(), positive > 0);
            if let Some(chosen) = chosen {
                let best = all.clone().map(|threshold| f1(counts(threshold)));
                prop_assert!(best.into_iter().all(|other| other <= f1(counts(chosen)) + 1e-12));
            }
            let goal = ThresholdGoal::Precision(bound);
            let reaches = |(right, wrong): (usize, usize)| {
                right > 0 && right as f64 / (right + wrong) as f64 >= bound
            };
            let most = all.map(counts).filter(|counts| reaches(*counts)).map(|(right, _)| right);
            let most = most.max().unwrap_or(0);
            match choose_threshold(&probabilities, &has_label, goal) {
                Some(chosen) => {
                    prop_assert!(reaches(counts(chosen)));
                    prop_assert!(counts(chosen).0 >= most);
                }
                None => prop_assert_eq!(most, 0),
            }
        }
    }
}
