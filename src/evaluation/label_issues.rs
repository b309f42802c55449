//! Examples whose label is probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021). The
//! results are those of cleanlab's `find_label_issues` with its default settings.

use crate::objective::argmax;

/// An example whose label is probably wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelIssue {
    /// Index of the example.
    pub example: usize,
    /// Its class.
    pub label: usize,
    /// Most probable class.
    pub suggested: usize,
    /// Probability of its class.
    pub label_probability: f64,
    /// Probability of the most probable class.
    pub suggested_probability: f64,
}

/// Distance below a threshold that still counts as confident, because of rounding.
const TOLERANCE: f64 = 1e-6;

/// Returns the examples whose label is probably wrong, the least probable labels first. `probabilities`, [N, C]
/// in row-major order, are those of models that were not trained on the example.
///
/// An example is confidently of a class if the probability of the class is at least as large as its mean over the
/// examples with this label. Counting the confident examples of each class by their label gives the number of
/// wrong labels for each pair of classes. That many examples with the largest margins between both probabilities
/// are returned, except for those whose label is the most probable class.
pub fn label_issues(labels: &[u32], probabilities: &[f64], classes: usize) -> Vec<LabelIssue> {
    let label = |example: usize| labels[example] as usize;
    let row = |example: usize| &probabilities[example * classes..][..classes];
    let wrong = wrong_labels(labels, probabilities, classes);
    let mut is_issue = vec![false; labels.len()];
    for (given, counts) in wrong.iter().enumerate() {
        let others = counts.iter().copied().enumerate();
        for (other, count) in others.filter(|(other, count)| *other != given && *count > 0) {
            let margin = |example: usize| row(example)[other] - row(example)[given];
            let mut margins: Vec<(usize, f64)> = (0..labels.len())
                .filter(|example| label(*example) == given)
                .map(|example| (example, margin(example)))
                .collect();
            margins.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            let Some((_, smallest)) = margins.get(count.min(margins.len()) - 1).copied() else {
                continue;
            };
            // Examples that are equal to the last one are issues, too.
            let found = margins.iter().take_while(|(_, margin)| *margin >= smallest);
            found.for_each(|(example, _)| is_issue[*example] = true);
        }
    }
    let issue = |example: usize| {
        let suggested = argmax(row(example));
        let label = label(example);
        (is_issue[example] && suggested != label).then(|| LabelIssue {
            example,
            label,
            suggested,
            label_probability: row(example)[label],
            suggested_probability: row(example)[suggested],
        })
    };
    let mut issues: Vec<LabelIssue> = (0..labels.len()).filter_map(issue).collect();
    issues.sort_by(|a, b| a.label_probability.total_cmp(&b.label_probability));
    issues
}

/// Estimates how many examples with each label are of each class: the calibrated confident joint, [label, class].
fn wrong_labels(labels: &[u32], probabilities: &[f64], classes: usize) -> Vec<Vec<usize>> {
    let rows = || probabilities.chunks_exact(classes).zip(labels);
    let (mut sums, mut counts) = (vec![0.0; classes], vec![0_usize; classes]);
    for (row, label) in rows() {
        sums[*label as usize] += row[*label as usize];
        counts[*label as usize] += 1;
    }
    // No example is confidently of a class without examples.
    let threshold = |class: usize| match counts[class] {
        0 => f64::INFINITY,
        count => sums[class] / count as f64,
    };
    let thresholds: Vec<f64> = (0..classes).map(threshold).collect();
    let mut joint = vec![vec![0.0; classes]; classes];
    for (row, label) in rows() {
        let confident: Vec<usize> =
            (0..classes).filter(|class| row[*class] >= thresholds[*class] - TOLERANCE).collect();
        let class = match confident[..] {
            [] => continue,
            [only] => only,
            _ => argmax(row),
        };
        joint[*label as usize][class] += 1.0;
    }
    (0..classes).for_each(|class| joint[class][class] = f64::max(joint[class][class], 1.0));
    let calibrated = joint.iter().zip(&counts).map(|(row, count)| {
        let sum: f64 = row.iter().sum();
        let scaled: Vec<f64> = row.iter().map(|value| value / sum * *count as f64).collect();
        round_keeping_sum(&scaled)
    });
    calibrated.collect()
}

/// Rounds values so that their sum stays the same, up to its own rounding: those with the largest errors are
/// rounded the other way.
fn round_keeping_sum(values: &[f64]) -> Vec<usize> {
    let mut rounded: Vec<f64> = values.iter().map(|value| value.round_ties_even()).collect();
    let target = values.iter().sum::<f64>().round_ties_even();
    loop {
        let difference = target - rounded.iter().sum::<f64>();
        if difference == 0.0 {
            break;
        }
        let step = difference.signum();
        let errors: Vec<f64> = rounded.iter().zip(values).map(|(r, v)| (v - r) * step).collect();
        rounded[argmax(&errors)] += step;
    }
    rounded.into_iter().map(|value| value.max(0.0) as usize).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Output of `make_label_issues.py`.
    #[derive(Deserialize)]
    struct Expected {
        classes: usize,
        labels: Vec<u32>,
        probabilities: Vec<f64>,
        issues: Vec<usize>,
    }

    #[test]
    fn issues_are_those_of_cleanlab() {
        let all: Vec<Expected> = serde_json::from_str(include_str!("label_issues.json")).unwrap();
        for Expected { classes, labels, probabilities, issues } in all {
            let found = label_issues(&labels, &probabilities, classes);
            let found: Vec<usize> = found.iter().map(|issue| issue.example).collect();
            assert_eq!(found, issues, "{classes} classes");
        }
    }

    #[test]
    fn an_issue_names_the_most_probable_class() {
        let probabilities = [0.9, 0.1, 0.8, 0.2, 0.05, 0.95, 0.1, 0.9, 0.85, 0.15, 0.02, 0.98];
        let issues = label_issues(&[0, 0, 1, 1, 0, 0], &probabilities, 2);
        let expected = LabelIssue {
            example: 5,
            label: 0,
            suggested: 1,
            label_probability: 0.02,
            suggested_probability: 0.98,
        };
        assert_eq!(issues, [expected]);
    }

    #[test]
    fn labels_without_examples_and_empty_data_have_no_issues() {
        assert_eq!(label_issues(&[], &[], 3), []);
        assert_eq!(label_issues(&[0, 0], &[0.6, 0.4, 0.3, 0.7], 2), []);
    }

    #[test]
    fn rounding_keeps_the_sum() {
        assert_eq!(round_keeping_sum(&[0.4, 0.4, 0.2]), [1, 0, 0]);
        assert_eq!(round_keeping_sum(&[1.6, 1.6, 0.8]), [1, 2, 1]);
        assert_eq!(round_keeping_sum(&[]), [] as [usize; 0]);
    }
}
