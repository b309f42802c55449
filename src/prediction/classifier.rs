//! Classifier: a trained model that predicts the classes of texts.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::backend::native::NativeInference;
use crate::backend::{Inference, MemoryEstimate, compute_distributed};
use crate::config::{Column, Config, Inputs, Labelling, Precision};
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::distributed::{Collective, SingleProcess};
use crate::model::ModelSpec;
use crate::objective::{Calibration, Combination, Decision, check_finite};
use crate::run::checkpoint::Checkpoint;
use crate::run::saved_model::SavedModel;
use crate::text::{Corpus, Encoders};

use super::reject::RejectOption;

/// Batch size of [`Classifier::predict`].
const BATCH_SIZE: usize = 256;

/// A trained model, or an ensemble of several, that classifies texts. It is used by one thread at a time and computes on all
/// cores.
///
/// ```
/// use lstmtext::Classifier;
///
/// # fn main() -> anyhow::Result<()> {
/// # use lstmtext::model::NamedTensor;
/// # use lstmtext::run::checkpoint::{self, Contents, ModelKind};
/// # use lstmtext::config;
/// # use lstmtext::run::progress::Progress;
/// # use lstmtext::text::Encoders;
/// # let model = "ngrams: null, pooling: mean, embedding: {size: 1}, \
/// #              lstm: {units: 1, bidirectional: false}";
/// # let yaml = format!("data: {{train: x.csv}}\ntext: {{min_count: 1}}\nmodel: {{{model}}}\n");
/// # let resolved = config::parse(&yaml, "", &[])?;
/// # let texts = [vec!["superb superb waste".to_owned()]];
/// # let encoders = Encoders::from_texts(&resolved.config.inputs, &texts)?;
/// # let array = |name: &str, shape: &[usize], values: &[f32]| {
/// #     NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
/// # };
/// # let weights = vec![
/// #     array("embedding.weight", &[6, 1], &[0.0, 0.0, 0.0, 0.0, 2.0, -2.0]),
/// #     array("lstm.weight_ih_l0", &[4, 1], &[0.0, 0.0, 2.0, 0.0]),
/// #     array("lstm.weight_hh_l0", &[4, 1], &[0.0; 4]),
/// #     array("lstm.bias_ih_l0", &[4], &[2.0, 0.0, 0.0, 2.0]),
/// #     array("lstm.bias_hh_l0", &[4], &[0.0; 4]),
/// #     array("head.weight", &[1, 1], &[5.0]),
/// #     array("head.bias", &[1], &[0.0]),
/// # ];
/// # let directory = tempfile::tempdir()?;
/// # let run = directory.path().join("wide");
/// # let progress = Progress::default();
/// # let labels = ["negative".to_owned(), "positive".to_owned()];
/// # checkpoint::save(&run, &Contents { model: ModelKind::Classifier, resolved: &resolved, labels: &labels, encoders: &encoders,
/// #     weights, raw_weights: None, optimizer_state: Vec::new(), progress: &progress })?;
/// // The directory of a run or of a checkpoint.
/// let classifier = Classifier::load(run)?;
/// let predictions = classifier.predict(&["What a superb film!", "A waste of time."])?;
/// assert_eq!(predictions[0].label, "positive");
/// assert_eq!(predictions[1].label, "negative");
/// for prediction in predictions {
///     println!("{} {:.2}", prediction.label, prediction.probability);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Classifier {
    /// At least one.
    members: Vec<Member>,
    combination: Combination,
    calibration: Calibration,
    labels: Vec<String>,
    reject: Option<RejectOption>,
    collective: Arc<dyn Collective>,
}

/// A model of an ensemble, or the only model.
struct Member {
    network: Box<dyn Inference>,
    config: Config,
    encoders: Encoders,
}

impl Member {
    /// Computes the log-probabilities of encoded examples, [N, C].
    fn log_probabilities(
        &self,
        inputs: &[Corpus],
        batch_size: usize,
        collective: &dyn Collective,
    ) -> anyhow::Result<Vec<f64>> {
        let lengths: Vec<Vec<usize>> = inputs.iter().map(Corpus::lengths).collect();
        let plan = Bucketing::sorted(BatchLimit::Examples(batch_size), &lengths);
        let batches: Vec<&[u32]> = plan.batches().collect();
        let rows = compute_distributed(inputs, &batches, collective, |inputs, batches| {
            self.network.log_probabilities_of_batches(inputs, batches)
        })?;
        Ok(rows.values)
    }
}

