//! Explanations: the contribution of each word to the log-odds of a class.

use std::ops::Range;

use serde::Serialize;

use crate::config::Labelling;
use crate::prediction::LabelProbability;

/// Attribution method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "serve", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Integrated gradients of the word vectors, with PAD in place of every word as the baseline
    /// (Sundararajan, Taly and Yan 2017).
    IntegratedGradients,
    /// Decrease in log-odds when the word is removed.
    LeaveOneOut,
}

/// Contributions of the words of an example to a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Label of the explained class.
    pub label: String,
    /// Probability of the class, calibrated if the model is.
    pub probability: f64,
    /// Predicted labels by falling probability: exactly one, or any number if a text can have several.
    pub labels: Vec<LabelProbability>,
    /// All classes by falling probability.
    pub classes: Vec<LabelProbability>,
    /// Log-odds of the class, log p − log (1 − p), before calibration.
    pub log_odds: f64,
    /// Attribution method.
    pub method: Method,
    /// Details of integrated gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration: Option<Integration>,
    /// Text of each input and its words.
    pub inputs: Vec<ExplainedText>,
    /// True if calibration scales the probabilities.
    #[serde(skip)]
    pub(super) is_scaled: bool,
    /// Largest absolute contribution.
    #[serde(skip)]
    pub(super) largest: f64,
    /// Both labels, if there are two classes that exclude each other.
    #[serde(skip)]
    pub(super) pair: Option<[String; 2]>,
    /// Number of labels that a text can have.
    #[serde(skip)]
    pub labelling: Labelling,
}

/// Direction of a contribution. With two classes, [`Side::For`] always means for the second one, so
/// that explanations are comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// For the explained class.
    For,
    /// Against the explained class.
    Against,
}

/// Details of integrated gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Integration {
    /// Log-odds of the baseline.
    pub baseline_log_odds: f64,
    /// Number of points at which the gradient was computed.
    pub steps: usize,
    /// Sum of all contributions minus the difference in log-odds between text and baseline.
    pub completeness_gap: f64,
}

/// Explained text of an input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedText {
    /// Name of the input, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The text.
    pub text: String,
    /// Words in order: those that remain after truncation, or all if the model reads n-grams.
    pub words: Vec<ExplainedWord>,
    /// Number of tokens that were truncated (`text.max_length`), so that the LSTM does not read them.
    pub tokens_unread: usize,
    /// N-grams of the text by falling size of their contributions, which are included in those of the
    /// words. Empty if the method does not compute them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ngrams: Vec<ExplainedNgram>,
}

/// An n-gram and its contribution, which is exact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedNgram {
    /// Words of the n-gram as in the text, joined by spaces.
    pub ngram: String,
    /// Contribution to the log-odds of the class.
    pub contribution: f64,
}

/// A word and its contribution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedWord {
    /// The word as in the text. Special tokens are in angle brackets.
    pub word: String,
    /// Byte range in the text. `None` for special tokens.
    pub span: Option<Range<usize>>,
    /// False if the word is not in the vocabulary. The model cannot tell such words apart.
    pub known: bool,
    /// Contribution to the log-odds of the class.
    pub contribution: f64,
    /// Weight of the word in attention pooling, if the model has it. The weights of a text add up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<f32>,
}

/// Part of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment<'a> {
    /// Byte range in the text.
    pub span: Range<usize>,
    /// Words of this part: usually one, none for text between words and for truncated text.
    pub words: Vec<&'a ExplainedWord>,
}

impl Segment<'_> {
    /// Sum of the contributions of its words.
    pub fn contribution(&self) -> f64 {
        self.words.iter().map(|word| word.contribution).sum()
    }

    /// Sum of the attention weights of its words, if the model has attention.
    pub fn attention(&self) -> Option<f32> {
        self.words.iter().map(|word| word.attention).sum()
    }
}

