//! Explains predictions of a checkpoint.

use std::collections::BTreeMap;

use anyhow::ensure;

use super::alignment::{Unit, units};
use super::attribution::{
    ExplainedNgram, ExplainedText, ExplainedWord, Explanation, Integration, Method,
};
use super::encoded_models::EncodedModels;
use super::integrated_gradients::{Integrated, integrated_gradients};
use super::leave_one_out::leave_one_out;
use super::model::{EncodedExample, Model};
use super::ngrams::TextNgrams;
use super::prefixes::prefix_probabilities;
use crate::backend::Inference;
use crate::backend::native::SequenceStates;
use crate::config::{Inputs, Labelling};
use crate::objective::{Averaging, Calibration, Combination, argmax, check_finite};
use crate::prediction::{precise_inference, predicted_labels, top_classes};
use crate::run::checkpoint::Checkpoint;
use crate::run::saved_model::SavedModel;
use crate::text::{Corpus, LocatedText, OOV, join_columns};

/// Explains predictions of a model, or of an ensemble of several.
pub struct Explainer {
    /// At least one. Their inputs have the same columns.
    pub(super) models: Vec<Model>,
    pub(super) combination: Combination,
    calibration: Calibration,
}

/// Contributions of the units and n-grams of each input.
struct Attribution {
    units: Vec<Vec<f64>>,
    ngrams: Vec<Vec<ExplainedNgram>>,
    integration: Option<Integration>,
}

