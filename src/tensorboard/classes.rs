//! Selection of classes when there are many, and the confusion matrix.

use crate::config::Labelling;
use crate::data::Targets;
use crate::evaluation::{ConfusionCounts, Predictions};
use crate::plot::matrix::{Matrix, PngImage, draw};

/// Maximum number of classes that exclude each other and have a precision-recall curve.
const MAX_CLASSES_WITH_CURVES: usize = 10;
/// Maximum number of labels that have a precision-recall curve, if a text can have several.
const MAX_LABELS_WITH_CURVES: usize = 50;
/// Maximum number of classes with their own row and column in a confusion matrix.
const MAX_ROWS: usize = 20;

/// Returns the classes that have a precision-recall curve, given the targets of the examples: the second of
/// two classes that exclude each other, otherwise the most frequent ones.
pub fn classes_with_curves(labelling: Labelling, classes: usize, targets: &Targets) -> Vec<usize> {
    match labelling {
        Labelling::One if classes == 2 => vec![1],
        Labelling::One => most_frequent(classes, targets, MAX_CLASSES_WITH_CURVES),
        Labelling::Several => most_frequent(classes, targets, MAX_LABELS_WITH_CURVES),
    }
}

/// Returns the `count` most frequent classes that have examples, in class order.
fn most_frequent(classes: usize, targets: &Targets, count: usize) -> Vec<usize> {
    let counts = targets.class_counts(classes);
    let mut frequent: Vec<usize> = (0..classes).filter(|class| counts[*class] > 0.0).collect();
    frequent.sort_by(|a, b| counts[*b].total_cmp(&counts[*a]));
    frequent.truncate(count);
    frequent.sort_unstable();
    frequent
}

/// The layout of a confusion matrix.
pub struct ConfusionMatrix {
    /// Name of each row and column.
    names: Vec<String>,
    /// Row of each class.
    row_of_class: Vec<usize>,
}

impl ConfusionMatrix {
    /// Gives each class a row. If there are many classes, only the most frequent have a row of their own,
    /// and the others share one.
    pub fn new(names: &[String], targets: &Targets) -> Self {
        // A shared row for a single class would save nothing.
        if names.len() <= MAX_ROWS + 1 {
            return Self { names: names.to_vec(), row_of_class: (0..names.len()).collect() };
        }
        let frequent = most_frequent(names.len(), targets, MAX_ROWS);
        let row = |class| frequent.iter().position(|each| *each == class).unwrap_or(frequent.len());
        let others = format!("{} others", names.len() - frequent.len());
        Self {
            row_of_class: (0..names.len()).map(row).collect(),
            names: frequent.iter().map(|class| names[*class].clone()).chain([others]).collect(),
        }
    }

    /// Draws the confusion matrix.
    ///
    /// # Errors
    /// Returns an error if the image cannot be encoded.
    pub fn image(&self, predictions: &Predictions) -> anyhow::Result<PngImage> {
        let counts =
            self.merge_rows(ConfusionCounts::of(predictions, self.row_of_class.len()).iter());
        draw(&Matrix { labels: &self.names, counts: &counts })
    }

    /// Sums the counts of classes that share a row.
    fn merge_rows(
        &self,
        confusion: impl Iterator<Item = (usize, usize, usize)>,
    ) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; self.names.len()]; self.names.len()];
        for (label, predicted, count) in confusion {
            counts[self.row_of_class[label]][self.row_of_class[predicted]] += count;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_classes_are_selected() {
        let labels = Targets::from(vec![0, 3, 3, 3, 1, 1, 4, 4]);
        assert_eq!(most_frequent(6, &labels, 2), [1, 3]);
        assert_eq!(most_frequent(6, &labels, 9), [0, 1, 3, 4]);
        assert_eq!(classes_with_curves(Labelling::One, 2, &vec![0, 0].into()), [1]);
        assert_eq!(classes_with_curves(Labelling::One, 6, &labels), [0, 1, 3, 4]);
        let sets = Targets::LabelSets([&[0, 1][..], &[]].into_iter().collect());
        assert_eq!(classes_with_curves(Labelling::Several, 2, &sets), [0, 1]);
    }

    #[test]
    fn infrequent_classes_share_a_row() {
        let names: Vec<String> = (0..30).map(|class| format!("c{class}")).collect();
        let labels: Vec<u32> = (0..60).map(|example| 10 + example % 20).collect();
        let labels = Targets::from(labels);
        let matrix = ConfusionMatrix::new(&names, &labels);
        assert_eq!(matrix.names.len(), MAX_ROWS + 1);
        assert_eq!((matrix.names[0].as_str(), matrix.names[20].as_str()), ("c10", "10 others"));
        assert_eq!(
            (matrix.row_of_class[9], matrix.row_of_class[10], matrix.row_of_class[29]),
            (20, 0, 19)
        );
        let small = ConfusionMatrix::new(&names[..3], &labels);
        assert_eq!((small.names, small.row_of_class), (names[..3].to_vec(), vec![0, 1, 2]));
    }

    #[test]
    fn counts_of_a_shared_row_are_summed() {
        let names = ["a", "b", "others"].map(String::from).to_vec();
        let matrix = ConfusionMatrix { names, row_of_class: vec![2, 0, 2, 1] };
        let confusion = (0..16).map(|count| (count / 4, count % 4, count));
        assert_eq!(matrix.merge_rows(confusion), [[5, 7, 10], [13, 15, 26], [10, 14, 20]]);
    }
}
