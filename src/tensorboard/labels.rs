//! Table of the labels of which a text can have several, with the counts of a 2 × 2 confusion matrix for each.

use super::samples::escaped;
use crate::evaluation::ClassCounts;

/// Returns a Markdown table with a row for each label.
pub fn table(names: &[String], counts: &[ClassCounts]) -> String {
    let mut table = "| label | true positives | false positives | false negatives | true negatives | precision \
                     | recall | F1 |\n|---|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for (name, counts) in names.iter().zip(counts) {
        let ClassCounts { true_positives, false_positives, false_negatives, true_negatives } =
            *counts;
        let score = counts.score();
        table += &format!(
            "| {} | {true_positives} | {false_positives} | {false_negatives} | {true_negatives} | {:.3} | {:.3} \
             | {:.3} |\n",
            escaped(name),
            score.precision,
            score.recall,
            score.f1
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_has_a_row() {
        let counts = ClassCounts {
            true_positives: 3,
            false_positives: 1,
            false_negatives: 2,
            true_negatives: 4,
        };
        let table = table(&["a|b".to_owned()], &[counts]);
        let last = table.lines().last().unwrap();
        assert_eq!(last, "| a&#124;b | 3 | 1 | 2 | 4 | 0.750 | 0.600 | 0.667 |");
        let bars = |line: &str| line.matches('|').count();
        assert!(table.lines().all(|line| bars(line) == 9), "{table}");
    }
}