/// Examples as the members of an ensemble, or the only model, encode them.
pub struct EncodedExamples {
    count: usize,
    /// [members, inputs].
    inputs: Vec<Vec<Corpus>>,
}

/// Predicted labels of an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Predicted label. If a text can have several, the most probable one, which need not be predicted.
    pub label: String,
    /// Its probability; that of the most probable class if the prediction is rejected.
    pub probability: f64,
    /// Predicted labels by falling probability: exactly one, or any number if a text can have several; that of
    /// the reject option if the prediction is rejected.
    pub labels: Vec<LabelProbability>,
    /// All classes, or the requested number of them, by falling probability.
    pub classes: Vec<LabelProbability>,
}

/// Probability of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelProbability {
    /// Name of the class.
    pub label: String,
    /// Probability from 0 to 1.
    pub probability: f64,
}

impl Classifier {
    /// Loads a checkpoint, the best checkpoint of a run, or an ensemble, for the native backend.
    ///
    /// # Errors
    /// Returns the errors of [`SavedModel::open`], and an error if the weights do not fit the
    /// configuration.
    pub fn load(path: impl AsRef<Path>) -> anyhow::Result<Self> {
        Self::of(SavedModel::open(path.as_ref(), &[])?)
    }

    /// Loads the networks of a saved model for the native backend.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the configuration.
    pub fn of(model: SavedModel) -> anyhow::Result<Self> {
        let network = |checkpoint| -> anyhow::Result<Box<dyn Inference>> {
            Ok(Box::new(native_inference(checkpoint)?))
        };
        let networks = model.members.iter().map(network).collect::<anyhow::Result<_>>()?;
        Ok(Self::new(model, networks))
    }

    /// Combines `networks`, which have the weights of the members of `model`, with their vocabularies and
    /// labels. The predictions are calibrated if the model is.
    pub fn new(model: SavedModel, networks: Vec<Box<dyn Inference>>) -> Self {
        let labels = model.labels().to_vec();
        let labelling = model.config().data.labelling();
        let calibration = model.calibration;
        let calibration =
            calibration.unwrap_or_else(|| Calibration::identity(labelling, labels.len()));
        let member = |(checkpoint, network): (Checkpoint, Box<dyn Inference>)| Member {
            network,
            config: checkpoint.resolved.config,
            encoders: checkpoint.encoders,
        };
        let members = model.members.into_iter().zip(networks).map(member).collect();
        Self {
            members,
            combination: model.combination,
            calibration,
            labels,
            reject: None,
            collective: Arc::new(SingleProcess),
        }
    }

    /// Returns a classifier that rejects uncertain predictions.
    ///
    /// # Errors
    /// Returns an error if the label of rejected predictions is that of a class.
    pub fn with_reject_option(self, reject: RejectOption) -> anyhow::Result<Self> {
        ensure!(
            !self.labels.contains(&reject.label),
            "\"{}\" is a label of the model; choose another one for uncertain predictions",
            reject.label
        );
        Ok(Self { reject: Some(reject), ..self })
    }

    /// Configuration of the model; of the first one of an ensemble.
    pub fn config(&self) -> &Config {
        &self.members[0].config
    }

    /// Inputs of the model; of the first one of an ensemble. All have the same text columns.
    pub fn inputs(&self) -> &Inputs {
        &self.config().inputs
    }

    /// Number of labels that a text can have.
    pub fn labelling(&self) -> Labelling {
        self.config().data.labelling()
    }

    /// Label of each class.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Returns true if the predictions are calibrated.
    pub fn is_calibrated(&self) -> bool {
        self.calibration != Calibration::identity(self.labelling(), self.labels.len())
    }

    /// Encoders that turn the texts of each input into ids; those of the first model of an ensemble.
    pub fn encoders(&self) -> &Encoders {
        &self.members[0].encoders
    }

    /// Classifies texts, in order.
    ///
    /// # Errors
    /// Returns an error if the model has several text columns, or if its weights overflow.
    pub fn predict(&self, texts: &[impl AsRef<str>]) -> anyhow::Result<Vec<Prediction>> {
        let texts = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        self.predict_columns(&[texts], BATCH_SIZE, usize::MAX)
    }