impl Explainer {
    /// Loads the models of a checkpoint or of an ensemble.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the configuration.
    pub fn new(saved: &SavedModel) -> anyhow::Result<Self> {
        let model = |checkpoint: &Checkpoint| -> anyhow::Result<Model> {
            Ok(Model {
                config: checkpoint.resolved.config.clone(),
                encoders: checkpoint.encoders.clone(),
                labels: checkpoint.labels.clone(),
                classifier: precise_inference(checkpoint)?,
            })
        };
        let models = saved.members.iter().map(model).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self::of(models, saved.combination.clone(), saved.calibration.clone()))
    }

    /// Combines models, and calibrates their predictions if there is a calibration.
    pub(super) fn of(
        models: Vec<Model>,
        combination: Combination,
        calibration: Option<Calibration>,
    ) -> Self {
        let (labelling, classes) = (models[0].labelling(), models[0].labels.len());
        let calibration = calibration.unwrap_or_else(|| Calibration::identity(labelling, classes));
        Self { models, combination, calibration }
    }

    /// Inputs of the model; of the first one of an ensemble.
    pub fn inputs(&self) -> &Inputs {
        &self.models[0].config.inputs
    }

    /// Label of each class.
    pub fn labels(&self) -> &[String] {
        &self.models[0].labels
    }

    /// Number of labels that a text can have.
    pub fn labelling(&self) -> Labelling {
        self.models[0].labelling()
    }

    /// Attribution methods that apply to the model, the default one first.
    ///
    /// Integrated gradients of an ensemble are the weighted means of those of its models. This is exact if its
    /// log-odds are the weighted means: with averaged log-odds of two classes, or of labels of which a text can
    /// have several.
    pub fn methods(&self) -> &[Method] {
        let has_log_odds = self.labels().len() == 2 || self.labelling() == Labelling::Several;
        let is_linear = self.combination.averaging == Averaging::LogOdds && has_log_odds;
        match self.models.len() == 1 || is_linear {
            true => &[Method::IntegratedGradients, Method::LeaveOneOut],
            false => &[Method::LeaveOneOut],
        }
    }

    /// Returns the states of input `input` over one text; those of the first model of an ensemble.
    ///
    /// # Errors
    /// Returns an error if the weights overflow.
    pub fn states(
        &self,
        input: usize,
        corpus: &Corpus,
        example: u32,
    ) -> anyhow::Result<SequenceStates> {
        let sequence = self.models[0].classifier.states(input, corpus, example);
        for states in sequence.layers.iter().flatten() {
            let hidden = states.hidden.iter().flatten();
            let gates = states.gate_means.iter().flatten();
            let all = hidden.chain(&states.final_cell).chain(gates);
            check_finite(all.map(|value| f64::from(*value)))?;
        }
        check_finite(sequence.attention.iter().flatten().map(|weight| f64::from(*weight)))?;
        Ok(sequence)
    }

    /// Explains an example: the contribution of each word to a class, by default the predicted one, or the most
    /// probable one of several labels. `texts` has the text of each column.
    ///
    /// # Errors
    /// Returns an error if the method does not apply to this ensemble (see [`Explainer::methods`]), or if the
    /// weights do not fit the configuration or overflow.
    pub fn explain(
        &self,
        texts: &[String],
        class: Option<usize>,
        method: impl Into<Option<Method>>,
    ) -> anyhow::Result<Explanation> {
        let method = method.into().unwrap_or(self.methods()[0]);
        ensure!(
            self.methods().contains(&method),
            "integrated gradients explain ensembles that average log-odds of two classes or of several labels; use \
             leave-one-out, or explain one of the members"
        );
        let columns: Vec<Vec<String>> = texts.iter().map(|text| vec![text.clone()]).collect();
        let indices = self.inputs().column_indices();
        let texts: Vec<String> =
            indices.iter().map(|indices| join_columns(&columns, indices).concat()).collect();
        let located: Vec<Vec<LocatedText>> = self
            .models
            .iter()
            .map(|model| {
                let encoded = model.encoders.iter().zip(&texts);
                encoded.map(|(encoder, text)| encoder.locate(text)).collect()
            })
            .collect();
        let corpora = |(model, located): (&Model, &Vec<LocatedText>)| -> Vec<Corpus> {
            let encode =
                |(input, text): (usize, &LocatedText)| model.encode(input, [&text.words()]);
            located.iter().enumerate().map(encode).collect()
        };
        let corpora: Vec<Vec<Corpus>> = self.models.iter().zip(&located).map(corpora).collect();
        let rows = self.models.iter().zip(&corpora);
        let rows: Vec<Vec<f64>> = rows
            .map(|(model, corpora)| model.classifier.log_probabilities(corpora, &[0]))
            .collect();
        let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let labelling = self.labelling();
        let row = self.combination.combine(labelling, &slices, self.labels().len());
        check_finite(row.iter().copied())?;
        let Calibration { scaling, decision } = &self.calibration;
        let mut calibrated = row.to_vec();
        scaling.apply(labelling, &mut calibrated);
        let class = class.unwrap_or_else(|| match labelling {
            Labelling::One => decision.predicted(labelling, &calibrated)[0],
            Labelling::Several => argmax(&calibrated),
        });
        let example = |(texts, row): (Vec<LocatedText>, &Vec<f64>)| EncodedExample {
            texts,
            class,
            log_odds: labelling.log_odds(row, class),
        };
        let encoded = EncodedModels {
            models: &self.models,
            combination: &self.combination,
            examples: located.into_iter().zip(&rows).map(example).collect(),
            class,
            log_odds: labelling.log_odds(&row, class),
        };
        let units: Vec<Vec<Unit>> = (0..texts.len())
            .map(|input| {
                let texts = encoded.examples.iter().map(|example| &example.texts[input]);
                units(&texts.collect::<Vec<_>>())
            })
            .collect();
        let Attribution { units: contributions, ngrams, integration } = match method {
            Method::IntegratedGradients => self.integrate(&encoded, &texts, &units)?,
            Method::LeaveOneOut => Attribution {
                units: leave_one_out(&encoded, &units),
                ngrams: vec![Vec::new(); texts.len()],
                integration: None,
            },
        };
        check_finite(contributions.iter().flatten().copied())?;
        let largest = contributions
            .iter()
            .flatten()
            .fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let explained = texts.into_iter().zip(units).zip(contributions).zip(ngrams);
        let inputs =
            explained.enumerate().map(|(input, (((text, units), contributions), ngrams))| {
                let truncated =
                    encoded.examples.iter().map(|example| example.texts[input].truncated.len());
                let mut words = explained_words(&encoded, input, &text, &units, &contributions);
                if let [example] = &encoded.examples[..] {
                    // Truncated words are shown only if n-grams include them.
                    let read: Vec<usize> = match self.models[0].encoders[input].ngrams() {
                        Some(_) => example.texts[input].read().collect(),
                        None => (0..example.texts[input].ids().len()).collect(),
                    };
                    self.add_attention(input, &corpora[0][input], &read, &mut words)?;
                }
                Ok(ExplainedText {
                    input: self.inputs()[input].name.clone(),
                    words,
                    tokens_unread: truncated.min().unwrap_or(0),
                    text,
                    ngrams,
                })
            });
        Ok(Explanation {
            label: self.labels()[class].clone(),
            probability: calibrated[class].exp(),
            labels: predicted_labels(self.labels(), labelling, decision, &calibrated),
            classes: top_classes(self.labels(), &calibrated, usize::MAX),
            is_scaled: !scaling.is_identity(),
            log_odds: encoded.log_odds,
            method,
            integration,
            inputs: inputs.collect::<anyhow::Result<_>>()?,
            largest,
            pair: match labelling {
                Labelling::One => self.labels().to_vec().try_into().ok(),
                Labelling::Several => None,
            },
            labelling,
        })
    }

    /// Computes the weighted mean of the integrated gradients of all models.
    fn integrate(
        &self,
        encoded: &EncodedModels,
        texts: &[String],
        units: &[Vec<Unit>],
    ) -> anyhow::Result<Attribution> {
        let mut contributions: Vec<Vec<f64>> =
            units.iter().map(|units| vec![0.0; units.len()]).collect();
        let mut ngrams: Vec<Vec<ExplainedNgram>> = vec![Vec::new(); texts.len()];
        let mut whole = Integration { baseline_log_odds: 0.0, steps: 0, completeness_gap: 0.0 };
        for (index, (model, example)) in encoded.iter().enumerate() {
            let weight = self.combination.weights[index];
            let Integrated { mut words, logits, integration } =
                integrated_gradients(model, example)?;
            whole.baseline_log_odds += weight * integration.baseline_log_odds;
            whole.completeness_gap += weight * integration.completeness_gap;
            whole.steps += integration.steps;
            for (input, (text, words)) in texts.iter().zip(&mut words).enumerate() {
                let located = &example.texts[input];
                let of_text = TextNgrams::of(model, input, located, logits.len()).attribute(
                    &logits,
                    (text, located),
                    words,
                );
                ngrams[input].extend(of_text.into_iter().map(|ngram| ExplainedNgram {
                    contribution: weight * ngram.contribution,
                    ..ngram
                }));
                for (sum, unit) in contributions[input].iter_mut().zip(&units[input]) {
                    for token in &unit.tokens[index] {
                        *sum += weight * words[*token];
                    }
                }
            }
        }
        if self.models.len() > 1 {
            ngrams = ngrams.into_iter().map(added_up).collect();
        }
        Ok(Attribution { units: contributions, ngrams, integration: Some(whole) })
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
        let probabilities = prefix_probabilities(&self.models[0], &self.calibration.scaling, texts);
        check_finite(probabilities.iter().flatten().flatten().copied())?;
        Ok(probabilities)
    }
}

