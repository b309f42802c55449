//! Calibration of a trained model: scaling of its probabilities, and the decision that turns them into
//! predicted labels. Fitting them belongs to [`super::scaling_fit`] and [`super::threshold_choice`].

use serde::{Deserialize, Serialize};

use super::labelling::argmax;
use crate::config::Labelling;

/// Calibration of a trained model. It changes neither its weights nor the order of the examples by the
/// probability of a label, unless a slope is 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Scaling of the probabilities.
    pub scaling: Scaling,
    /// Decision by the scaled probabilities.
    pub decision: Decision,
}

/// Scaling of probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Division of the logits by this number (Guo et al. 2017).
    Temperature(f64),
    /// A line for the log-odds of each label: `[C]` (Platt 1999).
    LogOdds(Vec<Line>),
}

/// A line that maps log-odds to log-odds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Slope, at least 0.
    pub slope: f64,
    /// Value for log-odds of 0.
    pub offset: f64,
}

/// Decision by probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The most probable class, or each label with a probability of at least one half.
    Default,
    /// Each label with a probability of at least its threshold: `[C]`. A text can have several labels.
    Thresholds(Vec<f64>),
    /// One of two classes if its probability is at least the threshold, or else the other one.
    OneOfTwo {
        /// Index of the class.
        class: usize,
        /// Threshold.
        threshold: f64,
    },
    /// The class with the smallest expected cost (Elkan 2001): a row for each true class with the cost of
    /// each predicted one, [C, C].
    Costs(Vec<Vec<f64>>),
}

impl Line {
    /// The line that changes nothing.
    pub const IDENTITY: Self = Self { slope: 1.0, offset: 0.0 };

    /// Value at these log-odds.
    pub fn at(self, log_odds: f64) -> f64 {
        self.slope * log_odds + self.offset
    }
}

impl Scaling {
    /// Largest number in a scaling that is read.
    const MAX: f64 = 1e6;

    /// Returns the scaling that changes nothing.
    pub fn identity(labelling: Labelling, classes: usize) -> Self {
        match labelling {
            Labelling::One => Self::Temperature(1.0),
            Labelling::Several => Self::LogOdds(vec![Line::IDENTITY; classes]),
        }
    }

    /// Returns true if the scaling changes nothing.
    pub fn is_identity(&self) -> bool {
        match self {
            Self::Temperature(temperature) => *temperature == 1.0,
            Self::LogOdds(lines) => lines.iter().all(|line| *line == Line::IDENTITY),
        }
    }

    /// Scales the log-probabilities of an example: `[C]`.
    pub fn apply(&self, labelling: Labelling, log_probabilities: &mut [f64]) {
        if self.is_identity() {
            return;
        }
        let logits = labelling.logits(log_probabilities);
        let scaled: Vec<f64> = match self {
            Self::Temperature(temperature) => logits.map(|logit| logit / temperature).collect(),
            Self::LogOdds(lines) => logits.zip(lines).map(|(logit, line)| line.at(logit)).collect(),
        };
        log_probabilities.copy_from_slice(&scaled);
        labelling.log_probabilities(log_probabilities);
    }

    /// Scales the log-probabilities of examples, [N, C] in row-major order.
    pub fn apply_to_rows(&self, labelling: Labelling, rows: &mut [f64], classes: usize) {
        rows.chunks_exact_mut(classes.max(1)).for_each(|row| self.apply(labelling, row));
    }

    fn is_valid(&self, labelling: Labelling, classes: usize) -> bool {
        let is_factor = |value: f64| (0.0..=Self::MAX).contains(&value);
        match self {
            Self::Temperature(temperature) => is_factor(*temperature) && *temperature > 0.0,
            Self::LogOdds(lines) => {
                labelling == Labelling::Several
                    && lines.len() == classes
                    && lines
                        .iter()
                        .all(|line| is_factor(line.slope) && is_factor(line.offset.abs()))
            }
        }
    }
}

impl Decision {
    /// Returns the probability from which a class is predicted, if the decision has a threshold for it.
    pub fn threshold(&self, class: usize) -> Option<f64> {
        match self {
            Self::Thresholds(thresholds) => thresholds.get(class).copied(),
            Self::OneOfTwo { class: other, threshold } => (class == *other).then_some(*threshold),
            Self::Default | Self::Costs(_) => None,
        }
    }