    /// Classifies examples, in order. Returns the `top` most probable classes of each. `columns`
    /// has the texts of each text column. Examples of similar length are computed in batches of at
    /// most `batch_size`.
    ///
    /// # Errors
    /// Returns an error if the number of columns is wrong, if their lengths differ, or if the weights
    /// overflow.
    pub fn predict_columns(
        &self,
        columns: &[Vec<String>],
        batch_size: usize,
        top: usize,
    ) -> anyhow::Result<Vec<Prediction>> {
        self.predict_encoded(&self.encode(columns)?, batch_size, top)
    }

    /// Encodes examples. `columns` has the texts of each text column.
    ///
    /// # Errors
    /// Returns an error if the number of columns is wrong, or if their lengths differ.
    pub fn encode(&self, columns: &[Vec<String>]) -> anyhow::Result<EncodedExamples> {
        let names: Vec<String> = self.inputs().columns().into_iter().map(Column::key).collect();
        ensure!(
            columns.len() == names.len(),
            "expected texts for the columns {}, but found {} columns",
            names.join(", "),
            columns.len()
        );
        let count = columns[0].len();
        if let Some(other) = columns.iter().find(|column| column.len() != count) {
            bail!("one column has {count} texts, another has {}", other.len());
        }
        let inputs = self.members.iter().map(|member| member.encoders.encode(columns)).collect();
        Ok(EncodedExamples { count, inputs })
    }

    /// Number of examples with a text of which the model, or every model of an ensemble, knows nothing.
    pub fn unknown_examples(&self, examples: &EncodedExamples) -> usize {
        let is_unknown = |example: usize| {
            self.members.iter().zip(&examples.inputs).all(|(member, inputs)| {
                let mut inputs = member.encoders.iter().zip(inputs);
                inputs.any(|(encoder, corpus)| encoder.is_unknown(corpus.text(example)))
            })
        };
        (0..examples.count).filter(|example| is_unknown(*example)).count()
    }

    /// Spreads the batches over the processes of a group, all of which must classify the same texts.
    #[must_use]
    pub fn with_collective(self, collective: Arc<dyn Collective>) -> Self {
        Self { collective, ..self }
    }

    /// Classifies encoded examples like [`Classifier::predict_columns`].
    ///
    /// # Errors
    /// Returns an error if the weights overflow, or if a process is lost.
    pub fn predict_encoded(
        &self,
        examples: &EncodedExamples,
        batch_size: usize,
        top: usize,
    ) -> anyhow::Result<Vec<Prediction>> {
        let log_probabilities = self.log_probabilities(examples, batch_size)?;
        let rows = log_probabilities.chunks_exact(self.labels.len());
        Ok(rows.map(|row| self.prediction(row, top)).collect())
    }

    /// Returns the log-probability of each class for encoded examples, [N, C] in row-major order with the classes in
    /// the order of [`Classifier::labels`]. They are calibrated if the model is. Examples of similar length are
    /// computed in batches of at most `batch_size`.
    ///
    /// # Errors
    /// Returns an error if the weights overflow, or if a process is lost.
    pub fn log_probabilities(
        &self,
        examples: &EncodedExamples,
        batch_size: usize,
    ) -> anyhow::Result<Vec<f64>> {
        let classes = self.labels.len();
        let members = self.members.iter().zip(&examples.inputs);
        let all: Vec<Vec<f64>> = members
            .map(|(member, inputs)| member.log_probabilities(inputs, batch_size, &*self.collective))
            .collect::<anyhow::Result<_>>()?;
        let all: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
        let log_probabilities = self.combination.combine(self.labelling(), &all, classes);
        check_finite(log_probabilities.iter().copied())?;
        let mut log_probabilities = log_probabilities.into_owned();
        let scaling = &self.calibration.scaling;
        scaling.apply_to_rows(self.labelling(), &mut log_probabilities, classes);
        Ok(log_probabilities)
    }

    /// Returns the indices of the labels that are predicted for these log-probabilities of all classes: exactly one, or
    /// any number if a text can have several.
    pub fn predicted(&self, log_probabilities: &[f64]) -> Vec<usize> {
        self.calibration.decision.predicted(self.labelling(), log_probabilities)
    }