/// Returns the words of a text that a model reads.
fn explained_words(
    encoded: &EncodedModels,
    input: usize,
    text: &str,
    units: &[Unit],
    contributions: &[f64],
) -> Vec<ExplainedWord> {
    let word = |(unit, contribution): (&Unit, &f64)| {
        let mut known = false;
        let mut special = String::new();
        for ((model, example), tokens) in encoded.iter().zip(&unit.tokens) {
            for token in tokens {
                let id = example.texts[input].tokens[*token].id;
                known |= id != OOV;
                if unit.span.is_none() {
                    special = model.encoders[input].vocabulary().words()[id as usize].to_string();
                }
            }
        }
        let word = unit.span.clone().map_or(special, |span| text[span].to_owned());
        ExplainedWord {
            word,
            known,
            span: unit.span.clone(),
            contribution: *contribution,
            attention: None,
        }
    };
    let units = units.iter().zip(contributions);
    units.filter(|(unit, _)| encoded.is_read(input, unit)).map(word).collect()
}

/// Adds up the contributions of equal n-grams, and sorts them by falling size.
fn added_up(ngrams: Vec<ExplainedNgram>) -> Vec<ExplainedNgram> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for ExplainedNgram { ngram, contribution } in ngrams {
        *sums.entry(ngram).or_default() += contribution;
    }
    let sums = sums.into_iter();
    let mut ngrams: Vec<ExplainedNgram> =
        sums.map(|(ngram, contribution)| ExplainedNgram { ngram, contribution }).collect();
    ngrams.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    ngrams
}
