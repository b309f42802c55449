//! Which of many classes are shown, and how often each is taken for another.

use crate::evaluation::{Predictions, confusion};
use crate::plot::matrix::{Matrix, PngImage, draw};

/// Precision-recall curves of one validation.
const MOST_CURVES: usize = 10;
/// Rows and columns of a confusion matrix with a name of their own.
const MOST_ROWS: usize = 20;

/// The classes that have a precision-recall curve, where `labels` are those of the examples: of two
/// the second, else those with the most examples.
pub fn with_curves(classes: usize, labels: &[u32]) -> Vec<usize> {
    if classes == 2 { vec![1] } else { most_frequent(classes, labels, MOST_CURVES) }
}

/// At most `most` classes that have examples, those with the most, in their own order.
fn most_frequent(classes: usize, labels: &[u32], most: usize) -> Vec<usize> {
    let mut counts = vec![0_usize; classes];
    for label in labels {
        counts[*label as usize] += 1;
    }
    let mut frequent: Vec<usize> = (0..classes).filter(|class| counts[*class] > 0).collect();
    frequent.sort_by_key(|class| std::cmp::Reverse(counts[*class]));
    frequent.truncate(most);
    frequent.sort_unstable();
    frequent
}

/// The rows of a confusion matrix.
pub struct Rows {
    names: Vec<String>,
    /// The row of each class.
    of_class: Vec<usize>,
}

impl Rows {
    /// A row for each class; of many those with the most examples have one, and all others one
    /// together, in which one taken for another is on the diagonal.
    pub fn new(names: &[String], labels: &[u32]) -> Self {
        // No row is for one other class alone.
        if names.len() <= MOST_ROWS + 1 {
            return Self { names: names.to_vec(), of_class: (0..names.len()).collect() };
        }
        let own = most_frequent(names.len(), labels, MOST_ROWS);
        let row = |class| own.iter().position(|own| *own == class).unwrap_or(own.len());
        let others = format!("{} others", names.len() - own.len());
        Self {
            of_class: (0..names.len()).map(row).collect(),
            names: own.iter().map(|class| names[*class].clone()).chain([others]).collect(),
        }
    }

    /// Draws what examples of each class are taken for.
    ///
    /// # Errors
    /// Where the drawing cannot be encoded.
    pub fn picture(&self, predictions: &Predictions) -> anyhow::Result<PngImage> {
        let counts = self.joined(&confusion(predictions, self.of_class.len()));
        draw(&Matrix { labels: &self.names, counts: &counts })
    }

    /// A confusion matrix of all classes as one of the rows.
    fn joined(&self, confusion: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; self.names.len()]; self.names.len()];
        for (label, row) in confusion.iter().enumerate() {
            for (predicted, count) in row.iter().enumerate() {
                counts[self.of_class[label]][self.of_class[predicted]] += count;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_with_the_most_examples_are_shown() {
        let labels = [0, 3, 3, 3, 1, 1, 4, 4];
        assert_eq!(most_frequent(6, &labels, 2), [1, 3]);
        assert_eq!(most_frequent(6, &labels, 9), [0, 1, 3, 4]);
        assert_eq!(with_curves(2, &[0, 0]), [1]);
        assert_eq!(with_curves(6, &labels), [0, 1, 3, 4]);
    }

    #[test]
    fn the_other_classes_share_a_row() {
        let names: Vec<String> = (0..30).map(|class| format!("c{class}")).collect();
        let labels: Vec<u32> = (0..60).map(|example| 10 + example % 20).collect();
        let rows = Rows::new(&names, &labels);
        assert_eq!(rows.names.len(), MOST_ROWS + 1);
        assert_eq!((rows.names[0].as_str(), rows.names[20].as_str()), ("c10", "10 others"));
        assert_eq!((rows.of_class[9], rows.of_class[10], rows.of_class[29]), (20, 0, 19));
        let few = Rows::new(&names[..3], &labels);
        assert_eq!((few.names, few.of_class), (names[..3].to_vec(), vec![0, 1, 2]));
    }

    #[test]
    fn classes_of_one_row_are_counted_together() {
        let names = ["a", "b", "others"].map(String::from).to_vec();
        let rows = Rows { names, of_class: vec![2, 0, 2, 1] };
        let confusion: Vec<Vec<usize>> =
            (0..4).map(|row| (4 * row..4 * row + 4).collect()).collect();
        assert_eq!(rows.joined(&confusion), [[5, 7, 10], [13, 15, 26], [10, 14, 20]]);
    }
}
