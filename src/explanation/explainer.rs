//! Explains predictions of a checkpoint.

use super::attribution::{ExplainedText, ExplainedWord, Explanation, Method};
use super::integrated_gradients::{Integrated, integrated_gradients};
use super::leave_one_out::leave_one_out;
use super::model::{EncodedExample, Model, words};
use super::ngrams::TextNgrams;
use super::prefixes::prefix_probabilities;
use crate::backend::Inference;
use crate::backend::native::SequenceStates;
use crate::config::Inputs;
use crate::objective::{argmax, check_finite, log_odds};
use crate::prediction::{native_inference, top_classes};
use crate::run::checkpoint::Checkpoint;
use crate::text::{Corpus, LocatedText, LocatedToken, OOV, join_columns};

/// Explains predictions of a model.
pub struct Explainer {
    pub(super) model: Model,
}

impl Explainer {
    /// Loads the model of a checkpoint.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the configuration.
    pub fn new(checkpoint: &Checkpoint) -> anyhow::Result<Self> {
        let model = Model {
            config: checkpoint.resolved.config.clone(),
            encoders: checkpoint.encoders.clone(),
            labels: checkpoint.labels.clone(),
            classifier: native_inference(checkpoint)?,
        };
        Ok(Self { model })
    }

    /// Inputs of the model.
    pub fn inputs(&self) -> &Inputs {
        &self.model.config.inputs
    }

    /// Label of each class.
    pub fn labels(&self) -> &[String] {
        &self.model.labels
    }

    /// Returns the states of input `input` over one text.
    ///
    /// # Errors
    /// Returns an error if the weights overflow.
    pub fn states(
        &self,
        input: usize,
        corpus: &Corpus,
        example: u32,
    ) -> anyhow::Result<SequenceStates> {
        let sequence = self.model.classifier.states(input, corpus, example);
        for states in sequence.layers.iter().flatten() {
            let hidden = states.hidden.iter().flatten();
            let gates = states.gate_means.iter().flatten();
            let all = hidden.chain(&states.final_cell).chain(gates);
            check_finite(all.map(|value| f64::from(*value)))?;
        }
        check_finite(sequence.attention.iter().flatten().map(|weight| f64::from(*weight)))?;
        Ok(sequence)
    }

    /// Explains an example: the contribution of each word to a class, by default the most probable
    /// one. `texts` has the text of each column.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the configuration or overflow.
    pub fn explain(
        &self,
        texts: &[String],
        class: Option<usize>,
        method: Method,
    ) -> anyhow::Result<Explanation> {
        let model = &self.model;
        let columns: Vec<Vec<String>> = texts.iter().map(|text| vec![text.clone()]).collect();
        let indices = model.config.inputs.column_indices();
        let texts: Vec<String> =
            indices.iter().map(|indices| join_columns(&columns, indices).concat()).collect();
        let encoded = model.encoders.iter().zip(&texts);
        let located: Vec<LocatedText> =
            encoded.map(|(encoder, text)| encoder.locate(text)).collect();
        let encode = |(input, text): (usize, &LocatedText)| model.encode(input, [&words(text)]);
        let corpora: Vec<Corpus> = located.iter().enumerate().map(encode).collect();
        let row = model.classifier.log_probabilities(&corpora, &[0]);
        check_finite(row.iter().copied())?;
        let class = class.unwrap_or_else(|| argmax(&row));
        let example = EncodedExample { texts: located, class, log_odds: log_odds(&row, class) };
        let mut ngrams = vec![Vec::new(); texts.len()];
        let (contributions, integration) =
            match method {
                Method::IntegratedGradients => {
                    let Integrated { mut words, logits, integration } =
                        integrated_gradients(model, &example)?;
                    for (input, (text, words)) in texts.iter().zip(&mut words).enumerate() {
                        let located = &example.texts[input];
                        ngrams[input] = TextNgrams::of(model, input, located, logits.len())
                            .attribute(&logits, (text, located), words);
                    }
                    (words, Some(integration))
                }
                Method::LeaveOneOut => (leave_one_out(model, &example), None),
            };
        check_finite(contributions.iter().flatten().copied())?;
        let largest = contributions
            .iter()
            .flatten()
            .fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let explained = texts.into_iter().zip(example.texts).zip(contributions).zip(ngrams);
        let explained = explained.enumerate();
        // Truncated words are shown only if n-grams include them.
        let ngrams_are_read = |input: usize| model.encoders[input].ngrams().is_some();
        let inputs = explained.map(|(input, (((text, located), contributions), ngrams))| {
            let tokens_unread = located.truncated.len();
            let read: Vec<usize> = match ngrams_are_read(input) {
                true => located.read().collect(),
                false => (0..located.ids().len()).collect(),
            };
            let mut words = self.words(input, &text, located, contributions);
            self.add_attention(input, &corpora[input], &read, &mut words)?;
            Ok(ExplainedText {
                input: model.config.inputs[input].name.clone(),
                words,
                tokens_unread,
                text,
                ngrams,
            })
        });
        Ok(Explanation {
            label: model.labels[class].clone(),
            probability: row[class].exp(),
            classes: top_classes(&model.labels, &row, usize::MAX),
            log_odds: example.log_odds,
            method,
            integration,
            inputs: inputs.collect::<anyhow::Result<_>>()?,
            largest,
            pair: model.labels.clone().try_into().ok(),
        })
    }

    /// Adds the weights of attention pooling to the words of a text, the only one of `corpus`.
    fn add_attention(
        &self,
        input: usize,
        corpus: &Corpus,
        read: &[usize],
        words: &mut [ExplainedWord],
    ) -> anyhow::Result<()> {
        if !self.inputs()[input].has_attention() {
            return Ok(());
        }
        let weights = self.states(input, corpus, 0)?.attention.unwrap_or_default();
        // Padding in front has weights too.
        let padding = weights.len() - read.len();
        for (word, weight) in read.iter().zip(&weights[padding..]) {
            words[*word].attention = Some(*weight);
        }
        Ok(())
    }

    /// Returns the probabilities of all classes after each word, [T, C] for each input: those of
    /// the text up to this word, with the other inputs unchanged. `texts` has the text of each
    /// column.
    ///
    /// # Errors
    /// Returns an error if the weights overflow.
    pub fn prefix_probabilities(&self, texts: &[String]) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
        let probabilities = prefix_probabilities(&self.model, texts);
        check_finite(probabilities.iter().flatten().flatten().copied())?;
        Ok(probabilities)
    }

    fn words(
        &self,
        input: usize,
        text: &str,
        located: LocatedText,
        contributions: Vec<f64>,
    ) -> Vec<ExplainedWord> {
        let is_shown: Vec<bool> = match self.model.encoders[input].ngrams() {
            Some(_) => vec![true; located.tokens.len()],
            None => {
                let truncated = &located.truncated;
                (0..located.tokens.len()).map(|token| !truncated.contains(&token)).collect()
            }
        };
        let vocabulary = self.model.encoders[input].vocabulary().words();
        let word = |token: LocatedToken, contribution| ExplainedWord {
            word: match &token.span {
                Some(span) => text[span.clone()].to_owned(),
                None => vocabulary[token.id as usize].to_string(),
            },
            known: token.id != OOV,
            span: token.span,
            contribution,
            attention: None,
        };
        let words = located.tokens.into_iter().zip(contributions).zip(is_shown);
        words.filter(|(_, shown)| *shown).map(|((token, value), _)| word(token, value)).collect()
    }
}
