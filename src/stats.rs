//! Figures about the parts of a data set.

use serde::Serialize;

use crate::config::TextConfig;
use crate::data::{Examples, SplitName};
use crate::text::{Encoder, OOV};

/// What `lstmtext data stats` says of one part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartStats {
    /// train, validation or test.
    pub name: String,
    /// How many examples it has.
    pub examples: usize,
    /// Tokens of the whole texts.
    pub tokens: usize,
    /// Half of the texts have at most so many tokens.
    pub median_length: usize,
    /// 90 % of the texts have at most so many tokens.
    pub length_90: usize,
    /// 95 % of the texts have at most so many tokens.
    pub length_95: usize,
    /// The longest text has so many tokens.
    pub longest: usize,
    /// Share of the texts that are longer than `text.max_length`.
    pub cut_share: f64,
    /// Share of the tokens that have no id.
    pub unknown_share: f64,
    /// Examples of each label.
    pub labels: Vec<(String, usize)>,
}

/// Counts a part; `encoder` must not cut texts.
pub fn part_stats(
    name: SplitName,
    examples: &Examples,
    labels: &[String],
    encoder: &Encoder,
    config: &TextConfig,
) -> PartStats {
    let corpus = encoder.encode_all(&examples.texts);
    let mut lengths: Vec<usize> = (0..corpus.len()).map(|index| corpus.text(index).len()).collect();
    lengths.sort_unstable();
    let quantile = |share: f64| {
        let position = (share * lengths.len().saturating_sub(1) as f64).round() as usize;
        lengths.get(position).copied().unwrap_or(0)
    };
    let cut = lengths.iter().filter(|length| **length > config.max_length).count();
    let unknown = corpus.ids().iter().filter(|id| **id == OOV).count();
    let count = |class: usize| examples.labels.iter().filter(|l| **l as usize == class).count();
    PartStats {
        name: name.to_string(),
        examples: examples.len(),
        tokens: corpus.tokens(),
        median_length: quantile(0.5),
        length_90: quantile(0.9),
        length_95: quantile(0.95),
        longest: quantile(1.0),
        cut_share: cut as f64 / corpus.len().max(1) as f64,
        unknown_share: unknown as f64 / corpus.tokens().max(1) as f64,
        labels: labels
            .iter()
            .cloned()
            .enumerate()
            .map(|(class, label)| (label, count(class)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::text::Vocabulary;

    #[test]
    fn figures_are_as_counted_by_hand() {
        let yaml = "data: {train: x}\ntext: {min_count: 2, max_length: 3}\n";
        let config = config::parse(yaml, "test", &[]).unwrap().config.text;
        let texts: Vec<String> = ["a b", "a b c d", "a", "a a a a a a"].map(Into::into).to_vec();
        let examples = Examples { labels: vec![0, 1, 1, 1], texts, note: None };
        let vocabulary = Vocabulary::build(&examples.texts, &config).unwrap();
        let whole = TextConfig { max_length: usize::MAX, ..config.clone() };
        let labels = ["x".to_owned(), "y".to_owned()];
        let stats = part_stats(
            SplitName::Train,
            &examples,
            &labels,
            &Encoder::new(&whole, vocabulary),
            &config,
        );
        assert_eq!((stats.examples, stats.tokens, stats.longest, stats.length_90), (4, 13, 6, 6));
        assert_eq!((stats.cut_share, stats.unknown_share), (0.5, 2.0 / 13.0));
        assert_eq!(stats.labels, [("x".to_owned(), 1), ("y".to_owned(), 3)]);
    }
}
