//! Figures about the parts of a data set.

use serde::Serialize;

use crate::config::Input;
use crate::data::SplitName;
use crate::text::{Corpus, OOV};

/// What `lstmtext data stats` says of one part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartStats {
    /// train, validation or test.
    pub name: String,
    /// The input that is counted, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
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

/// Counts the texts of one input of a part, none of which is cut; labels are left to the caller.
pub fn part_stats(name: SplitName, input: &Input, corpus: &Corpus) -> PartStats {
    let mut lengths: Vec<usize> = (0..corpus.len()).map(|index| corpus.text(index).len()).collect();
    lengths.sort_unstable();
    let quantile = |share: f64| {
        let position = (share * lengths.len().saturating_sub(1) as f64).round() as usize;
        lengths.get(position).copied().unwrap_or(0)
    };
    let cut = lengths.iter().filter(|length| **length > input.text.max_length).count();
    let unknown = corpus.ids().iter().filter(|id| **id == OOV).count();
    PartStats {
        name: name.to_string(),
        input: input.name.clone(),
        examples: corpus.len(),
        tokens: corpus.tokens(),
        median_length: quantile(0.5),
        length_90: quantile(0.9),
        length_95: quantile(0.95),
        longest: quantile(1.0),
        cut_share: cut as f64 / corpus.len().max(1) as f64,
        unknown_share: unknown as f64 / corpus.tokens().max(1) as f64,
        labels: Vec::new(),
    }
}

/// How many examples each label has.
pub fn part_labels(names: &[String], labels: &[u32]) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = names.iter().map(|name| (name.clone(), 0)).collect();
    for label in labels {
        counts[*label as usize].1 += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::text::{Encoder, Vocabulary};

    #[test]
    fn figures_are_as_counted_by_hand() {
        let yaml = "data: {train: x}\ntext: {min_count: 2, max_length: 3}\n";
        let input = config::parse(yaml, "test", &[]).unwrap().config.inputs[0].clone();
        let texts: Vec<String> = ["a b", "a b c d", "a", "a a a a a a"].map(Into::into).to_vec();
        let vocabulary = Vocabulary::build(&texts, &input.text).unwrap();
        let encoder = Encoder::new(&input.text, vocabulary);
        let corpus = encoder.uncut().encode_all(&texts);
        let stats = part_stats(SplitName::Train, &input, &corpus);
        assert_eq!((stats.examples, stats.tokens, stats.longest, stats.length_90), (4, 13, 6, 6));
        assert_eq!((stats.cut_share, stats.unknown_share), (0.5, 2.0 / 13.0));
        let labels = ["x".to_owned(), "y".to_owned()];
        let expected = [("x".to_owned(), 1), ("y".to_owned(), 3)];
        assert_eq!(part_labels(&labels, &[0, 1, 1, 1]), expected);
    }
}
