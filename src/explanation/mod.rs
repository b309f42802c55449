//! What each word contributes to a decision, measured in log-odds: log p − log (1 − p) of a class.

mod gradients;
mod leave_one_out;
pub mod page;
mod prefixes;

use std::ops::Range;

use serde::Serialize;

use crate::backend::native::{NativeClassifier, log_odds};
use crate::backend::{Inference, argmax};
use crate::config::{Config, Inputs};
use crate::prediction::{LabelProbability, ranked};
use crate::run::checkpoint::Checkpoint;
use crate::text::{Corpus, Encoders, LocatedToken, OOV, joined};

/// How contributions are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Integrated gradients (Sundararajan, Taly and Yan 2017) over the word vectors, along the
    /// straight line from PAD in place of every word to the text.
    IntegratedGradients,
    /// How much the log-odds fall when the word is left out.
    LeaveOneOut,
}

/// A model whose decisions can be explained.
pub struct Explainer {
    config: Config,
    encoders: Encoders,
    labels: Vec<String>,
    classifier: NativeClassifier,
}

/// What each word of an example contributes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The class whose log-odds are explained.
    pub label: String,
    /// Its probability.
    pub probability: f64,
    /// Every class, the most probable first.
    pub classes: Vec<LabelProbability>,
    /// log p − log (1 − p) of the class.
    pub log_odds: f64,
    /// How contributions were measured.
    pub method: Method,
    /// What goes with integrated gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration: Option<Integration>,
    /// Each text with its words.
    pub inputs: Vec<ExplainedText>,
    /// The largest contribution, positive or negative.
    #[serde(skip)]
    largest: f64,
    /// The labels of two classes.
    #[serde(skip)]
    pair: Option<[String; 2]>,
}

/// The two things that a word can speak for: the class that is explained, or against it. Of two
/// classes it is always the second, or against that, so that texts can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "said above")]
pub enum Side {
    For,
    Against,
}

/// How well an integral was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Integration {
    /// The log-odds where every word is PAD.
    pub baseline_log_odds: f64,
    /// The points at which the gradient was taken.
    pub steps: usize,
    /// The sum of all contributions less the difference that they are to explain, which is that of
    /// the log-odds and those of the baseline.
    pub completeness_gap: f64,
}

/// One text of an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedText {
    /// The input's name, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The text.
    pub text: String,
    /// The words that are read, in their order.
    pub words: Vec<ExplainedWord>,
    /// Tokens beyond `text.max_length`.
    pub tokens_unread: usize,
}

/// A word and what it contributes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedWord {
    /// As it stands in the text; in angle brackets what stands in no text.
    pub word: String,
    /// Where it stands in the text, in bytes.
    pub span: Option<Range<usize>>,
    /// Whether the vocabulary has it; all others are one word to the model.
    pub known: bool,
    /// To the log-odds of the class.
    pub contribution: f64,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment<'a> {
    /// Where it stands, in bytes.
    pub span: Range<usize>,
    /// The words that it is read as, mostly one; none where nothing is read.
    pub words: Vec<&'a ExplainedWord>,
}

impl Segment<'_> {
    /// What its words contribute together.
    pub fn contribution(&self) -> f64 {
        self.words.iter().map(|word| word.contribution).sum()
    }
}

impl ExplainedText {
    /// The whole text, part after part.
    pub fn segments(&self) -> Vec<Segment<'_>> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut end = 0;
        for word in &self.words {
            let Some(span) = &word.span else { continue };
            match segments.last_mut() {
                // A character that became several words.
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
    /// How large a contribution is beside the largest one, from 0 to 1 for a word's.
    pub fn share(&self, contribution: f64) -> f64 {
        contribution.abs() / self.largest.max(f64::MIN_POSITIVE)
    }

    /// What is to be known of the texts.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for input in &self.inputs {
            let name = input.input.as_deref().unwrap_or("the text");
            let read = input.words.len();
            if input.tokens_unread > 0 {
                let all = read + input.tokens_unread;
                notes.push(format!(
                    "{name} has {all} tokens, of which {read} are read (text.max_length)"
                ));
            }
            if input.words.iter().all(|word| word.span.is_none()) {
                notes.push(format!("{name} has no words; it is read as an unknown one"));
            }
        }
        notes
    }

    /// On which side a contribution stands.
    pub fn side(&self, contribution: f64) -> Side {
        match (contribution > 0.0) != self.is_first_of_two() {
            true => Side::For,
            false => Side::Against,
        }
    }

    /// What a side is called.
    pub fn side_name(&self, side: Side) -> String {
        match (&self.pair, side) {
            (Some([_, second]), Side::For) => format!("for {second}"),
            (Some([first, _]), Side::Against) => format!("for {first}"),
            (_, Side::For) => format!("for {}", self.label),
            (_, Side::Against) => format!("against {}", self.label),
        }
    }

