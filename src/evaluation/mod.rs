//! How good a classifier is on labelled examples, in figures that scikit-learn has too.

mod calibration;
mod comparison;
mod ranking;

use serde::Serialize;

use crate::backend::{Inference, argmax};
use crate::data::Dataset;
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::objective::metrics::{Meter, Score};

pub use calibration::{CalibrationBin, calibration};
pub use comparison::{Comparison, compare};
pub use ranking::{average_precision, roc_auc};

/// What a classifier says of examples whose labels are known.
#[derive(Clone, Debug)]
pub struct Predictions {
    classes: usize,
    /// [N, C], row by row.
    log_probabilities: Vec<f64>,
    labels: Vec<u32>,
    /// For each example the tokens that are read.
    tokens: Vec<usize>,
}

impl Predictions {
    /// Classifies all examples.
    pub fn of(classifier: &(impl Inference + ?Sized), data: &Dataset, limit: BatchLimit) -> Self {
        let lengths = data.lengths();
        let plan = Bucketing::sorted(limit, &lengths);
        let batches: Vec<&[u32]> = plan.batches().collect();
        let results = classifier.classify(&data.inputs, &batches);
        let classes = results.first().map_or(0, |rows| rows.len() / batches[0].len());
        let mut log_probabilities = vec![0.0; data.len() * classes];
        for (examples, rows) in batches.into_iter().zip(results) {
            for (example, row) in examples.iter().zip(rows.chunks_exact(classes)) {
                log_probabilities[*example as usize * classes..][..classes].copy_from_slice(row);
            }
        }
        let tokens = (0..data.len() as u32).map(|example| data.tokens_of(&[example]));
        Self {
            classes,
            log_probabilities,
            labels: data.targets.labels().unwrap_or_default().to_vec(),
            tokens: tokens.collect(),
        }
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class number that an example has.
    pub fn label(&self, example: usize) -> usize {
        self.labels[example] as usize
    }

    /// The most probable class; of equal ones the first.
    pub fn predicted(&self, example: usize) -> usize {
        argmax(self.row(example))
    }

    /// How probable a class is, from 0 to 1.
    pub fn probability(&self, example: usize, class: usize) -> f64 {
        self.row(example)[class].exp()
    }

    /// Whether the most probable class is the right one.
    pub fn is_right(&self, example: usize) -> bool {
        self.predicted(example) == self.label(example)
    }

    /// The mistakes, the most confident first.
    pub fn mistakes(&self) -> Vec<usize> {
        let confidence = |example: &usize| self.probability(*example, self.predicted(*example));
        let mut mistakes: Vec<usize> =
            (0..self.len()).filter(|example| !self.is_right(*example)).collect();
        mistakes.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
        mistakes
    }

    /// Mean cross-entropy, neither smoothed nor weighted, so that runs can be compared, and accuracy.
    pub fn score(&self) -> Score {
        let mut meter = Meter::default();
        for example in 0..self.len() {
            let loss = -self.row(example)[self.label(example)];
            meter.add(loss, u64::from(self.is_right(example)), 1);
        }
        meter.score()
    }

    fn row(&self, example: usize) -> &[f64] {
        &self.log_probabilities[example * self.classes..][..self.classes]
    }

    /// The probability of a class for every example, and which examples have it.
    fn one_against_rest(&self, class: usize) -> (Vec<f64>, Vec<bool>) {
        let each = (0..self.len())
            .map(|example| (self.probability(example, class), self.label(example) == class));
        each.unzip()
    }
}

/// Everything that `lstmtext evaluate` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// How many examples were classified.
    pub examples: usize,
    /// Share of them that were classified rightly.
    pub accuracy: f64,
    /// Where the accuracy lies with 95 % confidence (Wilson 1927).
    pub accuracy_interval: [f64; 2],
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Area under the ROC curve: of two classes that of the second; of more the mean over the
    /// classes, each against the rest. Null where no class has both examples and others.
    pub roc_auc: Option<f64>,
    /// Average precision, in the same way.
    pub average_precision: Option<f64>,
    /// Mean difference of confidence and accuracy over bins of equal width, each weighted by its
    /// examples (Naeini, Cooper and Hauskrecht 2015).
    pub expected_calibration_error: f64,
    /// The bins that have examples.
    pub calibration: Vec<CalibrationBin>,
    /// The mean over all classes.
    pub macro_average: ClassScore,
    /// Each class against the rest.
    pub classes: Vec<ClassReport>,
    /// For each class the examples that have it, by the class that they were given.
    pub confusion: Vec<Vec<usize>>,
    /// From short texts to long ones, parts of about the same number of examples.
    pub lengths: Vec<LengthBucket>,
}

/// How well a class is found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Share of the examples given this class that have it; 0 where none was given it.
    pub precision: f64,
    /// Share of the examples that have this class which were given it; 0 where none has it.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
}

/// A class, its score and how many examples have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// The class's name.
    pub label: String,
    /// Against the rest.
    #[serde(flatten)]
    pub score: ClassScore,
    /// The examples that have it.
    pub examples: usize,
}

