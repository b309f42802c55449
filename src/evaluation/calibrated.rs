//! Predictions of a calibrated model, and the calibration that suits predictions for validation examples.

use anyhow::{bail, ensure};

use super::predictions::Predictions;
use crate::config::Labelling;
use crate::objective::{Calibration, Decision, ThresholdGoal, choose_threshold, fit_scaling};

/// Goal of the decision thresholds of a calibrated model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecisionGoal {
    /// Goal of each threshold.
    pub threshold: ThresholdGoal,
    /// Class that the goal is for, if there are two classes that exclude each other; by default the second.
    pub class: Option<usize>,
}

/// A calibration, and the labels whose thresholds could not be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedCalibration {
    /// The calibration.
    pub calibration: Calibration,
    /// Labels that no example has. Their thresholds are one half.
    pub without_examples: Vec<usize>,
    /// Labels with examples for which no threshold reaches the goal. Their thresholds are 1.
    pub unreached: Vec<usize>,
}

impl Predictions {
    /// Returns the predictions of the calibrated model.
    pub fn calibrated(mut self, calibration: &Calibration) -> Self {
        let labelling = self.labelling();
        calibration.scaling.apply_to_rows(labelling, &mut self.log_probabilities, self.classes);
        Self { decision: calibration.decision.clone(), ..self }
    }

    /// Chooses the calibration that suits these predictions: the scaling with which their loss is smallest,
    /// and the thresholds that reach the goal after scaling. Without a goal, decisions stay as they are.
    ///
    /// # Errors
    /// Returns an error if a goal cannot be pursued because more than two classes exclude each other.
    pub fn fit_calibration(&self, goal: Option<DecisionGoal>) -> anyhow::Result<FittedCalibration> {
        let labelling = self.labelling();
        let scaling = fit_scaling(labelling, &self.log_probabilities, self.classes, &self.targets);
        let mut fitted = FittedCalibration {
            calibration: Calibration { scaling, decision: Decision::Default },
            without_examples: Vec::new(),
            unreached: Vec::new(),
        };
        if let Some(goal) = goal {
            let scaled = self.clone().calibrated(&fitted.calibration);
            fitted.calibration.decision = match labelling {
                Labelling::One => {
                    ensure!(
                        self.classes == 2,
                        "a threshold needs two classes, or several labels per text, but the model has {} \
                         classes that exclude each other; use costs instead",
                        self.classes
                    );
                    let class = goal.class.unwrap_or(1);
                    let threshold = fitted.choose(&scaled, class, goal.threshold);
                    Decision::OneOfTwo { class, threshold }
                }
                Labelling::Several => {
                    if goal.class.is_some() {
                        bail!("each label has a threshold of its own; do not name one");
                    }
                    let choose = |class| fitted.choose(&scaled, class, goal.threshold);
                    Decision::Thresholds((0..self.classes).map(choose).collect())
                }
            };
        }
        Ok(fitted)
    }
}