    /// A contribution as its side has it: of two classes what it adds to either is positive.
    pub fn on_its_side(&self, contribution: f64) -> f64 {
        if self.pair.is_some() { contribution.abs() } else { contribution }
    }

    fn is_first_of_two(&self) -> bool {
        self.pair.as_ref().is_some_and(|[first, _]| *first == self.label)
    }

    /// The words on a side, the largest contributions first.
    pub fn ranked(&self, side: Side) -> Vec<&ExplainedWord> {
        let on_side = |word: &&ExplainedWord| {
            word.contribution != 0.0 && self.side(word.contribution) == side
        };
        let mut words: Vec<_> = self.words().filter(on_side).collect();
        words.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        words
    }

    fn words(&self) -> impl Iterator<Item = &ExplainedWord> {
        self.inputs.iter().flat_map(|input| &input.words)
    }
}

/// What is explained: the words of each input, and a class.
struct Question {
    /// For each input the ids.
    ids: Vec<Vec<u32>>,
    class: usize,
    log_odds: f64,
}

impl Explainer {
    /// The model of a checkpoint.
    ///
    /// # Errors
    /// Where its weights do not fit its configuration.
    pub fn new(checkpoint: &Checkpoint) -> anyhow::Result<Self> {
        Ok(Self {
            config: checkpoint.resolved.config.clone(),
            encoders: checkpoint.encoders.clone(),
            labels: checkpoint.labels.clone(),
            classifier: checkpoint.native()?,
        })
    }

    /// The texts that it wants for each example.
    pub fn inputs(&self) -> &Inputs {
        &self.config.inputs
    }

    /// The name of each class.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What each word of an example contributes to a class, by default the most probable one;
    /// `texts` has the text of each column of the inputs.
    ///
    /// # Errors
    /// Where the weights do not fit the configuration.
    pub fn explain(
        &self,
        texts: &[String],
        class: Option<usize>,
        method: Method,
    ) -> anyhow::Result<Explanation> {
        let columns: Vec<Vec<String>> = texts.iter().map(|text| vec![text.clone()]).collect();
        let parts = self.config.inputs.parts();
        let texts: Vec<String> =
            parts.iter().map(|parts| joined(&columns, parts).concat()).collect();
        let located = self.encoders.iter().zip(&texts);
        let (tokens, unread): (Vec<Vec<LocatedToken>>, Vec<usize>) =
            located.map(|(encoder, text)| encoder.located(text)).unzip();
        let ids: Vec<Vec<u32>> =
            tokens.iter().map(|tokens| tokens.iter().map(|token| token.id).collect()).collect();
        let corpora: Vec<Corpus> =
            ids.iter().enumerate().map(|(input, ids)| self.corpus(input, [&ids[..]])).collect();
        let row = self.classifier.log_probabilities(&corpora, &[0]);
        let class = class.unwrap_or_else(|| argmax(&row));
        let question = Question { ids, class, log_odds: log_odds(&row, class) };
        let (contributions, integration) = match method {
            Method::IntegratedGradients => {
                let (contributions, integration) = self.integrate(&question)?;
                (contributions, Some(integration))
            }
            Method::LeaveOneOut => (self.leave_one_out(&question), None),
        };
        let largest =
            contributions.iter().flatten().fold(0.0, |most: f64, value| most.max(value.abs()));
        let explained = texts.into_iter().zip(tokens).zip(contributions).enumerate();
        let inputs = explained.map(|(input, ((text, tokens), contributions))| ExplainedText {
            input: self.config.inputs[input].name.clone(),
            words: self.words(input, &text, tokens, contributions),
            tokens_unread: unread[input],
            text,
        });
        Ok(Explanation {
            label: self.labels[class].clone(),
            probability: row[class].exp(),
            classes: ranked(&self.labels, &row, usize::MAX),
            log_odds: question.log_odds,
            method,
            integration,
            inputs: inputs.collect(),
            largest,
            pair: self.labels.clone().try_into().ok(),
        })
    }

    fn words(
        &self,
        input: usize,
        text: &str,
        tokens: Vec<LocatedToken>,
        contributions: Vec<f64>,
    ) -> Vec<ExplainedWord> {
        let words = self.encoders[input].vocabulary().words();
        let word = |token: LocatedToken, contribution| ExplainedWord {
            word: match &token.span {
                Some(span) => text[span.clone()].to_owned(),
                None => words[token.id as usize].to_string(),
            },
            known: token.id != OOV,
            span: token.span,
            contribution,
        };
        tokens.into_iter().zip(contributions).map(|(token, value)| word(token, value)).collect()
    }

    /// Texts of an input, padded and cut as it wants them.
    fn corpus<'a>(&self, input: usize, texts: impl IntoIterator<Item = &'a [u32]>) -> Corpus {
        let text = &self.config.inputs[input].text;
        Corpus::of(text.pad, text.max_length, texts)
    }
}

#[cfg(test)]
mod tests;