/// Texts of like length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthBucket {
    /// Tokens read of the shortest.
    pub from: usize,
    /// Tokens read of the longest.
    pub to: usize,
    /// How many there are.
    pub examples: usize,
    /// Share of them that were classified rightly.
    pub accuracy: f64,
    /// Where it lies with 95 % confidence.
    pub interval: [f64; 2],
}

impl Evaluation {
    /// The figures of predictions; `labels` are the names of the classes.
    pub fn of(predictions: &Predictions, labels: &[String]) -> Self {
        let confusion = confusion(predictions, labels.len());
        let classes = class_reports(&confusion, labels);
        let score = predictions.score();
        let right = (0..predictions.len()).filter(|example| predictions.is_right(*example));
        let (bins, expected_calibration_error) = calibration(predictions);
        Self {
            examples: predictions.len(),
            accuracy: score.accuracy,
            accuracy_interval: wilson(right.count(), predictions.len()),
            loss: score.loss,
            roc_auc: over_classes(predictions, labels.len(), roc_auc),
            average_precision: over_classes(predictions, labels.len(), average_precision),
            expected_calibration_error,
            calibration: bins,
            macro_average: macro_average(&classes),
            classes,
            confusion,
            lengths: by_length(predictions),
        }
    }

    /// The pairs of classes that are mistaken most often: label, prediction and how often.
    pub fn confused(&self) -> Vec<Confused> {
        let mut pairs: Vec<Confused> = Vec::new();
        for (label, row) in self.confusion.iter().enumerate() {
            for (predicted, examples) in row.iter().copied().enumerate() {
                if label != predicted && examples > 0 {
                    pairs.push(Confused { label, predicted, examples });
                }
            }
        }
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.examples));
        pairs
    }
}

/// Examples of one class that were given another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// The number of their class.
    pub label: usize,
    /// The number of the class that they were given.
    pub predicted: usize,
    /// How many they are.
    pub examples: usize,
}

/// For each class the examples that have it, by the class that they were given.
pub fn confusion(predictions: &Predictions, classes: usize) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; classes]; classes];
    for example in 0..predictions.len() {
        counts[predictions.label(example)][predictions.predicted(example)] += 1;
    }
    counts
}

fn class_reports(confusion: &[Vec<usize>], labels: &[String]) -> Vec<ClassReport> {
    let report = |(class, label): (usize, &String)| {
        let found = confusion[class][class];
        let examples: usize = confusion[class].iter().sum();
        let given: usize = confusion.iter().map(|row| row[class]).sum();
        let share = |of: usize| if of == 0 { 0.0 } else { found as f64 / of as f64 };
        let f1 = if given + examples == 0 {
            0.0
        } else {
            2.0 * found as f64 / (given + examples) as f64
        };
        let score = ClassScore { precision: share(given), recall: share(examples), f1 };
        ClassReport { label: label.clone(), score, examples }
    };
    labels.iter().enumerate().map(report).collect()
}

fn macro_average(classes: &[ClassReport]) -> ClassScore {
    let mean = |pick: fn(&ClassScore) -> f64| {
        classes.iter().map(|class| pick(&class.score)).sum::<f64>() / classes.len() as f64
    };
    ClassScore {
        precision: mean(|score| score.precision),
        recall: mean(|score| score.recall),
        f1: mean(|score| score.f1),
    }
}

/// A figure of the second of two classes, or its mean over the classes of which it can be told.
fn over_classes(
    predictions: &Predictions,
    classes: usize,
    figure: fn(&[f64], &[bool]) -> Option<f64>,
) -> Option<f64> {
    let of = |class: usize| {
        let (scores, positive) = predictions.one_against_rest(class);
        figure(&scores, &positive)
    };
    if classes == 2 {
        return of(1);
    }
    let known: Vec<f64> = (0..classes).filter_map(of).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// The parts of the examples that are shown one by one, by the length of their texts.
const LENGTH_BUCKETS: usize = 5;

fn by_length(predictions: &Predictions) -> Vec<LengthBucket> {
    let mut examples: Vec<usize> = (0..predictions.len()).collect();
    examples.sort_by_key(|example| predictions.tokens[*example]);
    let mut buckets = Vec::new();
    let mut rest = &examples[..];
    for left in (1..=LENGTH_BUCKETS).rev() {
        // Texts of the same length stay together.
        let Some(last) = rest.get(rest.len().div_ceil(left).max(1) - 1) else { break };
        let most = predictions.tokens[*last];
        let count = rest.partition_point(|example| predictions.tokens[*example] <= most);
        let (bucket, longer) = rest.split_at(count);
        let right = bucket.iter().filter(|example| predictions.is_right(**example)).count();
        buckets.push(LengthBucket {
            from: predictions.tokens[bucket[0]],
            to: most,
            examples: count,
            accuracy: right as f64 / count as f64,
            interval: wilson(right, count),
        });
        rest = longer;
    }
    buckets
}

/// The interval in which a share lies with 95 % confidence, of which `hits` of `total` were seen
/// (Wilson 1927).
pub fn wilson(hits: usize, total: usize) -> [f64; 2] {
    /// The 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if total == 0 {
        return [0.0, 1.0];
    }
    let (n, share) = (total as f64, hits as f64 / total as f64);
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

#[cfg(test)]
pub(crate) mod tests;