impl ExplainedText {
    /// Words by falling attention; none if the model has no attention.
    pub fn ranked_by_attention(&self) -> Vec<(&ExplainedWord, f32)> {
        let words = self.words.iter();
        let mut words: Vec<_> = words.filter_map(|word| Some((word, word.attention?))).collect();
        words.sort_by(|a, b| b.1.total_cmp(&a.1));
        words
    }

    /// Splits the whole text into segments.
    pub fn segments(&self) -> Vec<Segment<'_>> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut end = 0;
        for word in &self.words {
            let Some(span) = &word.span else { continue };
            match segments.last_mut() {
                // One character can become several words.
                Some(last) if span.start < end => {
                    last.words.push(word);
                    last.span.end = last.span.end.max(span.end);
                }
                _ => {
                    if end < span.start {
                        segments.push(Segment { span: end..span.start, words: Vec::new() });
                    }
                    segments.push(Segment { span: span.clone(), words: vec![word] });
                }
            }
            end = end.max(span.end);
        }
        if end < self.text.len() {
            segments.push(Segment { span: end..self.text.len(), words: Vec::new() });
        }
        segments
    }
}

impl Explanation {
    /// Size of a contribution relative to the largest one, from 0 to 1 for a single word.
    pub fn share(&self, contribution: f64) -> f64 {
        contribution.abs() / self.largest.max(f64::MIN_POSITIVE)
    }

    /// Notes about truncated and empty texts, and on calibration.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for input in &self.inputs {
            let name = input.input.as_deref().unwrap_or("the text");
            let unread = input.tokens_unread;
            match (unread, input.ngrams.is_empty()) {
                (0, _) => {}
                (_, true) => notes.push(format!(
                    "{name} has {} tokens and is truncated to {} (text.max_length)",
                    input.words.len() + unread,
                    input.words.len()
                )),
                (_, false) => notes.push(format!(
                    "{name} has {} tokens, of which the LSTM reads {} (text.max_length)",
                    input.words.len(),
                    input.words.len() - unread
                )),
            }
            if input.words.iter().all(|word| word.span.is_none()) {
                notes.push(format!("{name} has no words; it is treated as one unknown word"));
            }
        }
        if self.is_scaled {
            let scaled = "calibration scales the probability; the log-odds are those before it";
            notes.push(scaled.to_owned());
        }
        notes
    }

    /// Side of a contribution.
    pub fn side(&self, contribution: f64) -> Side {
        match (contribution > 0.0) != self.is_first_of_two() {
            true => Side::For,
            false => Side::Against,
        }
    }

    /// Name of a side, such as "for positive".
    pub fn side_name(&self, side: Side) -> String {
        match (&self.pair, side) {
            (Some([_, second]), Side::For) => format!("for {second}"),
            (Some([first, _]), Side::Against) => format!("for {first}"),
            (_, Side::For) => format!("for {}", self.label),
            (_, Side::Against) => format!("against {}", self.label),
        }
    }

    /// Contribution with the sign to show on its side. With two classes, it is positive on both.
    pub fn on_its_side(&self, contribution: f64) -> f64 {
        if self.pair.is_some() { contribution.abs() } else { contribution }
    }

    fn is_first_of_two(&self) -> bool {
        self.pair.as_ref().is_some_and(|[first, _]| *first == self.label)
    }

    /// N-grams of several words by falling size of their contributions.
    pub fn ranked_ngrams(&self) -> Vec<&ExplainedNgram> {
        let ngrams = self.inputs.iter().flat_map(|input| &input.ngrams);
        let mut ngrams: Vec<_> = ngrams.filter(|each| each.ngram.contains(' ')).collect();
        ngrams.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        ngrams
    }

    /// Words on a side by falling contribution.
    pub fn ranked(&self, side: Side) -> Vec<&ExplainedWord> {
        let on_side = |word: &&ExplainedWord| {
            word.contribution != 0.0 && self.side(word.contribution) == side
        };
        let words = self.inputs.iter().flat_map(|input| &input.words);
        let mut words: Vec<_> = words.filter(on_side).collect();
        words.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        words
    }
}