    /// Returns the labels that are predicted with these log-probabilities, in ascending order: exactly one if
    /// the classes exclude each other.
    pub fn predicted(&self, labelling: Labelling, log_probabilities: &[f64]) -> Vec<usize> {
        let probability = |class: usize| log_probabilities[class].exp();
        let classes = 0..log_probabilities.len();
        match (self, labelling) {
            (Self::Thresholds(thresholds), _) => {
                classes.filter(|class| probability(*class) >= thresholds[*class]).collect()
            }
            (Self::OneOfTwo { class, threshold }, _) => {
                vec![if probability(*class) >= *threshold { *class } else { 1 - class }]
            }
            (Self::Costs(costs), _) => {
                let cost = |predicted: usize| -> f64 {
                    let costs = costs.iter().map(|row| row[predicted]).enumerate();
                    costs.map(|(class, cost)| probability(class) * cost).sum()
                };
                // Of equal costs, the first one is the smallest.
                let benefits: Vec<f64> = classes.map(|predicted| -cost(predicted)).collect();
                vec![argmax(&benefits)]
            }
            (Self::Default, labelling) => labelling.predicted_labels(log_probabilities),
        }
    }

    fn is_valid(&self, labelling: Labelling, classes: usize) -> bool {
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        match self {
            Self::Default => true,
            Self::Thresholds(thresholds) => {
                labelling == Labelling::Several
                    && thresholds.len() == classes
                    && thresholds.iter().all(|threshold| is_share(*threshold))
            }
            Self::OneOfTwo { class, threshold } => {
                labelling == Labelling::One && classes == 2 && *class < 2 && is_share(*threshold)
            }
            Self::Costs(costs) => {
                labelling == Labelling::One
                    && costs.len() == classes
                    && costs
                        .iter()
                        .all(|row| row.len() == classes && row.iter().all(|cost| cost.is_finite()))
            }
        }
    }
}

impl Calibration {
    /// Returns the calibration that changes nothing.
    pub fn identity(labelling: Labelling, classes: usize) -> Self {
        Self { scaling: Scaling::identity(labelling, classes), decision: Decision::Default }
    }

    /// Returns true if the calibration fits a model with this labelling and number of classes, and has
    /// no impossible numbers.
    pub fn is_valid(&self, labelling: Labelling, classes: usize) -> bool {
        self.scaling.is_valid(labelling, classes) && self.decision.is_valid(labelling, classes)
    }
}

