//! Statistics of the splits, as `lstmtext data stats` prints them.

use serde::Serialize;

use super::split_name::SplitName;
use super::targets::Targets;
use crate::config::Input;
use crate::text::{Corpus, OOV};

/// Statistics of one input of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitStats {
    /// Name of the split: train, validation or test.
    pub name: String,
    /// Name of the input, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Number of examples.
    pub examples: usize,
    /// Number of tokens before truncation.
    pub tokens: usize,
    /// Median number of tokens per text.
    pub median_length: usize,
    /// 90th percentile of the number of tokens per text.
    pub length_90: usize,
    /// 95th percentile of the number of tokens per text.
    pub length_95: usize,
    /// Number of tokens of the longest text.
    pub longest: usize,
    /// Fraction of the texts that exceed `text.max_length`.
    pub cut_share: f64,
    /// Fraction of the tokens that are not in the vocabulary.
    pub unknown_share: f64,
    /// Number of examples of each label.
    pub labels: Vec<(String, usize)>,
    /// Numbers of labels of the examples, if they can have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_per_text: Option<LabelsPerText>,
}

/// Numbers of labels that texts have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LabelsPerText {
    /// Mean.
    pub mean: f64,
    /// Smallest number.
    pub min: usize,
    /// Largest number.
    pub max: usize,
    /// Number of texts without a label.
    pub unlabelled: usize,
}

impl LabelsPerText {
    /// Counts the labels of each example; `None` if each has one, or probabilities.
    fn of(targets: &Targets) -> Option<Self> {
        let Targets::LabelSets(sets) = targets else { return None };
        let counts: Vec<usize> = sets.iter().map(<[u32]>::len).collect();
        Some(Self {
            mean: counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64,
            min: counts.iter().min().copied()?,
            max: counts.iter().max().copied()?,
            unlabelled: counts.iter().filter(|count| **count == 0).count(),
        })
    }
}

/// Computes the statistics of one input of a split from its texts before truncation and the targets
/// of its examples. `classes` are the class names.
pub fn split_stats(
    name: SplitName,
    input: &Input,
    corpus: &Corpus,
    classes: &[String],
    targets: &Targets,
) -> SplitStats {
    let mut lengths: Vec<usize> = (0..corpus.len()).map(|index| corpus.text(index).len()).collect();
    lengths.sort_unstable();
    let quantile = |fraction: f64| {
        let position = (fraction * lengths.len().saturating_sub(1) as f64).round() as usize;
        lengths.get(position).copied().unwrap_or(0)
    };
    let truncated = lengths.iter().filter(|length| **length > input.text.max_length).count();
    let unknown = corpus.ids().iter().filter(|id| **id == OOV).count();
    SplitStats {
        name: name.to_string(),
        input: input.name.clone(),
        examples: corpus.len(),
        tokens: corpus.tokens(),
        median_length: quantile(0.5),
        length_90: quantile(0.9),
        length_95: quantile(0.95),
        longest: quantile(1.0),
        cut_share: truncated as f64 / corpus.len().max(1) as f64,
        unknown_share: unknown as f64 / corpus.tokens().max(1) as f64,
        labels: label_counts(classes, targets),
        labels_per_text: LabelsPerText::of(targets),
    }
}

/// Counts the examples of each label. Sums of probabilities are rounded.
fn label_counts(names: &[String], targets: &Targets) -> Vec<(String, usize)> {
    let counts = targets.class_counts(names.len());
    names.iter().zip(counts).map(|(name, count)| (name.clone(), count.round() as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::text::{Encoder, Vocabulary};

    #[test]
    fn statistics_match_a_count_by_hand() {
        let yaml = "data: {train: x}\ntext: {min_count: 2, max_length: 3}\n";
        let input = config::parse(yaml, "test", &[]).unwrap().config.inputs[0].clone();
        let texts: Vec<String> = ["a b", "a b c d", "a", "a a a a a a"].map(Into::into).to_vec();
        let vocabulary = Vocabulary::build(&texts, &input.text).unwrap();
        let encoder = Encoder::new(&input.text, vocabulary);
        let corpus = encoder.without_truncation().encode_all(&texts);
        let labels = ["x".to_owned(), "y".to_owned()];
        let targets = vec![0, 1, 1, 1].into();
        let stats = split_stats(SplitName::Train, &input, &corpus, &labels, &targets);
        assert_eq!((stats.examples, stats.tokens, stats.longest, stats.length_90), (4, 13, 6, 6));
        assert_eq!((stats.cut_share, stats.unknown_share), (0.5, 2.0 / 13.0));
        assert_eq!(stats.labels, [("x".to_owned(), 1), ("y".to_owned(), 3)]);
        assert_eq!(stats.labels_per_text, None);
        let sets = [&[0, 1][..], &[], &[1], &[1]].into_iter().collect();
        let targets = Targets::LabelSets(sets);
        let stats = split_stats(SplitName::Train, &input, &corpus, &labels, &targets);
        assert_eq!(stats.labels, [("x".to_owned(), 1), ("y".to_owned(), 3)]);
        let expected = LabelsPerText { mean: 1.0, min: 0, max: 2, unlabelled: 1 };
        assert_eq!(stats.labels_per_text, Some(expected));
    }
}
