//! Explains predictions of a checkpoint.

use super::attribution::{ExplainedText, ExplainedWord, Explanation, Method};
use super::integrated_gradients::integrated_gradients;
use super::leave_one_out::leave_one_out;
use super::model::{EncodedExample, Model};
use super::prefixes::prefix_probabilities;
use crate::backend::Inference;
use crate::backend::native::SequenceStates;
use crate::config::Inputs;
use crate::objective::{argmax, check_finite, log_odds};
use crate::prediction::{native_inference, top_classes};
use crate::run::checkpoint::Checkpoint;
use crate::text::{Corpus, LocatedToken, OOV, join_columns};

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
        let (tokens, truncated): (Vec<Vec<LocatedToken>>, Vec<usize>) =
            encoded.map(|(encoder, text)| encoder.encode_with_spans(text)).unzip();
        let ids: Vec<Vec<u32>> =
            tokens.iter().map(|tokens| tokens.iter().map(|token| token.id).collect()).collect();
        let corpora: Vec<Corpus> =
            ids.iter().enumerate().map(|(input, ids)| model.corpus(input, [&ids[..]])).collect();
        let row = model.classifier.log_probabilities(&corpora, &[0]);
        check_finite(row.iter().copied())?;
        let class = class.unwrap_or_else(|| argmax(&row));
        let example = EncodedExample { ids, class, log_odds: log_odds(&row, class) };
        let (contributions, integration) = match method {
            Method::IntegratedGradients => {
                let (contributions, integration) = integrated_gradients(model, &example)?;
                (contributions, Some(integration))
            }
            Method::LeaveOneOut => (leave_one_out(model, &example), None),
        };
        check_finite(contributions.iter().flatten().copied())?;
        let largest = contributions
            .iter()
            .flatten()
            .fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let explained = texts.into_iter().zip(tokens).zip(contributions).enumerate();
        let inputs = explained.map(|(input, ((text, tokens), contributions))| {
            let mut words = self.words(input, &text, tokens, contributions);
            self.add_attention(input, &corpora[input], &mut words)?;
            Ok(ExplainedText {
                input: model.config.inputs[input].name.clone(),
                words,
                tokens_unread: truncated[input],
                text,
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
        words: &mut [ExplainedWord],
    ) -> anyhow::Result<()> {
        if !self.inputs()[input].has_attention() {
            return Ok(());
        }
        let weights = self.states(input, corpus, 0)?.attention.unwrap_or_default();
        // Padding in front has weights too.
        let padding = weights.len() - words.len();
        for (word, weight) in words.iter_mut().zip(&weights[padding..]) {
            word.attention = Some(*weight);
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
        tokens: Vec<LocatedToken>,
        contributions: Vec<f64>,
    ) -> Vec<ExplainedWord> {
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
        tokens.into_iter().zip(contributions).map(|(token, value)| word(token, value)).collect()
    }
}