    fn prediction(&self, log_probabilities: &[f64], top: usize) -> Prediction {
        let (labelling, decision) = (self.labelling(), &self.calibration.decision);
        let classes = top_classes(&self.labels, log_probabilities, top.max(1));
        let probability = classes[0].probability;
        let rejected = self.reject.as_ref().filter(|reject| probability < reject.min_probability);
        let labels = match rejected {
            Some(reject) => vec![LabelProbability { label: reject.label.clone(), probability }],
            None => predicted_labels(&self.labels, labelling, decision, log_probabilities),
        };
        let first = match labelling {
            Labelling::Several if rejected.is_none() => &classes[0],
            Labelling::One | Labelling::Several => labels.first().unwrap_or(&classes[0]),
        };
        let (label, probability) = (first.label.clone(), first.probability);
        Prediction { label, probability, labels, classes }
    }
}

/// Loads the network of a checkpoint for the native backend.
///
/// # Errors
/// Returns an error if the weights do not fit the configuration, or do not fit in memory.
pub fn native_inference(checkpoint: &Checkpoint) -> anyhow::Result<NativeInference> {
    let spec = checkpoint.model_spec();
    if !checkpoint.is_quantized() {
        return inference_of(checkpoint, &spec);
    }
    MemoryEstimate::quantized_inference(&spec)?.check(&spec, "this model")?;
    let tensors = checkpoint.quantized_weights()?.unwrap_or_default();
    NativeInference::quantized(&spec, tensors).with_context(|| checkpoint.unusable())
}

/// Loads the network of a checkpoint in single precision, whatever the precision of the model.
///
/// # Errors
/// Returns an error if the weights do not fit the configuration, or do not fit in memory.
pub fn precise_inference(checkpoint: &Checkpoint) -> anyhow::Result<NativeInference> {
    let config = Config { precision: Precision::Fp32, ..checkpoint.resolved.config.clone() };
    inference_of(checkpoint, &ModelSpec { config: &config, ..checkpoint.model_spec() })
}

fn inference_of(checkpoint: &Checkpoint, spec: &ModelSpec) -> anyhow::Result<NativeInference> {
    MemoryEstimate::inference(spec)?.check(spec, "this model")?;
    NativeInference::new(spec, checkpoint.weights()?).with_context(|| checkpoint.unusable())
}

/// Returns the `top` most probable classes by falling probability.
pub fn top_classes(
    labels: &[String],
    log_probabilities: &[f64],
    top: usize,
) -> Vec<LabelProbability> {
    ranked(labels, log_probabilities, (0..log_probabilities.len()).collect(), top)
}

/// Returns the predicted labels by falling probability.
pub fn predicted_labels(
    labels: &[String],
    labelling: Labelling,
    decision: &Decision,
    log_probabilities: &[f64],
) -> Vec<LabelProbability> {
    let predicted = decision.predicted(labelling, log_probabilities);
    ranked(labels, log_probabilities, predicted, usize::MAX)
}

/// Returns the `top` most probable of these classes by falling probability.
fn ranked(
    labels: &[String],
    log_probabilities: &[f64],
    mut classes: Vec<usize>,
    top: usize,
) -> Vec<LabelProbability> {
    classes.sort_by(|a, b| log_probabilities[*b].total_cmp(&log_probabilities[*a]));
    let class = |class: &usize| LabelProbability {
        label: labels[*class].clone(),
        probability: log_probabilities[*class].exp(),
    };
    classes.iter().take(top).map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicted_labels_are_sorted_by_probability() {
        let labels = ["a", "b", "c", "d"].map(str::to_owned);
        let row = [0.6_f64, 0.2, 0.9, 0.5].map(f64::ln);
        let names = |labelling| -> Vec<String> {
            let predicted = predicted_labels(&labels, labelling, &Decision::Default, &row);
            predicted.into_iter().map(|each| each.label).collect()
        };
        assert_eq!(names(Labelling::Several), ["c", "a", "d"]);
        assert_eq!(names(Labelling::One), ["c"]);
        let row = [0.1_f64.ln(); 4];
        let none = predicted_labels(&labels, Labelling::Several, &Decision::Default, &row);
        assert_eq!(none, []);
    }
}