/// Returns the threshold from which predicting a label costs less than not predicting it.
/// `false_positive` is the cost of a wrong label, and `false_negative` that of a missing one.
pub fn threshold_of_costs(false_positive: f64, false_negative: f64) -> f64 {
    false_positive / (false_positive + false_negative)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs<const N: usize>(probabilities: [f64; N]) -> [f64; N] {
        probabilities.map(f64::ln)
    }

    #[test]
    fn a_temperature_divides_the_logits() {
        let mut row = logs([0.2, 0.8]);
        Scaling::Temperature(2.0).apply(Labelling::One, &mut row);
        // Python: 1 / (1 + math.exp(-math.log(0.8 / 0.2) / 2))
        assert!((row[1].exp() - 0.6666666666666666).abs() < 1e-15);
        assert!((row[0].exp() + row[1].exp() - 1.0).abs() < 1e-15);
        let before = logs([0.1, 0.3, 0.6]);
        let mut row = before;
        Scaling::identity(Labelling::One, 3).apply(Labelling::One, &mut row);
        assert_eq!(row, before);
    }

    #[test]
    fn each_label_has_a_line_for_its_log_odds() {
        let lines = vec![Line { slope: 0.5, offset: 1.0 }, Line::IDENTITY];
        let mut row = logs([0.5, 0.3]);
        Scaling::LogOdds(lines).apply(Labelling::Several, &mut row);
        // Python: 1 / (1 + math.exp(-1))
        assert!((row[0].exp() - 0.7310585786300049).abs() < 1e-15);
        assert!((row[1].exp() - 0.3).abs() < 1e-15);
    }

    #[test]
    fn decisions_follow_thresholds_and_costs() {
        let (one, several) = (Labelling::One, Labelling::Several);
        let row = logs([0.6, 0.2, 0.7]);
        assert_eq!(Decision::Default.predicted(several, &row), [0, 2]);
        let thresholds = Decision::Thresholds(vec![0.65, 0.2, 0.9]);
        assert_eq!(thresholds.predicted(several, &logs([0.6, 0.25, 0.7])), [1]);
        let spam = Decision::OneOfTwo { class: 1, threshold: 0.9 };
        assert_eq!(spam.predicted(one, &logs([0.2, 0.8])), [0]);
        assert_eq!(spam.predicted(one, &logs([0.05, 0.95])), [1]);
        let ham = Decision::OneOfTwo { class: 0, threshold: 0.1 };
        assert_eq!(ham.predicted(one, &logs([0.2, 0.8])), [0]);
        // A missed third class is ten times as costly as any other error.
        let costs = vec![vec![0.0, 1.0, 1.0], vec![1.0, 0.0, 1.0], vec![10.0, 10.0, 0.0]];
        let row = logs([0.6, 0.2, 0.2]);
        assert_eq!(Decision::Default.predicted(one, &row), [0]);
        assert_eq!(Decision::Costs(costs).predicted(one, &row), [2]);
        let equal = vec![vec![0.0, 1.0, 1.0], vec![1.0, 0.0, 1.0], vec![1.0, 1.0, 0.0]];
        assert_eq!(Decision::Costs(equal).predicted(one, &row), [0]);
    }

    #[test]
    fn the_threshold_of_costs_is_where_both_decisions_cost_the_same() {
        assert_eq!(threshold_of_costs(1.0, 1.0), 0.5);
        assert_eq!(threshold_of_costs(9.0, 1.0), 0.9);
        let costs = Decision::Costs(vec![vec![0.0, 9.0], vec![1.0, 0.0]]);
        for (probability, class) in [(0.89, 0), (0.91, 1)] {
            let row = logs([1.0 - probability, probability]);
            assert_eq!(costs.predicted(Labelling::One, &row), [class]);
        }
    }

    #[test]
    fn impossible_calibrations_are_recognized() {
        let is_valid = |scaling: Scaling, decision: Decision, labelling| {
            Calibration { scaling, decision }.is_valid(labelling, 2)
        };
        let (one, several) = (Labelling::One, Labelling::Several);
        let lines = |slope| Scaling::LogOdds(vec![Line { slope, offset: 0.5 }; 2]);
        assert!(is_valid(Scaling::Temperature(2.0), Decision::Default, one));
        assert!(is_valid(lines(0.5), Decision::Thresholds(vec![0.5, 1.0]), several));
        assert!(is_valid(
            Scaling::Temperature(1.0),
            Decision::OneOfTwo { class: 1, threshold: 0.2 },
            one
        ));
        for (scaling, decision, labelling) in [
            (Scaling::Temperature(0.0), Decision::Default, one),
            (Scaling::Temperature(f64::NAN), Decision::Default, one),
            (lines(-1.0), Decision::Default, several),
            (lines(1.0), Decision::Default, one),
            (lines(1.0), Decision::Thresholds(vec![0.5]), several),
            (lines(1.0), Decision::Thresholds(vec![0.5, 1.5]), several),
            (Scaling::Temperature(1.0), Decision::Thresholds(vec![0.5; 2]), one),
            (Scaling::Temperature(1.0), Decision::OneOfTwo { class: 2, threshold: 0.5 }, one),
            (Scaling::Temperature(1.0), Decision::Costs(vec![vec![0.0; 2]]), one),
            (Scaling::Temperature(1.0), Decision::Costs(vec![vec![f64::NAN; 2]; 2]), one),
        ] {
            assert!(
                !is_valid(scaling.clone(), decision.clone(), labelling),
                "{scaling:?} {decision:?}"
            );
        }
    }

    #[test]
    fn a_calibration_is_unchanged_by_a_json_round_trip() {
        let calibration = Calibration {
            scaling: Scaling::LogOdds(vec![Line { slope: 0.1 + 0.2, offset: -1.0 / 3.0 }]),
            decision: Decision::Thresholds(vec![0.7]),
        };
        let json = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
    }
}