impl FittedCalibration {
    /// Chooses the threshold of a label.
    fn choose(&mut self, predictions: &Predictions, class: usize, goal: ThresholdGoal) -> f64 {
        let (probabilities, has_label) = predictions.one_vs_rest(class);
        match choose_threshold(&probabilities, &has_label, goal) {
            Some(threshold) => threshold,
            None if has_label.contains(&true) => {
                self.unreached.push(class);
                1.0
            }
            None => {
                self.without_examples.push(class);
                0.5
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::predictions;
    use super::*;
    use crate::data::Targets;
    use crate::objective::Objective;

    /// Predictions for texts with several of three labels: the first one has too low probabilities, the
    /// second one is never right, and no text has the third one.
    fn several() -> Predictions {
        let sets = [&[0][..], &[0, 1], &[0], &[], &[1], &[]];
        let rows = [
            [0.4, 0.6, 0.1],
            [0.35, 0.1, 0.2],
            [0.3, 0.7, 0.1],
            [0.2, 0.8, 0.3],
            [0.1, 0.2, 0.6],
            [0.1, 0.6, 0.1],
        ];
        Predictions {
            objective: Objective::plain(Labelling::Several),
            targets: Targets::LabelSets(sets.into_iter().collect()),
            ..predictions(&[0; 6], &rows.map(Vec::from))
        }
    }

    fn goal(threshold: ThresholdGoal) -> Option<DecisionGoal> {
        Some(DecisionGoal { threshold, class: None })
    }

    #[test]
    fn thresholds_of_several_labels_improve_the_f1() {
        let predictions = several();
        let labels = ["a", "b", "c"].map(str::to_owned);
        let f1 = |predictions: &Predictions| {
            predictions.value(&"f1:a".parse().unwrap(), &labels).unwrap()
        };
        assert_eq!(f1(&predictions), 0.0);
        let fitted = predictions.fit_calibration(goal(ThresholdGoal::F1)).unwrap();
        assert!(fitted.calibration.is_valid(Labelling::Several, 3));
        assert_eq!((&fitted.without_examples[..], &fitted.unreached[..]), (&[2][..], &[][..]));
        let calibrated = predictions.clone().calibrated(&fitted.calibration);
        assert_eq!(f1(&calibrated), 1.0);
        assert!(calibrated.score().loss < predictions.score().loss);
        assert!(calibrated.predicted_labels(0).contains(&0));
        assert!(!calibrated.predicted_labels(3).contains(&0));
    }

    #[test]
    fn labels_that_cannot_reach_a_precision_are_named() {
        let fitted = several().fit_calibration(goal(ThresholdGoal::Precision(0.9))).unwrap();
        assert_eq!((&fitted.without_examples[..], &fitted.unreached[..]), (&[2][..], &[1][..]));
        let Decision::Thresholds(thresholds) = &fitted.calibration.decision else {
            panic!("{fitted:?}")
        };
        assert_eq!(thresholds[1..], [1.0, 0.5]);
    }

    #[test]
    fn a_threshold_decides_between_two_classes() {
        let rows: Vec<Vec<f64>> = [0.1, 0.2, 0.3, 0.4].iter().map(|p| vec![1.0 - p, *p]).collect();
        let predictions = predictions(&[0, 0, 1, 1], &rows);
        assert_eq!(predictions.score().accuracy, 0.5);
        let fitted = predictions.fit_calibration(goal(ThresholdGoal::F1)).unwrap();
        let calibrated = predictions.clone().calibrated(&fitted.calibration);
        assert_eq!(calibrated.score().accuracy, 1.0);
        assert_eq!([0, 1, 2, 3].map(|example| calibrated.predicted(example)), [0, 0, 1, 1]);
        let first = DecisionGoal { threshold: ThresholdGoal::Recall(1.0), class: Some(0) };
        let fitted = predictions.fit_calibration(Some(first)).unwrap();
        let calibrated = predictions.calibrated(&fitted.calibration);
        assert_eq!([0, 1, 2, 3].map(|example| calibrated.predicted(example)), [0, 0, 1, 1]);
    }

    #[test]
    fn three_classes_that_exclude_each_other_have_no_threshold() {
        let predictions = predictions(&[0, 1, 2], &vec![vec![0.5, 0.3, 0.2]; 3]);
        let error = predictions.fit_calibration(goal(ThresholdGoal::F1)).unwrap_err().to_string();
        assert!(error.contains("has 3 classes that exclude each other"), "{error}");
        let fitted = predictions.fit_calibration(None).unwrap();
        assert_eq!(fitted.calibration.decision, Decision::Default);
    }

    #[test]
    fn a_calibration_that_changes_nothing_changes_no_bit() {
        let before = several();
        let after = before.clone().calibrated(&Calibration::identity(Labelling::Several, 3));
        assert_eq!(after.log_probabilities, before.log_probabilities);
        assert_eq!(after.score(), before.score());
    }
}
